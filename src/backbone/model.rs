//! A network ready to run, shared by all workers of a process.

use super::forward::{Forward, fill, take};
use super::head::Headed;
use super::kernels::{self, Arena, Network, Ranges, Source};
use super::options::{SIDE_MAX, SIDE_MIN};
use super::pixels::{self, Pixels};
use super::{
    Architecture, Backbone, BackboneError, Calibration, Head, Options, Precision, ResNet, Spec,
};
use candle_core::{DType, Device, Tensor};
use std::fmt;
use std::sync::Arc;

/// The numbers of a network.
#[derive(Clone, Copy, Debug)]
pub enum Parameters<'a> {
    /// A file of f32 tensors with torchvision's names.
    Safetensors {
        /// The file.
        bytes: &'a [u8],
        /// Its hash in hex, as the caller verified it.
        sha256: &'a str,
    },
    /// Random ones, of this seed.
    Random(u64),
}

impl Parameters<'_> {
    pub(super) fn source(&self) -> Result<Source<'_>, BackboneError> {
        match self {
            Self::Safetensors { bytes, .. } => Source::parse(bytes),
            Self::Random(seed) => Ok(Source::Random(*seed)),
        }
    }
}

impl fmt::Display for Parameters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Safetensors { sha256, .. } => write!(f, "sha256:{sha256}"),
            Self::Random(seed) => write!(f, "random:{seed}"),
        }
    }
}

/// A network with its weights packed for this CPU; or none, for the pixels themselves. Cheap to clone: weights are shared.
#[derive(Clone)]
pub struct Model {
    /// Of the network, without its head.
    body: Spec,
    /// Of all together.
    spec: Spec,
    /// None where the pixels are the features.
    network: Option<Arc<Network>>,
    head: Option<Arc<Head>>,
}

impl Model {
    /// The backbone `pixels`: 16x16 RGB to 768 features, value / 255 in the order row, column, channel.
    pub fn pixels() -> Self {
        Self {
            body: pixels::spec(),
            spec: pixels::spec(),
            network: None,
            head: None,
        }
    }

    /// A network without its classifier, in f32 or bf16. Which parameters they are becomes part of the identity.
    ///
    /// # Errors
    /// [`BackboneError::Side`], [`BackboneError::Unsupported`], and one for each way in which weights can be wrong.
    pub fn load(
        architecture: Architecture,
        parameters: &Parameters,
        options: &Options,
    ) -> Result<Self, BackboneError> {
        Self::build(architecture, parameters, options, None)
    }

    /// A network whose weights are random numbers from `seed`, the same on every machine: for trying things out where no
    /// weights can be had, and for tests. Its features mean little.
    ///
    /// # Errors
    /// [`BackboneError::Side`], [`BackboneError::Unsupported`].
    pub fn random(
        architecture: Architecture,
        seed: u64,
        options: &Options,
    ) -> Result<Self, BackboneError> {
        Self::build(architecture, &Parameters::Random(seed), options, None)
    }

    /// A network in int8, whose layers have the ranges of `calibration`; they become part of the identity, the family does not, as all
    /// give the same bits. `options.precision` is not looked at.
    ///
    /// # Errors
    /// Those of [`Model::load`]; [`BackboneError::NotInIntegers`]; [`BackboneError::Calibration`] if it is of other weights or
    /// another preprocessing.
    pub fn int8(
        architecture: Architecture,
        parameters: &Parameters,
        calibration: &Calibration,
        options: &Options,
    ) -> Result<Self, BackboneError> {
        calibration.check(parameters, options.preprocessing)?;
        let options = Options {
            precision: Precision::Int8,
            ..*options
        };
        Self::build(architecture, parameters, &options, Some(calibration))
    }

