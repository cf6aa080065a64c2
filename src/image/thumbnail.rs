//! A small picture of an image, for people to look at.

use std::io::Cursor;

use super::{Limits, Picture, decode};

/// The image, scaled so that its longer side is at most `side_max` pixels, as a JPEG of this quality (1 to 100); `None` where it is none within
/// the limits.
pub fn thumbnail(bytes: &[u8], limits: &Limits, side_max: u32, quality: u8) -> Option<Vec<u8>> {
    let Picture { width, height, rgb } = decode(bytes, limits).ok()?;
    let whole = ::image::RgbImage::from_raw(width, height, rgb)?;
    let longer = width.max(height);
    let small = if longer <= side_max {
        whole
    } else {
        let side = |side: u32| {
            ((u64::from(side) * u64::from(side_max)).div_ceil(u64::from(longer)) as u32).max(1)
        };
        ::image::imageops::thumbnail(&whole, side(width), side(height))
    };
    let mut out = Cursor::new(Vec::new());
    let mut encoder = ::image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, quality);
    encoder.encode_image(&small).ok()?;
    Some(out.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_small_whatever_the_object_was() {
        for (width, height, drawn) in [
            (300, 100, (128, 43)),
            (1, 4000, (1, 128)),
            (10, 20, (10, 20)),
        ] {
            let mut png = Cursor::new(Vec::new());
            let whole = ::image::RgbImage::from_pixel(width, height, ::image::Rgb([200, 10, 10]));
            whole.write_to(&mut png, ::image::ImageFormat::Png).unwrap();
            let picture = thumbnail(&png.into_inner(), &Limits::default(), 128, 80).unwrap();
            let picture = ::image::load_from_memory(&picture).unwrap().to_rgb8();
            assert_eq!(picture.dimensions(), drawn);
            let red = picture.get_pixel(0, 0).0;
            assert!(red[0] > 180 && red[1] < 40, "{red:?}");
        }
        assert!(thumbnail(b"no image", &Limits::default(), 128, 80).is_none());
    }
}
