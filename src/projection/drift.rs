//! How far one projection is from the one before it, and how to carry coordinates over.
//!
//! Two projections are two linear maps of features, and the angle between maps needs a metric on the features. It is the
//! current version's: its standardised coordinates (raw ones if it does not standardise). In raw coordinates of a
//! standardised projection a single feature of large scale would drown all others, and the previous version's
//! standardised coordinates are no longer those of the data. So both maps are written for the current standardised
//! features, where the current components are orthonormal, and compared there. If only the standardisation moved, the
//! angles say so, because the reduced features move with it.

use super::{Projection, ProjectionError};
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::matmul::matmul;
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Accum, Mat, MatRef, Par};
use ndarray::Array2;

/// The step from one projection to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// The principal angles between the two component spaces, in radians, rising from 0 (a shared direction) to π/2 (a lost
    /// one); as many as the smaller space has dimensions.
    pub angles_rad: Vec<f64>,
    /// [k_previous, k_current]: `current ≈ previous · rotation + shift`, in the least squares sense over the loadings.
    pub rotation: Array2<f64>,
    /// \[k_current\]: where the previous mean lies now.
    pub shift: Vec<f64>,
}

/// The drift from `previous` to `current`.
///
/// Angles after Björck and Golub, "Numerical methods for computing angles between linear subspaces" (1973), from
/// cosines and sines together, so that small angles are as exact as large ones.
///
/// # Errors
/// If the widths differ, or a singular value decomposition does not converge.
pub fn drift(previous: &Projection, current: &Projection) -> Result<Drift, ProjectionError> {
    if previous.width() != current.width() {
        return Err(ProjectionError::MixedWidths {
            previous: previous.width(),
            current: current.width(),
        });
    }
    let before = Factored::new(loadings(previous, current))?;
    let now = Factored::new(loadings(current, current))?;
    let rotation = before.least_squares(now.matrix.as_ref());
    let carried = |reduced: &[f64], column: usize| -> f64 {
        reduced
            .iter()
            .enumerate()
            .map(|(row, x)| x * rotation[(row, column)])
            .sum()
    };
    let (old, new) = (
        previous.reduce_f64(previous.mean()),
        current.reduce_f64(previous.mean()),
    );
    Ok(Drift {
        angles_rad: principal_angles(&before, &now)?,
        shift: new
            .iter()
            .enumerate()
            .map(|(column, new)| new - carried(&old, column))
            .collect(),
        rotation: Array2::from_shape_fn((rotation.nrows(), rotation.ncols()), |(row, column)| {
            rotation[(row, column)]
        }),
    })
}

/// The map of `projection` [d, k], written for the features as `metric` scales them.
fn loadings(projection: &Projection, metric: &Projection) -> Mat<f64> {
    let unit = |feature: usize| {
        if metric.standardised() {
            metric.std()[feature]
        } else {
            1.0
        }
    };
    let mut matrix = Mat::zeros(projection.width(), projection.n_components());
    for (column, weights) in projection.weights().enumerate() {
        for (feature, weight) in weights.iter().enumerate() {
            matrix[(feature, column)] = weight * unit(feature);
        }
    }
    matrix
}

fn principal_angles(a: &Factored, b: &Factored) -> Result<Vec<f64>, ProjectionError> {
    let (small, large) = if a.rank <= b.rank { (a, b) } else { (b, a) };
    let (small, large) = (small.basis(), large.basis());
    let overlap = product(large.transpose(), small);
    let mut rest = small.to_owned();
    matmul(
        rest.as_mut(),
        Accum::Add,
        large,
        overlap.as_ref(),
        -1.0,
        Par::Seq,
    );
    let (cosines, sines) = (Factored::new(overlap)?.values, Factored::new(rest)?.values);
    // Largest cosine beside smallest sine.
    Ok(cosines
        .iter()
        .zip(sines.iter().rev())
        .map(|(cosine, sine)| sine.atan2(*cosine))
        .collect())
}

fn product(left: MatRef<'_, f64>, right: MatRef<'_, f64>) -> Mat<f64> {
    let mut into = Mat::zeros(left.nrows(), right.ncols());
    matmul(into.as_mut(), Accum::Replace, left, right, 1.0, Par::Seq);
    into
}

/// A matrix and its thin singular value decomposition, U diag(values) Vᵀ with falling values.
struct Factored {
    matrix: Mat<f64>,
    left: Mat<f64>,
    values: Vec<f64>,
    right: Mat<f64>,
    /// How many values are more than rounding error.
    rank: usize,
}

impl Factored {
    fn new(matrix: Mat<f64>) -> Result<Self, ProjectionError> {
        let (rows, columns) = (matrix.nrows(), matrix.ncols());
        let size = rows.min(columns);
        let (mut left, mut right) = (Mat::zeros(rows, size), Mat::zeros(columns, size));
        let mut values = Diag::zeros(size);
        let thin = ComputeSvdVectors::Thin;
        let scratch = svd_scratch::<f64>(rows, columns, thin, thin, Par::Seq, Default::default());
        svd(
            matrix.as_ref(),
            values.as_mut(),
            Some(left.as_mut()),
            Some(right.as_mut()),
            Par::Seq,
            MemStack::new(&mut MemBuffer::new(scratch)),
            Default::default(),
        )
        .map_err(|_| ProjectionError::NoConvergence(rows))?;
        let values: Vec<f64> = (0..size).map(|i| values[i]).collect();
        let noise =
            values.first().copied().unwrap_or(0.0) * f64::EPSILON * rows.max(columns) as f64;
        let rank = values.iter().filter(|&&value| value > noise).count();
        Ok(Self {
            matrix,
            left,
            values,
            right,
            rank,
        })
    }

    /// An orthonormal basis [rows, rank] of the columns' span.
    fn basis(&self) -> MatRef<'_, f64> {
        self.left.subcols(0, self.rank)
    }

    /// The X of least norm that minimises |matrix · X − target|.
    fn least_squares(&self, target: MatRef<'_, f64>) -> Mat<f64> {
        let mut coordinates = product(self.basis().transpose(), target);
        for column in 0..coordinates.ncols() {
            for (row, value) in self.values[..self.rank].iter().enumerate() {
                coordinates[(row, column)] /= value;
            }
        }
        product(self.right.subcols(0, self.rank), coordinates.as_ref())
    }
}

#[cfg(test)]
mod tests;
