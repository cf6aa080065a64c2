//! The cache: `<cache>/eigenflow/weights/NAME.safetensors`, and beside each file `NAME.json`, its hash and where it
//! came from. Files appear whole, by renaming, and are checked at every load.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::catalogue::Entry;
use super::error::WeightsError;
use super::hash::sha256;

/// The user's cache folder: `EIGENFLOW_CACHE`, else `XDG_CACHE_HOME`, else `~/Library/Caches` on macOS and `~/.cache`
/// elsewhere. Weights lie in `eigenflow/weights` below it.
pub fn cache_dir() -> Result<PathBuf, WeightsError> {
    let set = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let home = if cfg!(target_os = "macos") {
        "Library/Caches"
    } else {
        ".cache"
    };
    set("EIGENFLOW_CACHE")
        .or_else(|| set("XDG_CACHE_HOME"))
        .or_else(|| set("HOME").map(|folder| folder.join(home)))
        .ok_or(WeightsError::NoCacheDir)
}

/// What is known of a cached file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Hash of the safetensors file when it was stored.
    pub sha256: String,
    /// Whether the hash was known beforehand, or is that of the first download.
    pub pinned: bool,
    /// Where the file came from, in words.
    pub source: String,
    /// When, in seconds since 1970.
    pub fetched_unix_s: u64,
}

/// One entry's place in the cache.
#[derive(Debug)]
pub(super) struct Slot {
    name: &'static str,
    pin: Option<&'static str>,
    folder: PathBuf,
}

impl Slot {
    pub(super) fn new(cache_dir: &Path, entry: &Entry) -> Self {
        Self {
            name: entry.name,
            pin: entry.pin(),
            folder: cache_dir.join("eigenflow").join("weights"),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.safetensors", self.name))
    }

    fn record_path(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.name))
    }

    /// A file to write to that `store` can rename into place.
    pub(super) fn temporary(&self) -> Result<NamedTempFile, WeightsError> {
        fs::create_dir_all(&self.folder).map_err(WeightsError::io(&self.folder))?;
        NamedTempFile::new_in(&self.folder).map_err(WeightsError::io(&self.folder))
    }

    /// Makes a written temporary file the cached one, and records it. A crash in between leaves a file that the record
    /// does not vouch for, which the next load refuses.
    pub(super) fn store(&self, file: NamedTempFile, record: &Record) -> Result<(), WeightsError> {
        place(file, &self.path())?;
        let mut file = self.temporary()?;
        let json = serde_json::to_vec_pretty(record).map_err(std::io::Error::from);
        json.and_then(|json| file.write_all(&json))
            .map_err(WeightsError::io(&self.record_path()))?;
        place(file, &self.record_path())
    }

    /// Length of the cached file in bytes, if there is one.
    pub(super) fn size_bytes(&self) -> Option<u64> {
        fs::metadata(self.path())
            .ok()
            .map(|metadata| metadata.len())
    }

    /// The cached bytes, checked against the pin or else the record; `None` when nothing is cached.
    pub(super) fn read(&self) -> Result<Option<(Vec<u8>, String)>, WeightsError> {
        let path = self.path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(WeightsError::io(&path)(cause)),
        };
        let expected = match self.pin {
            Some(pin) => pin.to_owned(),
            None => self.record()?.sha256,
        };
        let found = sha256(&bytes);
        if found == expected {
            Ok(Some((bytes, found)))
        } else {
            Err(self.corrupt(format!("sha256 {found}, expected {expected}")))
        }
    }

    fn record(&self) -> Result<Record, WeightsError> {
        let path = self.record_path();
        let json = fs::read(&path)
            .map_err(|cause| self.corrupt(format!("{}: {cause}", path.display())))?;
        serde_json::from_slice(&json)
            .map_err(|cause| self.corrupt(format!("{}: {cause}", path.display())))
    }

    fn corrupt(&self, cause: String) -> WeightsError {
        WeightsError::Corrupt {
            name: self.name.to_owned(),
            path: self.path(),
            cause,
        }
    }
}

/// Gives a written file its name.
pub(super) fn place(mut file: NamedTempFile, path: &Path) -> Result<(), WeightsError> {
    file.flush()
        .and_then(|()| file.as_file().sync_all())
        .and_then(|()| file.persist(path).map(drop).map_err(|failed| failed.error))
        .map_err(WeightsError::io(path))
}

/// A record of now.
pub(super) fn record_now(sha256: String, pinned: bool, source: String) -> Record {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Record {
        sha256,
        pinned,
        source,
        fetched_unix_s: since.as_secs(),
    }
}
