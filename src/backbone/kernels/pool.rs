//! Pooling: the 3x3 maximum after the stem, and the global average.

use super::conv::Grid;
use super::isa::Isa;
use super::lanes::{Lanes, Task};

/// One row of a 3x3 maximum with stride 2, from the three rows above each other.
///
/// Padding never wins: at the top, the caller repeats a row; at the left, the first column is repeated.
pub(super) struct MaxRow<'a> {
    pub(super) rows: [&'a [u8]; 3],
    /// Of a row of the input.
    pub(super) from: Grid,
    /// Of a row of the output.
    pub(super) to: Grid,
    /// Starts at the first pixel of the row.
    pub(super) output: &'a mut [u8],
}

impl MaxRow<'_> {
    pub(super) fn run(self, isa: Isa) {
        let bytes = self.from.blocks * self.from.block_pitch();
        assert!(self.rows.iter().all(|row| row.len() >= bytes));
        assert!(self.from.width == 2 * self.to.width && self.from.border == 0);
        assert!(self.from.blocks == self.to.blocks);
        let end = (self.to.blocks - 1) * self.to.block_pitch() + self.to.width * 64;
        assert!(self.output.len() >= end);
        // SAFETY: just asserted: all blocks of all pixels lie in the rows.
        unsafe { isa.enter(self) }
    }
}

impl Task for MaxRow<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for block in 0..self.from.blocks {
            for part in (0..64).step_by(L::WIDTH * L::VALUE_BYTES) {
                // SAFETY: `MaxRow::run` asserted the rows' extents.
                unsafe {
                    let at = block * self.from.block_pitch() + part;
                    let rows = self.rows.map(|row| row.as_ptr().add(at));
                    let output = self.output.as_mut_ptr();
                    let output = output.add(block * self.to.block_pitch() + part);
                    let mut left = highest::<L>(rows, 0);
                    for x in 0..self.to.width {
                        let right = highest::<L>(rows, 2 * x + 1);
                        let middle = highest::<L>(rows, 2 * x);
                        left.max(middle.max(right)).write(output.add(x * 64));
                        left = right;
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn highest<L: Lanes>(rows: [*const u8; 3], x: usize) -> L {
    // SAFETY: the caller vouches for column `x` of the rows.
    unsafe {
        let upper = L::read(rows[1].add(x * 64)).max(L::read(rows[2].add(x * 64)));
        L::read(rows[0].add(x * 64)).max(upper)
    }
}

/// The mean of all pixels, summed in row-major order in f32.
pub(super) struct Average<'a> {
    pub(super) from: Grid,
    pub(super) input: &'a [u8],
    /// One value a channel.
    pub(super) features: &'a mut [f32],
}

impl Average<'_> {
    pub(super) fn run(self, isa: Isa) {
        assert!(self.input.len() >= self.from.bytes());
        assert!(self.features.len() == self.from.blocks * isa.block_channels());
        // SAFETY: just asserted: the grid lies in the input, a feature a channel.
        unsafe { isa.enter(self) }
    }
}

impl Task for Average<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let from = self.from;
        let area = (from.height * from.width) as f32;
        for (i, features) in self.features.chunks_exact_mut(L::WIDTH).enumerate() {
            let (block, byte) = super::lanes::place(i * L::WIDTH, L::VALUE_BYTES);
            // SAFETY: `Average::run` asserted the extents; a chunk holds `WIDTH` values.
            unsafe {
                let input = (self.input.as_ptr()).add(block * from.block_pitch() + byte);
                let mut sum = L::splat(0.0);
                for y in 0..from.height {
                    for x in 0..from.width {
                        sum = sum.add(L::read(input.add(from.at(y, x))));
                    }
                }
                sum.store(features.as_mut_ptr());
            }
            for value in features {
                *value /= area;
            }
        }
    }
}
