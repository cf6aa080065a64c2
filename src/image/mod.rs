//! Bytes of an upload -> pixels -> the square that a network wants.
//!
//! ```text
//! bytes ──decode(Limits)──> Picture [height, width, 3] ──Resizer::apply(Preprocess)──> [side, side, 3]
//! ```
//!
//! Uploads are hostile until shown otherwise. What a file may cost is judged from its header, before anything of its
//! size is allocated; a decoder that panics costs one image, not the worker. Every refusal is a [`DecodeError`] whose
//! [`reason`](DecodeError::reason) goes into the rejects table.
//!
//! The same bytes give the same verdict and pixels on every run and worker. The choices behind that:
//! - The content decides the format, never the key's extension: JPEG, PNG, WebP, GIF, BMP, TIFF; of several frames or
//!   pages, the first.
//! - A JPEG must reach its end marker. Without it a complete picture can't be told from one whose last rows are lost,
//!   which lenient decoders paint grey. What follows the end marker is ignored. Nor may a scan end before its last
//!   block: an end marker that some tool has put behind a cut scan deceives nobody.
//! - Arithmetic-coded, lossless and 12-bit JPEGs and floating-point TIFFs are unsupported. A wrong checksum in a PNG is
//!   corruption. Noise that happens to be a valid Huffman stream can't be recognised, and decodes as noise.
//! - 16-bit samples are rounded to 8; grey, palettes (not of TIFF) and CMYK become RGB; transparency is laid over white, so that the
//!   colour of invisible pixels does not count. Colour profiles and gamma are ignored.
//! - The EXIF orientation is **not** applied: the pipelines that we succeed (`binaryFile` with Pillow or Keras) do not
//!   either, and features must stay comparable with theirs. Broken metadata never loses a good picture.

mod decode;
mod error;
mod jpeg;
mod panics;
mod preprocess;
mod resize;
mod rgb;
mod thumbnail;

#[cfg(test)]
mod tests;

pub use decode::{Limits, SCANS_AT_PIXEL_LIMIT, SCANS_MAX, decode};
pub use error::DecodeError;
pub use preprocess::{Fit, Preprocess, PreprocessError, Resizer, SIDE_MAX};
pub use resize::Filter;
pub use thumbnail::thumbnail;

/// A decoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row of the stored image (the EXIF orientation is not applied).
    pub width: u32,
    /// Rows of the stored image.
    pub height: u32,
    /// `[height, width, 3]`, RGB, row by row.
    pub rgb: Vec<u8>,
}
