//! Bytes -> [`Picture`], judged before it is paid for.

use std::io::Cursor;

use ::image::{
    ColorType, ImageDecoder, ImageFormat, ImageResult,
    codecs::{
        bmp::BmpDecoder, gif::GifDecoder, png::PngDecoder, tiff::TiffDecoder, webp::WebPDecoder,
    },
};

use super::{
    DecodeError, Picture,
    jpeg::{self, Outline},
    panics,
    rgb::{self, Layout},
};

/// What one image may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the file, in bytes.
    pub bytes: u64,
    /// Width times height. A JPEG may spread its pixels over scans, each of which costs a pass over all of them:
    /// [`SCANS_AT_PIXEL_LIMIT`] for a picture of this size, more for a smaller one, up to [`SCANS_MAX`].
    pub pixels: u64,
    /// The longer side, in pixels.
    pub dimension: u32,
    /// What decoding may hold at once, by estimate from the header: the pixels at the file's bit depth, and what the
    /// format's decoder keeps beside them (all coefficients of a progressive JPEG, for instance).
    pub memory_bytes: u64,
}

/// Scans that the largest image allowed may have: twice what common encoders make.
pub const SCANS_AT_PIXEL_LIMIT: u64 = 20;
/// Scans that any image may have, however small.
pub const SCANS_MAX: u64 = 100;

impl Default for Limits {
    /// 32 MiB, 50 megapixels, sides of 30,000, 256 MiB of memory.
    fn default() -> Self {
        Self {
            bytes: 32 << 20,
            pixels: 50_000_000,
            dimension: 30_000,
            memory_bytes: 256 << 20,
        }
    }
}

/// Decodes an image of any supported format; see the [module](super) for what counts and what does not.
///
/// # Errors
/// A [`DecodeError`] that says why these bytes are no picture, or cost too much to find out. The same bytes and limits
/// always give the same answer.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    if bytes.len() as u64 > limits.bytes {
        return Err(DecodeError::TooManyBytes {
            bytes: bytes.len() as u64,
            limit: limits.bytes,
        });
    }
    let format = sniff(bytes)?;
    let decode = || match format {
        ImageFormat::Jpeg => decode_jpeg(bytes, limits),
        _ => decode_as(format, bytes, limits),
    };
    panics::contain(decode).unwrap_or_else(|message| Err(DecodeError::DecoderPanic(message)))
}

fn sniff(bytes: &[u8]) -> Result<ImageFormat, DecodeError> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    match ::image::guess_format(bytes) {
        Ok(format @ (Jpeg | Png | WebP | Gif | Bmp | Tiff)) => Ok(format),
        Ok(other) => Err(DecodeError::UnsupportedFormat(format!("{other:?}"))),
        Err(_) => Err(DecodeError::UnsupportedFormat(
            "the content is no image".into(),
        )),
    }
}

fn decode_jpeg(bytes: &[u8], limits: &Limits) -> Result<Picture, DecodeError> {
    let outline = Outline::read(bytes)?;
    let (width, height) = outline.dimensions();
    let pixels = judge_size(width, height, limits)?;
    let scans = outline.scans;
    if scans > SCANS_MAX || scans * pixels > SCANS_AT_PIXEL_LIMIT * limits.pixels {
        return Err(DecodeError::TooManyScans { scans, pixels });
    }
    judge_memory(3 * pixels + outline.decoder_bytes(), limits)?;
    let rgb = jpeg::decode(bytes, &outline)?;
    Ok(Picture { width, height, rgb })
}

