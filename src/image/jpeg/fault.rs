//! Why the entropy-coded data of a scan can't be read.

use crate::image::DecodeError;

/// Why a scan can't be read. Small, because it may come back from every bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("a scan of the JPEG ends before its last block")]
    EndsEarly,
    #[error("a JPEG without a Huffman table that it needs")]
    NoTable,
    #[error("a JPEG Huffman table with more codes than there can be")]
    OverfullTable,
    #[error("a JPEG with a code that is not in its Huffman table")]
    UnknownCode,
    #[error("a JPEG with a coefficient of more than 15 bits")]
    LargeCoefficient,
    #[error("a JPEG with a coefficient beyond its block")]
    BeyondBlock,
    #[error("a JPEG whose restart markers are out of order")]
    Restart,
}

impl From<Fault> for DecodeError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::EndsEarly => Self::Truncated(fault.to_string()),
            _ => Self::Corrupt(fault.to_string()),
        }
    }
}
