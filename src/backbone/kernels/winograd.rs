//! Winograd's F(m x m, 3x3) for stride 1, m = 2 or 4: transform tiles of the input, multiply per frequency with the same
//! micro-kernel as everywhere (its pixels are tiles), transform back. Lavin & Gray 2016, points 0, ±1 (, ±2), ∞.
//!
//! For one group of tiles: `V[frequency][channel block][tile]`, then, frequency by frequency, all panels of 32 outputs of
//! `M[frequency][block][tile]` in f32, which is turned into output pixels. So the weights are read strictly in sequence, and what they
//! are multiplied with, one frequency of V, stays in the nearest caches however many they are.

use super::conv::put_value;
use super::grid::{Grid, TOGETHER};
use super::isa::{Access, Isa};
use super::lanes::{LINE_BYTES, Lanes, Task, place};
use super::layer::{Epilogue, Folded};
use super::memory::Block;
use super::micro::{BLOCK_WORDS, Kernels, Layout, PANEL, SEGMENT, Tile};
use super::quantise::Factors;
use super::transform::{Ending, input_tile, output_tile, weight_transform};

/// Tiles transformed together at most, and from how many tiles on. Many tiles are an early layer's: its weights are small, and V
/// stays in L2 in small groups. Later layers have many weights, which are better read only once, for the 4 x 16 tiles of four 7 x 7
/// maps too.
const SMALL_GROUP: usize = 28;
const LARGE_GROUP: usize = 64;
const MANY_TILES: usize = 100;

/// What makes integers of the weights that F(2x2, 3x3) transforms, which are quarters of such. Then activations have 11 bits, weights 12,
/// and the sums of all outputs are exact: they fit 32 bits for [`CHANNELS_OF_INTEGERS`], and what is added on the way to them wraps.
const WEIGHTS_OF_INTEGERS: f64 = 4.0;
const CHANNELS_OF_INTEGERS: usize = 1 << 10;

/// The m that suits an output of this many rows: fewer multiplications against more waste at the edge and more weights.
/// None where computing directly is best. It depends on nothing but the shape, so neither do the bits.
pub(super) fn tile_side(height: usize) -> Option<usize> {
    match height {
        0..=3 => None,
        4..=20 => Some(2),
        _ => Some(4),
    }
}

/// The m of F(m x m, 3x3) for an output of this many rows; none where a convolution is computed directly.
pub(super) fn chosen(isa: Isa, height: usize) -> Option<usize> {
    let m = tile_side(height).filter(|_| !isa.tiles())?;
    match isa.integers() {
        // Transforms need more than eight bits.
        true => (isa.value_bytes() > 1).then_some(2),
        false => Some(m),
    }
}

/// The border that a grid of this many rows needs where a 3x3 reads it, by F(m x m, 3x3) the last tiles reach past the edge.
pub(super) fn border(m: Option<usize>, height: usize) -> usize {
    1 + m.map_or(0, |m| height.next_multiple_of(m) - height)
}

/// A 3x3 convolution with stride 1, its weights transformed and packed by frequencies and panels of 32 outputs, each in the
/// kernels' [`Layout`].
pub(super) struct Winograd {
    isa: Isa,
    kernels: Kernels,
    m: usize,
    weights: Block,
    bias: Vec<f32>,
    factors: Factors,
    accumulate: bool,
    /// What outputs are clipped to.
    bounds: [f32; 2],
    from: Grid,
    to: Grid,
    /// Tiles in a row of the output, and in an image.
    across: usize,
    tiles: usize,
    /// The most tiles of a group.
    most: usize,
    /// Bytes from one channel block of a group's tiles to the next.
    row: usize,
    /// One a channel block of V.
    runs: Vec<u32>,
}