fn decode_as(format: ImageFormat, bytes: &[u8], limits: &Limits) -> Result<Picture, DecodeError> {
    let complaint = |error| DecodeError::from_decoder(error, limits.memory_bytes);
    if format == ImageFormat::Png {
        check_png_header(bytes)?;
    }
    let mut decoder = open(format, bytes, limits).map_err(complaint)?;
    let (width, height) = decoder.dimensions();
    let pixels = judge_size(width, height, limits)?;
    let layout = layout(decoder.color_type())?;
    judge_memory(
        layout.buffer_bytes(pixels) + decoder_bytes(format, layout, pixels),
        limits,
    )?;

    decoder
        .set_limits(decoder_limits(limits))
        .map_err(complaint)?;
    let decoded_bytes = decoder.total_bytes() as usize;
    let mut rgb = vec![0; layout.buffer_bytes(pixels) as usize];
    decoder
        .read_image_boxed(&mut rgb[..decoded_bytes])
        .map_err(complaint)?;
    rgb::to_rgb(&mut rgb, layout, pixels as usize);
    Ok(Picture { width, height, rgb })
}

/// A decoder that has read the header and no more.
fn open<'a>(
    format: ImageFormat,
    bytes: &'a [u8],
    limits: &Limits,
) -> ImageResult<Box<dyn ImageDecoder + 'a>> {
    let bytes = Cursor::new(bytes);
    Ok(match format {
        ImageFormat::Png => Box::new(PngDecoder::with_limits(bytes, decoder_limits(limits))?),
        ImageFormat::WebP => Box::new(WebPDecoder::new(bytes)?),
        ImageFormat::Gif => Box::new(GifDecoder::new(bytes)?),
        ImageFormat::Bmp => Box::new(BmpDecoder::new(bytes)?),
        _ => Box::new(TiffDecoder::new(bytes)?),
    })
}

/// The decoder's own guard, for what no header tells: compressed metadata, strips and frames.
fn decoder_limits(limits: &Limits) -> ::image::Limits {
    let mut own = ::image::Limits::no_limits();
    own.max_alloc = Some(limits.memory_bytes);
    own
}

/// The PNG decoder calls a size of 0 a format error; here it has its own reason.
fn check_png_header(bytes: &[u8]) -> Result<(), DecodeError> {
    let side = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    match (side(16), side(20)) {
        (Some(width), Some(height)) if width == 0 || height == 0 => {
            Err(DecodeError::InvalidDimensions { width, height })
        }
        _ => Ok(()),
    }
}

/// Number of pixels, if there are some and not too many.
fn judge_size(width: u32, height: u32, limits: &Limits) -> Result<u64, DecodeError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(DecodeError::InvalidDimensions { width, height });
    }
    if pixels > limits.pixels {
        return Err(DecodeError::TooManyPixels {
            width,
            height,
            limit: limits.pixels,
        });
    }
    if width.max(height) > limits.dimension {
        return Err(DecodeError::SideTooLong {
            width,
            height,
            limit: limits.dimension,
        });
    }
    Ok(pixels)
}

fn layout(color: ColorType) -> Result<Layout, DecodeError> {
    match color {
        ColorType::L8
        | ColorType::La8
        | ColorType::Rgb8
        | ColorType::Rgba8
        | ColorType::L16
        | ColorType::La16
        | ColorType::Rgb16
        | ColorType::Rgba16 => {
            let channels = usize::from(color.channel_count());
            Ok(Layout {
                channels,
                bytes_per_sample: usize::from(color.bytes_per_pixel()) / channels,
            })
        }
        other => Err(DecodeError::UnsupportedFormat(format!(
            "samples of the kind {other:?}"
        ))),
    }
}

fn judge_memory(needed_bytes: u64, limits: &Limits) -> Result<(), DecodeError> {
    if needed_bytes > limits.memory_bytes {
        return Err(DecodeError::TooMuchMemory {
            limit: limits.memory_bytes,
        });
    }
    Ok(())
}

/// What the format's decoder holds beside the pixels that it writes for us, as far as the header tells.
fn decoder_bytes(format: ImageFormat, layout: Layout, pixels: u64) -> u64 {
    match format {
        // A frame of its own: YUV or RGBA.
        ImageFormat::WebP | ImageFormat::Gif => 4 * pixels,
        // All strips or tiles, before they are converted.
        ImageFormat::Tiff => layout.buffer_bytes(pixels),
        // Row by row.
        _ => 0,
    }
}
