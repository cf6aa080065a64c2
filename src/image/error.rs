//! Why bytes are not a picture.

use std::{error::Error, io};

use ::image::{ImageError, error::LimitErrorKind};

/// Why an object is rejected. The limits named here are fields of [`Limits`](super::Limits).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No bytes at all, as an aborted upload leaves behind.
    #[error("the object is empty")]
    Empty,
    /// More bytes than [`Limits::bytes`](super::Limits::bytes).
    #[error("the object has {bytes} bytes, more than the limit of {limit}")]
    TooManyBytes {
        /// Length of the object.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// No format, or a variant of a format, that is decoded here.
    #[error("unsupported image format: {0}")]
    UnsupportedFormat(String),
    /// The file ends before its image does.
    #[error("the image is cut short: {0}")]
    Truncated(String),
    /// A width or height of 0.
    #[error("an image of {width} x {height} has no pixels")]
    InvalidDimensions {
        /// Width from the header.
        width: u32,
        /// Height from the header.
        height: u32,
    },
    /// More pixels than [`Limits::pixels`](super::Limits::pixels).
    #[error("an image of {width} x {height} has more than the {limit} pixels allowed")]
    TooManyPixels {
        /// Width from the header.
        width: u32,
        /// Height from the header.
        height: u32,
        /// The limit.
        limit: u64,
    },
    /// A side longer than [`Limits::dimension`](super::Limits::dimension).
    #[error("an image of {width} x {height} has a side longer than {limit}")]
    SideTooLong {
        /// Width from the header.
        width: u32,
        /// Height from the header.
        height: u32,
        /// The limit.
        limit: u32,
    },
    /// Decoding would take more memory than [`Limits::memory_bytes`](super::Limits::memory_bytes).
    #[error("decoding needs more than the {limit} bytes of memory allowed")]
    TooMuchMemory {
        /// The limit.
        limit: u64,
    },
    /// A JPEG whose scans cover its pixels more often than [`Limits`](super::Limits) allows.
    #[error("{scans} scans over {pixels} pixels are more work than allowed")]
    TooManyScans {
        /// Scans in the file.
        scans: u64,
        /// Pixels of the image.
        pixels: u64,
    },
    /// Of a known format, but not well-formed.
    #[error("the image is corrupt: {0}")]
    Corrupt(String),
    /// The decoder panicked. The image is to blame, but the decoder's authors will want to know.
    #[error("the decoder panicked: {0}")]
    DecoderPanic(String),
}

impl DecodeError {
    /// A stable word for the rejects table and the metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooManyBytes { .. } => "too-many-bytes",
            Self::UnsupportedFormat(_) => "unsupported-format",
            Self::Truncated(_) => "truncated",
            Self::InvalidDimensions { .. } => "invalid-dimensions",
            Self::TooManyPixels { .. } => "too-many-pixels",
            Self::SideTooLong { .. } => "side-too-long",
            Self::TooMuchMemory { .. } => "too-much-memory",
            Self::TooManyScans { .. } => "too-many-scans",
            Self::Corrupt(_) => "corrupt",
            Self::DecoderPanic(_) => "decoder-panic",
        }
    }

    /// What a decoder's complaint means to us.
    pub(super) fn from_decoder(error: ImageError, memory_bytes: u64) -> Self {
        match &error {
            ImageError::Limits(limits) if limits.kind() == LimitErrorKind::InsufficientMemory => {
                Self::TooMuchMemory {
                    limit: memory_bytes,
                }
            }
            ImageError::Unsupported(_) => Self::UnsupportedFormat(error.to_string()),
            _ if ends_early(&error) => Self::Truncated(error.to_string()),
            _ => Self::Corrupt(error.to_string()),
        }
    }
}

/// Whether the end of the file lies at the bottom of an error.
fn ends_early(error: &ImageError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io_error = match error.downcast_ref() {
            Some(ImageError::IoError(io_error)) => Some(io_error),
            _ => error.downcast_ref::<io::Error>(),
        };
        if io_error.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = error.source();
    }
    false
}
