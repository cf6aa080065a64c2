//! From moments to a classifier.

use super::shrinkage::{Estimator, Shrinkage, ledoit_wolf};
use super::{Classifier, ClassifierError, model::Fitted};
use crate::lanes::dot;
use crate::moments::{Group, Moments};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt;
use faer::linalg::matmul::triangular::{BlockStructure, matmul};
use faer::{Accum, Mat, MatMut, Par};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// Below this share of the total scatter, the scatter within labels is rounding error.
const NO_SCATTER: f64 = 1e-12;

/// What kind of classifier to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// How far the scatter within labels is moved towards a multiple of the identity.
    pub shrinkage: Shrinkage,
    /// With more labels than this there is no classifier: it has one discriminant of d numbers for each.
    pub max_labels: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shrinkage: Shrinkage::By(0.01),
            max_labels: 1000,
        }
    }
}

/// Fits the classifier of the labelled rows in `moments`. A label's prior is its share of them.
///
/// The scatter within labels is that of all rows minus that between the labels' means. Σxxᵀ is kept of all rows together, so rows
/// without a label can't be left out: they count as a group of their own, about their own mean, which is never predicted.
///
/// Totals and means are exact until they are rounded once; matrices are f64, and worked on by one thread in one order.
///
/// # Errors
/// Fewer than two labels or more than `options` allow, no scatter within them, or one that has no inverse.
pub fn fit(moments: &Moments, options: &Options) -> Result<Classifier, ClassifierError> {
    if let Shrinkage::By(share) = options.shrinkage
        && !(share > 0.0 && share <= 1.0)
    {
        return Err(ClassifierError::Shrinkage(share));
    }
    let found = moments.labels().count();
    if found < 2 {
        return Err(ClassifierError::TooFewLabels(found));
    }
    if found > options.max_labels {
        return Err(ClassifierError::TooManyLabels {
            found,
            max: options.max_labels,
        });
    }
    let too_few = |_| ClassifierError::TooFewLabels(found);
    let mean = moments.mean().map_err(too_few)?;
    let mut scatter = moments.covariance(0).map_err(too_few)?;
    let groups = moments.groups();
    let labelled = &groups[..found];
    let (solved, shrinkage) = solve(&mut scatter, moments.n(), &groups, found, options.shrinkage)?;

    let n: u64 = labelled.iter().map(|group| group.n).sum();
    let mut coefficients = Vec::with_capacity(found * mean.len());
    let mut intercepts = Vec::with_capacity(found);
    for (group, coefficient) in labelled.iter().zip(solved.col_iter()) {
        let start = coefficients.len();
        coefficients.extend(coefficient.iter().copied());
        let own = &coefficients[start..];
        let prior = group.n as f64 / n as f64;
        intercepts.push(prior.ln() - dot(own, &mean) - 0.5 * dot(own, &group.deviation));
    }
    let mut numbers = coefficients.iter().chain(&intercepts);
    if !numbers.all(|number| number.is_finite()) {
        return Err(ClassifierError::Singular(shrinkage));
    }
    let names = labelled.iter().filter_map(|group| group.label);
    Ok(Classifier::new(Fitted {
        n,
        width: mean.len(),
        shrinkage,
        labels: names.map(str::to_owned).collect(),
        coefficients,
        intercepts,
    }))
}

/// Σ⁻¹ times the deviations of the first `labels` of the groups [d, labels], and the shrinkage of Σ. `total` [d, d] is the scatter of
/// all n rows, and is overwritten.
fn solve(
    total: &mut Array2<f64>,
    n: u64,
    groups: &[Group<'_>],
    labels: usize,
    shrinkage: Shrinkage,
) -> Result<(Mat<f64>, f64), ClassifierError> {
    let width = total.nrows();
    let trace_of_all: f64 = total.diag().sum();
    // Symmetric, so that ndarray's rows serve as faer's columns.
    let entries = total.as_slice_mut().unwrap_or_default();
    let mut within = MatMut::from_column_major_slice_mut(entries, width, width);
    let means = Mat::from_fn(width, groups.len(), |row, column| {
        let Group {
            n: rows, deviation, ..
        } = &groups[column];
        (*rows as f64 / n as f64).sqrt() * deviation[row]
    });
    matmul(
        within.as_mut(),
        BlockStructure::TriangularLower,
        Accum::Add,
        means.as_ref(),
        BlockStructure::Rectangular,
        means.transpose(),
        BlockStructure::Rectangular,
        -1.0,
        Par::Seq,
    );
    let trace: f64 = (0..width).map(|i| within[(i, i)]).sum();
    // Also where there is no scatter at all.
    if trace.partial_cmp(&(trace_of_all * NO_SCATTER)) != Some(std::cmp::Ordering::Greater) {
        return Err(ClassifierError::NoScatter);
    }
    let shrinkage = match shrinkage {
        Shrinkage::By(share) => share,
        Shrinkage::Estimated(Estimator::LedoitWolf) => {
            ledoit_wolf(within.as_ref(), trace, n - groups.len() as u64)
        }
    };
    let ridge = shrinkage * trace / width as f64;
    for column in 0..width {
        for row in column..width {
            within[(row, column)] *= 1.0 - shrinkage;
        }
        within[(column, column)] += ridge;
    }
    let singular = |_| ClassifierError::Singular(shrinkage);
    let scratch =
        llt::factor::cholesky_in_place_scratch::<f64>(width, Par::Seq, Default::default());
    let mut memory = MemBuffer::new(scratch);
    llt::factor::cholesky_in_place(
        within.as_mut(),
        Default::default(),
        Par::Seq,
        MemStack::new(&mut memory),
        Default::default(),
    )
    .map_err(singular)?;
    let mut solved = Mat::from_fn(width, labels, |row, column| groups[column].deviation[row]);
    llt::solve::solve_in_place(
        within.as_ref(),
        solved.as_mut(),
        Par::Seq,
        MemStack::new(&mut memory),
    );
    Ok((solved, shrinkage))
}
