//! The clustering as a file, and its hash.
//!
//! | tensor (f64) | shape | |
//! |---|---|---|
//! | `centroids` | [k, m] | a row a cluster, in the coordinates of the projection that the file names |
//!
//! The metadata entry `eigenflow.clustering` is a JSON object with the rest. A row's cluster is the number of its nearest centroid.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Clustering;
use crate::tensors::{StoredError, Tensors, encode, le_bytes};

const METADATA_KEY: &str = "eigenflow.clustering";

/// A published clustering.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Counts the clusterings of a table.
    pub version: i64,
    /// The projection whose reduced features it is of.
    pub projection_version: i64,
    /// The clustering.
    pub clustering: Clustering,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    version: i64,
    projection_version: i64,
    sizes: Vec<u64>,
}

impl Stored {
    /// The file; equal values give equal bytes.
    ///
    /// # Errors
    /// If the container can't hold it, which no clustering brings about.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, StoredError> {
        let clustering = &self.clustering;
        let metadata = Metadata {
            version: self.version,
            projection_version: self.projection_version,
            sizes: clustering.sizes.clone(),
        };
        let shape = vec![clustering.clusters(), clustering.width];
        let centroids = ("centroids", shape, &clustering.centroids[..]);
        encode(METADATA_KEY, &metadata, &[centroids])
    }

    /// Reads what [`Stored::to_safetensors`] wrote.
    ///
    /// # Errors
    /// If the bytes are no clustering, or not a whole and finite one.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self, StoredError> {
        let (metadata, tensors): (Metadata, _) = Tensors::open(METADATA_KEY, bytes)?;
        let clusters = Some(metadata.sizes.len());
        let (shape, centroids) = tensors.read("centroids", &[clusters, None])?;
        Ok(Stored {
            version: metadata.version,
            projection_version: metadata.projection_version,
            clustering: Clustering {
                width: shape[1],
                centroids,
                sizes: metadata.sizes,
            },
        })
    }
}

impl Clustering {
    /// SHA-256 of what the clustering is, lower-case hex; versions do not enter.
    pub fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(b"eigenflow clustering 1\0");
        hasher.update((self.width as u64).to_le_bytes());
        hasher.update((self.sizes.len() as u64).to_le_bytes());
        for size in &self.sizes {
            hasher.update(size.to_le_bytes());
        }
        hasher.update(le_bytes(&self.centroids));
        hex::encode(hasher.finalize())
    }
}
