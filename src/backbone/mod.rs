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
mod error;
pub mod forward;
mod head;
#[allow(
    unsafe_code,
    reason = "instructions that not every CPU has, on raw addresses"
)]
pub mod kernels;
mod model;
mod options;
mod pixels;
mod preprocessing;
pub mod reference;
pub mod weights;

pub use architecture::{Architecture, ResNet, Strides};
pub use calibration::Calibration;
pub use error::BackboneError;
pub use head::Head;
pub use kernels::Family;
pub use model::{Model, Parameters};
pub use options::{Options, Pooling, Precision};
pub use preprocessing::Preprocessing;

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
