//! JPEG: baseline, extended sequential and progressive Huffman coding of 8 bits, to the very pixels that libjpeg makes.
//!
//! ```text
//! bytes ──Outline::read──> size, scans, memory: to be judged
//!       ──decode──> entropy ──> coefficients ──> idct ──> samples ──> upsample ──> colour ──> RGB
//! ```
//!
//! The features that our users compare with were computed from pixels of libjpeg-turbo (Pillow, OpenCV, TensorFlow).
//! The standard leaves open how chroma gets back to full resolution. A decoder that rounds otherwise there shifts the
//! colours by a fraction of a level, and a ResNet-50's features by more than a change of engine does: hence a decoder
//! of our own, which takes libjpeg's arithmetic where the last bit depends on it ([`idct`], [`upsample`], [`colour`]),
//! without its unsafe code.
//!
//! Files of one sequential scan, which is most, are decoded row by row of units, and no more than three such rows are
//! held beside the pixels. Of all others the coefficients are held until the last scan is read.

use super::DecodeError;

mod colour;
mod entropy;
mod fault;
mod frame;
mod huffman;
mod idct;
mod outline;
mod scan;
mod standard;
mod upsample;

#[cfg(test)]
mod tests;

pub(super) use outline::Outline;

use colour::Colour;
use frame::Frame;
use outline::Markers;
use scan::{Scan, Tables};

/// Decodes what [`Outline::read`] has found: `[height, width, 3]`, RGB.
///
/// # Errors
/// [`Truncated`](DecodeError::Truncated) where a scan ends before its last block or scans are missing,
/// [`Corrupt`](DecodeError::Corrupt) where it means nothing.
pub(super) fn decode(bytes: &[u8], outline: &Outline) -> Result<Vec<u8>, DecodeError> {
    let mut frame = outline.frame.clone();
    frame.allocate(outline.units_held());
    let mut tables = Tables::default();
    let mut markers = Markers::new(bytes);
    loop {
        match markers.next()? {
            0xD9 => break,
            code if outline::stands_alone(code) => {}
            0xDA => {
                let header = markers.segment()?;
                let data = markers.entropy_coded_data();
                let mut scan = Scan::begin(header, data, &mut frame, &tables)?;
                if !outline.buffered() {
                    let colour = Colour::of(&frame, tables.colour);
                    return paint(&mut frame, colour, |frame, row| Ok(scan.row(frame, row)?));
                }
                for row in 0..scan.rows(&frame) {
                    scan.row(&mut frame, row)?;
                }
            }
            code => tables.read(code, markers.segment()?)?,
        }
    }
    if !frame.is_whole() {
        return Err(DecodeError::Truncated(
            "the JPEG's scans end before the last bits of its coefficients".into(),
        ));
    }
    let colour = Colour::of(&frame, tables.colour);
    paint(&mut frame, colour, |_, _| Ok(()))
}

/// Makes pixels of each row of units, once `read` has brought its coefficients.
fn paint(
    frame: &mut Frame,
    colour: Colour,
    mut read: impl FnMut(&mut Frame, usize) -> Result<(), DecodeError>,
) -> Result<Vec<u8>, DecodeError> {
    let mut rgb = vec![0; 3 * frame.width * frame.height];
    let room = frame.unit_width * frame.units_across;
    let mut rows = vec![vec![0; room]; frame.components.len()];
    let (line, band) = (3 * frame.width, frame.unit_height);
    let mut paint_unit = |frame: &Frame, unit: usize| {
        let lines = rgb.chunks_exact_mut(line).enumerate();
        for (y, out) in lines.skip(unit * band).take(band) {
            for (part, row) in frame.components.iter().zip(&mut rows) {
                part.upsampling.row(part, y, row);
            }
            colour.row(&rows, out);
        }
    };
    for unit in 0..frame.units_down {
        read(frame, unit)?;
        frame.transform(unit)?;
        // The last rows of a unit need the first samples below it.
        if unit > 0 {
            paint_unit(frame, unit - 1);
        }
    }
    paint_unit(frame, frame.units_down - 1);
    Ok(rgb)
}
