//! The networks as plans, each up to the maps that are pooled to features. Their tensors have torchvision's names.

mod mobilenet;
mod resnet;
mod vgg;

use super::plan::{Maps, Plan};
use crate::backbone::BackboneError;
use crate::backbone::architecture::Architecture;

/// Rows and columns of the first convolution's kernel.
pub(super) fn first_kernel(architecture: Architecture) -> usize {
    match architecture {
        Architecture::ResNet(_) => 7,
        Architecture::MobileNetV2 | Architecture::Vgg16 => 3,
    }
}

impl Plan<'_> {
    /// Appends all layers of `architecture`. Returns the last maps.
    pub(super) fn network(&mut self, architecture: Architecture) -> Result<Maps, BackboneError> {
        match architecture {
            Architecture::ResNet(network) => resnet::plan(self, network),
            Architecture::MobileNetV2 => mobilenet::plan(self),
            Architecture::Vgg16 => vgg::plan(self),
        }
    }
}
