//! Direct convolution as a loop of tiles: packed weights, tables of offsets, and the order in which tiles are visited.
//!
//! Activations are rows: `[y][block][x][64 bytes]`, a block being 16 f32, 32 bf16, 64 u8 or 32 u16 channels (for tiles they are
//! planes: `[block][y][x][64 bytes]`, and f32 is split in two pieces: `[block][y][x][piece][64 bytes]`); where a 3x3 reads, a border
//! of zeros is stored, which is never written and so never cleared again. A 1x1, a strided 1x1 and a 3x3 then differ only in
//! the list of runs and the step between pixels: there is no im2col and no pointer per pixel.
//! The order of loops is panel of 32 outputs, images, then tiles; while a panel is at work the next one's weights are prefetched.
//! Maps too large for a second-level cache are walked in blocks, with all panels before the next: they come from memory once,
//! not once a panel.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx;
use super::isa::{Access, Isa};
use super::lanes::place;
use super::memory::Block;
use super::micro::{BLOCK_WORDS, Kernel, Kernels, Layout, PANEL, SEGMENT, Tile};
use super::quantise::{BYTES, Factors};

/// Shape of one image's activations, with `border` zero pixels on every side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Grid {
    pub(super) blocks: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) border: usize,
    /// Whether a block's rows lie together, not a row's blocks.
    pub(super) planes: bool,
    /// Of one block.
    pub(super) pixel_bytes: usize,
}

impl Grid {
    /// Room for `channels`, `height`, `width`, with channels filled up to whole panels of outputs.
    pub(super) fn new(isa: Isa, [channels, height, width]: [usize; 3], border: usize) -> Self {
        Self {
            blocks: channels
                .next_multiple_of(PANEL)
                .div_ceil(isa.block_channels()),
            height,
            width,
            border,
            planes: isa.tiles(),
            pixel_bytes: isa.pixel_bytes(),
        }
    }

    fn line(&self) -> usize {
        (self.width + 2 * self.border) * self.pixel_bytes
    }
    fn lines(&self) -> usize {
        self.height + 2 * self.border
    }
    /// Bytes from one block of channels to the next.
    pub(super) fn block_pitch(&self) -> usize {
        self.line() * if self.planes { self.lines() } else { 1 }
    }
    /// Bytes from one row to the next.
    pub(super) fn row_pitch(&self) -> usize {
        self.line() * if self.planes { 1 } else { self.blocks }
    }
    /// Pixels without the border's.
    pub(super) fn area(&self) -> usize {
        self.height * self.width
    }
    pub(super) fn bytes(&self) -> usize {
        self.blocks * self.lines() * self.line()
    }
    /// The first block of pixel (`y`, `x`), counted from the border's corner.
    pub(super) fn corner_at(&self, y: usize, x: usize) -> usize {
        y * self.row_pitch() + x * self.pixel_bytes
    }
    /// The first block of pixel (`y`, `x`).
    pub(super) fn at(&self, y: usize, x: usize) -> usize {
        self.corner_at(y + self.border, x + self.border)
    }
}

/// Weights `[cout][cin][k][k]` and bias `[cout]`, the BatchNorm that follows folded in.
pub(super) struct Folded {
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) cin: usize,
    pub(super) cout: usize,
    pub(super) k: usize,
}

impl Folded {
    /// Floating-point operations to compute `pixels` outputs directly.
    pub(super) fn flops(&self, pixels: usize) -> f64 {
        2.0 * (pixels * self.cin * self.k * self.k * self.cout) as f64
    }
}

/// What ends a sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epilogue {
    /// Add what the output holds: the residual, in place.
    pub(super) accumulate: bool,
    pub(super) activation: Activation,
}

/// Between what bounds a sum is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Activation {
    None,
    Relu,
    /// From 0 to 6 (Sandler et al. 2018).
    Relu6,
}

