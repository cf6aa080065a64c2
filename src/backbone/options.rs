//! How a network is computed: what a job's configuration chooses of it.

use super::{Architecture, BackboneError, Family, Preprocessing};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The smallest input side: halved five times there is a pixel left.
pub const SIDE_MIN: usize = 32;

/// The largest input side: offsets inside a layer's buffer are 32 bits wide.
pub const SIDE_MAX: usize = 2048;

/// Numbers that activations and weights are stored in. Sums are f32, but for int8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Relative error of features about 5e-6. Where a ResNet is computed on AMX its numbers are split into bf16: activations into two,
    /// which keep 17 of their 24 bits, weights into three, which keep all; the error is about 8e-6 then.
    #[default]
    F32,
    /// Several times as fast on AMX, from half to twice as fast with AVX512-BF16, and one of them is needed; cosine to f32 features about 0.9997.
    /// The first blocks of MobileNetV2 stay in f32.
    Bf16,
    /// Bytes, and sums of 32 bits; the same features on every CPU, fast where it has AVX512-VNNI. Needs a [`Calibration`](super::Calibration); not for
    /// MobileNetV2.
    Int8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        })
    }
}

impl FromStr for Precision {
    type Err = BackboneError;

    fn from_str(name: &str) -> Result<Self, BackboneError> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "int8" => Ok(Self::Int8),
            _ => Err(BackboneError::UnknownPrecision(name.into())),
        }
    }
}

/// What of the last maps, `[height, width, channels]`, becomes features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of each channel.
    #[default]
    Avg,
    /// The maximum of each channel.
    Max,
    /// Everything, in the order of Keras' `Flatten`: row, column, channel. (PyTorch's is channel, row, column.)
    Flatten,
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Avg => "avg",
            Self::Max => "max",
            Self::Flatten => "flatten",
        })
    }
}

impl FromStr for Pooling {
    type Err = BackboneError;

    fn from_str(name: &str) -> Result<Self, BackboneError> {
        let named = |p: &Self| p.to_string() == name;
        let found = [Self::Avg, Self::Max, Self::Flatten]
            .into_iter()
            .find(named);
        found.ok_or_else(|| BackboneError::UnknownPooling(name.into()))
    }
}

/// How a network is computed, whatever its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Kernels; none for the fastest that this CPU has for the network in the precision, the default.
    pub family: Option<Family>,
    /// Width and height of the input in pixels, from 32 to 2,048; 224 by default.
    pub side: usize,
    /// Numbers of the convolutions.
    pub precision: Precision,
    /// From levels to the network's input.
    pub preprocessing: Preprocessing,
    /// From the last maps to features.
    pub pooling: Pooling,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            family: None,
            side: 224,
            precision: Precision::default(),
            preprocessing: Preprocessing::default(),
            pooling: Pooling::default(),
        }
    }
}

impl Options {
    /// The kernels that compute `architecture`.
    pub fn chosen_family(&self, architecture: Architecture) -> Family {
        self.family
            .unwrap_or_else(|| Family::detect(architecture, self.precision))
    }
}
