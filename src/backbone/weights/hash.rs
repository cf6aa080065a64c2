//! SHA-256 in lowercase hex, the form that pins are written in.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::WeightsError;

/// A hash of bytes that come in pieces.
#[derive(Default)]
pub(super) struct Hasher(Sha256);

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> String {
        hex::encode(self.0.finalize())
    }
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

pub(super) fn sha256_of_file(path: &Path) -> Result<String, WeightsError> {
    let mut file = File::open(path).map_err(WeightsError::io(path))?;
    let mut hasher = Hasher::default();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).map_err(WeightsError::io(path))? {
            0 => return Ok(hasher.finish()),
            len => hasher.update(&piece[..len]),
        }
    }
}

/// The error that `what` is not what it was pinned to be.
pub(super) fn expect_hash(what: &str, expected: &str, found: &str) -> Result<(), WeightsError> {
    if expected == found {
        return Ok(());
    }
    Err(WeightsError::WrongHash {
        what: what.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    })
}