impl Epilogue {
    /// What outputs are clipped to.
    pub(super) fn bounds(self, isa: Isa) -> [f32; 2] {
        match self.activation {
            _ if isa.integers() => BYTES,
            Activation::None => [f32::NEG_INFINITY, f32::INFINITY],
            Activation::Relu => [0.0, f32::INFINITY],
            Activation::Relu6 => [0.0, 6.0],
        }
    }
}

/// bf16 bits, rounded to nearest even. Weights are finite.
pub(super) fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// The number of these bits.
pub(super) fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Where a convolution reads the first value of each output's inputs, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    pub(super) origin: usize,
    /// From one pixel of the output to the next.
    pub(super) step: usize,
    /// From one row of the output to the next.
    pub(super) row: usize,
}

/// Bytes of inputs and outputs that are worked on with all weights before the next: what stays in a second-level cache.
pub(super) const BLOCK_BYTES: usize = 512 << 10;
/// Up to so many blocks' bytes are one: in two, weights that are as large would be read twice to spare a part of these.
const ONE_BLOCK: usize = 2;

/// How the outputs are cut into what is computed at once.
enum Work {
    Segments(Vec<Segments>),
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Tiles(Box<amx::Tiles>),
}

/// A block of an image's segments. Those that no other of it is as long as find one in the next image.
#[derive(Default)]
struct Segments {
    pairs: Vec<([Segment; 2], Kernel)>,
    /// Each with the kernels for one and for two.
    singles: Vec<(Segment, [Kernel; 2])>,
}

/// Byte offsets of one segment.
#[derive(Clone, Copy)]
struct Segment {
    input: u32,
    output: u32,
}

/// The tap of weights that a packed value comes from: (input channel, row, column), or none for padding.
type Tap = Option<(usize, usize, usize)>;

/// A convolution with its weights packed by panels of 32 outputs, each in the kernels' [`Layout`]; split ones have all words of a run's
/// first piece before those of its second.
pub(super) struct Direct {
    weights: Block,
    panel_bytes: usize,
    bias: Vec<f32>,
    factors: Factors,
    runs: Vec<u32>,
    work: Work,
    /// Bytes of output from one block to the next, and of one value.
    output_pitch: usize,
    value_bytes: usize,
    accumulate: bool,
    /// What outputs are clipped to.
    bounds: [f32; 2],
    /// What the buffers must hold for each image, for the tables to stay inside them.
    input_bytes: usize,
    output_bytes: usize,
}

impl Direct {
    /// A convolution over blocked activations, padded by half its kernel. `stride` is 1 or 2. Channels that are no multiple
    /// of a block, or of a panel, are filled up with zeros: `from` may have more blocks than are read, `to` has whole panels.
    pub(super) fn blocked(
        isa: Isa,
        folded: &Folded,
        stride: usize,
        epilogue: Epilogue,
        from: Grid,
        to: Grid,
    ) -> Self {
        let pad = folded.k / 2;
        assert!(from.border >= pad && (1..=2).contains(&stride));
        assert!(to.height == from.height.div_ceil(stride));
        assert!(to.width == from.width.div_ceil(stride));
        let access = if stride == 1 {
            Access::Unit
        } else {
            Access::Strided
        };
        let inset = from.border - pad;
        let reading = Reading {
            origin: from.corner_at(inset, inset),
            step: stride * from.pixel_bytes,
            row: stride * from.row_pitch(),
        };
        let corner = |ky, kx| from.corner_at(ky, kx);
        let extents = (from.bytes(), to);
        Self::over(
            isa,
            folded,
            (from, corner),
            (access, reading),
            epilogue,
            extents,
        )
    }

