//! Pooling: the 3x3 maximum after a ResNet's stem, the 2x2 of VGG, and what ends a network: the mean of all pixels (summed in
//! row-major order in f32), their maximum, or all of them.

use super::grid::Grid;
use super::isa::Isa;
use super::lanes::{LINE_BYTES, Lanes, Task, place};
use crate::backbone::Pooling;

/// Stored values of neighbouring channels, of which there are maxima.
///
/// # Safety
/// As for [`Lanes`].
trait Stored: Copy {
    const BYTES: usize;
    /// Of a block.
    const PIXEL_BYTES: usize;
    unsafe fn read(from: *const u8) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    unsafe fn write(self, to: *mut u8);
}

#[derive(Clone, Copy)]
struct Floats<L>(L);

impl<L: Lanes> Stored for Floats<L> {
    const BYTES: usize = L::WIDTH * L::VALUE_BYTES;
    const PIXEL_BYTES: usize = L::PIXEL_BYTES;
    #[inline(always)]
    unsafe fn read(from: *const u8) -> Self {
        // SAFETY: the caller vouches for the pointer, and is inside `enter`.
        Self(unsafe { L::read(from) })
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the caller is inside `enter`.
        Self(unsafe { self.0.max(other.0) })
    }
    #[inline(always)]
    unsafe fn write(self, to: *mut u8) {
        // SAFETY: the caller vouches for the pointer, and is inside `enter`.
        unsafe { self.0.write(to) }
    }
}

/// A whole block of integers, compared byte by byte as they are: of 16 bits the upper ones are zeros.
#[derive(Clone, Copy)]
struct Bytes([u8; LINE_BYTES]);

impl Stored for Bytes {
    const BYTES: usize = LINE_BYTES;
    const PIXEL_BYTES: usize = LINE_BYTES;
    #[inline(always)]
    unsafe fn read(from: *const u8) -> Self {
        // SAFETY: the caller vouches for the pointer.
        Self(unsafe { from.cast::<[u8; LINE_BYTES]>().read() })
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].max(other.0[i])))
    }
    #[inline(always)]
    unsafe fn write(self, to: *mut u8) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { to.cast::<[u8; LINE_BYTES]>().write(self.0) }
    }
}

/// One row of a 3x3 maximum with stride 2, from the three rows above each other.
///
/// Padding never wins: at the top, and below an odd number of rows, the caller repeats a row; the first column is repeated, and
/// the last of an odd number.
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
        assert!(self.from.width.div_ceil(2) == self.to.width && self.from.border == 0);
        assert!(self.from.blocks == self.to.blocks);
        let end =
            (self.to.blocks - 1) * self.to.block_pitch() + self.to.width * self.to.pixel_bytes;
        assert!(self.output.len() >= end);
        // SAFETY: just asserted: all blocks of all pixels lie in the rows.
        unsafe { isa.enter(self) }
    }
}

impl Task for MaxRow<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: `MaxRow::run` asserted the rows' extents.
        unsafe {
            if L::INTEGERS {
                self.each::<Bytes>();
            } else {
                self.each::<Floats<L>>();
            }
        }
    }
}

