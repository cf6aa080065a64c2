//! A fitted classifier, and what it says of a row of features.

use crate::lanes::dot;

/// What a fit yields, and a file holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fitted {
    pub(super) n: u64,
    pub(super) width: usize,
    pub(super) shrinkage: f64,
    /// \[c\], in order.
    pub(super) labels: Vec<String>,
    /// [c, d], row by row.
    pub(super) coefficients: Vec<f64>,
    /// \[c\]
    pub(super) intercepts: Vec<f64>,
}

/// Linear discriminants of d features for c labels, made by [`super::fit()`] or read by [`super::Stored`].
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    pub(super) fitted: Fitted,
}

/// A label for a row of features.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction<'a> {
    /// The likeliest label.
    pub label: &'a str,
    /// How likely it is, were all labels known and alike in scatter: above 0, at most 1.
    pub confidence: f32,
}

impl Classifier {
    pub(super) fn new(fitted: Fitted) -> Self {
        Self { fitted }
    }

    /// The labelled rows that it was fitted on.
    pub fn n(&self) -> u64 {
        self.fitted.n
    }

    /// How far the scatter within labels was shrunk, above 0, at most 1.
    pub fn shrinkage(&self) -> f64 {
        self.fitted.shrinkage
    }

    /// d, the number of features.
    pub fn width(&self) -> usize {
        self.fitted.width
    }

    /// The labels \[c\] that it tells apart, in order.
    pub fn labels(&self) -> &[String] {
        &self.fitted.labels
    }

    /// The likeliest label, the first of equals, and its probability.
    ///
    /// A row's result depends on nothing but the row and the classifier.
    ///
    /// # Panics
    /// Unless there are d features.
    pub fn classify(&self, features: &[f32]) -> Prediction<'_> {
        let probabilities = self.probabilities(features);
        let better = |best: usize, (i, p): (usize, &f64)| match *p > probabilities[best] {
            true => i,
            false => best,
        };
        let best = probabilities.iter().enumerate().fold(0, better);
        Prediction {
            label: &self.fitted.labels[best],
            confidence: probabilities[best] as f32,
        }
    }

    /// The `count` likeliest labels, the likeliest first.
    ///
    /// # Panics
    /// Unless there are d features.
    pub fn ranked(&self, features: &[f32], count: usize) -> Vec<Prediction<'_>> {
        let probabilities = self.probabilities(features);
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        // Stable: the first of equals stays the first.
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        let prediction = |i: usize| Prediction {
            label: &self.fitted.labels[i],
            confidence: probabilities[i] as f32,
        };
        order.into_iter().take(count).map(prediction).collect()
    }

    /// The probability of each label \[c\]: the softmax of the discriminants, each summed in f64 in one fixed order.
    ///
    /// # Panics
    /// Unless there are d features.
    pub fn probabilities(&self, features: &[f32]) -> Vec<f64> {
        let fitted = &self.fitted;
        assert_eq!(features.len(), fitted.width, "features have width d");
        let rows = fitted.coefficients.chunks_exact(fitted.width);
        let discriminants = rows
            .zip(&fitted.intercepts)
            .map(|(coefficients, intercept)| dot(coefficients, features) + intercept);
        let mut values: Vec<f64> = discriminants.collect();
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        values
            .iter_mut()
            .for_each(|value| *value = (*value - largest).exp());
        let total: f64 = values.iter().sum();
        values.iter_mut().for_each(|value| *value /= total);
        values
    }
}
