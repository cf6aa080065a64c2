//! How large each layer's outputs become: what int8 has to know before it sees an image.
//!
//! Ranges are taken from an f32 pass over images that stand for all. Bytes mean the same everywhere only if the ranges are equal
//! everywhere, so that pass is made by the portable kernels, whose bits are equal on every CPU: the same weights and images give
//! the same calibration wherever it is made. It is part of a model's identity.

use super::kernels::{Network, Ranges};
use super::{Architecture, BackboneError, Family, Options, Parameters, Precision, Preprocessing};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// The lower digits of a range, which are rounded up: eight binary ones are left, so that it is short in decimal, too.
const ROUNDED_UP: u32 = 0xffff;

/// The ranges of a network's layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// What it is of, as identities have it: `sha256:…`.
    weights: String,
    preprocessing: String,
    /// From which images, for people.
    images: String,
    /// The largest magnitude of each layer's outputs, by the name of its weights.
    ranges: Ranges,
}

impl Calibration {
    /// The ranges over `images`, each `[side, side, 3]` RGB, of `options`' side and preprocessing; `said` tells people which images
    /// these are. Plain Rust takes a good part of a second an image.
    ///
    /// # Errors
    /// Those of [`Model::load`](super::Model::load); [`BackboneError::PixelCount`]; [`BackboneError::Calibration`] without any image.
    pub fn of(
        architecture: Architecture,
        parameters: &Parameters,
        options: &Options,
        images: impl IntoIterator<Item = Vec<u8>>,
        said: &str,
    ) -> Result<Self, BackboneError> {
        if !architecture.quantises() {
            return Err(BackboneError::NotInIntegers(architecture.name()));
        }
        let options = Options {
            family: Some(Family::Portable),
            precision: Precision::F32,
            ..*options
        };
        let mut ranges = Ranges::new();
        let source = parameters.source()?;
        let network = Network::load(architecture, &source, &options, &Ranges::new())?;
        let mut arena = network.arena();
        let expected = options.side * options.side * 3;
        for pixels in images {
            let found = pixels.len();
            if found != expected {
                return Err(BackboneError::PixelCount { found, expected });
            }
            network.show(&mut arena, &pixels, |layer, outputs| {
                let most = ranges.entry(layer.to_owned()).or_default();
                *most = outputs.iter().fold(*most, |most, v| most.max(v.abs()));
            });
        }
        if ranges.is_empty() {
            return Err(BackboneError::Calibration("has no images".into()));
        }
        for (layer, range) in &mut ranges {
            *range = f32::from_bits((range.to_bits() + ROUNDED_UP) & !ROUNDED_UP);
            if !range.is_finite() {
                return Err(BackboneError::NotFinite(layer.clone()));
            }
        }
        Ok(Self {
            weights: parameters.to_string(),
            preprocessing: options.preprocessing.to_string(),
            images: said.into(),
            ranges,
        })
    }

    /// Reads what [`Calibration::to_json`] wrote.
    ///
    /// # Errors
    /// [`BackboneError::Calibration`] for anything else.
    pub fn from_json(json: &[u8]) -> Result<Self, BackboneError> {
        let damaged = |cause: String| BackboneError::Calibration(format!("is damaged: {cause}"));
        let calibration: Self =
            serde_json::from_slice(json).map_err(|cause| damaged(cause.to_string()))?;
        match calibration.ranges.iter().find(|(_, range)| **range < 0.0) {
            Some((layer, _)) => Err(damaged(format!("the range of {layer} is below 0"))),
            None => Ok(calibration),
        }
    }

    /// The file that it is kept in.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self);
        json.expect("texts and finite numbers are JSON") + "\n"
    }

    /// That it is of these weights and this preprocessing.
    ///
    /// # Errors
    /// [`BackboneError::Calibration`] with both.
    pub fn check(
        &self,
        parameters: &Parameters,
        preprocessing: Preprocessing,
    ) -> Result<(), BackboneError> {
        let other = |of: &str, here: String| {
            BackboneError::Calibration(format!("is of {of}, here they are {here}"))
        };
        if self.weights != parameters.to_string() {
            let weights = format!("the weights {}", self.weights);
            return Err(other(&weights, parameters.to_string()));
        }
        if self.preprocessing != preprocessing.to_string() {
            let preprocessing_of = format!("images preprocessed as {}", self.preprocessing);
            return Err(other(&preprocessing_of, preprocessing.to_string()));
        }
        Ok(())
    }

    pub(super) fn ranges(&self) -> &Ranges {
        &self.ranges
    }
}

/// `calibration sha256:…`, of the ranges: all that features depend on.
impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut hash = Sha256::new();
        for (layer, range) in &self.ranges {
            hash.update(layer);
            hash.update([0]);
            hash.update(range.to_le_bytes());
        }
        write!(f, "calibration sha256:{}", hex::encode(hash.finalize()))
    }
}
