//! Everything that can go wrong between a network's name and its verified bytes. Each message names the thing
//! and the cure, for it ends as the one line that a user of the `weights` command sees. A cause stands in the message or
//! is its `source()`, never both: the line tells either.

use std::path::{Path, PathBuf};

use super::pickle::PickleError;
use crate::backbone::BackboneError;

/// Why weights could not be fetched, converted, found or trusted.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The name is neither in the catalogue nor a path.
    #[error(
        "no weights are called `{name}`: there are {known}, or a path that ends in .safetensors"
    )]
    UnknownName {
        /// What was asked for.
        name: String,
        /// The catalogue's names.
        known: String,
    },
    /// Nothing is cached under this name.
    #[error("the weights `{name}` are not in the cache ({}); {options}", path.display())]
    NotCached {
        /// The catalogue's name.
        name: String,
        /// Where they would lie.
        path: PathBuf,
        /// The ways to get them.
        options: String,
    },
    /// The source did not deliver.
    #[error("the weights `{name}` could not be fetched: {cause}; {options}")]
    Unavailable {
        /// The catalogue's name.
        name: String,
        /// What the source said; the sentence goes on behind it, so it is no `source()`.
        cause: Box<WeightsError>,
        /// The other ways to get them.
        options: String,
    },
    /// Neither `EIGENFLOW_CACHE` nor `XDG_CACHE_HOME` nor `HOME` is set.
    #[error("no place for a cache is known: set EIGENFLOW_CACHE to a folder")]
    NoCacheDir,
    /// The package client is not installed.
    #[error("`{client}` is not installed (or not on the PATH)")]
    NoClient {
        /// `npm` or `pip`.
        client: &'static str,
    },
    /// The package client ran and failed.
    #[error("`{command}` failed with {status}: {stderr}")]
    ClientFailed {
        /// The command line.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last lines of what it said.
        stderr: String,
    },
    /// What came is not what was pinned. Nothing of it was opened or kept.
    #[error(
        "{what} has sha256 {found}, expected {expected}: it was not used; fetch it again or from elsewhere"
    )]
    WrongHash {
        /// The archive or file.
        what: String,
        /// The pinned or recorded hash.
        expected: String,
        /// The hash of what is there.
        found: String,
    },
    /// The cached file is not the one that was stored.
    #[error("the cached weights {} are damaged ({cause}): `eigenflow weights get {name}` replaces them", path.display())]
    Corrupt {
        /// The catalogue's name.
        name: String,
        /// The damaged file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The hub could not be reached, refused, or broke off.
    #[error("{url}: {cause}")]
    Hub {
        /// What was asked for.
        url: String,
        /// The status or the transport's error.
        cause: String,
    },
    /// The archive holds something else than the catalogue says.
    #[error("{archive}: {cause}")]
    Archive {
        /// The package.
        archive: String,
        /// What is missing or unreadable.
        cause: String,
    },
    /// A pickle that is not plain data, or broken.
    #[error("{what}: {cause}")]
    Pickle {
        /// The member of the archive.
        what: &'static str,
        /// What the restricted reader refused.
        cause: PickleError,
    },
    /// The file is no safetensors file, or of no network that eigenflow knows.
    #[error("{} is not usable as weights: {cause}", path.display())]
    NotWeights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The file beside the weights that int8 needs.
    #[error("{}", path.display())]
    Calibration {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the cure. A `source()`, since the exit code follows from it.
        source: BackboneError,
    },
    /// The file system said no.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
}

impl WeightsError {
    /// Whether a restart would meet it again: what only another configuration, or a command of `eigenflow weights`, cures.
    pub fn stands(&self) -> bool {
        matches!(
            self,
            Self::UnknownName { .. }
                | Self::NotCached { .. }
                | Self::NoCacheDir
                | Self::Corrupt { .. }
                | Self::NotWeights { .. }
        )
    }

    /// For `map_err`: an I/O error with the path it is about.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |cause| Self::Io {
            path: path.to_owned(),
            cause,
        }
    }
}