impl Winograd {
    pub(super) fn new(
        isa: Isa,
        folded: &Folded,
        m: usize,
        epilogue: Epilogue,
        from: Grid,
        to: Grid,
    ) -> Self {
        let overhang = |side: usize| side.next_multiple_of(m) - side;
        assert!(from.border > overhang(to.height).max(overhang(to.width)));
        assert!((from.height, from.width, folded.k) == (to.height, to.width, 3));
        assert!(from.blocks * isa.block_channels() == folded.cin);
        assert!(!isa.integers() || m == 2 && folded.cin <= CHANNELS_OF_INTEGERS);
        assert!(
            to.blocks * isa.block_channels() == folded.cout && folded.cout.is_multiple_of(PANEL)
        );
        let (g, n, per_word) = (weight_transform(m), m + 2, isa.per_word());
        let layout = Layout {
            words: folded.cin / per_word,
            columns: isa.columns(),
        };
        let step_words = layout.words * PANEL;
        let mut weights = Block::zeroed(n * n * layout.words * folded.cout * 4);
        for (oc, c) in (0..folded.cout).flat_map(|o| (0..folded.cin).map(move |c| (o, c))) {
            let w = &folded.weights[(oc * folded.cin + c) * 9..][..9];
            // G w Gᵀ in f64, rounded once.
            let half: Vec<[f64; 3]> = (g.iter())
                .map(|g| {
                    std::array::from_fn(|b| (0..3).map(|a| g[a] * f64::from(w[a * 3 + b])).sum())
                })
                .collect();
            for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let mut value: f64 = (0..3).map(|b| half[i][b] * g[j][b]).sum();
                if isa.integers() {
                    value *= WEIGHTS_OF_INTEGERS;
                }
                let step = (i * n + j) * (folded.cout / PANEL) + oc / PANEL;
                let word = step * step_words + layout.at(oc % PANEL, c / per_word);
                let bits = isa.bits(value as f32);
                put_value(&mut weights, word, c % per_word, per_word, bits);
            }
        }
        let across = to.width.div_ceil(m);
        let tiles = across * to.height.div_ceil(m);
        let most = if tiles < MANY_TILES {
            LARGE_GROUP
        } else {
            SMALL_GROUP
        };
        // An odd number of lines keeps a tile's blocks in different sets of the nearest cache.
        let largest = (1..=TOGETHER).map(|images| group(images * tiles, most));
        let row = (largest.max().unwrap_or(0) | 1) * LINE_BYTES;
        Self {
            isa,
            kernels: isa.kernels(Access::Products),
            m,
            weights,
            bias: folded.bias.clone(),
            factors: Factors::none(folded.cout),
            accumulate: epilogue.accumulate,
            bounds: isa.bounds(epilogue.activation),
            from,
            to,
            across,
            tiles,
            most,
            row,
            runs: (0..from.blocks).map(|b| (b * row) as u32).collect(),
        }
    }

    /// The same with these factors, where it computes in integers.
    pub(super) fn scaled(mut self, factors: Option<&Factors>) -> Self {
        if let Some(Factors { sums, residual }) = factors {
            let sums = sums
                .iter()
                .map(|factor| factor / WEIGHTS_OF_INTEGERS as f32);
            self.factors = Factors {
                sums: sums.collect(),
                residual: *residual,
            };
        }
        self
    }

    /// Working memory that `run` needs.
    pub(super) fn scratch_bytes(&self) -> usize {
        self.frequencies() * (self.v_pitch() + self.m_pitch())
    }

    /// Bytes from one frequency of V, and of M, to the next.
    fn v_pitch(&self) -> usize {
        self.from.blocks * self.row
    }
    fn m_pitch(&self) -> usize {
        BLOCKS * self.panels() * self.row
    }

    fn frequencies(&self) -> usize {
        (self.m + 2) * (self.m + 2)
    }
    fn panels(&self) -> usize {
        self.bias.len() / PANEL
    }

    /// Computes all outputs of `images`, [`TOGETHER`] at most, which lie one behind the other; `input` and `output` have the grids this
    /// convolution was built for.
    pub(super) fn run(&self, images: usize, input: &[u8], output: &mut [u8], scratch: &mut [u8]) {
        assert!((1..=TOGETHER).contains(&images));
        assert!(input.len() >= images * self.from.bytes());
        assert!(output.len() >= images * self.to.bytes());
        assert!(scratch.len() >= self.scratch_bytes());
        let tiles = images * self.tiles;
        let size = group(tiles, self.most);
        for first in (0..tiles).step_by(size) {
            let group = Group {
                shape: self,
                first,
                count: size.min(tiles - first),
                v: scratch.as_mut_ptr(),
            };
            // SAFETY: the buffers hold the grids of each image and the scratch, as asserted; the border holds what the last tiles read
            // past the edge, as `new` asserted; what they would write there is clipped.
            unsafe {
                match self.m {
                    4 => self.group::<6>(&group, input.as_ptr(), output.as_mut_ptr()),
                    _ => self.group::<4>(&group, input.as_ptr(), output.as_mut_ptr()),
                }
            }
        }
    }

    unsafe fn group<const N: usize>(&self, group: &Group, input: *const u8, output: *mut u8) {
        // SAFETY: the caller vouches for the buffers.
        unsafe {
            self.isa.enter(Analyse::<N> { group, input });
            self.multiply(group);
            for panel in 0..self.panels() {
                self.isa.enter(Synthesise::<N> {
                    group,
                    panel,
                    output,
                });
            }
        }
    }

    /// All products.
    unsafe fn multiply(&self, group: &Group) {
        const NO_BIAS: [f32; PANEL] = [0.0; PANEL];
        let (panels, runs) = (self.panels(), &self.runs);
        let step_bytes = runs.len() * BLOCK_WORDS * PANEL * 4;
        let calls = group.count.div_ceil(MOST);
        let fetch_lines = (step_bytes / LINE_BYTES).div_ceil(calls * runs.len());
        for step in 0..self.frequencies() * panels {
            let (frequency, panel) = (step / panels, step % panels);
            // SAFETY: V and M lie in the scratch one behind the other, `frequencies` long each; a call's tiles lie within
            // the group; the weights hold `step_bytes` a frequency and panel.
            unsafe {
                let weights = self.weights.as_ptr().add(step * step_bytes);
                let v = group.v.add(frequency * self.v_pitch());
                let products = group.products(panel).add(frequency * self.m_pitch());
                for call in 0..calls {
                    let [start, end] = [call, call + 1].map(|c| boundary(c, group.count));
                    let (pixels, kernel) = match end - start {
                        count @ ..=SEGMENT => (count, self.kernels.one(count)),
                        // Of an odd number the middle tile is simply computed twice.
                        count => (count.div_ceil(2), self.kernels.two(count.div_ceil(2))),
                    };
                    let at = [start, end - pixels].map(|tile| tile * LINE_BYTES);
                    let skip = call * fetch_lines * runs.len() * LINE_BYTES;
                    kernel(&Tile {
                        input: at.map(|at| v.add(at).cast_const()),
                        output: at.map(|at| products.add(at)),
                        output_pitch: self.row,
                        weights: weights.cast(),
                        bias: NO_BIAS.as_ptr(),
                        factors: NO_BIAS.as_ptr(),
                        residual_factor: 0.0,
                        runs,
                        accumulate: false,
                        floor: f32::NEG_INFINITY,
                        ceiling: f32::INFINITY,
                        fetch: weights.wrapping_add(step_bytes + skip),
                        fetch_lines,
                    });
                }
            }
        }
    }
}