    /// A convolution over blocked activations: `from` has their blocks, and `corner` tells where in a block the first output reads the
    /// tap of a row and a column.
    pub(super) fn over(
        isa: Isa,
        folded: &Folded,
        (from, corner): (Grid, impl Fn(usize, usize) -> usize),
        reading: (Access, Reading),
        epilogue: Epilogue,
        extents: (usize, Grid),
    ) -> Self {
        let block = isa.block_channels();
        let read = folded.cin.div_ceil(block);
        assert!(from.blocks >= read);
        let (mut runs, mut taps) = (Vec::new(), Vec::new());
        // Blocks outermost, taps inner: the rows of one block stay in L1.
        for b in 0..read {
            for (ky, kx) in (0..folded.k).flat_map(|y| (0..folded.k).map(move |x| (y, x))) {
                runs.push((corner(ky, kx) + b * from.block_pitch()) as u32);
                let channels = b * block..(b + 1) * block;
                taps.extend(channels.map(|c| (c < folded.cin).then_some((c, ky, kx)) as Tap));
            }
        }
        Self::packed(isa, folded, runs, &taps, reading, epilogue, extents)
    }

    /// A convolution of interleaved RGB in rows of `row_bytes`, padded already: a run is a kernel row of all channels, so no
    /// lane is wasted on a fourth.
    pub(super) fn interleaved(
        isa: Isa,
        folded: &Folded,
        [stride, row_bytes]: [usize; 2],
        epilogue: Epilogue,
        to: Grid,
    ) -> Self {
        assert!(!isa.splits(), "an image is not split");
        let (k, channels, values) = (folded.k, folded.cin, folded.k * folded.cin);
        let padded = values.next_multiple_of(isa.per_word());
        let runs = (0..k).map(|ky| (ky * row_bytes) as u32).collect();
        let tap = |ky, i| (i < values).then_some((i % channels, ky, i / channels));
        let taps: Vec<Tap> = (0..k)
            .flat_map(|ky| (0..padded).map(move |i| tap(ky, i)))
            .collect();
        let pixel = channels * isa.input_bytes();
        let reading = Reading {
            origin: 0,
            step: stride * pixel,
            row: stride * row_bytes,
        };
        assert!((to.width - 1) * stride * pixel + padded * isa.input_bytes() <= row_bytes);
        let rows = (to.height - 1) * stride + k;
        let extents = (rows * row_bytes, to);
        let access = Access::Interleaved { k, stride };
        Self::packed(
            isa,
            folded,
            runs,
            &taps,
            (access, reading),
            epilogue,
            extents,
        )
    }

    fn packed(
        isa: Isa,
        folded: &Folded,
        runs: Vec<u32>,
        taps: &[Tap],
        (access, reading): (Access, Reading),
        epilogue: Epilogue,
        (input_bytes, to): (usize, Grid),
    ) -> Self {
        let panels = folded.cout.div_ceil(PANEL);
        assert!(to.blocks == (panels * PANEL).div_ceil(isa.block_channels()));
        assert!(folded.bias.len() == folded.cout);
        assert!(input_bytes.max(to.bytes()) <= u32::MAX as usize);
        let per_word = isa.per_word();
        let run_words = taps.len() / per_word / runs.len();
        let pieces = isa.weight_pieces();
        let layout = Layout {
            words: runs.len() * pieces * run_words,
            columns: isa.columns(),
        };
        let panel_words = layout.words * PANEL;
        let mut weights = Block::zeroed(panels * panel_words * 4);
        let of_runs = || taps.chunks(run_words * per_word).enumerate();
        for (oc, (run, taps)) in (0..folded.cout).flat_map(|oc| of_runs().map(move |r| (oc, r))) {
            for (i, tap) in taps.iter().enumerate() {
                let Some((c, ky, kx)) = *tap else { continue };
                let value = folded.weights[((oc * folded.cin + c) * folded.k + ky) * folded.k + kx];
                let mut rest = value;
                for piece in 0..pieces {
                    if piece > 0 {
                        rest -= from_bf16(to_bf16(rest));
                    }
                    let word = (run * pieces + piece) * run_words + i / per_word;
                    let word = oc / PANEL * panel_words + layout.at(oc % PANEL, word);
                    put_value(&mut weights, word, i % per_word, per_word, isa.bits(rest));
                }
            }
        }
        let mut bias = folded.bias.clone();
        bias.resize(panels * PANEL, 0.0);
        // A 1x1 with a stride leaves most of its input alone.
        let read_bytes = input_bytes.min(runs.len() * to.pixel_bytes * to.area());
        let work = match isa.tiles() {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            true => Work::Tiles(Box::new(amx::Tiles::new(
                isa,
                [run_words, folded.k * folded.k],
                reading,
                read_bytes,
                to,
            ))),
            _ => {
                let bytes = read_bytes + to.bytes();
                Work::Segments(Segments::blocks(&isa.kernels(access), reading, bytes, to))
            }
        };
        let factors = Factors::none(panels * PANEL);
        Self {
            weights,
            panel_bytes: panel_words * 4,
            bias,
            factors,
            runs,
            work,
            output_pitch: to.block_pitch(),
            value_bytes: isa.value_bytes(),
            accumulate: epilogue.accumulate,
            bounds: epilogue.bounds(isa),
            input_bytes,
            output_bytes: to.bytes(),
        }
    }

