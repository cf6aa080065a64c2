//! Sums over channels on AMX tiles: 32 positions x 32 outputs, of f32 that are split, bf16 or bytes, the whole of K in four
//! registers of 16 x 16 sums.
//!
//! A tile of inputs is 16 neighbouring positions as they lie in memory, a constant step apart, times one run of K; a tile of
//! weights is that run for 16 outputs, as `Direct` packs them for every instruction set. Maps are planes (`Grid`), so that
//! positions run on from row to row, over the border between them, and few tiles are left half empty: sums in the border
//! are formed and dropped. Sums go through memory in the nearest cache to the ends of a convolution, in [`Lanes`].
//!
//! The order of summation per output in bf16: run by run; in a run the even and the odd channels by themselves, then both
//! together to the sum (Intel's manual, TDPBF16PS); the bias at the end. Denormal numbers are zeros, and no register of the CPU
//! changes how it rounds. Sums of integers are the same in any order.
//!
//! An f32 is multiplied as a sum of bf16, each piece being what the ones before leave of it, rounded: two of an activation, three of a
//! weight. Of their products four are summed, in each run as listed in `registers`.

mod registers;

use self::registers::{ROWS, Shapes, Sums, Tensors, multiply};
use super::conv::{BLOCK_BYTES, Grid, Reading};
use super::isa::Isa;
use super::lanes::{LINE_BYTES, Lanes, Task, place};
use super::micro::PANEL;
use super::quantise::Factors;
use std::ops::Range;

pub(super) use registers::{Values, granted};

/// Pairs of tiles that are worked on together: their sums stay in the nearest cache while K is walked in parts for all of them.
const PAIRS: usize = 8;
/// Weights of a part, which stay there, too.
const PART_BYTES: usize = 16 << 10;

/// Up to 16 positions: those from (`y`, `x`) on of a plane that is `pitch` wide.
#[derive(Clone, Copy)]
struct Corner {
    input: u32,
    y: u32,
    x: u32,
    /// Positions that the tile before has written.
    written: u32,
}

/// The tiles of one convolution.
pub(super) struct Tiles {
    shapes: Shapes,
    /// Positions of each tile.
    rows: usize,
    /// Bytes of a run for all outputs of a panel, and of each of its pieces.
    run_bytes: usize,
    piece_bytes: usize,
    step: usize,
    /// Positions from one row to the next, `width` of which are pixels.
    pitch: usize,
    pairs: Vec<[Corner; 2]>,
    /// Pairs that are worked on with all weights before the next.
    block: usize,
    isa: Isa,
    values: Values,
    to: Grid,
}

/// What tiles multiply, with the outputs that they lead to.
pub(super) struct Product<'a> {
    pub(super) images: usize,
    pub(super) input: *const u8,
    /// From one image to the next.
    pub(super) input_bytes: usize,
    pub(super) output: *mut u8,
    pub(super) output_bytes: usize,
    /// `[panel][run][word][32 outputs]`.
    pub(super) weights: &'a [u8],
    pub(super) bias: &'a [f32],
    /// What sums of integers, and what the output holds then, are multiplied with.
    pub(super) factors: &'a Factors,
    /// Offsets in bytes.
    pub(super) runs: &'a [u32],
    /// Add what the output holds.
    pub(super) accumulate: bool,
    /// What outputs are clipped to.
    pub(super) bounds: [f32; 2],
}