impl MaxRow<'_> {
    #[inline(always)]
    unsafe fn each<S: Stored>(self) {
        for block in 0..self.from.blocks {
            for part in (0..LINE_BYTES).step_by(S::BYTES) {
                // SAFETY: the caller vouches for the rows' extents.
                unsafe {
                    let at = block * self.from.block_pitch() + part;
                    let rows = self.rows.map(|row| row.as_ptr().add(at));
                    let output = self.output.as_mut_ptr();
                    let output = output.add(block * self.to.block_pitch() + part);
                    let mut left = highest::<S>(rows, 0);
                    for x in 0..self.to.width {
                        let right = highest::<S>(rows, (2 * x + 1).min(self.from.width - 1));
                        let middle = highest::<S>(rows, 2 * x);
                        let most = left.max(middle.max(right));
                        most.write(output.add(x * S::PIXEL_BYTES));
                        left = right;
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn highest<S: Stored>(rows: [*const u8; 3], x: usize) -> S {
    // SAFETY: the caller vouches for column `x` of the rows.
    unsafe {
        let [a, b, c] = rows.map(|row| S::read(row.add(x * S::PIXEL_BYTES)));
        a.max(b.max(c))
    }
}

/// The 2x2 maximum with stride 2; the last of an odd number of rows or columns is left out.
pub(super) struct Max2 {
    pub(super) isa: Isa,
    pub(super) from: Grid,
    pub(super) to: Grid,
}

impl Max2 {
    pub(super) fn run(&self, input: &[u8], output: &mut [u8]) {
        let Self { isa, from, to } = *self;
        assert!(from.width / 2 == to.width && from.height / 2 == to.height);
        assert!(from.blocks == to.blocks);
        assert!(input.len() >= from.bytes() && output.len() >= to.bytes());
        // SAFETY: just asserted: the grids lie in the buffers, four pixels of `from` for each of `to`.
        unsafe {
            isa.enter(Max2Task {
                shape: self,
                input: input.as_ptr(),
                output: output.as_mut_ptr(),
            });
        }
    }
}

struct Max2Task<'a> {
    shape: &'a Max2,
    input: *const u8,
    output: *mut u8,
}

impl Task for Max2Task<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: `Max2::run` asserted the extents.
        unsafe {
            if L::INTEGERS {
                self.each::<Bytes>();
            } else {
                self.each::<Floats<L>>();
            }
        }
    }
}

impl Max2Task<'_> {
    #[inline(always)]
    unsafe fn each<S: Stored>(self) {
        let Max2 { from, to, .. } = *self.shape;
        for (y, block) in (0..to.height).flat_map(|y| (0..to.blocks).map(move |b| (y, b))) {
            for part in (0..LINE_BYTES).step_by(S::BYTES) {
                // SAFETY: the caller vouches for the extents.
                unsafe {
                    let input = self.input.add(block * from.block_pitch() + part);
                    let rows = [0, 1].map(|r| input.add(from.at(2 * y + r, 0)));
                    let output = self
                        .output
                        .add(to.at(y, 0) + block * to.block_pitch() + part);
                    for x in 0..to.width {
                        let [a, b] = rows.map(|row| {
                            let row = row.add(2 * x * S::PIXEL_BYTES);
                            S::read(row).max(S::read(row.add(S::PIXEL_BYTES)))
                        });
                        a.max(b).write(output.add(x * S::PIXEL_BYTES));
                    }
                }
            }
        }
    }
}

/// From the last maps to features in f32.
pub(super) struct Pool<'a> {
    pub(super) pooling: Pooling,
    pub(super) from: Grid,
    pub(super) input: &'a [u8],
    pub(super) features: &'a mut [f32],
}

impl Pool<'_> {
    pub(super) fn run(self, isa: Isa) {
        let (pixels, channels) = (
            self.from.height * self.from.width,
            self.from.blocks * isa.block_channels(),
        );
        assert!(self.input.len() >= self.from.bytes());
        assert!(
            self.features.len()
                == match self.pooling {
                    Pooling::Avg | Pooling::Max => channels,
                    Pooling::Flatten => channels * pixels,
                }
        );
        // SAFETY: just asserted: the grid lies in the input, and there is room for every feature.
        unsafe { isa.enter(self) }
    }
}

impl Task for Pool<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let from = self.from;
        let [pixels, channels] = [
            from.height * from.width,
            from.blocks * LINE_BYTES / L::VALUE_BYTES,
        ];
        for channel in (0..channels).step_by(L::WIDTH) {
            let (block, byte) = place(channel, L::VALUE_BYTES);
            // SAFETY: `Pool::run` asserted the extents.
            unsafe {
                let input = self.input.as_ptr().add(block * from.block_pitch() + byte);
                let pixel = |i| L::read(input.add(from.at(i / from.width, i % from.width)));
                let features = self.features.as_mut_ptr().add(channel);
                match self.pooling {
                    Pooling::Avg => {
                        let mut sum = L::splat(0.0);
                        for i in 0..pixels {
                            sum = sum.add(pixel(i));
                        }
                        sum.store(features);
                    }
                    Pooling::Max => {
                        let mut most = pixel(0);
                        for i in 1..pixels {
                            most = most.max(pixel(i));
                        }
                        most.store(features);
                    }
                    Pooling::Flatten => {
                        for i in 0..pixels {
                            pixel(i).store(features.add(i * channels));
                        }
                    }
                }
            }
        }
        if self.pooling == Pooling::Avg {
            for sum in self.features {
                *sum /= pixels as f32;
            }
        }
    }
}
