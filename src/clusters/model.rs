//! Centroids, and which of them is nearest.

use serde::{Deserialize, Serialize};

use crate::lanes::squared_distance;

/// k centroids of m reduced features, made by a [`Lead`](super::Lead) or read by [`Stored`](super::Stored).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clustering {
    pub(super) width: usize,
    /// [k, m], row by row.
    pub(super) centroids: Vec<f64>,
    /// \[k\]
    pub(super) sizes: Vec<u64>,
}

impl Clustering {
    /// Clusters at most.
    pub const MAX: usize = 65_536;

    /// How many clusters there are.
    pub fn clusters(&self) -> usize {
        self.sizes.len()
    }

    /// m, the number of reduced features.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The centroids, each \[m\].
    pub fn centroids(&self) -> impl Iterator<Item = &[f64]> {
        self.centroids.chunks_exact(self.width)
    }

    /// How many rows each cluster had when it was made, the largest first.
    pub fn sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// The cluster of a row of reduced features: its nearest centroid, the first of equals.
    ///
    /// # Panics
    /// In tests, unless there are m.
    pub fn nearest(&self, reduced: &[f32]) -> u32 {
        nearest(&self.centroids, reduced).0
    }
}

/// The centroid of [k, m] that is nearest to `row` \[m\], the first of equals, and the square of its distance.
pub(super) fn nearest(centroids: &[f64], row: &[f32]) -> (u32, f64) {
    let mut best = (0, f64::INFINITY);
    for (centroid, number) in centroids.chunks_exact(row.len()).zip(0..) {
        let distance = squared_distance(centroid, row);
        if distance < best.1 {
            best = (number, distance);
        }
    }
    best
}
