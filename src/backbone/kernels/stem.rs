//! The head of a ResNet in one pass: 7x7 stride 2 convolution with ReLU, whose rows live in a ring of three; and 3x3 stride 2
//! maximum of these rows while they are in cache.

use super::conv::Direct;
use super::grid::Grid;
use super::input::Input;
use super::isa::Isa;
use super::layer::{Folded, RELU};
use super::pool::MaxRow;
use super::quantise::Factors;

/// Rows of the convolution's output that one pooled row needs.
const RING: usize = 3;

/// The stem of a ResNet, for one input side.
pub(super) struct Stem {
    isa: Isa,
    /// Bytes from one row of the image to the next.
    row_bytes: usize,
    row: Direct,
    row_grid: Grid,
    pooled: Grid,
}

impl Stem {
    /// `pooled` is the grid of the output, whose side is the input's halved twice, each time rounded up.
    pub(super) fn new(folded: &Folded, input: &Input, pooled: Grid) -> Self {
        let isa = input.isa();
        let side = input.side();
        let rows = side.div_ceil(2);
        assert!(pooled.height == rows.div_ceil(2) && pooled.width == rows.div_ceil(2));
        let row_grid = Grid {
            height: 1,
            width: rows,
            border: 0,
            ..pooled
        };
        Self {
            isa,
            row_bytes: input.row_bytes(),
            row: Direct::interleaved(isa, folded, [2, input.row_bytes()], RELU, row_grid),
            row_grid,
            pooled,
        }
    }

    /// The same with these factors, where it computes in integers.
    pub(super) fn scaled(self, factors: Option<&Factors>) -> Self {
        Self {
            row: self.row.scaled(factors),
            ..self
        }
    }

    /// Working memory that `run` needs.
    pub(super) fn scratch_bytes(&self) -> usize {
        RING * self.row_grid.bytes() + self.row.scratch_bytes(1)
    }

    /// `image` is the input's; `output` has the grid `pooled`.
    pub(super) fn run(&self, image: &[u8], output: &mut [u8], scratch: &mut [u8]) {
        let ring_bytes = self.row_grid.bytes();
        let (ring, scratch) = scratch.split_at_mut(RING * ring_bytes);
        // Rows are as many as columns.
        let last = |y: usize| (2 * y + 1).min(self.row_grid.width - 1);
        for y in 0..self.pooled.height {
            for r in 2 * y..=last(y) {
                let row = &mut ring[r % RING * ring_bytes..][..ring_bytes];
                let image = &image[2 * r * self.row_bytes..];
                self.row.run(1, image, row, scratch);
            }
            MaxRow {
                rows: [(2 * y).saturating_sub(1), 2 * y, last(y)]
                    .map(|r| &ring[r % RING * ring_bytes..][..ring_bytes]),
                from: self.row_grid,
                to: self.pooled,
                output: &mut output[self.pooled.at(y, 0)..],
            }
            .run(self.isa);
        }
    }
}
