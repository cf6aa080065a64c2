//! The leading eigenpairs of a symmetric positive semidefinite matrix: all of them, or by Krylov where that is faster.

use super::{ProjectionError, krylov};
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::{Mat, MatRef, Par};

/// Up to this width all eigenpairs cost less than a restart.
const FULL_MAX_WIDTH: usize = 192;
/// Beyond this share of the width, a Krylov basis is no longer small.
const KRYLOV_MAX_SHARE: usize = 8;

/// Eigenvalues, largest first, and their orthonormal eigenvectors as columns.
pub(super) struct Spectrum {
    pub(super) values: Vec<f64>,
    /// [d, k]
    pub(super) vectors: Mat<f64>,
}

/// The `k` largest eigenvalues of `matrix` [d, d] and their vectors, k <= d.
pub(super) fn leading(matrix: MatRef<'_, f64>, k: usize) -> Result<Spectrum, ProjectionError> {
    let width = matrix.nrows();
    if width > FULL_MAX_WIDTH
        && k <= width / KRYLOV_MAX_SHARE
        && let Some(spectrum) = krylov::leading(matrix, k)
    {
        return Ok(spectrum);
    }
    full(matrix, k)
}

/// As [`leading`], by the decomposition of the whole matrix; only its lower triangle is read.
pub(super) fn full(matrix: MatRef<'_, f64>, k: usize) -> Result<Spectrum, ProjectionError> {
    let width = matrix.nrows();
    let mut values = Diag::zeros(width);
    let mut vectors = Mat::zeros(width, width);
    let scratch = self_adjoint_evd_scratch::<f64>(
        width,
        ComputeEigenvectors::Yes,
        Par::Seq,
        Default::default(),
    );
    self_adjoint_evd(
        matrix,
        values.as_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| ProjectionError::NoConvergence(width))?;
    // faer orders them upwards.
    let descending = || (0..width).rev().take(k);
    Ok(Spectrum {
        values: descending().map(|i| values[i]).collect(),
        vectors: Mat::from_fn(width, k, |row, column| vectors[(row, width - 1 - column)]),
    })
}
