//! From moments to a projection.

use super::{Projection, ProjectionError, eigen};
use crate::moments::{Moments, MomentsError};
use faer::{Mat, MatRef};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// How many components to keep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Components {
    /// This many, at least 1.
    Count(usize),
    /// As few as explain more than this share of the variance, in (0, 1] (scikit-learn's `n_components=0.95`).
    Ratio(f64),
}

/// What kind of projection to make. The default is Spark's `StandardScaler(withMean=True)` and `PCA(50)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// How many components; cut to min(d, n − 1), for there are no more.
    pub components: Components,
    /// Divide by the standard deviation first: the components are those of the correlation matrix.
    pub standardise: bool,
    /// The standard deviation's denominator is n − `ddof`: 1 as Spark, 0 as scikit-learn's `StandardScaler`.
    pub ddof: u8,
    /// Subtract the mean when rows are scaled and reduced. Spark's `PCA` does not, nor does its `StandardScaler` unless told.
    pub center: bool,
    /// Divide reduced features by the standard deviation of their component, so that each has variance 1.
    pub whiten: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            components: Components::Count(50),
            standardise: true,
            ddof: 1,
            center: true,
            whiten: false,
        }
    }
}

/// Fits the projection of the rows in `moments`.
///
/// The explained variance is that of scikit-learn's `PCA` on the features scaled as `options` say: always with
/// denominator n − 1, whatever `ddof` the scaling has. Each component's loading of largest absolute value is positive
/// (scikit-learn's `svd_flip`; the first one of equals).
///
/// # Errors
/// With fewer than two rows or n <= `ddof`, for impossible options, and if the eigenvalues do not converge.
pub fn fit(moments: &Moments, options: &Options) -> Result<Projection, ProjectionError> {
    let (n, width) = (moments.n(), moments.width());
    let needed = 2.max(u64::from(options.ddof) + 1);
    let too_few = |_: MomentsError| ProjectionError::TooFewRows { rows: n, needed };
    if n < needed {
        return Err(ProjectionError::TooFewRows { rows: n, needed });
    }
    let std: Vec<f64> = moments
        .variance(options.ddof)
        .map_err(too_few)?
        .into_iter()
        .map(f64::sqrt)
        .collect();
    let matrix = if options.standardise {
        moments.correlation()
    } else {
        moments.covariance(1)
    }
    .map_err(too_few)?;
    // Scaling by a standard deviation of another ddof than 1 leaves variances of this instead of 1.
    let unit_variance = if options.standardise {
        (n - u64::from(options.ddof)) as f64 / (n - 1) as f64
    } else {
        1.0
    };

    let most = width.min(usize::try_from(n - 1).unwrap_or(usize::MAX));
    let total: f64 = matrix.diag().sum();
    let spectrum = match options.components {
        Components::Count(count @ 1..) => leading(&matrix, count.min(most))?,
        Components::Ratio(ratio) if ratio > 0.0 && ratio <= 1.0 => {
            explaining(&matrix, ratio * total, most)?
        }
        Components::Count(count) => return Err(ProjectionError::Components(count.to_string())),
        Components::Ratio(ratio) => return Err(ProjectionError::Components(ratio.to_string())),
    };
    // Rounding can push the zeros of a rank-deficient matrix below zero.
    let eigenvalues: Vec<f64> = spectrum.values.iter().map(|value| value.max(0.0)).collect();
    let share = |value: &f64| if total > 0.0 { value / total } else { 0.0 };
    Ok(Projection::new(super::model::Fitted {
        n,
        mean: moments.mean().map_err(too_few)?,
        std,
        components: with_fixed_signs(&spectrum.vectors),
        explained_variance_ratio: eigenvalues.iter().map(share).collect(),
        explained_variance: eigenvalues
            .iter()
            .map(|value| value * unit_variance)
            .collect(),
        standardised: options.standardise,
        ddof: options.ddof,
        centred: options.center,
        whitened: options.whiten,
    }))
}

fn leading(matrix: &Array2<f64>, k: usize) -> Result<eigen::Spectrum, ProjectionError> {
    // Symmetric, so that ndarray's rows serve as faer's columns.
    let entries = matrix.as_slice().unwrap_or_default();
    eigen::leading(
        MatRef::from_column_major_slice(entries, matrix.nrows(), matrix.ncols()),
        k,
    )
}

/// The fewest components that explain more than `variance`, at most `most`.
fn explaining(
    matrix: &Array2<f64>,
    variance: f64,
    most: usize,
) -> Result<eigen::Spectrum, ProjectionError> {
    let mut tried = 32.min(most);
    loop {
        let mut spectrum = leading(matrix, tried)?;
        let mut explained = 0.0;
        let enough = spectrum.values.iter().position(|value| {
            explained += value;
            explained > variance
        });
        if let Some(last) = enough {
            spectrum.values.truncate(last + 1);
            spectrum
                .vectors
                .resize_with(matrix.nrows(), last + 1, |_, _| 0.0);
            return Ok(spectrum);
        }
        if tried == most {
            return Ok(spectrum);
        }
        tried = (4 * tried).min(most);
    }
}

/// The columns of `vectors` [d, k] as rows [k, d], each with its largest |loading| positive.
fn with_fixed_signs(vectors: &Mat<f64>) -> Array2<f64> {
    let mut components = Array2::zeros((vectors.ncols(), vectors.nrows()));
    for (column, mut component) in components.rows_mut().into_iter().enumerate() {
        let loadings = vectors.col_as_slice(column);
        let largest = loadings.iter().fold(0.0f64, |largest, &loading| {
            if loading.abs() > largest.abs() {
                loading
            } else {
                largest
            }
        });
        let sign = if largest < 0.0 { -1.0 } else { 1.0 };
        // Adding 0 turns -0 into 0: equal numbers, equal bytes.
        component
            .iter_mut()
            .zip(loadings)
            .for_each(|(out, loading)| *out = sign * loading + 0.0);
    }
    components
}

#[cfg(test)]
pub(super) mod tests;