    /// The same with these factors, where it computes in integers.
    pub(super) fn scaled(mut self, factors: Option<&Factors>) -> Self {
        if let Some(factors) = factors {
            self.factors.sums[..factors.sums.len()].copy_from_slice(&factors.sums);
            self.factors.residual = factors.residual;
        }
        self
    }

    /// Working memory for so many images.
    pub(super) fn scratch_bytes(&self, images: usize) -> usize {
        match &self.work {
            Work::Segments(_) => 0,
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Work::Tiles(tiles) => {
                tiles.scratch_bytes(images, self.bias.len() / PANEL, self.runs.len())
            }
        }
    }

    /// Computes all outputs of `images`, which lie one behind the other; `input` and `output` have the grids this convolution was
    /// built for.
    pub(super) fn run(&self, images: usize, input: &[u8], output: &mut [u8], scratch: &mut [u8]) {
        assert!(images > 0 && scratch.len() >= self.scratch_bytes(images));
        assert!(input.len() >= images * self.input_bytes);
        assert!(output.len() >= images * self.output_bytes);
        let (input, output) = (input.as_ptr(), output.as_mut_ptr());
        match &self.work {
            // SAFETY: segments and `runs` lead to pixels of the two grids only, as their constructors show; that the buffers
            // hold these for each image was asserted.
            Work::Segments(blocks) => unsafe {
                for segments in blocks {
                    self.by_segments(segments, images, input, output);
                }
            },
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            // SAFETY: the tiles were made for the two grids, which the buffers hold for each image, as the scratch does what they
            // need, as asserted; weights, bias and runs are those that `packed` made with them.
            Work::Tiles(tiles) => unsafe {
                tiles.run(&amx::Product {
                    images,
                    input,
                    input_bytes: self.input_bytes,
                    output,
                    output_bytes: self.output_bytes,
                    weights: &self.weights,
                    bias: &self.bias,
                    factors: &self.factors,
                    runs: &self.runs,
                    accumulate: self.accumulate,
                    bounds: self.bounds,
                    scratch: scratch.as_mut_ptr(),
                });
            },
        }
    }

