//! Direct convolution: packed weights, tables of offsets, and the outputs in tiles or in segments.
//!
//! Over blocked activations (`grid`) a 1x1, a strided 1x1 and a 3x3 differ only in the list of runs and the step between pixels:
//! there is no im2col and no pointer per pixel.

use super::bf16::{from_bf16, to_bf16};
use super::grid::Grid;
use super::isa::{Access, Isa};
use super::layer::{Epilogue, Folded};
use super::memory::Block;
use super::micro::{Layout, PANEL};
use super::product::{Product, Reading};
use super::quantise::Factors;
use super::segments::Segments;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::tiles::Tiles;

/// How the outputs are cut into what is computed at once.
enum Work {
    Segments(Segments),
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Tiles(Box<Tiles>),
}

/// The tap of weights that a packed value comes from: (input channel, row, column), or none for padding.
type Tap = Option<(usize, usize, usize)>;

/// A convolution with its weights packed by panels of 32 outputs, each in the kernels' [`Layout`]; split ones have all words of a run's
/// first piece before those of its second.
pub(super) struct Direct {
    weights: Block,
    bias: Vec<f32>,
    factors: Factors,
    runs: Vec<u32>,
    work: Work,
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
            true => Work::Tiles(Box::new(Tiles::new(
                isa,
                [run_words, folded.k * folded.k],
                reading,
                read_bytes,
                to,
            ))),
            _ => Work::Segments(Segments::new(isa, (access, reading), read_bytes, to)),
        };
        let factors = Factors::none(panels * PANEL);
        Self {
            weights,
            bias,
            factors,
            runs,
            work,
            accumulate: epilogue.accumulate,
            bounds: isa.bounds(epilogue.activation),
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
        let product = Product {
            images,
            input: input.as_ptr(),
            input_bytes: self.input_bytes,
            output: output.as_mut_ptr(),
            output_bytes: self.output_bytes,
            weights: &self.weights,
            bias: &self.bias,
            factors: &self.factors,
            runs: &self.runs,
            accumulate: self.accumulate,
            bounds: self.bounds,
            scratch: scratch.as_mut_ptr(),
        };
        // SAFETY: segments, tiles and `runs` lead to pixels of the two grids only, as their constructors show; that the buffers hold
        // these for each image, and the scratch what is needed, was asserted. Weights, bias, factors and runs are those that `packed` made
        // with them.
        unsafe {
            match &self.work {
                Work::Segments(segments) => segments.run(&product),
                #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
                Work::Tiles(tiles) => tiles.run(&product),
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
