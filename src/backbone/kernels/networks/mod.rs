//! The networks as plans, each up to the maps that are pooled to features. Their tensors have torchvision's names.

mod mobilenet;
mod resnet;
mod vgg;

use super::isa::Isa;
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

/// The kernels of the first layers, where `isa`'s are those of the last.
pub(super) fn first_isa(architecture: Architecture, isa: Isa) -> Isa {
    match architecture {
        Architecture::ResNet(_) if isa.splits() => isa.of_f32(),
        Architecture::ResNet(_) | Architecture::Vgg16 => isa,
        Architecture::MobileNetV2 => isa.of_f32(),
    }
}

/// The kernels of the first convolution, which reads the image.
pub(super) fn image_isa(architecture: Architecture, isa: Isa) -> Isa {
    if isa.splits() {
        isa.of_levels()
    } else {
        first_isa(architecture, isa)
    }
}

/// What of `architecture` is in f32 when it computes in bf16, for an identity.
pub(super) fn in_f32(architecture: Architecture) -> String {
    match architecture {
        Architecture::ResNet(_) | Architecture::Vgg16 => String::new(),
        Architecture::MobileNetV2 => format!(", f32 up to block {}", mobilenet::LAST_IN_F32),
    }
}

/// What a network that computes in f32 on tiles reads, and from where on its numbers are split, for an identity.
pub(super) fn split() -> String {
    format!("levels, split behind block {}", resnet::LAST_IN_F32)
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
