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
//! weight. Of their products four are summed, in each run as listed in `amx`. A level of an image is one bf16, so its products are
//! all three.

use super::amx::{PAIR_BYTES, ROWS, SUMS, Shapes, Tensors, Values, multiply};
use super::grid::Grid;
use super::isa::Isa;
use super::lanes::{LINE_BYTES, Lanes, Task, place};
use super::micro::PANEL;
use super::product::{BLOCK_BYTES, Product, Reading};

/// Pairs of tiles that are worked on together: their sums stay in the nearest cache while K is walked in parts for all of them.
const PAIRS: usize = 8;
/// What stays in the second-level cache: all weights, while maps pass in blocks; or inputs and a panel's weights, while the others pass.
const NEAR_BYTES: usize = 1 << 20;
/// Sums that stay there beside a part's inputs and weights.
const NEAR_SUMS: usize = 512 << 10;

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
    /// Runs of a part: their weights stay in the nearest cache, or near enough where few new inputs come with each.
    part: usize,
    /// Bytes of inputs that are read of an image.
    read_bytes: usize,
    isa: Isa,
    values: Values,
    to: Grid,
}

/// In which order the products of a convolution are formed: blocks of pairs, which take all weights before the next; in a block chunks
/// of K; in a chunk panels; for a panel groups of [`PAIRS`]; for a group parts of the chunk; for a part the pairs.
#[derive(Clone, Copy)]
struct Order {
    /// Pairs of a block, of all images.
    block: usize,
    /// Runs of a chunk. All are one, or a part is: then the sums of all panels wait in memory for the next.
    chunk: usize,
}

