//! Where weights come from: safetensors with torchvision's names, or seeded random numbers; the BatchNorm folded in.

use super::layer::Folded;
use crate::backbone::BackboneError;
use safetensors::{Dtype, SafeTensors};

/// PyTorch's default, and that of torchvision's networks.
const BATCH_NORM_EPSILON: f64 = 1e-5;

/// A supplier of tensors by name.
pub(in crate::backbone) enum Source<'a> {
    Safetensors(SafeTensors<'a>),
    /// He-initialised weights and a harmless BatchNorm from a seed.
    Random(u64),
}

impl<'a> Source<'a> {
    /// The tensors of a safetensors file.
    pub(in crate::backbone) fn parse(bytes: &'a [u8]) -> Result<Self, BackboneError> {
        SafeTensors::deserialize(bytes)
            .map(Self::Safetensors)
            .map_err(BackboneError::Malformed)
    }

    /// Convolution `conv` of `[cout][cin][k][k]` weights: with its bias, or followed by BatchNorm `norm`, as one convolution.
    pub(super) fn folded(
        &self,
        conv: &str,
        norm: Option<&str>,
        [cout, cin, k]: [usize; 3],
    ) -> Result<Folded, BackboneError> {
        let fan_in = (cin * k * k) as f64;
        let he = (6.0 / fan_in).sqrt();
        let mut weights = self.tensor(&format!("{conv}.weight"), &[cout, cin, k, k], [-he, he])?;
        let bias = match norm {
            None => self.tensor(&format!("{conv}.bias"), &[cout], [-0.2, 0.2])?,
            Some(norm) => self.fold(norm, &mut weights, cout)?,
        };
        // A variance below zero, for one, is finite itself.
        if !weights.iter().chain(&bias).all(|v| v.is_finite()) {
            let norm = norm.map(|norm| format!(" with {norm}"));
            let name = format!("{conv}{}", norm.unwrap_or_default());
            return Err(BackboneError::NotFinite(name));
        }
        Ok(Folded {
            weights,
            bias,
            cin,
            cout,
            k,
        })
    }

    /// Takes BatchNorm `norm` into the weights before it, `[cout][…]`. Returns the bias.
    fn fold(
        &self,
        norm: &str,
        weights: &mut [f32],
        cout: usize,
    ) -> Result<Vec<f32>, BackboneError> {
        let part = |name: &str, range| self.tensor(&format!("{norm}.{name}"), &[cout], range);
        let gamma = part("weight", [0.5, 1.0])?;
        let beta = part("bias", [-0.2, 0.2])?;
        let mean = part("running_mean", [-0.2, 0.2])?;
        let variance = part("running_var", [0.5, 1.5])?;
        let each = weights.len() / cout;
        let of_channel = |(o, weights): (usize, &mut [f32])| {
            let deviation = (f64::from(variance[o]) + BATCH_NORM_EPSILON).sqrt();
            let scale = (f64::from(gamma[o]) / deviation) as f32;
            weights.iter_mut().for_each(|w| *w *= scale);
            beta[o] - mean[o] * scale
        };
        let channels = weights.chunks_exact_mut(each).enumerate();
        Ok(channels.map(of_channel).collect())
    }

    /// A tensor of f32; where numbers are random, within `range`.
    fn tensor(
        &self,
        name: &str,
        shape: &[usize],
        range: [f64; 2],
    ) -> Result<Vec<f32>, BackboneError> {
        match self {
            Self::Safetensors(file) => tensor(file, name, shape),
            Self::Random(seed) => Ok(uniform(*seed, name, shape.iter().product(), range)),
        }
    }
}

/// A tensor of finite f32 and this shape.
///
/// # Errors
/// One for each way in which it can be wrong.
pub(in crate::backbone) fn tensor(
    file: &SafeTensors,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>, BackboneError> {
    let tensor = file
        .tensor(name)
        .map_err(|_| BackboneError::MissingTensor(name.into()))?;
    if tensor.dtype() != Dtype::F32 {
        return Err(BackboneError::TensorType {
            name: name.into(),
            found: tensor.dtype().to_string(),
        });
    }
    if tensor.shape() != shape {
        return Err(BackboneError::TensorShape {
            name: name.into(),
            found: tensor.shape().to_vec(),
            expected: shape.to_vec(),
        });
    }
    let (values, _) = tensor.data().as_chunks::<4>();
    let values: Vec<f32> = values.iter().map(|b| f32::from_le_bytes(*b)).collect();
    if !values.iter().all(|v| v.is_finite()) {
        return Err(BackboneError::NotFinite(name.into()));
    }
    Ok(values)
}

/// `count` uniform values that depend on the seed, the tensor's name and nothing else. No function whose rounding differs
/// between machines is used.
fn uniform(seed: u64, name: &str, count: usize, [low, high]: [f64; 2]) -> Vec<f32> {
    // FNV-1a keeps tensors of one seed apart.
    let start = name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut state = start;
    (0..count)
        .map(|_| {
            let unit = (split_mix(&mut state) >> 11) as f64 / (1u64 << 53) as f64;
            (low + (high - low) * unit) as f32
        })
        .collect()
}

/// SplitMix64 (Steele, Lea & Flood 2014): the next of its numbers.
pub(super) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
