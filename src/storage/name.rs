//! What an object is called: its path in tables and errors, and the key by which the job knows it.

use sha2::{Digest, Sha256};

/// An object's identity: the first 16 bytes of the SHA-256 of its path. Paths are the users' to choose, so nothing
/// weaker would do, and 128 bits keep a million keys small.
pub type Key = u128;

/// The key of a path such as `s3://bucket/key`.
pub fn key_of(path: &str) -> Key {
    digest(path.as_bytes())
}

/// The first 16 bytes of a SHA-256, for comparisons of equality.
pub fn digest(bytes: &[u8]) -> u128 {
    let hash = Sha256::digest(bytes);
    u128::from_be_bytes(std::array::from_fn(|i| hash[i]))
}

/// `s3://bucket/key`, the key verbatim.
pub fn path_of(bucket: &str, key: &str) -> String {
    format!("s3://{bucket}/{key}")
}

/// Bucket and key of a path; `None` for what is no such path.
pub fn object_of(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("s3://")?.split_once('/')
}
