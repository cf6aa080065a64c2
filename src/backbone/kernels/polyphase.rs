//! Convolutions of stride 2 on tiles: the map is first taken apart by the parity of rows and columns (its polyphase components), so that
//! what a tap reads for neighbouring outputs are neighbours, and tiles are as full as those of stride 1.
//!
//! Every sum is of the same values in the same order as without.

use super::conv::Direct;
use super::grid::Grid;
use super::isa::{Access, Isa};
use super::lanes::LINE_BYTES;
use super::layer::{Epilogue, Folded};
use super::product::Reading;
use super::quantise::Factors;

const STRIDE: usize = 2;

/// The parts of one map.
struct Phases {
    from: Grid,
    /// Where in the border's rows and columns the first is.
    inset: usize,
    /// On either axis: a 1x1 reads but the even ones.
    count: usize,
    /// Of each part.
    part: Grid,
}

impl Phases {
    /// Those that kernels of `k` rows and columns read for the pixels of `to`.
    fn new(k: usize, from: Grid, to: Grid) -> Self {
        let count = k.min(STRIDE);
        let reach = (k - 1) / STRIDE;
        Self {
            from,
            inset: from.border - k / 2,
            count,
            part: Grid {
                height: to.height + reach,
                width: to.width + reach,
                border: 0,
                ..from
            },
        }
    }

    fn bytes(&self) -> usize {
        self.count * self.count * self.part.bytes()
    }

    /// Where the first output reads the tap of a row and a column, in the first block.
    fn corner(&self, y: usize, x: usize) -> usize {
        let phase = y % STRIDE * self.count + x % STRIDE;
        phase * self.part.bytes() + self.part.corner_at(y / STRIDE, x / STRIDE)
    }

    /// Takes a map apart. What parts have beyond the map keeps its values, which no output sees.
    fn take(&self, input: &[u8], parts: &mut [u8]) {
        let Self { from, part, .. } = *self;
        let pixel = from.pixel_bytes;
        let each = pixel / LINE_BYTES;
        let [lines, columns] = [from.height, from.width].map(|side| side + 2 * from.border);
        for (phase, part_map) in parts.chunks_exact_mut(part.bytes()).enumerate() {
            let [first_y, first_x] =
                [phase / self.count, phase % self.count].map(|p| self.inset + p);
            let rows = part.height.min((lines - first_y).div_ceil(STRIDE));
            for (b, y) in (0..part.blocks).flat_map(|b| (0..rows).map(move |y| (b, y))) {
                let at = b * from.block_pitch() + from.corner_at(first_y + STRIDE * y, first_x);
                let row = &input[at..][..(columns - first_x) * pixel];
                let at = b * part.block_pitch() + part.corner_at(y, 0);
                let to = &mut part_map[at..][..part.width * pixel];
                let ((row, _), (to, _)) = (row.as_chunks(), to.as_chunks_mut::<LINE_BYTES>());
                let pixels = row.chunks(STRIDE * each);
                for (to, from) in to.chunks_exact_mut(each).zip(pixels) {
                    to.copy_from_slice(&from[..each]);
                }
            }
        }
    }
}

/// A convolution of stride 2.
pub(super) struct Strided {
    phases: Phases,
    direct: Direct,
}

impl Strided {
    /// Whether it is faster than [`Direct::blocked`] of that stride on a map: where there are so many weights that the map is read
    /// again and again for them.
    pub(super) fn pays(isa: Isa, folded: &Folded, from: Grid) -> bool {
        isa.tiles() && folded.weights.len() > folded.cin * from.area()
    }

    /// As [`Direct::blocked`] of that stride.
    pub(super) fn new(isa: Isa, folded: &Folded, epilogue: Epilogue, from: Grid, to: Grid) -> Self {
        assert!(from.border >= folded.k / 2);
        assert!(to.height == from.height.div_ceil(STRIDE));
        assert!(to.width == from.width.div_ceil(STRIDE));
        let phases = Phases::new(folded.k, from, to);
        let reading = Reading {
            origin: 0,
            step: phases.part.pixel_bytes,
            row: phases.part.row_pitch(),
        };
        let corner = |y, x| phases.corner(y, x);
        let extents = (phases.bytes(), to);
        let direct = Direct::over(
            isa,
            folded,
            (phases.part, corner),
            (Access::Unit, reading),
            epilogue,
            extents,
        );
        Self { phases, direct }
    }

    /// As [`Direct::scaled`].
    pub(super) fn scaled(mut self, factors: Option<&Factors>) -> Self {
        self.direct = self.direct.scaled(factors);
        self
    }

    /// Working memory for so many images.
    pub(super) fn scratch_bytes(&self, images: usize) -> usize {
        images * self.phases.bytes() + self.direct.scratch_bytes(images)
    }

    /// As [`Direct::run`].
    pub(super) fn run(&self, images: usize, input: &[u8], output: &mut [u8], scratch: &mut [u8]) {
        let (parts, scratch) = scratch.split_at_mut(images * self.phases.bytes());
        let inputs = input.chunks(self.phases.from.bytes());
        for (parts, input) in parts.chunks_exact_mut(self.phases.bytes()).zip(inputs) {
            self.phases.take(input, parts);
        }
        self.direct.run(images, parts, output, scratch);
    }
}
