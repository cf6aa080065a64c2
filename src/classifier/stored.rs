//! The classifier as a file, and its hash.
//!
//! | tensor (f64) | shape | |
//! |---|---|---|
//! | `coefficients` | [c, d] | of the discriminants, a row a label |
//! | `intercepts` | \[c\] | |
//!
//! The metadata entry `eigenflow.classifier` is a JSON object with the rest, the labels among it. The discriminants of a row x are
//! `coefficients @ x + intercepts`, and their softmax the probabilities.

use super::model::Fitted;
use super::{Classifier, StoredError};
use crate::tensors::{Tensors, encode, le_bytes};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const METADATA_KEY: &str = "eigenflow.classifier";

/// A published classifier, with its version.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The epoch it was published with.
    pub version: i64,
    /// The classifier.
    pub classifier: Classifier,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    version: i64,
    n: u64,
    shrinkage: f64,
    labels: Vec<String>,
}

impl Stored {
    /// The file; equal values give equal bytes.
    ///
    /// # Errors
    /// If the container cannot hold it, which no classifier within the bounds of the moments brings about.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, StoredError> {
        let fitted = &self.classifier.fitted;
        let c = fitted.labels.len();
        let metadata = Metadata {
            version: self.version,
            n: fitted.n,
            shrinkage: fitted.shrinkage,
            labels: fitted.labels.clone(),
        };
        let coefficients = (
            "coefficients",
            vec![c, fitted.width],
            &fitted.coefficients[..],
        );
        let intercepts = ("intercepts", vec![c], &fitted.intercepts[..]);
        encode(METADATA_KEY, &metadata, &[coefficients, intercepts])
    }

    /// Reads what [`Stored::to_safetensors`] wrote.
    ///
    /// # Errors
    /// If the bytes are no classifier, or not a whole and finite one.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self, StoredError> {
        let (metadata, tensors): (Metadata, _) = Tensors::open(METADATA_KEY, bytes)?;
        let c = metadata.labels.len();
        let (shape, coefficients) = tensors.read("coefficients", &[Some(c), None])?;
        let fitted = Fitted {
            n: metadata.n,
            width: shape[1],
            shrinkage: metadata.shrinkage,
            labels: metadata.labels,
            coefficients,
            intercepts: tensors.vector("intercepts", Some(c))?,
        };
        Ok(Self {
            version: metadata.version,
            classifier: Classifier::new(fitted),
        })
    }
}

impl Classifier {
    /// SHA-256 of what the classifier is, lower-case hex; its version does not enter.
    pub fn sha256(&self) -> String {
        let fitted = &self.fitted;
        let mut hasher = Sha256::new();
        hasher.update(b"eigenflow classifier 1\0");
        hasher.update(fitted.n.to_le_bytes());
        hasher.update(fitted.shrinkage.to_le_bytes());
        hasher.update((fitted.width as u64).to_le_bytes());
        hasher.update((fitted.labels.len() as u64).to_le_bytes());
        for label in &fitted.labels {
            hasher.update((label.len() as u64).to_le_bytes());
            hasher.update(label.as_bytes());
        }
        hasher.update(le_bytes(&fitted.coefficients));
        hasher.update(le_bytes(&fitted.intercepts));
        hex::encode(hasher.finalize())
    }
}
