//! The head of the network in one pass: pixels to normalised, padded RGB; 7x7 stride 2 convolution with ReLU, whose rows live
//! in a ring of three; and 3x3 stride 2 maximum of these rows while they are in cache.

use super::conv::{Direct, Folded, Grid, to_bf16};
use super::isa::Isa;
use super::memory::Block;
use super::pool::MaxRow;

const CHANNELS: usize = 3;
/// Pixels of zero padding of the 7x7.
const PAD: usize = 3;
/// Rows of the stem's output that one pooled row needs.
const RING: usize = 3;

/// What torchvision's networks were trained with, of RGB in 0..1.
pub(super) const MEAN: [f64; CHANNELS] = [0.485, 0.456, 0.406];
pub(super) const STD: [f64; CHANNELS] = [0.229, 0.224, 0.225];

/// The stem of a ResNet, for one input side.
pub(super) struct Stem {
    isa: Isa,
    side: usize,
    row: Direct,
    row_grid: Grid,
    pooled: Grid,
    /// The normalised value of each byte in each channel, as the bits that are stored.
    normalised: Vec<[u32; CHANNELS]>,
}

/// The stem's working memory.
pub(super) struct StemBuffers {
    /// `[side + 6][side + 8][3]` f32 or bf16; the border stays zero.
    image: Block,
    ring: [Block; RING],
}

impl Stem {
    /// `side` is a multiple of 4; `pooled` is the grid of the output.
    pub(super) fn new(isa: Isa, folded: &Folded, side: usize, pooled: Grid) -> Self {
        assert!(pooled.height * 4 == side && pooled.width * 4 == side);
        let row_grid = Grid {
            blocks: pooled.blocks,
            height: 1,
            width: side / 2,
            border: 0,
        };
        let row_bytes = row_values(side) * isa.value_bytes();
        let stored = |x: f64| match isa.value_bytes() {
            4 => (x as f32).to_bits(),
            _ => u32::from(to_bf16(x as f32)),
        };
        let normalised = (0..=255)
            .map(|v| std::array::from_fn(|c| stored((f64::from(v) / 255.0 - MEAN[c]) / STD[c])))
            .collect();
        Self {
            isa,
            side,
            row: Direct::stem_row(isa, folded, row_bytes, row_grid),
            row_grid,
            pooled,
            normalised,
        }
    }

    pub(super) fn buffers(&self) -> StemBuffers {
        let rows = self.side + 2 * PAD;
        StemBuffers {
            image: Block::zeroed(rows * row_values(self.side) * self.isa.value_bytes()),
            ring: std::array::from_fn(|_| Block::zeroed(self.row_grid.bytes())),
        }
    }

    /// `pixels`: `[side, side, 3]` RGB. `output` has the grid `pooled`.
    pub(super) fn run(&self, buffers: &mut StemBuffers, pixels: &[u8], output: &mut [u8]) {
        self.normalise(&mut buffers.image, pixels);
        let row_bytes = row_values(self.side) * self.isa.value_bytes();
        for y in 0..self.pooled.height {
            for r in [2 * y, 2 * y + 1] {
                let input = &buffers.image[2 * r * row_bytes..];
                self.row.run(input, &mut buffers.ring[r % RING]);
            }
            MaxRow {
                rows: [(2 * y).saturating_sub(1), 2 * y, 2 * y + 1]
                    .map(|r| &*buffers.ring[r % RING]),
                from: self.row_grid,
                to: self.pooled,
                output: &mut output[self.pooled.at(y, 0)..],
            }
            .run(self.isa);
        }
    }

    fn normalise(&self, image: &mut Block, pixels: &[u8]) {
        assert!(pixels.len() == self.side * self.side * CHANNELS);
        if self.isa.value_bytes() == 4 {
            self.fill(image.words_mut(), pixels, f32::from_bits);
        } else {
            self.fill(image.halves_mut(), pixels, |bits| bits as u16);
        }
    }

    fn fill<T>(&self, image: &mut [T], pixels: &[u8], from_bits: impl Fn(u32) -> T) {
        let inside = image.chunks_exact_mut(row_values(self.side)).skip(PAD);
        for (to, from) in inside.zip(pixels.chunks_exact(self.side * CHANNELS)) {
            let to = to[PAD * CHANNELS..].chunks_exact_mut(CHANNELS);
            for (to, from) in to.zip(from.chunks_exact(CHANNELS)) {
                for c in 0..CHANNELS {
                    to[c] = from_bits(self.normalised[usize::from(from[c])][c]);
                }
            }
        }
    }
}

/// Values of one row of the padded image; the last pixel is read by the padding of a run to whole words.
fn row_values(side: usize) -> usize {
    (side + 2 * PAD + 2) * CHANNELS
}
