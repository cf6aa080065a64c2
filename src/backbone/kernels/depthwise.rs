//! Depthwise 3x3 convolution: every channel by itself, so there is no sum over channels and nothing to tile. Nine multiply-adds
//! an output, taps in row-major order after the bias; weights stay in registers along a row.

use super::grid::Grid;
use super::isa::Isa;
use super::lanes::{Lanes, Task, place};
use super::layer::{Epilogue, Folded};

const TAPS: usize = 9;

/// A depthwise 3x3 convolution, padded by one.
pub(super) struct Depthwise {
    isa: Isa,
    stride: usize,
    /// `[tap][channel]`, f32 in each precision.
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// What outputs are clipped to.
    bounds: [f32; 2],
    from: Grid,
    to: Grid,
}

impl Depthwise {
    /// `folded` has one input channel for each output; `stride` is 1 or 2. Channels behind the last become zeros.
    pub(super) fn new(
        isa: Isa,
        folded: &Folded,
        stride: usize,
        epilogue: Epilogue,
        from: Grid,
        to: Grid,
    ) -> Self {
        let channels = to.blocks * isa.block_channels();
        assert!((folded.cin, folded.k) == (1, 3) && folded.cout <= channels);
        assert!(from.blocks == to.blocks && from.border >= 1 && (1..=2).contains(&stride));
        assert!(to.height == from.height.div_ceil(stride));
        assert!(to.width == from.width.div_ceil(stride));
        assert!(!epilogue.accumulate, "no network adds a residual here");
        let mut weights = vec![0.0; TAPS * channels];
        for (c, taps) in folded.weights.chunks_exact(TAPS).enumerate() {
            for (tap, weight) in taps.iter().enumerate() {
                weights[tap * channels + c] = *weight;
            }
        }
        let mut bias = folded.bias.clone();
        bias.resize(channels, 0.0);
        Self {
            isa,
            stride,
            weights,
            bias,
            bounds: isa.bounds(epilogue.activation),
            from,
            to,
        }
    }

    /// Computes all outputs; `input` and `output` have the grids this convolution was built for.
    pub(super) fn run(&self, input: &[u8], output: &mut [u8]) {
        assert!(input.len() >= self.from.bytes() && output.len() >= self.to.bytes());
        let task = Rows {
            shape: self,
            input: input.as_ptr(),
            output: output.as_mut_ptr(),
        };
        // SAFETY: the buffers hold the grids, as asserted; `new` asserted that the 3x3 around every output's place lies in
        // `from` and its border, and made weights and biases for all channels of the grids.
        unsafe { self.isa.enter(task) }
    }
}

struct Rows<'a> {
    shape: &'a Depthwise,
    input: *const u8,
    output: *mut u8,
}

impl Task for Rows<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Depthwise { from, to, .. } = *self.shape;
        let (stride, channels) = (self.shape.stride, self.shape.bias.len());
        let inset = from.border - 1;
        // SAFETY: `Depthwise::run` vouches for grids, weights and biases.
        unsafe {
            let [floor, ceiling] = self.shape.bounds.map(|bound| L::splat(bound));
            for y in 0..to.height {
                let row = self.input.add(from.corner_at(y * stride + inset, inset));
                for channel in (0..channels).step_by(L::WIDTH) {
                    let (block, byte) = place(channel, L::VALUE_BYTES);
                    let row = row.add(block * from.block_pitch() + byte);
                    let output = self
                        .output
                        .add(to.at(y, 0) + block * to.block_pitch() + byte);
                    let bias = L::load(self.shape.bias.as_ptr().add(channel));
                    let mut weights = [bias; TAPS];
                    for (tap, weight) in weights.iter_mut().enumerate() {
                        *weight =
                            L::load(self.shape.weights.as_ptr().add(tap * channels + channel));
                    }
                    for x in 0..to.width {
                        let mut sum = bias;
                        for (tap, weight) in weights.iter().enumerate() {
                            let at = x * stride + tap % 3;
                            let at = tap / 3 * from.row_pitch() + at * L::PIXEL_BYTES;
                            sum = sum.multiply_add(*weight, L::read(row.add(at)));
                        }
                        let sum = sum.max(floor).min(ceiling);
                        sum.write(output.add(x * L::PIXEL_BYTES));
                    }
                }
            }
        }
    }
}
