//! A classifier from the moments alone: linear discriminant analysis in closed form.
//!
//! Where the rows of every label scatter about their mean in the same way, and normally, the likeliest label of features x is
//! the one with the largest *discriminant* x·Σ⁻¹μ - ½μ·Σ⁻¹μ + ln π, of the label's mean μ, its share π of the rows, and the scatter
//! Σ that all share (Fisher 1936, Rao 1948; learnt from a stream over a network's features: Hayes and Kanan, "Lifelong machine learning
//! with deep streaming linear discriminant analysis", 2020). n and Σx of each label and the one Σxxᵀ of all are enough for it, and those
//! are exact: no training, labels come and go at any time, and a retracted row leaves no trace.
//!
//! [`fit()`] turns [`crate::moments::Moments`] into a [`Classifier`], a pure function as [`crate::projection::fit()`] is.
//! [`Stored`] is the published file.
//!
//! # Shrinkage
//! With fewer rows than features, Σ is singular, and with not many more its small eigenvalues are too small. Hence it is moved a little
//! towards a multiple of the identity: (1 - s)Σ + s·tr(Σ)/d·I, as scikit-learn's `LinearDiscriminantAnalysis(solver="lsqr",
//! shrinkage=s)` does. s is a number, or estimated from Σ itself ([`Shrinkage`]).

mod fit;
mod model;
mod shrinkage;
mod stored;
#[cfg(test)]
mod tests;

pub use crate::tensors::StoredError;
pub use fit::{Options, fit};
pub use model::{Classifier, Prediction};
pub use shrinkage::{Estimator, Shrinkage};
pub use stored::Stored;

/// Why there is no classifier. But for [`ClassifierError::Shrinkage`], other rows cure each.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClassifierError {
    /// An impossible share.
    #[error("shrinkage = {0} is not above 0 and at most 1: 0.01 is a good one")]
    Shrinkage(f64),
    /// Nothing to tell apart.
    #[error(
        "a classifier needs rows of at least two labels, there are {0}: set the label rule, or wait for more images"
    )]
    TooFewLabels(usize),
    /// More labels than were asked for.
    #[error(
        "{found} labels are more than the {max} that the classifier may have: raise classifier.max_labels, or make labels coarser"
    )]
    TooManyLabels {
        /// How many there are.
        found: usize,
        /// How many may be.
        max: usize,
    },
    /// The rows of each label are all equal.
    #[error(
        "the images of each label are all alike, so nothing is known of how they scatter: wait for more images"
    )]
    NoScatter,
    /// Too little shrinkage for these rows.
    #[error(
        "the scatter within labels has no inverse with a shrinkage of {0}: raise classifier.shrinkage, or wait for more images"
    )]
    Singular(f64),
}
