//! A walk over a JPEG's markers: is it all there, and how often will a decoder have to go over its pixels?
//!
//! Decoders forgive a missing end and paint what is lost in grey; features of grey are a lie, so completeness is judged
//! here. The walk reads lengths only and takes one pass over the bytes (ITU-T T.81, annex B).

use super::DecodeError;

/// What the markers of one image say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outline {
    /// How many scans the pixels are spread over: 1 in most files, about 10 in a progressive one.
    pub scans: u64,
    /// Colour components of a pixel.
    pub components: u64,
    /// The decoder holds every coefficient until the last scan is read.
    pub buffered: bool,
}

/// Follows the markers from the start of the image to its end.
///
/// # Errors
/// [`Truncated`](DecodeError::Truncated) where the file ends before the end marker,
/// [`UnsupportedFormat`](DecodeError::UnsupportedFormat) for a coding other than 8-bit baseline, extended sequential or
/// progressive Huffman, [`InvalidDimensions`](DecodeError::InvalidDimensions) and [`Corrupt`](DecodeError::Corrupt).
pub(super) fn outline(bytes: &[u8]) -> Result<Outline, DecodeError> {
    let mut markers = Markers { bytes, at: 2 }; // behind the start of image
    let mut frame: Option<Frame> = None;
    let mut scans = 0;
    loop {
        match markers.next()? {
            0xD9 => break,
            0x01 | 0xD0..=0xD8 => {} // stand alone, without a segment
            code @ (0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF) => {
                let read = Frame::read(code, markers.segment()?)?;
                if frame.replace(read).is_some() {
                    return Err(DecodeError::Corrupt("a JPEG with two frame headers".into()));
                }
            }
            code => {
                markers.segment()?;
                if code == 0xDA {
                    scans += 1;
                    markers.skip_entropy_coded_data();
                }
            }
        }
    }
    match frame {
        Some(frame) if scans > 0 => Ok(Outline {
            scans,
            components: frame.components,
            buffered: frame.progressive || scans > 1,
        }),
        _ => Err(DecodeError::Corrupt("a JPEG without an image in it".into())),
    }
}

struct Frame {
    progressive: bool,
    components: u64,
}

impl Frame {
    fn read(code: u8, segment: &[u8]) -> Result<Self, DecodeError> {
        if code > 0xC2 {
            return Err(DecodeError::UnsupportedFormat(format!(
                "JPEG coding SOF{} (lossless, hierarchical or arithmetic)",
                code - 0xC0
            )));
        }
        let &[precision, high, low, left, right, components, ..] = segment else {
            return Err(DecodeError::Corrupt(
                "a JPEG frame header that is too short".into(),
            ));
        };
        if precision != 8 {
            return Err(DecodeError::UnsupportedFormat(format!(
                "JPEG of {precision} bits a sample"
            )));
        }
        let height = u32::from(u16::from_be_bytes([high, low]));
        let width = u32::from(u16::from_be_bytes([left, right]));
        if width == 0 || height == 0 {
            return Err(DecodeError::InvalidDimensions { width, height });
        }
        Ok(Self {
            progressive: code == 0xC2,
            components: u64::from(components),
        })
    }
}

/// A cursor over marker segments.
struct Markers<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Markers<'a> {
    fn cut(what: &str) -> DecodeError {
        DecodeError::Truncated(format!("the JPEG ends {what}"))
    }

    /// The next marker's code; stray bytes before it are skipped, as decoders do.
    fn next(&mut self) -> Result<u8, DecodeError> {
        while let Some(&[first, code]) = self.bytes.get(self.at..self.at + 2) {
            if first == 0xFF && !matches!(code, 0x00 | 0xFF) {
                self.at += 2;
                return Ok(code);
            }
            self.at += 1;
        }
        Err(Self::cut("without its end marker"))
    }

    /// What the segment behind the marker holds, without its length.
    fn segment(&mut self) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        let &[high, low, ..] = rest else {
            return Err(Self::cut("inside a segment"));
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < 2 {
            return Err(DecodeError::Corrupt(
                "a JPEG segment shorter than its own length field".into(),
            ));
        }
        let segment = rest
            .get(2..length)
            .ok_or_else(|| Self::cut("inside a segment"))?;
        self.at += length;
        Ok(segment)
    }

    /// To the marker that ends a scan: stuffed zeros, fill bytes and restart markers belong to the data.
    fn skip_entropy_coded_data(&mut self) {
        let ends_scan =
            |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xFF | 0xD0..=0xD7);
        let rest = &self.bytes[self.at..];
        self.at += rest.windows(2).position(ends_scan).unwrap_or(rest.len());
    }
}
