//! From pixels to features: pretrained networks as functions of one image.
//!
//! A [`Model`] is a network ready to run: weights read, folded with their BatchNorms, packed for this CPU, and immutable, so that
//! all workers of a process share it. [`Model::worker`] adds the memory that one image at a time needs and gives a [`Backbone`].
//! Images never share a pass: on a CPU batching gains nothing (measured within 1 %), and so an image's features cannot
//! depend on its neighbours.
//!
//! - [`Architecture`]: which network. [`Options`]: how it is computed: [`Preprocessing`], [`Pooling`], [`Precision`], [`Family`].
//! - [`Calibration`]: how large the outputs of each layer become, which int8 has to know beforehand.
//! - `model` builds and shares; `forward` is the network as one operation on Candle's tensors; [`kernels`] compute it.
//! - [`Head`]: what makes wide features narrow behind the network.
//! - `pixels` is a backbone without weights, for tests and first steps.
//! - [`bench`](mod@bench) times it beside other engines, and layer by layer.
//!
//! [`Spec::identity`] names all that the bits of a feature depend on. Two specs of the same identity compute the same bits for
//! the same pixels; states built under different ones must not be mixed.

pub mod architecture;
pub mod bench;
mod calibration;
pub mod forward;
mod head;
#[allow(
    unsafe_code,
    reason = "instructions that not every CPU has, on raw addresses"
)]
pub mod kernels;
mod model;
mod pixels;
mod preprocessing;
pub mod reference;
pub mod weights;

pub use architecture::{Architecture, ResNet, Strides};
pub use calibration::Calibration;
pub use head::Head;
pub use kernels::Family;
pub use model::{Model, Parameters};
pub use preprocessing::Preprocessing;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A function from one image to its features, with the memory that it needs.
pub trait Backbone: Send {
    /// What it computes.
    fn spec(&self) -> &Spec;

    /// Computes the features of one image.
    ///
    /// `pixels`: `[side, side, 3]` RGB, row by row; `features`: `[d]`, overwritten. The same pixels give the same bits,
    /// whatever was computed before and on whichever worker.
    ///
    /// # Errors
    /// [`BackboneError::PixelCount`], [`BackboneError::FeatureCount`] where a length is another than [`Spec`]'s.
    fn extract(&mut self, pixels: &[u8], features: &mut [f32]) -> Result<(), BackboneError>;
}

/// What a backbone computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The network: `resnet50`, `pixels`.
    pub name: String,
    /// Length d of the feature vector.
    pub features: usize,
    /// Width and height of the input in pixels.
    pub side: usize,
    /// Everything that the bits of the features depend on, for people and for comparison.
    pub identity: String,
}

/// Numbers that activations and weights are stored in. Sums are f32, but for int8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Relative error of features about 5e-6.
    #[default]
    F32,
    /// Several times as fast on AMX, up to twice with AVX512-BF16, and one of them is needed; cosine to f32 features about 0.9997.
    /// The first blocks of MobileNetV2 stay in f32.
    Bf16,
    /// Bytes, and sums of 32 bits; the same features on every CPU, fast where it has AVX512-VNNI. Needs a [`Calibration`]; not for
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
    /// Kernels; none for the fastest that this CPU has in the precision, the default.
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
    /// The kernels that compute.
    pub fn chosen_family(&self) -> Family {
        self.family
            .unwrap_or_else(|| Family::detect(self.precision))
    }
}

