//! What the levels of an image become before the first convolution: each network wants what it was trained with.

use super::BackboneError;
use std::fmt;
use std::str::FromStr;

/// ImageNet's channel means and deviations, of RGB in 0..1.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];
/// ImageNet's mean levels as Caffe's networks had them, of BGR in 0..255.
const CAFFE_MEAN: [f64; 3] = [103.939, 116.779, 123.68];

/// From a level, 0 to 255, to a number of the network's input. Padding is 0 of the result in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preprocessing {
    /// RGB, level / 255, minus the mean, by the standard deviation: torchvision's networks, and all that `weights get` brings,
    /// as its conversions take Keras' own input into the first convolution.
    #[default]
    Torchvision,
    /// BGR, minus the mean level: Keras' own ResNet50 and VGG16.
    Caffe,
    /// RGB, level / 127.5 - 1: Keras' own MobileNetV2.
    Tf,
}

impl Preprocessing {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Torchvision, Self::Caffe, Self::Tf];

    /// Which colour of the image is the network's channel `channel`: 0 red, 1 green, 2 blue.
    pub(super) fn colour(self, channel: usize) -> usize {
        match self {
            Self::Torchvision | Self::Tf => channel,
            Self::Caffe => 2 - channel,
        }
    }

    /// The number for a level of the network's channel `channel`.
    pub(super) fn number(self, channel: usize, level: u8) -> f64 {
        let level = f64::from(level);
        match self {
            Self::Torchvision => (level / 255.0 - MEAN[channel]) / STD[channel],
            Self::Caffe => level - CAFFE_MEAN[channel],
            Self::Tf => level / 127.5 - 1.0,
        }
    }

    /// The formula, for people and for comparison.
    pub fn formula(self) -> String {
        match self {
            Self::Torchvision => format!("rgb / 255, mean {MEAN:?}, std {STD:?}"),
            Self::Caffe => format!("bgr - {CAFFE_MEAN:?}"),
            Self::Tf => "rgb / 127.5 - 1".into(),
        }
    }
}

impl fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Torchvision => "torchvision",
            Self::Caffe => "caffe",
            Self::Tf => "tf",
        })
    }
}

impl FromStr for Preprocessing {
    type Err = BackboneError;

    fn from_str(name: &str) -> Result<Self, BackboneError> {
        let named = |p: &Self| p.to_string() == name;
        let found = Self::ALL.into_iter().find(named);
        found.ok_or_else(|| BackboneError::UnknownPreprocessing(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::Preprocessing::{Caffe, Tf, Torchvision};
    use super::*;

    /// The three numbers that a pixel becomes, in the order of the network's channels.
    fn numbers(preprocessing: Preprocessing, rgb: [u8; 3]) -> [f64; 3] {
        std::array::from_fn(|c| preprocessing.number(c, rgb[preprocessing.colour(c)]))
    }

    /// Worked out by hand from torchvision's `Normalize` and from Keras' `preprocess_input` in modes `caffe` and `tf`.
    #[test]
    fn a_pixel_becomes_what_each_library_makes_of_it() {
        let near = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
        let pixel = [255, 51, 0];
        let torchvision = [0.515 / 0.229, -0.256 / 0.224, -0.406 / 0.225];
        assert!(near(numbers(Torchvision, pixel), torchvision));
        assert!(near(numbers(Caffe, pixel), [-103.939, -65.779, 131.32]));
        assert!(near(numbers(Tf, pixel), [1.0, -0.6, -1.0]));
    }

    #[test]
    fn names_lead_back_and_others_are_refused() {
        for preprocessing in Preprocessing::ALL {
            let name = preprocessing.to_string();
            assert_eq!(name.parse::<Preprocessing>().unwrap(), preprocessing);
        }
        let error = "keras".parse::<Preprocessing>().unwrap_err().to_string();
        assert!(error.contains("torchvision, caffe or tf"), "{error}");
    }
}
