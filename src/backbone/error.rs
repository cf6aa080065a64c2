//! What can be wrong with a network, its weights and its images, with the cure.

use super::options::{SIDE_MAX, SIDE_MIN};
use super::{Architecture, Family, Precision};

/// Why a network can't be built or run.
#[derive(Debug, thiserror::Error)]
pub enum BackboneError {
    /// No such network.
    #[error("unknown network `{0}`: choose one of {names}", names = Architecture::NAMES.join(", "))]
    UnknownNetwork(String),
    /// No such precision.
    #[error("unknown precision `{0}`: choose f32, bf16 or int8")]
    UnknownPrecision(String),
    /// No such family of kernels.
    #[error("unknown kernels `{0}`: choose amx, avx512, avx2 or portable")]
    UnknownFamily(String),
    /// No such preprocessing.
    #[error("unknown preprocessing `{0}`: choose torchvision, caffe or tf")]
    UnknownPreprocessing(String),
    /// No such pooling.
    #[error("unknown pooling `{0}`: choose avg, max or flatten")]
    UnknownPooling(String),
    /// The input side does not suit the network.
    #[error("an input side of {0} pixels is not possible: choose one from {min} to {max}", min = SIDE_MIN, max = SIDE_MAX)]
    Side(usize),
    /// The CPU, or the family of kernels, does not compute the network in this precision.
    #[error(
        "this CPU cannot compute {precision} with {family} kernels: {}",
        match (precision, family) {
            (Precision::F32, Family::Amx) => "AMX computes ResNets so, where the CPU has it; choose other kernels \
                (backbone.kernels), or none for the fastest",
            (Precision::F32 | Precision::Int8, _) => "choose other kernels (backbone.kernels), or none for the fastest",
            (Precision::Bf16, _) => "it needs AMX or AVX512-BF16; choose precision f32",
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
        /// [`Spec::features`](super::Spec::features).
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