    unsafe fn by_segments(
        &self,
        segments: &Segments,
        images: usize,
        input: *const u8,
        output: *mut u8,
    ) {
        let panels = self.bias.len() / PANEL;
        let calls = images * segments.pairs.len() + images.div_ceil(2) * segments.singles.len();
        let run_lines = (self.panel_bytes / 64).div_ceil(calls * self.runs.len());
        let [floor, ceiling] = self.bounds;
        for panel in 0..panels {
            let (block, byte) = place(panel * PANEL, self.value_bytes);
            let panel_at = block * self.output_pitch + byte;
            // What tiles this few can't fetch on their way would only drive out what they need.
            let fetches = panel + 1 < panels && run_lines <= BLOCK_WORDS;
            let fetch_lines = if fetches { run_lines } else { 0 };
            let weights = self.weights.as_ptr().wrapping_add(panel * self.panel_bytes);
            let mut fetch = weights.wrapping_add(self.panel_bytes);
            let mut compute = |images: [usize; 2], segments: [Segment; 2], kernel: Kernel| {
                let from = |i: usize| images[i] * self.input_bytes + segments[i].input as usize;
                let to = |i: usize| images[i] * self.output_bytes + segments[i].output as usize;
                // SAFETY: the caller vouches for inputs and outputs. The weights hold `panels` panels, bias and factors 32
                // values each. The kernel was made by the `Isa` of this model.
                unsafe {
                    kernel(&Tile {
                        input: [0, 1].map(|i| input.add(from(i))),
                        output: [0, 1].map(|i| output.add(to(i) + panel_at)),
                        output_pitch: self.output_pitch,
                        weights: weights.cast(),
                        bias: self.bias.as_ptr().add(panel * PANEL),
                        factors: self.factors.sums.as_ptr().add(panel * PANEL),
                        residual_factor: self.factors.residual,
                        runs: &self.runs,
                        accumulate: self.accumulate,
                        floor,
                        ceiling,
                        fetch,
                        fetch_lines,
                    });
                }
                fetch = fetch.wrapping_add(self.runs.len() * fetch_lines * 64);
            };
            for first in (0..images).step_by(2) {
                let last = (first + 1).min(images - 1);
                for image in first..=last {
                    for (pair, kernel) in &segments.pairs {
                        compute([image; 2], *pair, *kernel);
                    }
                }
                for (segment, kernels) in &segments.singles {
                    compute([first, last], [*segment; 2], kernels[last - first]);
                }
            }
        }
    }
}

/// Stores the bits of one weight as part `part` of the 4-byte `word`, of whose parts there are `per_word`.
pub(super) fn put_value(to: &mut Block, word: usize, part: usize, per_word: usize, bits: u32) {
    match per_word {
        1 => to.words_mut()[word] = f32::from_bits(bits),
        2 => to.halves_mut()[word * 2 + part] = bits as u16,
        _ => to[word * 4 + part] = bits as u8,
    }
}

impl Segments {
    /// All of an image, of whose maps `bytes` are read and written.
    fn blocks(kernels: &Kernels, reading: Reading, bytes: usize, to: Grid) -> Vec<Self> {
        let whole = Self::new(kernels, reading, to);
        if bytes <= ONE_BLOCK * BLOCK_BYTES || whole.pairs.is_empty() {
            return vec![whole];
        }
        let most = (whole.pairs.len() * BLOCK_BYTES / bytes).max(1);
        let block = |pairs: &[_]| Self {
            pairs: pairs.to_vec(),
            singles: vec![],
        };
        let mut blocks: Vec<Self> = whole.pairs.chunks(most).map(block).collect();
        if let Some(last) = blocks.last_mut() {
            last.singles = whole.singles;
        }
        blocks
    }

    /// Cuts every row of `to` into segments of nearly equal length and pairs those of equal length, across rows where need be.
    fn new(kernels: &Kernels, reading: Reading, to: Grid) -> Self {
        let mut segments = Self::default();
        let mut waiting: [Option<Segment>; SEGMENT + 1] = [None; SEGMENT + 1];
        let count = to.width.div_ceil(SEGMENT);
        for y in 0..to.height {
            for i in 0..count {
                let (x, next) = (i * to.width / count, (i + 1) * to.width / count);
                let segment = Segment {
                    input: (reading.origin + y * reading.row + x * reading.step) as u32,
                    output: to.at(y, x) as u32,
                };
                match waiting[next - x].take() {
                    Some(first) => {
                        let pair = ([first, segment], kernels.two(next - x));
                        segments.pairs.push(pair);
                    }
                    None => waiting[next - x] = Some(segment),
                }
            }
        }
        for (pixels, segment) in waiting.into_iter().enumerate() {
            let kernels = |s| (s, [kernels.one(pixels), kernels.two(pixels)]);
            segments.singles.extend(segment.map(kernels));
        }
        segments
    }
}

// `BLOCK_WORDS` words are one block of 64 bytes whatever the precision, so offsets never change with it.
const _: () = assert!(BLOCK_WORDS * 4 == 64);
