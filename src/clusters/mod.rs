//! k-means of reduced features: the same clusters of the same rows, whoever has them and in whatever order.
//!
//! Lloyd's iteration (1982) from the centres that greedy k-means++ chooses (Arthur and Vassilvitskii 2007), as scikit-learn's `KMeans`.
//! The rows lie with any number of [`Members`]; one [`Lead`] asks all of them the same question, an [`Ask`], and makes the next one of their
//! answers, until there is an [`Outcome`].
//!
//! # Why the result depends on the rows alone
//! - A distance is of one row and one centre: whoever computes it sums in the same order.
//! - What is summed over rows is rounded to a grid first and summed as integers, as the moments are.
//! - Chance is a function of the seed and of a row's key: each row runs a race that it wins with the probability of its weight (Efraimidis
//!   and Spirakis 2006), so that drawing needs no order of the rows and no total.
//! - Of equals, the least key or the first centre wins.
//!
//! [`Clustering`] is the result: centroids, of which the nearest is a row's cluster; [`Stored`] is the published file. [`Agreement`] says how
//! far clusters and labels are the same partition.

mod agreement;
mod lead;
mod members;
mod model;
mod questions;
mod race;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use agreement::Agreement;
pub use lead::{Lead, Step};
pub use members::Members;
pub use model::Clustering;
pub use questions::{Answer, Ask};
pub use stored::Stored;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// How many clusters; `None`: as many as there are labels.
    pub clusters: Option<usize>,
    /// Of all that is left to chance.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            clusters: None,
            seed: 1,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The clusters, the largest first; fewer than were asked for where fewer rows differ.
    pub clustering: Clustering,
    /// Rows.
    pub rows: u64,
    /// Passes over the rows until none changed its cluster.
    pub iterations: u32,
    /// Whether none did in the last one; else the passes were too many.
    pub converged: bool,
    /// The sum of the squares of all rows' distances to their centroids.
    pub inertia: f64,
    /// The mean silhouette (Rousseeuw 1987) of `silhouette_rows` rows among one another; none of a single cluster.
    pub silhouette: Option<f64>,
    /// All rows, or a sample.
    pub silhouette_rows: u64,
    /// With the labels, of the rows that have one; none where no row has.
    pub agreement: Option<Agreement>,
    /// How many rows of each label are in each cluster.
    pub table: BTreeMap<(Option<String>, u32), u64>,
}

/// Why there are no clusters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// Nothing to cluster.
    #[error(
        "no row has reduced features yet: clusters need a projection, and a projection two images"
    )]
    NoRows,
    /// How many, nobody can know.
    #[error(
        "how many clusters there are to be is neither given nor known, as no row has a label: give their number"
    )]
    NoLabels,
    /// An impossible number.
    #[error("{0} clusters can't be found: ask for at least 1 and at most {max}", max = Clustering::MAX)]
    Clusters(usize),
}
