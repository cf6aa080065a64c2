//! The statistics that a state answers: evaluated in integers, rounded to f64 once.

use super::quotient::Quotient;
use super::{FRACTION_BITS, LabelSums, Moments, MomentsError};
use ndarray::Array2;

/// Σx is in grid steps.
const STEP_EXPONENT: i32 = -(FRACTION_BITS as i32);
/// Σxy is in grid steps squared.
const SQUARE_EXPONENT: i32 = 2 * STEP_EXPONENT;
/// Side of the tiles in which a triangle is mirrored; two tiles of f64 fit the first-level cache.
const TILE: usize = 32;

/// The rows of one label, or those of none.
#[derive(Debug, Clone, PartialEq)]
pub struct Group<'a> {
    /// The label.
    pub label: Option<&'a str>,
    /// How many rows.
    pub n: u64,
    /// Their mean feature vector minus that of all rows \[d\]: each entry the nearest f64 to the exact difference.
    pub deviation: Vec<f64>,
}

impl LabelSums {
    /// The label's mean feature vector \[d\]: each entry the nearest f64 to the exact mean.
    pub fn mean(&self) -> Vec<f64> {
        // `Moments::check` lets no label without rows exist.
        let quotient = Quotient::new(self.n(), STEP_EXPONENT);
        self.sums.iter().map(|&sum| quotient.of(sum)).collect()
    }
}

impl Moments {
    /// The mean feature vector \[d\]: each entry the nearest f64 to the exact mean.
    ///
    /// # Errors
    /// Without rows.
    pub fn mean(&self) -> Result<Vec<f64>, MomentsError> {
        self.need_rows(1)?;
        let quotient = Quotient::new(self.n(), STEP_EXPONENT);
        Ok((0..self.width())
            .map(|column| quotient.of(self.sum(column)))
            .collect())
    }

    /// The variances \[d\] with denominator n − `ddof`: each the nearest f64 to the exact one.
    ///
    /// # Errors
    /// Unless n > `ddof`.
    pub fn variance(&self, ddof: u8) -> Result<Vec<f64>, MomentsError> {
        let quotient = self.second_order(ddof)?;
        let squares = (0..self.width()).map(|column| (self.sum(column), self.products(column)[0]));
        Ok(squares
            .map(|(sum, square)| quotient.of(self.deviation(sum, sum, square)))
            .collect())
    }

    /// The covariance matrix \[d, d\] with denominator n − `ddof`: each entry the nearest f64 to the exact one.
    ///
    /// # Errors
    /// Unless n > `ddof`.
    pub fn covariance(&self, ddof: u8) -> Result<Array2<f64>, MomentsError> {
        let quotient = self.second_order(ddof)?;
        Ok(self.symmetric(|_, _, deviation| quotient.of(deviation)))
    }

    /// Pearson's correlation matrix \[d, d\]; rows and columns of constant features are zero, their diagonal too.
    ///
    /// Each covariance is rounded once and then divided by the two standard deviations, so the entries are good to a
    /// few units in the last place; the diagonal of what varies is exactly 1.
    ///
    /// # Errors
    /// With fewer than two rows.
    pub fn correlation(&self) -> Result<Array2<f64>, MomentsError> {
        let quotient = self.second_order(1)?;
        let inverse_std = |variance: f64| {
            if variance > 0.0 {
                variance.sqrt().recip()
            } else {
                0.0
            }
        };
        let scale: Vec<f64> = self.variance(1)?.into_iter().map(inverse_std).collect();
        Ok(self.symmetric(|row, column, deviation| {
            if row == column {
                f64::from(u8::from(deviation > 0))
            } else {
                quotient.of(deviation) * scale[row] * scale[column]
            }
        }))
    }

    /// All rows by label, in the order of labels; those without one, if there are any, come last.
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut rest: Vec<i128> = (0..self.width()).map(|column| self.sum(column)).collect();
        let mut n_rest = self.n();
        let mut groups = Vec::new();
        for (name, label) in self.labels() {
            n_rest -= label.n();
            rest.iter_mut()
                .zip(&label.sums)
                .for_each(|(rest, sum)| *rest -= sum);
            groups.push(self.group(Some(name), label.n(), &label.sums));
        }
        if n_rest > 0 {
            groups.push(self.group(None, n_rest, &rest));
        }
        groups
    }

    /// Σx/n of a group and of all have n·n as their denominator, which fits u64; the numerators stay below 2^96.
    fn group<'a>(&self, label: Option<&'a str>, n: u64, sums: &[i128]) -> Group<'a> {
        let quotient = Quotient::new(self.n() * n, STEP_EXPONENT);
        let difference = |(column, &sum): (usize, &i128)| {
            quotient.of(i128::from(self.n()) * sum - i128::from(n) * self.sum(column))
        };
        Group {
            label,
            n,
            deviation: sums.iter().enumerate().map(difference).collect(),
        }
    }

    fn need_rows(&self, needed: u64) -> Result<(), MomentsError> {
        let rows = self.n();
        if rows < needed {
            Err(MomentsError::TooFewRows { rows, needed })
        } else {
            Ok(())
        }
    }

    /// Quotients by n(n − ddof), which fits u64 as n <= 2^32 - 1.
    fn second_order(&self, ddof: u8) -> Result<Quotient, MomentsError> {
        let ddof = u64::from(ddof);
        self.need_rows(ddof + 1)?;
        Ok(Quotient::new(self.n() * (self.n() - ddof), SQUARE_EXPONENT))
    }

    /// n·Σxy − ΣxΣy. Within the bounds both terms are below 2^126 in absolute value.
    fn deviation(&self, sum_x: i128, sum_y: i128, product: i128) -> i128 {
        i128::from(self.n()) * product - sum_x * sum_y
    }

    /// The symmetric matrix of `entry(row, column, n·Σxy − ΣxΣy)`, evaluated for row <= column and mirrored.
    fn symmetric(&self, entry: impl Fn(usize, usize, i128) -> f64) -> Array2<f64> {
        let width = self.width();
        let sums: Vec<i128> = (0..width).map(|column| self.sum(column)).collect();
        let mut matrix = Array2::zeros((width, width));
        for (row, mut cells) in matrix.rows_mut().into_iter().enumerate() {
            for (column, &product) in (row..width).zip(self.products(row)) {
                cells[column] = entry(
                    row,
                    column,
                    self.deviation(sums[row], sums[column], product),
                );
            }
        }
        // Tile by tile, because a whole column of a wide matrix misses the cache at every step.
        for top in (0..width).step_by(TILE) {
            for left in (top..width).step_by(TILE) {
                for row in top..(top + TILE).min(width) {
                    for column in left.max(row + 1)..(left + TILE).min(width) {
                        matrix[[column, row]] = matrix[[row, column]];
                    }
                }
            }
        }
        matrix
    }
}

#[cfg(test)]
mod tests;