/// Tiles of a group, where `tiles` make as few and alike ones as they can with `most` in each.
fn group(tiles: usize, most: usize) -> usize {
    tiles.div_ceil(tiles.div_ceil(most))
}

/// Tiles that one call of the micro-kernel multiplies.
const MOST: usize = 2 * SEGMENT;

/// Blocks of M that one panel of outputs is.
const BLOCKS: usize = PANEL * 4 / LINE_BYTES;

/// Where call `call` starts, of those that `count` tiles are cut into: whole ones, but the last two share alike what would
/// leave less than half a call for the last.
fn boundary(call: usize, count: usize) -> usize {
    let calls = count.div_ceil(MOST);
    let left = count - (calls - 1) * MOST;
    if call > 0 && call + 1 == calls && left < SEGMENT {
        count - (MOST + left) / 2
    } else {
        (call * MOST).min(count)
    }
}

/// Tiles that are worked on together.
struct Group<'a> {
    shape: &'a Winograd,
    first: usize,
    count: usize,
    /// The scratch memory: V, then M.
    v: *mut u8,
}

impl Group<'_> {
    /// The image of the group's tile `t`, and the output pixel (y, x) at its corner.
    fn corner(&self, t: usize) -> (usize, usize, usize) {
        let (t, shape) = (self.first + t, self.shape);
        let (image, t) = (t / shape.tiles, t % shape.tiles);
        (
            image,
            t / shape.across * shape.m,
            t % shape.across * shape.m,
        )
    }

    /// The first frequency of a panel of M, which follows V in the scratch.
    fn products(&self, panel: usize) -> *mut u8 {
        let shape = self.shape;
        let v_bytes = shape.frequencies() * shape.v_pitch();
        self.v.wrapping_add(v_bytes + panel * BLOCKS * shape.row)
    }
}

