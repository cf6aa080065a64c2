//! From pixels to features: pretrained networks as functions of an image.
//!
//! A [`Model`] is a network ready to run: weights read, folded with their BatchNorms, packed for this CPU, and immutable, so that
//! all workers of a process share it. [`Model::worker`] adds the memory that a pass needs and gives a [`Backbone`].
//! Up to four images share a pass through the last layers where these have small maps, and most of the weights. Each image's sums are
//! formed as if it were alone, so its features cannot depend on its neighbours.
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

/// A function from an image to its features, with the memory that it needs.
pub trait Backbone: Send {
    /// What it computes.
    fn spec(&self) -> &Spec;

    /// Computes the features of n images, any number.
    ///
    /// `pixels`: `[n, side, side, 3]` RGB, row by row; `features`: `[n, d]`, overwritten. The same pixels give the same bits,
    /// whatever is computed before or beside them and on whichever worker.
    ///
    /// # Errors
    /// [`BackboneError::PixelCount`], [`BackboneError::FeatureCount`] where a length is not that of whole images by [`Spec`], or not
    /// of as many.
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

impl Spec {
    /// Bytes of an image's pixels.
    fn image_bytes(&self) -> usize {
        self.side * self.side * 3
    }

    /// That images and features have these lengths, and are as many.
    fn check_lengths(&self, pixels: &[u8], features: &[f32]) -> Result<(), BackboneError> {
        let images = pixels.len().div_ceil(self.image_bytes());
        let expected = images * self.image_bytes();
        if pixels.len() != expected {
            return Err(BackboneError::PixelCount {
                found: pixels.len(),
                expected,
            });
        }
        let expected = images * self.features;
        if features.len() != expected {
            return Err(BackboneError::FeatureCount {
                found: features.len(),
                expected,
            });
        }
        Ok(())
    }

    /// The images and their features, `together` at a time.
    fn passes<'a>(
        &self,
        together: usize,
        pixels: &'a [u8],
        features: &'a mut [f32],
    ) -> impl Iterator<Item = (&'a [u8], &'a mut [f32])> + use<'a> {
        let features = features.chunks_mut(together * self.features);
        pixels.chunks(together * self.image_bytes()).zip(features)
    }
}
