//! The micro-kernel: up to two segments of `P` (1 to 7) pixels times 32 output channels, held in registers for the whole of K.
//!
//! A segment is `P` pixels of one output row. Their inputs lie `STEP` bytes apart (64: neighbours; 128: stride 2), so every
//! address is one of two bases plus a constant. K is a list of runs: `LEN` consecutive 4-byte words (one f32, or two bf16)
//! at `base + run`; a run is one tap of one channel block. Weights are read strictly in sequence.
//! In int8 a word is four bytes (two numbers of 16 bits on AVX2) and sums are integers, begun with 0; they become f32, times a
//! factor, plus the bias.
//! The order of summation per output is: bias, then run by run, word by word, whatever the tile and the instruction set.
//!
//! AVX-512 holds 14 pixels x 32 outputs in 28 registers. Narrower sets do the tile in parts, each over the whole of K.

use super::lanes::{Lanes, Task, place};

/// The most pixels of a segment. 112, 56, 28, 14 and 7, the widths of a 224-pixel image's layers, are multiples of it.
pub(super) const SEGMENT: usize = 7;
/// Output channels of a tile.
pub(super) const PANEL: usize = 32;
/// Words of a run that is one tap of one channel block.
pub(super) const BLOCK_WORDS: usize = 16;

/// Where a tile reads and writes. With one segment the second address is not used.
pub(super) struct Tile<'a> {
    pub(super) input: [*const u8; 2],
    pub(super) output: [*mut u8; 2],
    /// Bytes from one block of output channels to the next.
    pub(super) output_pitch: usize,
    /// `[outputs in two registers][run][word][output]`: [`Layout`].
    pub(super) weights: *const f32,
    /// 32 values.
    pub(super) bias: *const f32,
    /// 32 values that sums of integers are multiplied with; floats are not.
    pub(super) factors: *const f32,
    /// What the residual is multiplied with where it is an integer.
    pub(super) residual_factor: f32,
    /// Offsets in bytes.
    pub(super) runs: &'a [u32],
    /// Whether what the output holds is added to the sum (the residual).
    pub(super) accumulate: bool,
    /// What sums are clipped to.
    pub(super) floor: f32,
    pub(super) ceiling: f32,
    /// Start of memory to fetch into L2 while this tile is computed, `fetch_lines` lines a run. It may end past its buffer.
    pub(super) fetch: *const u8,
    pub(super) fetch_lines: usize,
}

/// How the words of weights of 32 outputs lie: those of as many outputs as are summed at a time one behind the other, so that they are
/// read strictly in sequence.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Words of an output.
    pub(super) words: usize,
    /// Outputs that are summed at a time.
    pub(super) columns: usize,
}

impl Layout {
    /// Where a word of one of the 32 outputs is.
    pub(super) fn at(self, output: usize, word: usize) -> usize {
        let Self { words, columns } = self;
        (output / columns * words + word) * columns + output % columns
    }
}

/// # Safety
/// The CPU must have the kernel's instructions; inputs must be readable, outputs writable for the tile's extent.
pub(super) type Kernel = unsafe fn(&Tile);

/// The kernels of one way of reading inputs, by pixels a segment.
pub(super) struct Kernels {
    one: [Kernel; SEGMENT],
    two: [Kernel; SEGMENT],
}

impl Kernels {
    /// For inputs `STEP` bytes apart and runs of `LEN` words. `WIDE` sums stay what they are and are neither biased in place nor
    /// clipped: they are Winograd's products, to be transformed further.
    pub(super) fn new<L: Lanes, const STEP: usize, const LEN: usize, const WIDE: bool>() -> Self {
        macro_rules! each {
            ($segments:literal: $($p:literal)*) => { [$(enter::<L, $p, $segments, STEP, LEN, WIDE>),*] };
        }
        Self {
            one: each!(1: 1 2 3 4 5 6 7),
            two: each!(2: 1 2 3 4 5 6 7),
        }
    }

    pub(super) fn one(&self, pixels: usize) -> Kernel {
        self.one[pixels - 1]
    }

    pub(super) fn two(&self, pixels: usize) -> Kernel {
        self.two[pixels - 1]
    }
}

struct Compute<
    'a,
    const P: usize,
    const SEGMENTS: usize,
    const STEP: usize,
    const LEN: usize,
    const WIDE: bool,
>(&'a Tile<'a>);

unsafe fn enter<
    L: Lanes,
    const P: usize,
    const SEGMENTS: usize,
    const STEP: usize,
    const LEN: usize,
    const WIDE: bool,
>(
    tile: &Tile,
) {
    // SAFETY: the contract of `Kernel`.
    unsafe { L::enter(Compute::<P, SEGMENTS, STEP, LEN, WIDE>(tile)) }
}

/// The most parts of a tile.
const PARTS: usize = 7;

/// How `total` pixels are done in parts of at most `most`, each its first and its count: even counts keep the parts alike.
const fn split(total: usize, most: usize) -> [[usize; 2]; PARTS] {
    let mut parts = [[0; 2]; PARTS];
    let (mut first, mut i) = (0, 0);
    while first < total {
        let left = total - first;
        let even = left.div_ceil(left.div_ceil(most)).next_multiple_of(2);
        parts[i] = [first, if even > left { left } else { even }];
        first += parts[i][1];
        i += 1;
    }
    parts
}

