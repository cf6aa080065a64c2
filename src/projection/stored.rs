//! The projection as a file: safetensors, so that numpy, PyTorch and Rust read it without us; and its hash.
//!
//! | tensor (f64) | shape | |
//! |---|---|---|
//! | `mean`, `std` | \[d\] | of the features |
//! | `components` | [k, d] | orthonormal rows |
//! | `explained_variance`, `explained_variance_ratio` | \[k\] | |
//! | `drift.angles_rad`, `drift.rotation`, `drift.shift` | see [`Drift`] | absent in a first projection |
//!
//! The metadata entry `eigenflow.projection` is a JSON object with the rest. It is one entry because safetensors writes several
//! in random order, and equal projections must be equal bytes.

use super::model::Fitted;
use super::{Drift, Projection};
use ndarray::Array2;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

const METADATA_KEY: &str = "eigenflow.projection";

/// Why bytes are no stored projection.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// Not the container format.
    #[error(
        "the projection is no safetensors file ({0}): restore it from a copy, or go back to an older version of the table"
    )]
    Container(#[from] safetensors::SafeTensorError),
    /// The container of something else.
    #[error("the safetensors file has no {METADATA_KEY} entry: it is no projection of eigenflow")]
    Foreign,
    /// Our entry, but not readable.
    #[error("the {METADATA_KEY} entry is damaged or of another release ({0}): run verify")]
    Metadata(#[from] serde_json::Error),
    /// A tensor of another type or shape than the others imply.
    #[error("tensor {name} is {found}, not {expected}: the projection is damaged; run verify")]
    Tensor {
        /// Which tensor.
        name: &'static str,
        /// Its type and shape.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// NaN, an infinity, or a negative deviation.
    #[error("tensor {0} holds an impossible value: the projection is damaged; run verify")]
    Value(&'static str),
}

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
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let entry = header
            .metadata()
            .as_ref()
            .and_then(|entries| entries.get(METADATA_KEY));
        let metadata: Metadata = serde_json::from_str(entry.ok_or(StoredError::Foreign)?)?;
        let tensors = Tensors(SafeTensors::deserialize(bytes)?);

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
        let drift = match tensors.0.tensor("drift.rotation") {
            Ok(_) => Some(Drift {
                angles_rad: tensors.vector("drift.angles_rad", None)?,
                rotation: tensors.matrix("drift.rotation", (None, Some(k)))?,
                shift: tensors.vector("drift.shift", Some(k))?,
            }),
            Err(_) => None,
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
        let mut tensors = vec![
            ("mean", vec![width], le_bytes(&fitted.mean)),
            ("std", vec![width], le_bytes(&fitted.std)),
            ("components", vec![k, width], le_bytes(&components)),
            (
                "explained_variance",
                vec![k],
                le_bytes(&fitted.explained_variance),
            ),
            (
                "explained_variance_ratio",
                vec![k],
                le_bytes(&fitted.explained_variance_ratio),
            ),
        ];
        if let Some(drift) = drift {
            let rotation = drift.rotation.iter().copied().collect::<Vec<_>>();
            tensors.push((
                "drift.angles_rad",
                vec![drift.angles_rad.len()],
                le_bytes(&drift.angles_rad),
            ));
            tensors.push((
                "drift.rotation",
                drift.rotation.shape().to_vec(),
                le_bytes(&rotation),
            ));
            tensors.push((
                "drift.shift",
                vec![drift.shift.len()],
                le_bytes(&drift.shift),
            ));
        }
        let metadata = Metadata {
            version,
            n: fitted.n,
            standardised: fitted.standardised,
            ddof: fitted.ddof,
            centred: fitted.centred,
            whitened: fitted.whitened,
        };
        let entry = HashMap::from([(METADATA_KEY.to_owned(), serde_json::to_string(&metadata)?)]);
        let views = tensors.iter().map(|(name, shape, bytes)| {
            Ok((*name, TensorView::new(Dtype::F64, shape.clone(), bytes)?))
        });
        let views = views.collect::<Result<Vec<_>, StoredError>>()?;
        Ok(safetensors::serialize(views, Some(entry))?)
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
        hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

fn le_bytes(values: &[f64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Tensors that are checked as they are read.
struct Tensors<'a>(SafeTensors<'a>);

impl Tensors<'_> {
    fn vector(&self, name: &'static str, len: Option<usize>) -> Result<Vec<f64>, StoredError> {
        Ok(self.read(name, &[len])?.1)
    }

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

    /// Shape and values of a tensor of finite f64 whose axes have the lengths that are given, and no axis the length 0.
    fn read(
        &self,
        name: &'static str,
        expected: &[Option<usize>],
    ) -> Result<(Vec<usize>, Vec<f64>), StoredError> {
        let tensor = self.0.tensor(name)?;
        let shape = tensor.shape().to_vec();
        let fits = |(&found, expected): (&usize, &Option<usize>)| {
            found > 0 && expected.is_none_or(|expected| found == expected)
        };
        if tensor.dtype() != Dtype::F64
            || shape.len() != expected.len()
            || !shape.iter().zip(expected).all(fits)
        {
            let axes = expected
                .iter()
                .map(|axis| axis.map_or("any".to_owned(), |len| len.to_string()));
            return Err(StoredError::Tensor {
                name,
                found: format!("{:?} {shape:?}", tensor.dtype()),
                expected: format!("F64 [{}]", axes.collect::<Vec<_>>().join(", ")),
            });
        }
        let (words, _) = tensor.data().as_chunks::<8>();
        let values: Vec<f64> = words.iter().map(|word| f64::from_le_bytes(*word)).collect();
        if values.iter().all(|value| value.is_finite()) {
            Ok((shape, values))
        } else {
            Err(StoredError::Value(name))
        }
    }
}

#[cfg(test)]
mod tests;
