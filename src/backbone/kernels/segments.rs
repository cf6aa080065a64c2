//! The outputs of a convolution as segments of rows, two of which a call of the micro-kernel computes for a panel of 32 outputs.
//!
//! The order of loops is panel, images, then segments; while a panel is at work the next one's weights are prefetched.
//! Maps too large for a second-level cache are walked in passes, each with all panels: they come from memory once,
//! not once a panel. So are images whose maps are too large together, two at a time, as the micro-kernel pairs what is odd.

use super::grid::{Grid, TOGETHER};
use super::isa::{Access, Isa};
use super::lanes::{LINE_BYTES, place};
use super::micro::{BLOCK_WORDS, Kernel, Kernels, PANEL, SEGMENT, Tile};
use super::product::{BLOCK_BYTES, Product, Reading};

/// Up to so many are one pass: in two, weights that are as large would be read twice to spare a part of these.
const PASS_BYTES: usize = 2 * BLOCK_BYTES;

/// The segments of one convolution.
pub(super) struct Segments {
    passes: Vec<Pass>,
    /// Images that take all weights before the next.
    images: usize,
    /// Bytes of output from one block of channels to the next, and of one value.
    output_pitch: usize,
    value_bytes: usize,
}

/// Segments of an image that take all weights before the next. Those that no other of it is as long as find one in the next image.
#[derive(Default)]
struct Pass {
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

impl Segments {
    /// All of an image, of whose maps `read_bytes` are read.
    pub(super) fn new(
        isa: Isa,
        (access, reading): (Access, Reading),
        read_bytes: usize,
        to: Grid,
    ) -> Self {
        let bytes = read_bytes + to.bytes();
        let few = TOGETHER * bytes <= PASS_BYTES;
        Self {
            passes: Pass::whole(&isa.kernels(access), reading, to).cut(bytes),
            images: if few { TOGETHER } else { 2 },
            output_pitch: to.block_pitch(),
            value_bytes: isa.value_bytes(),
        }
    }

    /// Computes all outputs.
    ///
    /// # Safety
    /// Inputs must be readable and outputs writable for the grids this was made for, in each image; runs, weights, bias and factors
    /// must be theirs.
    pub(super) unsafe fn run(&self, product: &Product) {
        for first in (0..product.images).step_by(self.images) {
            let some = Product {
                images: self.images.min(product.images - first),
                input: product.input.wrapping_add(first * product.input_bytes),
                output: product.output.wrapping_add(first * product.output_bytes),
                ..*product
            };
            for pass in &self.passes {
                // SAFETY: the caller vouches for all images and all segments, of which these are some.
                unsafe { self.pass(pass, &some) }
            }
        }
    }

    /// # Safety
    /// As [`Segments::run`].
    unsafe fn pass(&self, pass: &Pass, product: &Product) {
        let images = product.images;
        let panels = product.bias.len() / PANEL;
        // A panel is whole lines, so the block of all is no longer than they are.
        let panel_bytes = product.weights.len() / panels;
        let calls = images * pass.pairs.len() + images.div_ceil(2) * pass.singles.len();
        let run_lines = (panel_bytes / LINE_BYTES).div_ceil(calls * product.runs.len());
        let [floor, ceiling] = product.bounds;
        for panel in 0..panels {
            let (block, byte) = place(panel * PANEL, self.value_bytes);
            let panel_at = block * self.output_pitch + byte;
            // What tiles this few can't fetch on their way would only drive out what they need.
            let fetches = panel + 1 < panels && run_lines <= BLOCK_WORDS;
            let fetch_lines = if fetches { run_lines } else { 0 };
            let weights = product.weights.as_ptr().wrapping_add(panel * panel_bytes);
            let mut fetch = weights.wrapping_add(panel_bytes);
            let mut compute = |images: [usize; 2], segments: [Segment; 2], kernel: Kernel| {
                let from = |i: usize| images[i] * product.input_bytes + segments[i].input as usize;
                let to = |i: usize| images[i] * product.output_bytes + segments[i].output as usize;
                // SAFETY: the caller vouches for inputs and outputs. The weights hold `panels` panels, bias and factors 32
                // values each. The kernel was made by the `Isa` of this model.
                unsafe {
                    kernel(&Tile {
                        input: [0, 1].map(|i| product.input.add(from(i))),
                        output: [0, 1].map(|i| product.output.add(to(i) + panel_at)),
                        output_pitch: self.output_pitch,
                        weights: weights.cast(),
                        bias: product.bias.as_ptr().add(panel * PANEL),
                        factors: product.factors.sums.as_ptr().add(panel * PANEL),
                        residual_factor: product.factors.residual,
                        runs: product.runs,
                        accumulate: product.accumulate,
                        floor,
                        ceiling,
                        fetch,
                        fetch_lines,
                    });
                }
                fetch = fetch.wrapping_add(product.runs.len() * fetch_lines * LINE_BYTES);
            };
            for first in (0..images).step_by(2) {
                let last = (first + 1).min(images - 1);
                for image in first..=last {
                    for (pair, kernel) in &pass.pairs {
                        compute([image; 2], *pair, *kernel);
                    }
                }
                for (segment, kernels) in &pass.singles {
                    compute([first, last], [*segment; 2], kernels[last - first]);
                }
            }
        }
    }
}

impl Pass {
    /// Cuts every row of `to` into segments of nearly equal length and pairs those of equal length, across rows where need be.
    fn whole(kernels: &Kernels, reading: Reading, to: Grid) -> Self {
        let mut pass = Self::default();
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
                        pass.pairs.push(pair);
                    }
                    None => waiting[next - x] = Some(segment),
                }
            }
        }
        for (pixels, segment) in waiting.into_iter().enumerate() {
            let kernels = |s| (s, [kernels.one(pixels), kernels.two(pixels)]);
            pass.singles.extend(segment.map(kernels));
        }
        pass
    }

    /// These, of `bytes` of maps, so few at a time that their maps stay near.
    fn cut(self, bytes: usize) -> Vec<Self> {
        if bytes <= PASS_BYTES || self.pairs.is_empty() {
            return vec![self];
        }
        let most = (self.pairs.len() * BLOCK_BYTES / bytes).max(1);
        let pass = |pairs: &[_]| Self {
            pairs: pairs.to_vec(),
            singles: vec![],
        };
        let mut passes: Vec<Self> = self.pairs.chunks(most).map(pass).collect();
        if let Some(last) = passes.last_mut() {
            last.singles = self.singles;
        }
        passes
    }
}

// `BLOCK_WORDS` words are one block of 64 bytes whatever the precision, so offsets never change with it.
const _: () = assert!(BLOCK_WORDS * 4 == LINE_BYTES);
