//! A walk over a JPEG's markers: is it all there, and how often will a decoder have to go over its pixels?
//!
//! Decoders forgive a missing end and paint what is lost in grey; features of grey are a lie, so completeness is judged
//! here. The walk reads lengths only and takes one pass over the bytes (ITU-T T.81, annex B).

use super::{super::DecodeError, frame::Frame};

/// What the markers of one image say.
#[derive(Debug)]
pub(in super::super) struct Outline {
    pub(super) frame: Frame,
    /// How many scans the pixels are spread over: 1 in most files, about 10 in a progressive one.
    pub scans: u64,
}

impl Outline {
    /// Follows the markers from the start of the image to its end.
    ///
    /// # Errors
    /// [`Truncated`](DecodeError::Truncated) where the file ends before the end marker,
    /// [`UnsupportedFormat`](DecodeError::UnsupportedFormat) for a coding other than 8-bit baseline, extended
    /// sequential or progressive Huffman, [`InvalidDimensions`](DecodeError::InvalidDimensions) and
    /// [`Corrupt`](DecodeError::Corrupt).
    pub fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut markers = Markers::new(bytes);
        let mut frame = None;
        let mut scans = 0;
        loop {
            match markers.next()? {
                0xD9 => break,
                code if stands_alone(code) => {}
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
                        markers.entropy_coded_data();
                    }
                }
            }
        }
        match frame {
            Some(frame) if scans > 0 => Ok(Self { frame, scans }),
            _ => Err(DecodeError::Corrupt("a JPEG without an image in it".into())),
        }
    }

    /// Width and height, in pixels.
    pub fn dimensions(&self) -> (u32, u32) {
        // Both were read from 16 bits.
        (self.frame.width as u32, self.frame.height as u32)
    }

    /// What the decoder holds beside the pixels that it makes, in bytes.
    pub fn decoder_bytes(&self) -> u64 {
        self.frame.bytes(self.units_held())
    }

    /// Every coefficient is held until the last scan is read.
    pub(super) fn buffered(&self) -> bool {
        self.frame.progressive || self.scans > 1
    }

    /// Rows of units whose coefficients are held at once.
    pub(super) fn units_held(&self) -> usize {
        if self.buffered() {
            self.frame.units_down
        } else {
            1
        }
    }
}

/// Whether no segment follows the marker: `TEM`, restart markers and another start of image.
pub(super) fn stands_alone(code: u8) -> bool {
    matches!(code, 0x01 | 0xD0..=0xD8)
}

/// A cursor over marker segments.
pub(super) struct Markers<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Markers<'a> {
    /// From behind the start of the image.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 2 }
    }

    fn cut(what: &str) -> DecodeError {
        DecodeError::Truncated(format!("the JPEG ends {what}"))
    }

    /// The next marker's code; stray bytes before it are skipped, as decoders do.
    pub fn next(&mut self) -> Result<u8, DecodeError> {
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
    pub fn segment(&mut self) -> Result<&'a [u8], DecodeError> {
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

    /// What lies before the marker that ends a scan: stuffed zeros, fill bytes and restart markers belong to it.
    pub fn entropy_coded_data(&mut self) -> &'a [u8] {
        let ends_scan =
            |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xFF | 0xD0..=0xD7);
        let rest = &self.bytes[self.at..];
        let length = rest.windows(2).position(ends_scan).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }
}
