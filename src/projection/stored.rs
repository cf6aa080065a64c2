//! The projection as a file, and its hash.
//!
//! | tensor (f64) | shape | |
//! |---|---|---|
//! | `mean`, `std` | \[d\] | of the features |
//! | `components` | [k, d] | orthonormal rows |
//! | `explained_variance`, `explained_variance_ratio` | \[k\] | |
//! | `drift.angles_rad`, `drift.rotation`, `drift.shift` | see [`Drift`] | absent in a first projection |
//!
//! The metadata entry `eigenflow.projection` is a JSON object with the rest.

use super::model::Fitted;
use super::{Drift, Projection};
use crate::tensors::{StoredError, Tensor, Tensors, encode, le_bytes};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const METADATA_KEY: &str = "eigenflow.projection";

/// A published projection: with its version, and the drift from the one before.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The table version it was published with.
    pub version: i64,
    /// The projection.
    pub projection: Projection,
    /// The step from the previous projection; none for the first.
    pub drift: Option<Drift>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    version: i64,
    n: u64,
    standardised: bool,
    ddof: u8,
    centred: bool,
    whitened: bool,
}

impl Stored {
    /// The file; equal values give equal bytes.
    ///
    /// # Errors
    /// If the container cannot hold it, which no projection within the bounds of the moments brings about.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, StoredError> {
        self.projection
            .to_safetensors(self.version, self.drift.as_ref())
    }

    /// Reads what [`Stored::to_safetensors`] wrote.
    ///
    /// # Errors
    /// If the bytes are no projection, or not a whole and finite one.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self, StoredError> {
        let (metadata, tensors): (Metadata, _) = Tensors::open(METADATA_KEY, bytes)?;

        let mean = tensors.vector("mean", None)?;
        let explained_variance = tensors.vector("explained_variance", None)?;
        let (width, k) = (mean.len(), explained_variance.len());
        let std = tensors.vector("std", Some(width))?;
        if std.iter().any(|&std| std < 0.0) {
            return Err(StoredError::Value("std"));
        }
        let fitted = Fitted {
            n: metadata.n,
            mean,
            std,
            components: tensors.matrix("components", (Some(k), Some(width)))?,
            explained_variance,
            explained_variance_ratio: tensors.vector("explained_variance_ratio", Some(k))?,
            standardised: metadata.standardised,
            ddof: metadata.ddof,
            centred: metadata.centred,
            whitened: metadata.whitened,
        };
        let drift = match tensors.has("drift.rotation") {
            true => Some(Drift {
                angles_rad: tensors.vector("drift.angles_rad", None)?,
                rotation: tensors.matrix("drift.rotation", (None, Some(k)))?,
                shift: tensors.vector("drift.shift", Some(k))?,
            }),
            false => None,
        };
        Ok(Self {
            version: metadata.version,
            projection: Projection::new(fitted),
            drift,
        })
    }
}

impl Projection {
    /// The file of this projection, published with table version `version`; see [`Stored`] for the way back.
    ///
    /// # Errors
    /// As [`Stored::to_safetensors`].
    pub fn to_safetensors(
        &self,
        version: i64,
        drift: Option<&Drift>,
    ) -> Result<Vec<u8>, StoredError> {
        let fitted = &self.fitted;
        let (width, k) = (self.width(), self.n_components());
        let components = fitted.components.iter().copied().collect::<Vec<_>>();
        let rotation = drift.map(|drift| drift.rotation.iter().copied().collect::<Vec<_>>());
        let mut tensors: Vec<Tensor<'_>> = vec![
            ("mean", vec![width], &fitted.mean),
            ("std", vec![width], &fitted.std),
            ("components", vec![k, width], &components),
            ("explained_variance", vec![k], &fitted.explained_variance),
            (
                "explained_variance_ratio",
                vec![k],
                &fitted.explained_variance_ratio,
            ),
        ];
        if let Some((drift, rotation)) = drift.zip(rotation.as_ref()) {
            let angles = &drift.angles_rad;
            tensors.push(("drift.angles_rad", vec![angles.len()], angles));
            tensors.push(("drift.rotation", drift.rotation.shape().to_vec(), rotation));
            tensors.push(("drift.shift", vec![drift.shift.len()], &drift.shift));
        }
        let metadata = Metadata {
            version,
            n: fitted.n,
            standardised: fitted.standardised,
            ddof: fitted.ddof,
            centred: fitted.centred,
            whitened: fitted.whitened,
        };
        encode(METADATA_KEY, &metadata, &tensors)
    }

    /// SHA-256 of what the projection is, lower-case hex. Neither version nor drift enter: they tell of history, the
    /// projection only of the live set.
    pub fn sha256(&self) -> String {
        let fitted = &self.fitted;
        let components = fitted.components.iter().copied().collect::<Vec<_>>();
        let flags = [fitted.standardised, fitted.centred, fitted.whitened].map(u8::from);
        let mut hasher = Sha256::new();
        hasher.update(b"eigenflow projection 1\0");
        hasher.update(fitted.n.to_le_bytes());
        hasher.update([&flags[..], &[fitted.ddof]].concat());
        hasher.update((self.width() as u64).to_le_bytes());
        hasher.update((self.n_components() as u64).to_le_bytes());
        for values in [
            &fitted.mean,
            &fitted.std,
            &components,
            &fitted.explained_variance,
            &fitted.explained_variance_ratio,
        ] {
            hasher.update(le_bytes(values));
        }
        hex::encode(hasher.finalize())
    }
}

impl Tensors<'_> {
    fn matrix(
        &self,
        name: &'static str,
        (rows, columns): (Option<usize>, Option<usize>),
    ) -> Result<Array2<f64>, StoredError> {
        let (shape, values) = self.read(name, &[rows, columns])?;
        Array2::from_shape_vec((shape[0], shape[1]), values).map_err(|error| StoredError::Tensor {
            name,
            found: error.to_string(),
            expected: "a matrix".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
