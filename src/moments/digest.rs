//! Digests of the sums that owners of slices can contribute to: a hash over the hashes of the parts.

use super::parts::little_endian;
use super::{Part, Sums};
use sha2::{Digest, Sha256};

/// SHA-256 of one part's canonical bytes: its name, then its integers as i128, little-endian.
pub fn part_digest(part: &Part, sums: &Sums) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(name_bytes(part));
    for chunk in sums.as_slice().chunks(1024) {
        hasher.update(little_endian(chunk));
    }
    hasher.finalize().into()
}

/// The digest of a whole state of width `width` from those of its non-zero parts, as lower-case hex.
///
/// The parts are sorted here, so the order in which their owners report does not matter. Zero parts must be left out:
/// they are no part of the state.
pub fn combine(width: usize, digests: impl IntoIterator<Item = (Part, [u8; 32])>) -> String {
    let mut digests: Vec<_> = digests.into_iter().collect();
    digests.sort();
    let mut hasher = Sha256::new();
    hasher.update(b"eigenflow moments 1\0");
    hasher.update((width as u64).to_le_bytes());
    for (part, digest) in &digests {
        hasher.update(name_bytes(part));
        hasher.update(digest);
    }
    hex::encode(hasher.finalize())
}

/// A prefix-free name, so that no two sequences of parts share their bytes.
fn name_bytes(part: &Part) -> Vec<u8> {
    match part {
        Part::Count => vec![0],
        Part::Columns(block) => [&[1][..], &block.to_le_bytes()].concat(),
        Part::Label(label) => [
            &[2][..],
            &(label.len() as u64).to_le_bytes(),
            label.as_bytes(),
        ]
        .concat(),
    }
}