/// Why a network can't be built or run.
#[derive(Debug, thiserror::Error)]
pub enum BackboneError {
    /// No such network.
    #[error("unknown network `{0}`: choose one of {names}", names = Architecture::NAMES.join(", "))]
    UnknownNetwork(String),
    /// No such precision.
    #[error("unknown precision `{0}`: choose f32, bf16 or int8")]
    UnknownPrecision(String),
    /// No such preprocessing.
    #[error("unknown preprocessing `{0}`: choose torchvision, caffe or tf")]
    UnknownPreprocessing(String),
    /// No such pooling.
    #[error("unknown pooling `{0}`: choose avg, max or flatten")]
    UnknownPooling(String),
    /// The input side does not suit the network.
    #[error("an input side of {0} pixels is not possible: choose one from {min} to {max}", min = model::SIDE_MIN, max = model::SIDE_MAX)]
    Side(usize),
    /// The CPU, or the family of kernels, does not compute in this precision.
    #[error(
        "this CPU cannot compute {precision} with {family} kernels: {}",
        match precision {
            Precision::F32 | Precision::Int8 => "choose other kernels (backbone.kernels), or none for the fastest",
            Precision::Bf16 => "it needs AMX or AVX512-BF16; choose precision f32",
        }
    )]
    Unsupported {
        /// The kernels asked for.
        family: Family,
        /// The precision asked for.
        precision: Precision,
    },
    /// A network that bytes can't hold.
    #[error(
        "{0} has no int8: its narrow maps have channels of very different sizes, which one step for all would wipe out; choose \
         precision f32 or bf16"
    )]
    NotInIntegers(String),
    /// A layer whose range is not known.
    #[error(
        "int8 needs to know how large the outputs of `{0}` become: make a calibration of these very weights, as `eigenflow weights \
         calibrate` does"
    )]
    Uncalibrated(String),
    /// A calibration that is none, or of something else.
    #[error("the calibration {0}: make another by `eigenflow weights calibrate`")]
    Calibration(String),
    /// The weights are no safetensors file.
    #[error("the weights are not a whole safetensors file; fetch them again: {0}")]
    Malformed(#[source] safetensors::SafeTensorError),
    /// A tensor that the network needs is not there.
    #[error("the weights lack the tensor `{0}`: is this file of another network?")]
    MissingTensor(String),
    /// A tensor of a head's file that belongs to no layer.
    #[error(
        "the tensor `{0}` belongs to no layer: layers are dense.0.kernel and dense.0.bias, dense.1.kernel and so on"
    )]
    StrayTensor(String),
    /// A head that gives no features, or does not make them fewer where it should.
    #[error("from {inputs} features to {outputs} is no reduction: choose fewer, but at least 1")]
    HeadWidth {
        /// Features that it would take.
        inputs: usize,
        /// Features that it would give.
        outputs: usize,
    },
    /// A tensor has another shape than the network's.
    #[error(
        "the tensor `{name}` is {found:?} where the network needs {expected:?}: is this file of another network?"
    )]
    TensorShape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape needed.
        expected: Vec<usize>,
    },
    /// A tensor holds another type than f32.
    #[error("the tensor `{name}` holds {found} where f32 is needed: convert the weights to f32")]
    TensorType {
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// A weight is infinite or not a number.
    #[error("`{0}` is not finite, so no feature would be: fetch the weights again")]
    NotFinite(String),
    /// An image of another size than the network's input.
    #[error(
        "an image of {found} bytes where {expected} are needed: resize it to the backbone's side, RGB"
    )]
    PixelCount {
        /// Bytes given.
        found: usize,
        /// side * side * 3.
        expected: usize,
    },
    /// Room for another number of features than the network has.
    #[error("room for {found} features where the backbone has {expected}")]
    FeatureCount {
        /// Room given.
        found: usize,
        /// [`Spec::features`].
        expected: usize,
    },
    /// Candle refused the operation.
    #[error("candle: {0}")]
    Candle(#[from] candle_core::Error),
    /// The other end of a benchmark is gone, or says what is no command.
    #[error("the benchmark's input or output: {0}")]
    Bench(#[from] std::io::Error),
}

impl BackboneError {
    /// Whether it would come again with the same configuration, weights and CPU: all but what Candle and the world outside do.
    pub fn stands(&self) -> bool {
        !matches!(self, Self::Candle(_) | Self::Bench(_))
    }
}

/// That an image and its features have the lengths of `spec`.
fn check_lengths(spec: &Spec, pixels: &[u8], features: &[f32]) -> Result<(), BackboneError> {
    let expected = spec.side * spec.side * 3;
    if pixels.len() != expected {
        return Err(BackboneError::PixelCount {
            found: pixels.len(),
            expected,
        });
    }
    if features.len() != spec.features {
        return Err(BackboneError::FeatureCount {
            found: features.len(),
            expected: spec.features,
        });
    }
    Ok(())
}