    fn build(
        architecture: Architecture,
        parameters: &Parameters,
        options: &Options,
        calibration: Option<&Calibration>,
    ) -> Result<Self, BackboneError> {
        if let Architecture::ResNet(resnet) = architecture
            && !ResNet::DEPTHS.contains(&resnet.depth)
        {
            return Err(BackboneError::UnknownNetwork(architecture.name()));
        }
        let Options {
            side, precision, ..
        } = *options;
        if !(SIDE_MIN..=SIDE_MAX).contains(&side) {
            return Err(BackboneError::Side(side));
        }
        let none = Ranges::new();
        let ranges = calibration.map_or(&none, Calibration::ranges);
        let network = Network::load(architecture, &parameters.source()?, options, ranges)?;
        let kernels = kernels::identity(architecture, options);
        let computation = match calibration {
            Some(calibration) => format!("{kernels}; {calibration}"),
            None => kernels,
        };
        let spec = Spec {
            name: architecture.name(),
            features: architecture.features(side, options.pooling),
            side,
            identity: format!("{architecture}; {precision}; {computation}; {parameters}"),
        };
        Ok(Self {
            body: spec.clone(),
            spec,
            network: Some(Arc::new(network)),
            head: None,
        })
    }

    /// The same with a head on it, instead of the one it may have had.
    ///
    /// # Errors
    /// [`BackboneError::FeatureCount`] where the head takes another number of features.
    pub fn with_head(self, head: Head) -> Result<Self, BackboneError> {
        if head.inputs() != self.body.features {
            return Err(BackboneError::FeatureCount {
                found: head.inputs(),
                expected: self.body.features,
            });
        }
        let spec = Spec {
            features: head.outputs(),
            identity: format!("{}; {}", self.body.identity, head.identity()),
            ..self.body.clone()
        };
        Ok(Self {
            spec,
            head: Some(Arc::new(head)),
            ..self
        })
    }

    /// What it computes.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// How many images are best extracted at once: more than one where they share the reading of weights.
    pub fn together(&self) -> usize {
        self.network
            .as_ref()
            .map_or(1, |network| network.together())
    }

    /// A backbone over these weights, with buffers of its own.
    pub fn worker(&self) -> Box<dyn Backbone> {
        let body: Box<dyn Backbone> = match &self.network {
            None => Box::new(Pixels::new(self.body.clone())),
            Some(network) => Box::new(Worker::new(self.body.clone(), network.clone())),
        };
        match &self.head {
            None => body,
            Some(head) => {
                let spec = self.spec.clone();
                Box::new(Headed::new(spec, body, self.together(), head.clone()))
            }
        }
    }

    /// The network, without a head, as one operation on Candle's tensors, with buffers of its own; none for `pixels`.
    pub fn forward(&self) -> Option<Forward> {
        let network = self.network.as_ref()?;
        Some(Forward::new(self.body.clone(), network.clone()))
    }

    /// What [`super::bench::peak`] tells.
    pub(super) fn peak(&self) -> Option<f64> {
        self.network.as_deref().map(Network::peak)
    }

    /// The network, memory for it and room for a pass's features, to look inside; none for `pixels`.
    pub(super) fn network(&self) -> Option<(&Network, Arena, Vec<f32>)> {
        let network = self.network.as_deref()?;
        let features = vec![0.0; network.together() * self.body.features];
        Some((network, network.arena(), features))
    }
}

/// A pass at a time through Candle's door; after birth nothing is allocated but a few bytes of Candle's bookkeeping.
struct Worker {
    forward: Forward,
    /// `[together, side, side, 3]` u8.
    pixels: Tensor,
    /// `[together, d]` f32.
    features: Tensor,
}

impl Worker {
    fn new(spec: Spec, network: Arc<Network>) -> Self {
        let together = network.together();
        let zeros = |shape: &[usize], dtype| {
            Tensor::zeros(shape, dtype, &Device::Cpu).expect("the CPU has tensors of every shape")
        };
        Self {
            pixels: zeros(&[together, spec.side, spec.side, 3], DType::U8),
            features: zeros(&[together, spec.features], DType::F32),
            forward: Forward::new(spec, network),
        }
    }
}

impl Backbone for Worker {
    fn spec(&self) -> &Spec {
        self.forward.spec()
    }

    fn extract(&mut self, pixels: &[u8], features: &mut [f32]) -> Result<(), BackboneError> {
        self.spec().check_lengths(pixels, features)?;
        for (pixels, features) in self.forward.passes(pixels, features) {
            let images = features.len() / self.spec().features;
            let room = self.pixels.narrow(0, 0, images)?;
            let found = self.features.narrow(0, 0, images)?;
            fill(&room, pixels)?;
            found.inplace_op2(&room, &self.forward)?;
            take(&found, features)?;
        }
        Ok(())
    }
}
