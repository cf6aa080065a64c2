//! How far the scatter within labels is moved towards a sphere's: by a number, or by an estimate.
//!
//! Ledoit and Wolf ("A well-conditioned estimator for large-dimensional covariance matrices", 2004) ask for the share at which the shrunk
//! scatter is nearest to the true one in the mean. Their own estimate of it takes the fourth moments of every label's rows about their
//! mean, which the sums of this crate don't hold. For normal rows, the scatter is a sufficient statistic, and by the theorem of Rao and
//! Blackwell the expectation of that estimate, given the scatter, is never a worse one. It is a closed form of two traces (Chen, Wiesel,
//! Eldar and Hero, "Shrinkage algorithms for MMSE covariance estimation", 2010): a function of the moments, exact under deletion.

use faer::MatRef;
use serde::{Deserialize, Serialize};

/// A share, or who finds it. In JSON `0.01`, or `"ledoit-wolf"`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Shrinkage {
    /// By this share: above 0, at most 1.
    By(f64),
    /// By what the rows say.
    Estimated(Estimator),
}

/// Of the best shrinkage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Estimator {
    /// Ledoit and Wolf's, Rao-Blackwellised: for rows that scatter normally about their labels' means.
    #[serde(rename = "ledoit-wolf")]
    LedoitWolf,
}

/// The share for a `scatter` [d, d], of which the lower triangle is read, with this `trace`; 0 to 1. `freedom` is the number of
/// rows less that of the means that were subtracted: so many rows about a known mean scatter as these do. The scatter's scale is of no
/// account.
pub(super) fn ledoit_wolf(scatter: MatRef<'_, f64>, trace: f64, freedom: u64) -> f64 {
    let width = scatter.nrows();
    let (mut diagonal, mut below) = (0.0, 0.0);
    for column in 0..width {
        diagonal += scatter[(column, column)].powi(2);
        below += (column + 1..width)
            .map(|row| scatter[(row, column)].powi(2))
            .sum::<f64>();
    }
    // tr S² and (tr S)², the former at least 1/d of the latter.
    let (squares, square) = (diagonal + 2.0 * below, trace * trace);
    let n = freedom as f64;
    let noise = (n - 2.0) / n * squares + square;
    let apart = (n + 2.0) * (squares - square / width as f64);
    // One degree of freedom says nothing of a shape, and a sphere has none.
    match freedom > 1 && apart > 0.0 {
        true => (noise / apart).min(1.0),
        false => 1.0,
    }
}