impl Tiles {
    /// For runs of `words` words, and `bytes` of maps that are read and written.
    pub(super) fn new(isa: Isa, words: usize, reading: Reading, bytes: usize, to: Grid) -> Self {
        // A plane is one line of positions, where few enough of them lie in the border; or every row is one.
        let pitch = reading.row / reading.step;
        let plane = (to.height - 1) * pitch + to.width;
        let by_rows = to.height * to.width.div_ceil(ROWS);
        let whole = reading.row.is_multiple_of(reading.step) && plane.div_ceil(ROWS) < by_rows;
        let (lines, length, pitch) = match whole {
            true => (1, plane, pitch),
            false => (to.height, to.width, to.width),
        };
        let count = length.div_ceil(ROWS);
        let rows = length.div_ceil(count);
        let corner = |line: usize, tile: usize| {
            // The last of a line ends with it, and begins in the one before.
            let start = (tile * rows).min(length - rows);
            let (y, x) = (line + start / pitch, start % pitch);
            Corner {
                input: (reading.origin + y * reading.row + x * reading.step) as u32,
                y: y as u32,
                x: x as u32,
                written: (tile * rows - start) as u32,
            }
        };
        let corners = (0..lines).flat_map(|line| (0..count).map(move |tile| (line, tile)));
        let corners: Vec<Corner> = corners.map(|(line, tile)| corner(line, tile)).collect();
        let pair = |pair: &[Corner]| match *pair {
            [first, second] => [first, second],
            // The second is not written at all.
            _ => [
                pair[0],
                Corner {
                    written: rows as u32,
                    ..pair[0]
                },
            ],
        };
        let pairs: Vec<_> = corners.chunks(2).map(pair).collect();
        Self {
            shapes: Shapes::new(rows, words),
            rows,
            run_bytes: isa.weight_pieces() * words * PANEL * 4,
            piece_bytes: words * PANEL * 4,
            step: reading.step,
            pitch,
            block: (pairs.len() * BLOCK_BYTES / bytes).max(1),
            pairs,
            isa,
            values: match (isa.integers(), isa.splits()) {
                (true, _) => Values::Int8,
                (_, true) => Values::Split,
                _ => Values::Bf16,
            },
            to,
        }
    }

    /// Computes all outputs.
    ///
    /// # Safety
    /// Inputs must be readable and outputs writable for the grids this was made for, in each image; runs, weights and bias must
    /// be theirs.
    pub(super) unsafe fn run(&self, product: &Product) {
        let panels = product.bias.len() / PANEL;
        let panel_bytes = product.runs.len() * self.run_bytes;
        // SAFETY: that an `Isa` of tiles exists proves that they are granted. The caller vouches for what is reached from the
        // corners and runs, and that the weights hold `panels` panels. A part's sums are read after they were written.
        unsafe {
            self.shapes.enter();
            for (block, pairs) in self.pairs.chunks(self.block).enumerate() {
                // So many images have few pairs together.
                let together = (PAIRS / pairs.len()).max(1);
                for panel in 0..panels {
                    let weights = product.weights.as_ptr().add(panel * panel_bytes);
                    for first in (0..product.images).step_by(together) {
                        let images = first..product.images.min(first + together);
                        for (group, pairs) in pairs.chunks(PAIRS).enumerate() {
                            // What the first have read, the next find in the second-level cache.
                            let fetches =
                                block == 0 && first == 0 && group == 0 && panel + 1 < panels;
                            self.panel(product, images.clone(), pairs, panel, weights, fetches);
                        }
                    }
                }
            }
            self.shapes.leave();
        }
    }

    /// All sums of some pairs, in each of some images, with a panel's weights.
    unsafe fn panel(
        &self,
        product: &Product,
        images: Range<usize>,
        pairs: &[[Corner; 2]],
        panel: usize,
        mut weights: *const u8,
        fetches: bool,
    ) {
        let mut sums = [Sums::EMPTY; PAIRS];
        let work = images.flat_map(|image| pairs.iter().map(move |pair| (image, pair)));
        let inputs = |(image, pair): (usize, &[Corner; 2])| {
            let input = product.input.wrapping_add(image * product.input_bytes);
            pair.map(|corner| input.wrapping_add(corner.input as usize))
        };
        let count = work.clone().count();
        let lines = (self.run_bytes / LINE_BYTES).div_ceil(count);
        let part_runs = (PART_BYTES / self.run_bytes).max(1);
        let parts = product.runs.len().div_ceil(part_runs);
        let places = if parts > 1 { PAIRS } else { 1 };
        for (part, runs) in product.runs.chunks(part_runs).enumerate() {
            let part_bytes = runs.len() * self.run_bytes;
            // The first pair again, with the runs of the next part, or of the next panel.
            let again = product.runs.get((part + 1) * part_runs);
            let again = again.unwrap_or(&product.runs[0]);
            let followers = work.clone().cycle().skip(1);
            for (i, ((image, pair), next)) in work.clone().zip(followers).enumerate() {
                let run = if i + 1 < count { &runs[0] } else { again };
                let sums = &mut sums[i % places];
                let skip = i * runs.len() * lines * LINE_BYTES;
                let here = inputs((image, pair));
                let next = inputs(next)[0].wrapping_add(*run as usize);
                let tensors = Tensors {
                    inputs: here,
                    step: self.step,
                    weights,
                    piece_bytes: self.piece_bytes,
                    runs,
                    ahead: (next as isize).wrapping_sub(here[0] as isize + runs[0] as isize),
                    // What follows in memory is needed next, be it of this panel or not.
                    fetch: weights.wrapping_add(part_bytes + skip),
                    fetch_lines: if fetches || part + 1 < parts {
                        lines
                    } else {
                        0
                    },
                };
                // SAFETY: as the caller vouches; each pair has its sums' place for itself where it comes back to them.
                unsafe {
                    multiply(self.values, &tensors, sums, part == 0);
                    if part + 1 == parts {
                        self.isa.enter(Finish {
                            tiles: self,
                            image,
                            pair,
                            panel,
                            product,
                            sums,
                        });
                    }
                }
            }
            weights = weights.wrapping_add(part_bytes);
        }
    }
}

