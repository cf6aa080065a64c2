//! A fitted projection, and what it does to a row of features.

use crate::lanes::dot;
use ndarray::{Array2, ArrayView2};

/// Below this share of the largest one, a component's variance is rounding error, and whitening leaves it at zero.
const NO_VARIANCE: f64 = 1e-13;

/// What a fit yields, and a file holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fitted {
    pub(super) n: u64,
    pub(super) mean: Vec<f64>,
    pub(super) std: Vec<f64>,
    pub(super) components: Array2<f64>,
    pub(super) explained_variance: Vec<f64>,
    pub(super) explained_variance_ratio: Vec<f64>,
    pub(super) standardised: bool,
    pub(super) ddof: u8,
    pub(super) centred: bool,
    pub(super) whitened: bool,
}

/// Standardisation and principal components of d features to k, made by [`super::fit()`] or read by [`super::Stored`].
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    pub(super) fitted: Fitted,
    /// Scaling, components and whitening in one matrix [k, d], row-major: reduced = weights · x + offset.
    weights: Vec<f64>,
    offset: Vec<f64>,
}

impl Projection {
    pub(super) fn new(fitted: Fitted) -> Self {
        let largest = fitted.explained_variance.first().copied().unwrap_or(0.0);
        let mut weights = Vec::with_capacity(fitted.components.len());
        for (component, &variance) in fitted
            .components
            .rows()
            .into_iter()
            .zip(&fitted.explained_variance)
        {
            let gain = match fitted.whitened {
                true if variance > largest * NO_VARIANCE => variance.sqrt().recip(),
                true => 0.0,
                false => 1.0,
            };
            weights.extend(component.iter().zip(&fitted.std).map(|(loading, &std)| {
                match fitted.standardised {
                    true if std > 0.0 => loading * gain / std,
                    true => 0.0,
                    false => loading * gain,
                }
            }));
        }
        let rows = weights.chunks_exact(fitted.mean.len());
        let offset = rows
            .map(|row| {
                if fitted.centred {
                    -dot(row, &fitted.mean)
                } else {
                    0.0
                }
            })
            .collect();
        Self {
            fitted,
            weights,
            offset,
        }
    }

    /// n, the number of rows it was fitted on.
    pub fn n(&self) -> u64 {
        self.fitted.n
    }

    /// d, the number of features.
    pub fn width(&self) -> usize {
        self.fitted.mean.len()
    }

    /// k, the number of components.
    pub fn n_components(&self) -> usize {
        self.fitted.explained_variance.len()
    }

    /// The features' means \[d\].
    pub fn mean(&self) -> &[f64] {
        &self.fitted.mean
    }

    /// The features' standard deviations \[d\] with denominator n − [`Projection::ddof`]; 0 for constant features.
    pub fn std(&self) -> &[f64] {
        &self.fitted.std
    }

    /// The loadings [k, d]: orthonormal rows, by falling explained variance.
    pub fn components(&self) -> ArrayView2<'_, f64> {
        self.fitted.components.view()
    }

    /// The variance along each component \[k\], with denominator n − 1.
    pub fn explained_variance(&self) -> &[f64] {
        &self.fitted.explained_variance
    }

    /// The explained variances' shares \[k\] of the variance of all scaled features; 0 if nothing varies.
    pub fn explained_variance_ratio(&self) -> &[f64] {
        &self.fitted.explained_variance_ratio
    }

    /// Whether features are divided by their standard deviations.
    pub fn standardised(&self) -> bool {
        self.fitted.standardised
    }

    /// The standard deviations' delta degrees of freedom.
    pub fn ddof(&self) -> u8 {
        self.fitted.ddof
    }

    /// Whether the means are subtracted.
    pub fn centred(&self) -> bool {
        self.fitted.centred
    }

    /// Whether reduced features are divided by their components' standard deviations.
    pub fn whitened(&self) -> bool {
        self.fitted.whitened
    }

    /// The scaled features \[d\]: (x − mean)/std, each part as the options of the fit say; 0 for a constant feature.
    ///
    /// # Panics
    /// Unless both lengths are d.
    pub fn scale(&self, features: &[f32], scaled: &mut [f64]) {
        let Fitted {
            mean,
            std,
            standardised,
            centred,
            ..
        } = &self.fitted;
        assert_eq!(
            (features.len(), scaled.len()),
            (mean.len(), mean.len()),
            "features and scaled features have width d"
        );
        for (((out, &x), &mean), &std) in scaled.iter_mut().zip(features).zip(mean).zip(std) {
            let x = f64::from(x) - if *centred { mean } else { 0.0 };
            *out = match standardised {
                true if std > 0.0 => x / std,
                true => 0.0,
                false => x,
            };
        }
    }

    /// The reduced features \[k\]: components · scaled features, summed in f64 in one fixed order and then rounded.
    ///
    /// A row's result depends on nothing but the row and the projection.
    ///
    /// # Panics
    /// Unless the lengths are d and k.
    pub fn reduce(&self, features: &[f32], reduced: &mut [f32]) {
        assert_eq!(features.len(), self.width(), "features have width d");
        assert_eq!(
            reduced.len(),
            self.n_components(),
            "reduced features have width k"
        );
        let rows = self.weights().zip(&self.offset);
        for (out, (weights, offset)) in reduced.iter_mut().zip(rows) {
            *out = (dot(weights, features) + offset) as f32;
        }
    }

    /// [`Projection::reduce`] into a vector of its own.
    pub fn reduced(&self, features: &[f32]) -> Vec<f32> {
        let mut reduced = vec![0.0; self.n_components()];
        self.reduce(features, &mut reduced);
        reduced
    }

    /// [`Projection::scale`] into a vector of its own, rounded.
    pub fn scaled(&self, features: &[f32]) -> Vec<f32> {
        let mut scaled = vec![0.0; self.width()];
        self.scale(features, &mut scaled);
        scaled.into_iter().map(|x| x as f32).collect()
    }

    /// The rows of the folded matrix.
    pub(super) fn weights(&self) -> std::slice::ChunksExact<'_, f64> {
        self.weights.chunks_exact(self.width())
    }

    /// What [`Projection::reduce`] makes of `features`, before the last rounding.
    pub(super) fn reduce_f64(&self, features: &[f64]) -> Vec<f64> {
        self.weights()
            .zip(&self.offset)
            .map(|(weights, offset)| dot(weights, features) + offset)
            .collect()
    }
}
