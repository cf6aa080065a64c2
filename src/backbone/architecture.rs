//! The shapes of the ResNet family (He et al. 2015), up to the global average pool.

use super::BackboneError;
use std::fmt;

/// Which convolution of a stage's first bottleneck has stride 2. Networks of basic blocks know no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strides {
    /// The first 1x1: the paper, Caffe and Keras.
    V1,
    /// The 3x3: torchvision, and most that came after.
    V15,
}

/// One network of the family.
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

    /// The network of a name such as `resnet50`.
    ///
    /// # Errors
    /// [`BackboneError::UnknownNetwork`] if it is none of the five.
    pub fn parse(name: &str, strides: Strides) -> Result<Self, BackboneError> {
        let depth = name.strip_prefix("resnet").and_then(|d| d.parse().ok());
        depth
            .filter(|d| Self::DEPTHS.contains(d))
            .map(|depth| Self { depth, strides })
            .ok_or_else(|| BackboneError::UnknownNetwork(name.into()))
    }

    /// The name without the strides: `resnet50`.
    pub fn name(&self) -> String {
        format!("resnet{}", self.depth)
    }

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

    /// Length of the feature vector.
    pub fn features(&self) -> usize {
        if self.bottleneck() { 2048 } else { 512 }
    }
}

impl fmt::Display for ResNet {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let strides = match self.strides {
            Strides::V1 => "v1",
            Strides::V15 => "v1.5",
        };
        write!(f, "resnet{} {strides}", self.depth)
    }
}
