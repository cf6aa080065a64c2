//! The frame: what a JPEG's components are, and the samples and coefficients that decoding holds of them.

use super::{
    super::DecodeError,
    entropy::Pass,
    idct,
    upsample::{Samples, Upsampling},
};

/// Rows of units whose samples are held: filters look one row beyond the unit's edge, so its neighbours stay.
const HELD_ROWS: usize = 3;
/// Coefficients of the lowest frequencies, without which there is no picture.
const SMOOTHED: usize = 10;

/// The picture's size and its components.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub width: usize,
    pub height: usize,
    /// Coefficients come in parts, over several scans.
    pub progressive: bool,
    pub components: Vec<Component>,
    /// Pixels of a unit ("MCU"), across: the least that has whole blocks of every component.
    pub unit_width: usize,
    /// Pixels of a unit, down.
    pub unit_height: usize,
    /// Units in a row.
    pub units_across: usize,
    /// Rows of units.
    pub units_down: usize,
}

/// One component of the frame.
#[derive(Clone, Debug)]
pub(super) struct Component {
    pub id: u8,
    /// Blocks of a unit, across.
    pub across: usize,
    /// Blocks of a unit, down.
    pub down: usize,
    /// Which quantisation table it uses.
    pub table: u8,
    /// Samples in a row of the picture.
    width: usize,
    /// Rows of samples in the picture.
    height: usize,
    /// Blocks in a row, with those that fill up the last unit.
    blocks_across: usize,
    pub upsampling: Upsampling,
    /// Of each coefficient in zigzag order, the lowest bit that scans have brought; `None` before any.
    lowest: [Option<u8>; 64],
    /// Quantisation steps, from the table of its first scan.
    pub steps: Option<[u16; 64]>,
    /// `[held rows of blocks, blocks_across, 64]`: all, or those of one row of units.
    coefficients: Vec<i16>,
    /// `[HELD_ROWS * 8 * down, 8 * blocks_across]`: the rows of three rows of units, each row where its number falls.
    samples: Vec<u8>,
}

impl Frame {
    /// From the segment behind a start-of-frame marker.
    ///
    /// # Errors
    /// [`UnsupportedFormat`](DecodeError::UnsupportedFormat), [`InvalidDimensions`](DecodeError::InvalidDimensions) or
    /// [`Corrupt`](DecodeError::Corrupt).
    pub fn read(code: u8, segment: &[u8]) -> Result<Self, DecodeError> {
        if code > 0xC2 {
            return Err(DecodeError::UnsupportedFormat(format!(
                "JPEG coding SOF{} (lossless, hierarchical or arithmetic)",
                code - 0xC0
            )));
        }
        let corrupt = |what: &str| DecodeError::Corrupt(format!("a JPEG frame header {what}"));
        let &[precision, high, low, left, right, count, ref parts @ ..] = segment else {
            return Err(corrupt("that is too short"));
        };
        if precision != 8 {
            return Err(DecodeError::UnsupportedFormat(format!(
                "JPEG of {precision} bits a sample"
            )));
        }
        let height = u16::from_be_bytes([high, low]);
        let width = u16::from_be_bytes([left, right]);
        if width == 0 || height == 0 {
            return Err(DecodeError::InvalidDimensions {
                width: u32::from(width),
                height: u32::from(height),
            });
        }
        let (width, height) = (usize::from(width), usize::from(height));
        let parts = parts.as_chunks::<3>().0;
        if parts.len() != usize::from(count) {
            return Err(corrupt("of the wrong length"));
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(DecodeError::UnsupportedFormat(format!(
                "JPEG of {count} components"
            )));
        }
        let factors = |part: &[u8; 3]| match part {
            // A lone component is its own measure.
            _ if count == 1 => (1, 1),
            part => (usize::from(part[1] >> 4), usize::from(part[1] & 15)),
        };
        let most_across = parts.iter().map(|part| factors(part).0).max().unwrap_or(1);
        let most_down = parts.iter().map(|part| factors(part).1).max().unwrap_or(1);
        let (unit_width, unit_height) = (8 * most_across.max(1), 8 * most_down.max(1));
        let units_across = width.div_ceil(unit_width);
        let units_down = height.div_ceil(unit_height);
        let component = |part: &[u8; 3]| {
            let (across, down) = factors(part);
            if !(1..=4).contains(&across) || !(1..=4).contains(&down) {
                return Err(corrupt("with sampling factors outside of 1 to 4"));
            }
            if !most_across.is_multiple_of(across) || !most_down.is_multiple_of(down) {
                return Err(DecodeError::UnsupportedFormat(
                    "JPEG whose components are not sampled in whole ratios".into(),
                ));
            }
            let own_width = (width * across).div_ceil(most_across);
            Ok(Component {
                id: part[0],
                across,
                down,
                table: part[2],
                width: own_width,
                height: (height * down).div_ceil(most_down),
                blocks_across: units_across * across,
                upsampling: Upsampling::new(most_across / across, most_down / down, own_width),
                lowest: [None; 64],
                steps: None,
                coefficients: Vec::new(),
                samples: Vec::new(),
            })
        };
        Ok(Self {
            width,
            height,
            progressive: code == 0xC2,
            components: parts.iter().map(component).collect::<Result<_, _>>()?,
            unit_width,
            unit_height,
            units_across,
            units_down,
        })
    }