/// Input pixels to V, N = m + 2.
struct Analyse<'a, const N: usize> {
    group: &'a Group<'a>,
    input: *const u8,
}

impl<const N: usize> Task for Analyse<'_, N> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let shape = self.group.shape;
        let from = shape.from;
        for t in 0..self.group.count {
            let (image, y, x) = self.group.corner(t);
            let corner = from.corner_at(y + from.border - 1, x + from.border - 1);
            let corner = image * from.bytes() + corner;
            for block in 0..from.blocks {
                for part in (0..LINE_BYTES).step_by(L::WIDTH * L::VALUE_BYTES) {
                    // SAFETY: the N x N pixels lie in the bordered grid, and (block, tile) in every frequency of V.
                    unsafe {
                        let input = self.input.add(corner + block * from.block_pitch() + part);
                        let to = self.group.v.add(block * shape.row + t * LINE_BYTES + part);
                        input_tile::<L, N>(input, from.row_pitch(), to, shape.v_pitch());
                    }
                }
            }
        }
    }
}

/// M to output pixels of one panel.
struct Synthesise<'a, const N: usize> {
    group: &'a Group<'a>,
    panel: usize,
    output: *mut u8,
}

impl<const N: usize> Task for Synthesise<'_, N> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let shape = self.group.shape;
        let to = shape.to;
        let products = self.group.products(self.panel).cast_const();
        for t in 0..self.group.count {
            let (image, y, x) = self.group.corner(t);
            let corner = image * to.bytes() + to.at(y, x);
            for channel in (0..PANEL).step_by(L::WIDTH) {
                let (from_block, from_byte) = place(channel, 4);
                let (block, byte) = place(self.panel * PANEL + channel, L::VALUE_BYTES);
                // SAFETY: (block, tile) lies in every frequency of M; bias and factors are as many as outputs; only pixels inside
                // the grid are written.
                unsafe {
                    let of_channel =
                        |values: &[f32]| L::load(values.as_ptr().add(self.panel * PANEL + channel));
                    let ending = Ending {
                        bias: of_channel(&shape.bias),
                        factors: of_channel(&shape.factors.sums),
                        residual_factor: L::splat(shape.factors.residual),
                        accumulate: shape.accumulate,
                        bounds: shape.bounds.map(|bound| L::splat(bound)),
                    };
                    output_tile::<L, N>(
                        products.add(from_block * shape.row + t * LINE_BYTES + from_byte),
                        shape.m_pitch(),
                        &ending,
                        self.output.add(corner + block * to.block_pitch() + byte),
                        to.row_pitch(),
                        [to.height - y, to.width - x],
                    );
                }
            }
        }
    }
}
