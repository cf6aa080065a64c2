//! A network ready to run, shared by all workers of a process.

use super::forward::{Forward, fill, take};
use super::kernels::{self, Arena, Network, Source};
use super::pixels::{self, Pixels};
use super::{Backbone, BackboneError, Family, Precision, ResNet, Spec, check_lengths};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;

/// The largest input side: offsets inside a layer's buffer are 32 bits wide.
pub const SIDE_MAX: usize = 2048;

/// A network with its weights packed for this CPU; or none, for the pixels themselves. Cheap to clone: weights are shared.
#[derive(Clone)]
pub struct Model {
    spec: Spec,
    /// None where the pixels are the features.
    network: Option<Arc<Network>>,
}

impl Model {
    /// The backbone `pixels`: 16x16 RGB to 768 features, value / 255 in the order row, column, channel.
    pub fn pixels() -> Self {
        Self {
            spec: pixels::spec(),
            network: None,
        }
    }

    /// A ResNet without its classifier, from `bytes` of safetensors with torchvision's names in f32, on the fastest kernels
    /// of this CPU. `weights_sha256` is the bytes' hash, as the caller verified it; it becomes part of the identity.
    ///
    /// # Errors
    /// [`BackboneError::Side`], [`BackboneError::Unsupported`], and one for each way in which weights can be wrong.
    pub fn resnet(
        arch: ResNet,
        bytes: &[u8],
        weights_sha256: &str,
        side: usize,
        precision: Precision,
    ) -> Result<Self, BackboneError> {
        Self::resnet_on(
            Family::detect(),
            arch,
            bytes,
            weights_sha256,
            side,
            precision,
        )
    }

    /// As [`Model::resnet`], on kernels of a given family.
    ///
    /// # Errors
    /// As [`Model::resnet`].
    pub fn resnet_on(
        family: Family,
        arch: ResNet,
        bytes: &[u8],
        weights_sha256: &str,
        side: usize,
        precision: Precision,
    ) -> Result<Self, BackboneError> {
        let weights = format!("sha256:{weights_sha256}");
        Self::build(
            family,
            arch,
            Source::parse(bytes)?,
            &weights,
            side,
            precision,
        )
    }

    /// A ResNet whose weights are random numbers from `seed`, the same on every machine: for trying things out where no
    /// weights can be had, and for tests. Its features mean little.
    ///
    /// # Errors
    /// [`BackboneError::Side`], [`BackboneError::Unsupported`].
    pub fn random(
        arch: ResNet,
        seed: u64,
        side: usize,
        precision: Precision,
    ) -> Result<Self, BackboneError> {
        Self::random_on(Family::detect(), arch, seed, side, precision)
    }

    /// As [`Model::random`], on kernels of a given family.
    ///
    /// # Errors
    /// As [`Model::random`].
    pub fn random_on(
        family: Family,
        arch: ResNet,
        seed: u64,
        side: usize,
        precision: Precision,
    ) -> Result<Self, BackboneError> {
        let weights = format!("random:{seed}");
        Self::build(
            family,
            arch,
            Source::Random(seed),
            &weights,
            side,
            precision,
        )
    }

    fn build(
        family: Family,
        arch: ResNet,
        source: Source,
        weights: &str,
        side: usize,
        precision: Precision,
    ) -> Result<Self, BackboneError> {
        if !ResNet::DEPTHS.contains(&arch.depth) {
            return Err(BackboneError::UnknownNetwork(arch.name()));
        }
        if side == 0 || !side.is_multiple_of(32) || side > SIDE_MAX {
            return Err(BackboneError::Side(side));
        }
        let network = Network::load(arch, &source, side, family, precision)?;
        let computation = kernels::identity(family, side);
        Ok(Self {
            spec: Spec {
                name: arch.name(),
                features: arch.features(),
                side,
                identity: format!("{arch}; {precision}; {computation}; {weights}"),
            },
            network: Some(Arc::new(network)),
        })
    }

    /// What it computes.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// A backbone over these weights, with buffers of its own.
    pub fn worker(&self) -> Box<dyn Backbone> {
        match &self.network {
            None => Box::new(Pixels::new(self.spec.clone())),
            Some(network) => Box::new(Worker::new(self.spec.clone(), network.clone())),
        }
    }

    /// The network as one operation on Candle's tensors, with buffers of its own; none for `pixels`.
    pub fn forward(&self) -> Option<Forward> {
        let network = self.network.as_ref()?;
        Some(Forward::new(&self.spec, network.clone()))
    }

    /// The network and memory for it, to look inside; none for `pixels`.
    pub(super) fn network(&self) -> Option<(&Network, Arena)> {
        self.network.as_deref().map(|n| (n, n.arena()))
    }
}

/// One image at a time through Candle's door; nothing is allocated after birth.
struct Worker {
    spec: Spec,
    forward: Forward,
    /// `[side, side, 3]` u8.
    pixels: Tensor,
    /// `[d]` f32.
    features: Tensor,
}

impl Worker {
    fn new(spec: Spec, network: Arc<Network>) -> Self {
        let zeros = |shape: &[usize], dtype| {
            Tensor::zeros(shape, dtype, &Device::Cpu).expect("the CPU has tensors of every shape")
        };
        Self {
            pixels: zeros(&[spec.side, spec.side, 3], DType::U8),
            features: zeros(&[spec.features], DType::F32),
            forward: Forward::new(&spec, network),
            spec,
        }
    }
}

impl Backbone for Worker {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn extract(&mut self, pixels: &[u8], features: &mut [f32]) -> Result<(), BackboneError> {
        check_lengths(&self.spec, pixels, features)?;
        fill(&self.pixels, pixels)?;
        self.features.inplace_op2(&self.pixels, &self.forward)?;
        take(&self.features, features)
    }
}