impl Tiles {
    /// For runs of `words` words, of which `taps` read one block of channels, and `read_bytes` of an image.
    pub(super) fn new(
        isa: Isa,
        [words, taps]: [usize; 2],
        reading: Reading,
        read_bytes: usize,
        to: Grid,
    ) -> Self {
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
            // The taps of a block of channels read the same lines, so the weights may come from the second-level cache; those of
            // one piece not as fast as they are multiplied, if they are many.
            part: match (isa.splits(), taps > 1) {
                (true, true) => 36,
                (true, false) => 4,
                (false, true) => 18,
                (false, false) => 8,
            },
            read_bytes,
            pairs,
            isa,
            values: match (isa.integers(), isa.splits(), isa.levels()) {
                (true, _, _) => Values::Int8,
                (_, true, _) => Values::Split,
                (_, _, true) => Values::Levels,
                _ => Values::Bf16,
            },
            to,
        }
    }

    /// The order that takes least from beyond the second-level cache. If weights stay there, blocks are as small as one likes. Else
    /// weights pass once for each block, and inputs once if a block's stay there, or what of them belongs to a chunk.
    fn order(&self, images: usize, panels: usize, runs: usize) -> Order {
        let pairs = images * self.pairs.len();
        let weights = runs * self.run_bytes;
        if panels * weights <= NEAR_BYTES {
            let maps = images * (self.read_bytes + self.to.bytes());
            return Order {
                block: pairs.div_ceil(maps.div_ceil(BLOCK_BYTES)),
                chunk: runs,
            };
        }
        let by_inputs = (images * self.read_bytes + weights).div_ceil(NEAR_BYTES);
        let by_sums = (panels * pairs * PAIR_BYTES).div_ceil(NEAR_SUMS);
        let in_chunks = runs > self.part && by_inputs > 1 && by_sums <= by_inputs;
        let (blocks, chunk) = match in_chunks {
            true => (by_sums, self.part),
            false => (by_inputs, runs),
        };
        Order {
            block: pairs.div_ceil(blocks),
            chunk,
        }
    }

    /// Working memory for `images` side by side and so many panels and runs.
    pub(super) fn scratch_bytes(&self, images: usize, panels: usize, runs: usize) -> usize {
        let of = |images| {
            let order = self.order(images, panels, runs);
            let waiting = if order.chunk < runs {
                panels * order.block
            } else {
                0
            };
            waiting.max(PAIRS) * PAIR_BYTES
        };
        (1..=images).map(of).max().unwrap_or(0)
    }

    /// Computes all outputs.
    ///
    /// # Safety
    /// Inputs must be readable and outputs writable for the grids this was made for, in each image; runs, weights, bias and factors
    /// must be theirs, and the scratch large enough for as many.
    pub(super) unsafe fn run(&self, product: &Product) {
        let panels = product.bias.len() / PANEL;
        let runs = product.runs.len();
        let panel_bytes = runs * self.run_bytes;
        let Order { block, chunk } = self.order(product.images, panels, runs);
        let pairs = product.images * self.pairs.len();
        // SAFETY: that an `Isa` of tiles exists proves that they are granted. The caller vouches for what is reached from the
        // corners and runs, that the weights hold `panels` panels of them, and for the scratch. Sums are read after they were written.
        unsafe {
            self.shapes.enter();
            for first in (0..pairs).step_by(block) {
                let block = first..pairs.min(first + block);
                for from in (0..runs).step_by(chunk) {
                    let to = runs.min(from + chunk);
                    for panel in 0..panels {
                        let weights = |panel, run| {
                            let offset = panel * panel_bytes + run * self.run_bytes;
                            product.weights.as_ptr().wrapping_add(offset)
                        };
                        let follows = match (panel + 1 < panels, to < runs) {
                            (true, _) => Some(weights(panel + 1, from)),
                            (false, true) => Some(weights(0, to)),
                            (false, false) => None,
                        };
                        for group in block.clone().step_by(PAIRS) {
                            // The sums of a chunk wait for the next, others for the next part.
                            let place = match chunk < runs {
                                true => panel * block.len() + group - block.start,
                                false => 0,
                            };
                            self.panel(&Work {
                                product,
                                pairs: [group, block.end.min(group + PAIRS)],
                                panel,
                                runs: [from, to],
                                weights: weights(panel, from),
                                // What the first have brought nearer is there for the others.
                                follows: follows.filter(|_| group == block.start),
                                sums: product.scratch.add(place * PAIR_BYTES).cast(),
                            });
                        }
                    }
                }
            }
            self.shapes.leave();
        }
    }

    /// All products of a group of pairs, a panel and a chunk.
    unsafe fn panel(&self, work: &Work) {
        let Work { product, panel, .. } = *work;
        let [first, end] = work.pairs;
        let count = end - first;
        let at = |i: usize| {
            let (image, pair) = (i / self.pairs.len(), i % self.pairs.len());
            (image, &self.pairs[pair])
        };
        let inputs = |i: usize| {
            let (image, pair) = at(i);
            let input = product.input.wrapping_add(image * product.input_bytes);
            pair.map(|corner| input.wrapping_add(corner.input as usize))
        };
        let [from, to] = work.runs;
        let lines = (self.run_bytes / LINE_BYTES).div_ceil(count);
        let mut weights = work.weights;
        for from in (from..to).step_by(self.part) {
            let until = to.min(from + self.part);
            let runs = &product.runs[from..until];
            let behind = weights.wrapping_add(runs.len() * self.run_bytes);
            // The next part's, or those behind the chunk. What is needed next comes from memory meanwhile.
            let (next_run, follows) = match until < to {
                true => (until, Some(behind)),
                false => (work.runs[0], work.follows),
            };
            for i in first..end {
                // SAFETY: each pair has its sums' place for itself, for which the caller vouches as for all else.
                unsafe {
                    let sums = work.sums.add((i - first) * PAIR_BYTES / size_of::<f32>());
                    let next = match i + 1 < end {
                        true => inputs(i + 1)[0].wrapping_add(runs[0] as usize),
                        false => inputs(first)[0].wrapping_add(product.runs[next_run] as usize),
                    };
                    let skip = (i - first) * runs.len() * lines * LINE_BYTES;
                    let tensors = Tensors {
                        inputs: inputs(i),
                        step: self.step,
                        weights,
                        piece_bytes: self.piece_bytes,
                        runs,
                        next,
                        fetch: follows.unwrap_or(behind).wrapping_add(skip),
                        fetch_lines: if follows.is_some() { lines } else { 0 },
                    };
                    multiply(self.values, &tensors, sums, from == 0);
                    if until == product.runs.len() {
                        let (image, pair) = at(i);
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
            weights = behind;
        }
    }
}

/// Some pairs' part in a convolution: with one panel's weights, over one chunk of K.
struct Work<'a> {
    product: &'a Product<'a>,
    /// From the first to behind the last, of all images.
    pairs: [usize; 2],
    panel: usize,
    /// As well.
    runs: [usize; 2],
    /// The first run's.
    weights: *const u8,
    /// The weights that are multiplied next, unless they were just now.
    follows: Option<*const u8>,
    /// [`PAIR_BYTES`] for each pair.
    sums: *mut f32,
}

/// The ends of a convolution: bias, residual, activation.
struct Finish<'a> {
    tiles: &'a Tiles,
    image: usize,
    pair: &'a [Corner; 2],
    panel: usize,
    product: &'a Product<'a>,
    sums: *const f32,
}

impl Task for Finish<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (tiles, to) = (self.tiles, self.tiles.to);
        let image = self.image * self.product.output_bytes;
        for (tile, corner) in self.pair.iter().enumerate() {
            let sums = self.sums.wrapping_add(tile * SUMS);
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