/// The ends of a convolution: bias, residual, activation.
struct Finish<'a> {
    tiles: &'a Tiles,
    image: usize,
    pair: &'a [Corner; 2],
    panel: usize,
    product: &'a Product<'a>,
    sums: &'a Sums,
}

impl Task for Finish<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (tiles, to) = (self.tiles, self.tiles.to);
        let image = self.image * self.product.output_bytes;
        for (tile, corner) in self.pair.iter().enumerate() {
            let sums = self.sums.of(tile);
            let (mut row, mut y, mut x) = (0, corner.y as usize, corner.x as usize);
            while row < tiles.rows {
                let next = tiles.rows.min(row + tiles.pitch - x);
                let inside = next.min(row + to.width.saturating_sub(x));
                let first = row.max(corner.written as usize);
                if first < inside {
                    // SAFETY: these pixels lie in the output, for which the caller of `Tiles::run` vouches; `multiply` has
                    // written all sums of the tile's rows.
                    unsafe {
                        let output = self.product.output.add(image + to.at(y, x + first - row));
                        self.pixels::<L>(sums.add(first * PANEL), inside - first, output);
                    }
                }
                (row, y, x) = (next, y + 1, 0);
            }
        }
    }
}

impl Finish<'_> {
    /// Neighbouring pixels of one row.
    #[inline(always)]
    unsafe fn pixels<L: Lanes>(&self, sums: *const f32, count: usize, output: *mut u8) {
        let to = self.tiles.to;
        for channel in (0..PANEL).step_by(2 * L::WIDTH) {
            // SAFETY: bias, factors and sums are a panel's; the output has all blocks of each of the pixels.
            unsafe {
                let [floor, ceiling] = self.product.bounds.map(|v| L::splat(v));
                let bias = self.product.bias.as_ptr().add(self.panel * PANEL + channel);
                let bias = [L::load(bias), L::load(bias.add(L::WIDTH))];
                let places = [0, L::WIDTH].map(|j| {
                    let (block, byte) = place(self.panel * PANEL + channel + j, L::VALUE_BYTES);
                    output.add(block * to.block_pitch() + byte)
                });
                let factors = &self.product.factors;
                let residual = L::splat(factors.residual);
                let factors = factors.sums.as_ptr().add(self.panel * PANEL + channel);
                let factors = [L::load(factors), L::load(factors.add(L::WIDTH))];
                for i in 0..count {
                    let places = places.map(|at| at.add(i * L::PIXEL_BYTES));
                    let sums = sums.add(i * PANEL + channel);
                    let mut sum = [0, 1].map(|j| L::load(sums.add(j * L::WIDTH)));
                    if L::INTEGERS {
                        sum = [0, 1].map(|j| sum[j].total().mul(factors[j]));
                    }
                    sum = [0, 1].map(|j| sum[j].add(bias[j]));
                    if self.product.accumulate {
                        let mut held = places.map(|at| L::read(at));
                        if L::INTEGERS {
                            held = held.map(|held| held.mul(residual));
                        }
                        sum = [0, 1].map(|j| sum[j].add(held[j]));
                    }
                    L::write_pair(sum, [floor, ceiling], places);
                }
            }
        }
    }
}
