//! One step of a network: a layer, or what stands between two, from a buffer to another.

use super::conv::Direct;
use super::convert::Convert;
use super::depthwise::Depthwise;
use super::isa::Isa;
use super::polyphase::Strided;
use super::pool::Max2;
use super::stem::Stem;
use super::winograd::Winograd;

/// How a step is computed.
pub(super) enum Operator {
    Stem(Stem),
    Direct(Direct),
    Strided(Strided),
    Winograd(Winograd),
    Depthwise(Depthwise),
    Max2(Max2),
    Convert(Convert),
}

impl Operator {
    /// Working memory that it needs for so many images side by side.
    pub(super) fn scratch_bytes(&self, images: usize) -> usize {
        match self {
            Self::Stem(stem) => stem.scratch_bytes(),
            Self::Strided(strided) => strided.scratch_bytes(images),
            Self::Winograd(winograd) => winograd.scratch_bytes(),
            Self::Direct(direct) => direct.scratch_bytes(images),
            Self::Depthwise(_) | Self::Max2(_) | Self::Convert(_) => 0,
        }
    }

    /// Whether images side by side share what it reads from memory.
    pub(super) fn shares(&self) -> bool {
        matches!(self, Self::Direct(_) | Self::Strided(_) | Self::Winograd(_))
    }

    /// Computes some images, each so many bytes of input and of output behind the one before, which are those of a layer's grids where
    /// it takes images side by side. `isa` is what a [`Convert`] writes for.
    pub(super) fn run(
        &self,
        isa: Isa,
        images: usize,
        (input, input_bytes): (&[u8], usize),
        (output, output_bytes): (&mut [u8], usize),
        scratch: &mut [u8],
    ) {
        let each = |output: &mut [u8], run: &mut dyn FnMut(&[u8], &mut [u8])| {
            for image in 0..images {
                run(
                    &input[image * input_bytes..],
                    &mut output[image * output_bytes..],
                );
            }
        };
        match self {
            Self::Direct(direct) => direct.run(images, input, output, scratch),
            Self::Strided(strided) => strided.run(images, input, output, scratch),
            Self::Winograd(winograd) => winograd.run(images, input, output, scratch),
            Self::Stem(stem) => each(output, &mut |input, output| {
                stem.run(input, output, scratch)
            }),
            Self::Depthwise(depthwise) => {
                each(output, &mut |input, output| depthwise.run(input, output));
            }
            Self::Max2(maximum) => each(output, &mut |input, output| maximum.run(input, output)),
            Self::Convert(convert) => {
                each(output, &mut |input, output| convert.run(isa, input, output));
            }
        }
    }
}

/// A step, and where its maps are.
pub(super) struct Step {
    /// Where it has weights their name, and the algorithm.
    pub(super) name: String,
    pub(super) flops: f64,
    pub(super) operator: Operator,
    /// Indices of buffers, never equal.
    pub(super) input: usize,
    pub(super) output: usize,
}

impl Step {
    /// The name of its weights, if it has any.
    pub(super) fn layer(&self) -> Option<&str> {
        let (layer, _algorithm) = self.name.split_once(' ')?;
        Some(layer)
    }
}
