//! `eigenflow weights`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::Failure;
use crate::backbone::weights::{self, Listing, Source, State};
use crate::backbone::{BackboneError, Options};
use crate::image::{self, Limits, Picture};
use crate::job;

/// What can be done with weights.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lists the weights that have a name: network, licence, where they come from, whether they are here
    List,
    /// Brings weights into the cache
    Get {
        /// A name from the list
        name: String,
        /// Another source: a file, or hub:OWNER/NAME/FILE
        #[arg(long, value_name = "SOURCE")]
        from: Option<String>,
    },
    /// Hashes all cached weights
    Verify,
    /// Finds how large each layer's outputs become, for precision = "int8"; the first job does, too, on rendered pictures
    Calibrate(Calibrate),
}

/// Arguments of `weights calibrate`.
#[derive(Debug, Args)]
pub struct Calibrate {
    /// A name from the list, or a path that ends in .safetensors
    name: String,
    /// A folder of images like those to come, with its subfolders; without it rendered pictures
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// How many of them, spread evenly; each takes a good part of a second
    #[arg(long, default_value_t = 64, value_name = "N")]
    limit: usize,
    /// What the job says as backbone.preprocessing, if anything
    #[arg(long, value_name = "NAME")]
    preprocessing: Option<String>,
}

impl Command {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let cache = weights::cache_dir().context("no cache folder")?;
        match self {
            Command::Calibrate(calibrate) => calibrate.run(&cache),
            Command::List => {
                weights::list(&cache).iter().for_each(print);
                Ok(ExitCode::SUCCESS)
            }
            Command::Get { name, from } => {
                let source = from.as_deref().map_or(Source::Catalogue, Source::from);
                let weights = weights::get(&name, &source, &cache, &|line| eprintln!("{line}"))
                    .with_context(|| format!("weights {name}"))?;
                println!("{name}: {}, sha256 {}", weights.network, weights.sha256);
                Ok(ExitCode::SUCCESS)
            }
            Command::Verify => {
                let listings = weights::verify(&cache);
                listings.iter().for_each(print);
                let damaged = listings
                    .iter()
                    .any(|listing| matches!(listing.state, State::Damaged(_)));
                Ok(if damaged {
                    ExitCode::from(1)
                } else {
                    ExitCode::SUCCESS
                })
            }
        }
    }
}

impl Calibrate {
    fn run(self, cache: &Path) -> Result<ExitCode, Failure> {
        let usage = |error: BackboneError| Failure::Usage(error.into());
        let weights = weights::load(&self.name, cache).context("weights calibrate")?;
        let preprocessing = match &self.preprocessing {
            Some(name) => name.parse().map_err(usage)?,
            None => weights.preprocessing,
        };
        let options = Options {
            preprocessing,
            ..Options::default()
        };
        let (network, parameters) = (weights.network, weights.parameters());
        let calibration = match &self.images {
            None => job::calibrate(network, &parameters, &options)?,
            Some(folder) => {
                let files = files(folder, self.limit)
                    .with_context(|| format!("--images {}", folder.display()))?;
                let said = format!("{} files of {}", files.len(), folder.display());
                let pictures = files.iter().filter_map(|file| picture(file));
                job::calibrate_on(network, &parameters, &options, pictures, &said)?
            }
        };
        let path = weights::calibration_path(&self.name, cache).map_err(anyhow::Error::from)?;
        weights::store_calibration(&path, &calibration).map_err(anyhow::Error::from)?;
        println!("{}: {calibration}", path.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// `limit` of a folder's files, evenly spread over their sorted paths.
fn files(folder: &Path, limit: usize) -> std::io::Result<Vec<PathBuf>> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    let step = files.len().div_ceil(limit.max(1)).max(1);
    Ok(files.into_iter().step_by(step).collect())
}

/// The picture in a file; what is none is told and left out.
fn picture(file: &Path) -> Option<Picture> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string());
    let decoded = |bytes: Vec<u8>| image::decode(&bytes, &Limits::default());
    let picture = bytes.and_then(|bytes| decoded(bytes).map_err(|error| error.to_string()));
    picture
        .inspect_err(|error| eprintln!("eigenflow: {}: {error}", file.display()))
        .ok()
}

fn print(listing: &Listing) {
    let entry = listing.entry;
    let state = match &listing.state {
        State::Absent => "not here".to_owned(),
        State::Present => "cached".to_owned(),
        State::Intact => "cached, intact".to_owned(),
        State::Damaged(cause) => format!("DAMAGED: {cause}"),
    };
    let size = listing
        .size_bytes
        .map_or_else(String::new, |bytes| format!(", {} MB", bytes / 1_000_000));
    println!(
        "{:14} {}, {} features, input as {} ({state}{size})",
        entry.name,
        entry.network,
        entry.features(),
        entry.preprocessing
    );
    println!(
        "{:14} from {}; licence: {}",
        "", entry.origin, entry.licence
    );
}
