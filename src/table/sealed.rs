//! Names that carry a digest of what they name: `<label>-<first 128 bits of SHA-256>.<extension>`.
//!
//! Parquet's page checksums are optional, and its Rust writer has none. A digest in the name needs no room
//! in any format, survives copies, and covers every byte of any object: a flipped bit, a truncated
//! or a swapped file is found at the next whole read.

use std::fmt::Display;

use sha2::{Digest, Sha256};

const DIGEST_BYTES: usize = 16;

/// The name of `bytes`. Where a name must never come back, the label is a new uuid.
#[must_use]
pub fn name(label: impl Display, bytes: &[u8], extension: &str) -> String {
    format!("{label}-{}.{extension}", digest(bytes))
}

/// Whether `bytes` are those that `name` (a folder before it doesn't matter) was made for.
#[must_use]
pub fn holds(name: &str, bytes: &[u8]) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let stem = file.split_once('.').map_or(file, |(stem, _)| stem);
    stem.rsplit_once('-')
        .is_some_and(|(_, sealed)| sealed == digest(bytes))
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..DIGEST_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_breaks_the_seal() {
        let bytes: Vec<u8> = (0..100).collect();
        let name = name("a-b", &bytes, "parquet");
        assert!(holds(&name, &bytes) && holds(&format!("state/{name}"), &bytes));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!holds(&name, &damaged), "bit {bit}");
        }
        assert!(!holds(&name, &bytes[..99]));
        assert!(!holds("no-seal.parquet", &bytes) && !holds("plain", &bytes));
    }
}