impl<const P: usize, const SEGMENTS: usize, const STEP: usize, const LEN: usize, const WIDE: bool>
    Task for Compute<'_, P, SEGMENTS, STEP, LEN, WIDE>
{
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // Each part's extent is to be a constant.
        macro_rules! parts {
            ($channel:expr, $($i:literal)*) => {$(
                let [first, count] = const { split(P * SEGMENTS, L::PIXELS)[$i] };
                if count > 0 {
                    part::<L, P, STEP, LEN, WIDE>(self.0, $channel, first, count);
                }
            )*};
        }
        for channel in (0..PANEL).step_by(2 * L::WIDTH) {
            // SAFETY: the parts are disjoint and together the tile, for which the caller vouches.
            unsafe {
                if L::LOOPS {
                    let rest = P * SEGMENTS % L::PIXELS;
                    for first in (0..P * SEGMENTS - rest).step_by(L::PIXELS) {
                        part::<L, P, STEP, LEN, WIDE>(self.0, channel, first, L::PIXELS);
                    }
                    if rest > 0 {
                        let first = P * SEGMENTS - rest;
                        part::<L, P, STEP, LEN, WIDE>(self.0, channel, first, rest);
                    }
                } else {
                    parts!(channel, 0 1 2 3 4 5 6);
                }
            }
        }
    }
}

/// Pixels `first..first + count` of the tile (constants once inlined), two registers of outputs from `channel` on.
#[inline(always)]
unsafe fn part<L: Lanes, const P: usize, const STEP: usize, const LEN: usize, const WIDE: bool>(
    tile: &Tile,
    channel: usize,
    first: usize,
    count: usize,
) {
    let fetch_lines = if first == 0 && channel == 0 {
        tile.fetch_lines
    } else {
        0
    };
    // SAFETY: the caller vouches for the tile's extent: every run of every pixel, all weights of the panel, 32 biases,
    // and all blocks of every output pixel.
    unsafe {
        let bias = tile.bias.add(channel);
        let bias = [L::load(bias), L::load(bias.add(L::WIDTH))];
        let start = if L::INTEGERS {
            [L::splat(0.0); 2]
        } else {
            bias
        };
        let mut sums = [start; 2 * SEGMENT];
        let mut weights = tile.weights.add(channel * tile.runs.len() * LEN);
        let mut fetch = tile.fetch;
        for &run in tile.runs {
            let bases = [
                tile.input[0].add(run as usize),
                tile.input[1].wrapping_add(run as usize),
            ];
            for word in 0..LEN {
                if word < fetch_lines {
                    L::prefetch(fetch);
                    fetch = fetch.wrapping_add(64);
                }
                let w = [L::load(weights), L::load(weights.add(L::WIDTH))];
                weights = weights.wrapping_add(2 * L::WIDTH);
                for (i, sum) in sums[..count].iter_mut().enumerate() {
                    let (segment, pixel) = ((first + i) / P, (first + i) % P);
                    let x = L::broadcast(bases[segment].add(pixel * STEP + 4 * word));
                    *sum = [sum[0].dot(w[0], x), sum[1].dot(w[1], x)];
                }
            }
        }
        // A loop of its own, short enough to be unrolled: as a part of the next one, which the compiler leaves a loop where sums
        // are integers, it has every step of every sum written to memory (a third of the speed).
        let mut ended = sums;
        if L::INTEGERS && !WIDE {
            let factors = tile.factors.add(channel);
            let factors = [L::load(factors), L::load(factors.add(L::WIDTH))];
            for (ended, sum) in ended[..count].iter_mut().zip(&sums[..count]) {
                *ended = [
                    sum[0].total().mul(factors[0]).add(bias[0]),
                    sum[1].total().mul(factors[1]).add(bias[1]),
                ];
            }
        }
        let bounds = [L::splat(tile.floor), L::splat(tile.ceiling)];
        for (i, sum) in ended[..count].iter().enumerate() {
            let (segment, pixel) = ((first + i) / P, (first + i) % P);
            let output = tile.output[segment].add(pixel * 64);
            let value_bytes = if WIDE { 4 } else { L::VALUE_BYTES };
            let to = [0, L::WIDTH].map(|j| {
                let (block, byte) = place(channel + j, value_bytes);
                output.wrapping_add(block * tile.output_pitch + byte)
            });
            if WIDE {
                sum[0].store(to[0].cast());
                sum[1].store(to[1].cast());
            } else if tile.accumulate {
                let mut held = [L::read(to[0]), L::read(to[1])];
                if L::INTEGERS {
                    held = held.map(|held| held.mul(L::splat(tile.residual_factor)));
                }
                L::write_pair([sum[0].add(held[0]), sum[1].add(held[1])], bounds, to);
            } else {
                L::write_pair(*sum, bounds, to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn every_tile_is_split_into_parts_that_fit_and_add_up() {
        for most in [2, 4, 6, 14] {
            for total in (1..=7).chain([8, 10, 12, 14]) {
                let parts = split(total, most);
                let mut next = 0;
                for [first, count] in parts.into_iter().filter(|part| part[1] > 0) {
                    assert!(first == next && count <= most, "{total} in {parts:?}");
                    next += count;
                }
                assert_eq!(next, total);
            }
        }
        assert_eq!(split(14, 6)[..3], [[0, 6], [6, 4], [10, 4]]);
    }
}
