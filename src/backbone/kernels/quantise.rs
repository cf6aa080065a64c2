//! From f32 to bytes: what a byte of a layer's output stands for, and a convolution in such terms.
//!
//! A byte b stands for `step * (b - zero)`. Outputs behind a ReLU have zero 0, so that borders of zeros are what they were;
//! the others, which are never padded, 128. A weight is `step * i`, i from -127 to 127, with a step for each output channel
//! (Jacob et al. 2018; Nagel et al. 2021, "A White Paper on Neural Network Quantization").
//! The sum over i and b is an integer and so exact. Of it the output's byte is made by a product and a sum in f32, with the
//! residual a product and a sum more, in this order, each rounded to f32; then rounded to nearest even and kept within 0 and 255.
//! No step of it is left to the machine.

use super::layer::{Activation, Folded};
use std::collections::BTreeMap;

/// The largest magnitude that each layer's output is given room for, by the name of its weights.
pub(in crate::backbone) type Ranges = BTreeMap<String, f32>;

/// Bounds of a byte.
pub(super) const BYTES: [f32; 2] = [0.0, 255.0];

/// The largest weight, as an integer.
const WEIGHT_MAX: f64 = 127.0;
/// The byte that stands for 0 where numbers may be negative.
const MIDDLE: f64 = 128.0;

/// What bytes stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Levels {
    pub(super) step: f64,
    zero: f64,
}

impl Levels {
    /// Those of an image.
    pub(super) const IMAGE: Self = Self {
        step: 1.0,
        zero: 0.0,
    };

    /// Outputs of magnitudes up to `range` behind this activation.
    pub(super) fn of(range: f32, activation: Activation) -> Self {
        let (zero, most) = match activation {
            Activation::None => (MIDDLE, WEIGHT_MAX),
            Activation::Relu | Activation::Relu6 => (0.0, 255.0),
        };
        Self {
            step: step(f64::from(range), most),
            zero,
        }
    }
}

/// From integers to numbers, where `most` is to stand for `range`.
fn step(range: f64, most: f64) -> f64 {
    // Where all is 0, any will do.
    if range > 0.0 { range / most } else { 1.0 }
}

/// What makes a byte of a sum of integers, besides the bias.
pub(super) struct Factors {
    /// Of each output channel.
    pub(super) sums: Vec<f32>,
    /// Of what the output held before, where it is added.
    pub(super) residual: f32,
}

impl Factors {
    /// Those of floats, which are not multiplied.
    pub(super) fn none(outputs: usize) -> Self {
        Self {
            sums: vec![1.0; outputs],
            residual: 1.0,
        }
    }
}

/// The convolution from bytes to bytes: weights are integers, and the bias counts in steps of the output. `held` is what the
/// output's bytes stood for before, where they are added.
pub(super) fn quantise(
    folded: &Folded,
    [from, to]: [Levels; 2],
    held: Option<Levels>,
) -> (Folded, Factors) {
    let (mut weights, mut bias, mut sums) = (Vec::new(), Vec::new(), Vec::new());
    let residual = held.map_or(0.0, |held| held.step / to.step);
    let before = held.map_or(0.0, |held| held.zero);
    let each = folded.cin * folded.k * folded.k;
    for (of_output, number) in folded.weights.chunks_exact(each).zip(&folded.bias) {
        let most = of_output.iter().fold(0.0, |most: f32, w| most.max(w.abs()));
        let step = step(f64::from(most), WEIGHT_MAX);
        let integers = of_output
            .iter()
            .map(|w| (f64::from(*w) / step).round_ties_even());
        let factor = from.step * step / to.step;
        let shift = factor * from.zero * integers.clone().sum::<f64>() + residual * before;
        weights.extend(integers.map(|i| i as f32));
        bias.push((f64::from(*number) / to.step + to.zero - shift) as f32);
        sums.push(factor as f32);
    }
    let folded = Folded {
        weights,
        bias,
        ..*folded
    };
    let residual = residual as f32;
    (folded, Factors { sums, residual })
}