    /// What [`allocate`](Self::allocate) takes, in bytes.
    pub fn bytes(&self, units_held: usize) -> u64 {
        let of = |part: &Component| {
            let row = 64 * part.blocks_across * part.down;
            (row * units_held * size_of::<i16>() + HELD_ROWS * row) as u64
        };
        self.components.iter().map(of).sum()
    }

    /// Whether scans have brought each coefficient to its last bit, or nothing of it where it is one of the higher frequencies, which some
    /// files leave out. Where one of the first ten is missing, libjpeg makes up a smooth picture.
    pub fn is_whole(&self) -> bool {
        let whole = |(place, lowest): (usize, &Option<u8>)| match lowest {
            Some(low) => *low == 0,
            None => place >= SMOOTHED,
        };
        let mut parts = self.components.iter();
        parts.all(|part| part.lowest.iter().enumerate().all(whole))
    }

    /// Makes room for the coefficients of `units_held` rows of units and for the samples.
    pub fn allocate(&mut self, units_held: usize) {
        for part in &mut self.components {
            let row = 64 * part.blocks_across * part.down;
            part.coefficients = vec![0; row * units_held];
            part.samples = vec![0; HELD_ROWS * row];
        }
    }

    /// Turns row `unit` of units from coefficients into samples.
    ///
    /// # Errors
    /// [`Corrupt`](DecodeError::Corrupt) for a component that no scan has brought.
    pub fn transform(&mut self, unit: usize) -> Result<(), DecodeError> {
        for part in &mut self.components {
            let steps = part.steps.ok_or_else(|| {
                DecodeError::Corrupt("a JPEG without a scan for each component".into())
            })?;
            let stride = 8 * part.blocks_across;
            for row in unit * part.down..(unit + 1) * part.down {
                let start = part.sample_row(8 * row);
                for column in 0..part.blocks_across {
                    let block = part.block_range(row, column);
                    let (blocks, _) = part.coefficients[block].as_chunks();
                    let out = &mut part.samples[start + 8 * column..];
                    idct::block(&blocks[0], &steps, out, stride);
                }
            }
        }
        Ok(())
    }
}

impl Component {
    /// A scan has this of it.
    pub fn brings(&mut self, pass: Pass) {
        let (range, low) = match pass {
            Pass::Sequential => (0..=63, 0),
            Pass::Dc { low } | Pass::DcBit { low } => (0..=0, low),
            Pass::Ac { start, end, low } | Pass::AcBit { start, end, low } => (start..=end, low),
        };
        self.lowest[range].fill(Some(low));
    }

    /// Blocks that have samples of the picture: across, down.
    pub fn blocks(&self) -> (usize, usize) {
        (self.width.div_ceil(8), self.height.div_ceil(8))
    }

    /// The coefficients of a block, where its row is held.
    pub fn block(&mut self, row: usize, column: usize) -> &mut [i16; 64] {
        let range = self.block_range(row, column);
        &mut self.coefficients[range].as_chunks_mut().0[0]
    }

    fn block_range(&self, row: usize, column: usize) -> std::ops::Range<usize> {
        let start = 64 * (row * self.blocks_across + column) % self.coefficients.len();
        start..start + 64
    }

    fn sample_row(&self, y: usize) -> usize {
        8 * self.blocks_across * (y % (HELD_ROWS * 8 * self.down))
    }
}

impl Samples for Component {
    fn width(&self) -> usize {
        self.width
    }

    fn height(&self) -> usize {
        self.height
    }

    fn row(&self, y: usize) -> &[u8] {
        &self.samples[self.sample_row(y)..][..8 * self.blocks_across]
    }
}
