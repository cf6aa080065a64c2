//! The projection: standardise features and reduce them to their principal components, from exact moments alone.
//!
//! [`fit()`] turns [`crate::moments::Moments`] into a [`Projection`]: the top eigenvectors of the correlation matrix (or,
//! without standardisation, of the covariance matrix), with signs fixed by a rule. It is a pure function of the moments:
//! sequential, seeded, without clock or thread, so equal moments give equal bits on one kind of CPU, whoever computes them.
//! (Kinds of CPU differ: the matrix products under it choose their instructions and blocking by what they run on.)
//!
//! [`drift()`] says how far one projection is from another, and carries coordinates over; [`Stored`] is the published file.

mod drift;
mod eigen;
mod fit;
mod krylov;
mod model;
mod stored;

pub use drift::{Drift, drift};
pub use fit::{Components, Options, fit};
pub use model::Projection;
pub use stored::Stored;

pub use crate::tensors::StoredError;

/// Why there is no projection, or no drift.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProjectionError {
    /// The moments hold too few rows to vary.
    #[error("a projection needs at least {needed} images, there are {rows}: wait for more")]
    TooFewRows {
        /// Rows in the moments.
        rows: u64,
        /// The least number.
        needed: u64,
    },
    /// No components were asked for, or an impossible ratio.
    #[error(
        "components = {0} is neither a count of at least 1 nor a ratio in (0, 1]: set one of both"
    )]
    Components(String),
    /// The eigensolver gave up.
    #[error(
        "the eigenvalues of the {0} x {0} matrix did not converge: run verify, the moments may be damaged"
    )]
    NoConvergence(usize),
    /// Projections of different widths cannot be compared.
    #[error(
        "projections of {previous} and of {current} features have no common space: they come from different backbones"
    )]
    MixedWidths {
        /// Width of the previous one.
        previous: usize,
        /// Width of the current one.
        current: usize,
    },
}
