//! The networks that there are, and their shapes up to the maps that are pooled to features.

use super::{BackboneError, Pooling};
use std::fmt;

/// A network, whatever its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// A residual network (He et al. 2015), 18 to 152 layers.
    ResNet(ResNet),
    /// MobileNetV2 1.0 (Sandler et al. 2018), without its classifier.
    MobileNetV2,
    /// VGG-16 (Simonyan & Zisserman 2014), its 13 convolutions.
    Vgg16,
}

impl Architecture {
    /// The names that [`Architecture::parse`] knows.
    pub const NAMES: [&str; 7] = [
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "mobilenet_v2",
        "vgg16",
    ];

    /// A residual network.
    pub const fn resnet(depth: usize, strides: Strides) -> Self {
        Self::ResNet(ResNet { depth, strides })
    }

    /// The network of a name such as `resnet50`; of the residual ones, torchvision's v1.5.
    ///
    /// # Errors
    /// [`BackboneError::UnknownNetwork`] if it is none of [`Architecture::NAMES`].
    pub fn parse(name: &str) -> Result<Self, BackboneError> {
        let strides = Strides::V15;
        let depths = ResNet::DEPTHS.map(|depth| Self::ResNet(ResNet { depth, strides }));
        let mut all = depths.into_iter().chain([Self::MobileNetV2, Self::Vgg16]);
        all.find(|architecture| architecture.name() == name)
            .ok_or_else(|| BackboneError::UnknownNetwork(name.into()))
    }

    /// The network of that name with either strides, where they differ.
    ///
    /// # Errors
    /// As [`Architecture::parse`].
    pub fn variants(name: &str) -> Result<Vec<Self>, BackboneError> {
        Ok(match Self::parse(name)? {
            Self::ResNet(ResNet { depth, .. }) => {
                let both = [Strides::V1, Strides::V15];
                both.map(|strides| Self::resnet(depth, strides)).into()
            }
            other => vec![other],
        })
    }

    /// The name without the strides: `resnet50`.
    pub fn name(&self) -> String {
        match self {
            Self::ResNet(resnet) => format!("resnet{}", resnet.depth),
            Self::MobileNetV2 => "mobilenet_v2".into(),
            Self::Vgg16 => "vgg16".into(),
        }
    }

    /// Channels of the last maps.
    pub fn channels(&self) -> usize {
        match self {
            Self::ResNet(resnet) if resnet.bottleneck() => 2048,
            Self::ResNet(_) | Self::Vgg16 => 512,
            Self::MobileNetV2 => 1280,
        }
    }

    /// The sides of the maps, from the input's on: every network halves it five times. Where it is odd a padded convolution or
    /// maximum rounds up, VGG-16's maxima round down, as torchvision has it.
    pub fn sides(&self, side: usize) -> [usize; 6] {
        let halved = |side: usize| match self {
            Self::ResNet(_) | Self::MobileNetV2 => side.div_ceil(2),
            Self::Vgg16 => side / 2,
        };
        let mut sides = [side; 6];
        for i in 1..sides.len() {
            sides[i] = halved(sides[i - 1]);
        }
        sides
    }

    /// Length of the feature vector for inputs of `side` x `side` pixels.
    pub fn features(&self, side: usize, pooling: Pooling) -> usize {
        let [.., last] = self.sides(side);
        match pooling {
            Pooling::Avg | Pooling::Max => self.channels(),
            Pooling::Flatten => self.channels() * last * last,
        }
    }

    /// Whether int8 gives features worth having. MobileNetV2's narrow maps have no activation and channels of very different sizes:
    /// a step that suits one channel wipes out others.
    pub fn quantises(&self) -> bool {
        match self {
            Self::ResNet(_) | Self::Vgg16 => true,
            Self::MobileNetV2 => false,
        }
    }

    /// `v1` or `v1.5` of a residual network: where the stride 2 of a block sits.
    pub fn strides(&self) -> Option<&'static str> {
        match self {
            Self::ResNet(resnet) => Some(match resnet.strides {
                Strides::V1 => "v1",
                Strides::V15 => "v1.5",
            }),
            Self::MobileNetV2 | Self::Vgg16 => None,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ResNet(resnet) => {
                let strides = self.strides().unwrap_or_default();
                write!(f, "ResNet-{} {strides}", resnet.depth)
            }
            Self::MobileNetV2 => f.write_str("MobileNetV2 1.0"),
            Self::Vgg16 => f.write_str("VGG-16"),
        }
    }
}

/// Which convolution of a stage's first bottleneck has stride 2. Networks of basic blocks know no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strides {
    /// The first 1x1: the paper, Caffe and Keras.
    V1,
    /// The 3x3: torchvision, and most that came after.
    V15,
}

/// One residual network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResNet {
    /// 18, 34, 50, 101 or 152 layers.
    pub depth: usize,
    /// Where the strides are.
    pub strides: Strides,
}

impl ResNet {
    /// The depths there are.
    pub const DEPTHS: [usize; 5] = [18, 34, 50, 101, 152];

    /// Blocks in each of the four stages. An unknown depth has none.
    pub fn blocks(&self) -> [usize; 4] {
        match self.depth {
            18 => [2, 2, 2, 2],
            34 | 50 => [3, 4, 6, 3],
            101 => [3, 4, 23, 3],
            152 => [3, 8, 36, 3],
            _ => [0; 4],
        }
    }

    /// Whether blocks are 1x1, 3x3, 1x1 rather than two 3x3.
    pub fn bottleneck(&self) -> bool {
        self.depth >= 50
    }
}
