//! The whole state in one place: made of parts, merged, checked, hashed.

use super::{Layout, MAX_ROWS, Part, Sums, WidthError, combine, part_digest};
use std::collections::BTreeMap;
use std::iter::repeat_n;

/// The largest |q| of an i32 row.
const MAX_STEP: i128 = 1 << 31;

/// Why sums are no state of any set of rows, or have no such statistic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MomentsError {
    /// The width has no exact moments.
    #[error(transparent)]
    Width(#[from] WidthError),
    /// A part that this width does not have.
    #[error(
        "moments of {width} features have no column block {block}: the parts belong to another backbone"
    )]
    UnknownBlock {
        /// The state's width.
        width: usize,
        /// The part's block.
        block: u32,
    },
    /// A part of the wrong length.
    #[error(
        "{part:?} has {found} sums where moments of {width} features have {expected}: the parts belong to another backbone, or are damaged"
    )]
    PartLength {
        /// Which part.
        part: Part,
        /// The state's width.
        width: usize,
        /// Its length.
        found: usize,
        /// The length it should have.
        expected: usize,
    },
    /// Two states of different widths were merged.
    #[error(
        "moments of {left} and of {right} features cannot be merged: they come from different backbones"
    )]
    MixedWidths {
        /// Width of the one.
        left: usize,
        /// Width of the other.
        right: usize,
    },
    /// Sums that would leave i128; no rows within the bounds get there.
    #[error(
        "the sums of {0:?} overflow: the parts are damaged, restore the state from an earlier commit"
    )]
    Overflow(Part),
    /// A row count below zero or beyond [`MAX_ROWS`].
    #[error(
        "{0} rows are outside 0..={MAX_ROWS}: more was retracted than added, or the sums are full"
    )]
    Count(i128),
    /// Sums of a column that no rows can have.
    #[error(
        "the sums of column {column} are those of no {rows} rows: a row was retracted that was never added, or the state is damaged; run verify"
    )]
    ImpossibleColumn {
        /// Which column.
        column: usize,
        /// n.
        rows: u64,
    },
    /// Label sums that contradict the total.
    #[error(
        "the sums of label {0:?} contradict those of all rows: a row was retracted under another label, or the state is damaged; run verify"
    )]
    ImpossibleLabel(String),
    /// The labels have more rows than there are, or all of them and yet not their sums.
    #[error(
        "the sums of the labels do not add up to those of all rows: the state is damaged; run verify"
    )]
    LabelTotal,
    /// Too few rows for the statistic.
    #[error(
        "{rows} rows are too few for this statistic, which needs {needed}: wait for more images"
    )]
    TooFewRows {
        /// n.
        rows: u64,
        /// The least n.
        needed: u64,
    },
}

/// n and Σx of the rows of one label, in grid steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSums {
    count: i128,
    pub(super) sums: Vec<i128>,
}

impl LabelSums {
    /// How many rows carry the label.
    pub fn n(&self) -> u64 {
        self.count as u64
    }

    fn is_zero(&self) -> bool {
        self.count == 0 && self.sums.iter().all(|&sum| sum == 0)
    }
}

/// n, Σx, Σxxᵀ of all rows, and n and Σx of each label's.
///
/// Every value of this type satisfies [`Moments::check`]; operations that would leave such states are errors, and take
/// the state they work on by value, so that no half-changed one stays behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moments {
    layout: Layout,
    count: i128,
    packed: Vec<i128>,
    labels: BTreeMap<String, LabelSums>,
}

impl Moments {
    /// The state of no rows at all.
    ///
    /// # Errors
    /// If `width` has no [`Layout`].
    pub fn empty(width: usize) -> Result<Self, WidthError> {
        let layout = Layout::new(width)?;
        // Written here: zeros that the system promises until they are first read, and gives when they are first written, cost two
        // faults a page, and an interrupt of every other core.
        let packed = repeat_n(0, layout.packed_len()).collect();
        Ok(Self {
            layout,
            count: 0,
            packed,
            labels: BTreeMap::new(),
        })
    }

    /// The state that `parts` add up to; a part that does not occur is zero, one that occurs twice is summed.
    ///
    /// # Errors
    /// If the width has no layout, a part is not of this width, or [`Moments::check`] fails.
    pub fn from_parts(
        width: usize,
        parts: impl IntoIterator<Item = (Part, Sums)>,
    ) -> Result<Self, MomentsError> {
        Self::empty(width)?.apply(parts)
    }

    /// This state and a change to it, such as an [`super::Accumulator`] drains.
    ///
    /// # Errors
    /// As [`Moments::from_parts`].
    pub fn apply(
        mut self,
        parts: impl IntoIterator<Item = (Part, Sums)>,
    ) -> Result<Self, MomentsError> {
        for (part, sums) in parts {
            self.add_part(part, sums.as_slice())?;
        }
        self.labels.retain(|_, label| !label.is_zero());
        self.check()?;
        Ok(self)
    }

    /// The state of the rows of both.
    ///
    /// # Errors
    /// If the widths differ, or the rows together are more than [`MAX_ROWS`].
    pub fn merge(self, other: &Self) -> Result<Self, MomentsError> {
        self.expect_same_width(other)?;
        self.apply(other.parts())
    }

    /// The state of this one's rows without those of `other`.
    ///
    /// # Errors
    /// If the widths differ, or `other` is visibly not a part of this state ([`Moments::check`] says which signs).
    pub fn retract(self, other: &Self) -> Result<Self, MomentsError> {
        self.expect_same_width(other)?;
        let negated = other.parts().map(|(part, mut sums)| {
            sums.negate();
            (part, sums)
        });
        self.apply(negated)
    }

    fn expect_same_width(&self, other: &Self) -> Result<(), MomentsError> {
        let (left, right) = (self.width(), other.width());
        if left == right {
            Ok(())
        } else {
            Err(MomentsError::MixedWidths { left, right })
        }
    }

    fn add_part(&mut self, part: Part, sums: &[i128]) -> Result<(), MomentsError> {
        if let Part::Columns(block) = part
            && block >= self.layout.blocks()
        {
            return Err(MomentsError::UnknownBlock {
                width: self.width(),
                block,
            });
        }
        let expected = match part {
            Part::Count => 1,
            Part::Columns(block) => self.layout.block_range(block).len(),
            Part::Label(_) => 1 + self.width(),
        };
        if sums.is_empty() {
            return Ok(());
        }
        if sums.len() != expected {
            return Err(MomentsError::PartLength {
                part,
                width: self.width(),
                found: sums.len(),
                expected,
            });
        }
        let fits = match &part {
            Part::Count => add_checked(std::slice::from_mut(&mut self.count), sums),
            Part::Columns(block) => {
                add_checked(&mut self.packed[self.layout.block_range(*block)], sums)
            }
            Part::Label(label) => {
                let zero = || LabelSums {
                    count: 0,
                    sums: vec![0; sums.len() - 1],
                };
                let total = self.labels.entry(label.clone()).or_insert_with(zero);
                add_checked(std::slice::from_mut(&mut total.count), &sums[..1])
                    && add_checked(&mut total.sums, &sums[1..])
            }
        };
        if fits {
            Ok(())
        } else {
            Err(MomentsError::Overflow(part))
        }
    }

    /// The state as its non-zero parts, in the order of [`Part`]: none if there are no rows.
    pub fn parts(&self) -> impl Iterator<Item = (Part, Sums)> {
        let count = (Part::Count, Sums::from(vec![self.count]));
        let blocks = (0..self.layout.blocks()).map(|block| {
            (
                Part::Columns(block),
                Sums::from(self.packed[self.layout.block_range(block)].to_vec()),
            )
        });
        let labels = self.labels.iter().map(|(name, label)| {
            let integers = std::iter::once(label.count).chain(label.sums.iter().copied());
            (
                Part::Label(name.clone()),
                Sums::from(integers.collect::<Vec<_>>()),
            )
        });
        let parts = std::iter::once(count).chain(blocks).chain(labels);
        parts.filter(|(_, sums)| !sums.is_zero())
    }

    /// SHA-256 of the state, lower-case hex: [`combine`] over the [`part_digest`]s of [`Moments::parts`].
    pub fn sha256(&self) -> String {
        let digests = self.parts().map(|(part, sums)| {
            let digest = part_digest(&part, &sums);
            (part, digest)
        });
        combine(self.width(), digests)
    }

    /// d, the number of features.
    pub fn width(&self) -> usize {
        self.layout.width()
    }

    /// How many rows there are.
    pub fn n(&self) -> u64 {
        self.count as u64
    }

    /// The labels in order, each with its sums.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &LabelSums)> {
        self.labels.iter().map(|(name, sums)| (name.as_str(), sums))
    }

    /// Σx of a column.
    pub(super) fn sum(&self, column: usize) -> i128 {
        self.packed[self.layout.offset(column)]
    }

    /// Σ x_i x_j for j = `column` and i = j..d.
    pub(super) fn products(&self, column: usize) -> &[i128] {
        &self.packed[self.layout.offset(column) + 1..self.layout.offset(column + 1)]
    }

    /// Whether rows exist that have these sums, as far as inequalities can tell; it also proves the bounds that
    /// keep the statistics from overflowing. Runs after every change, so a caller needs it for documentation only.
    ///
    /// # Errors
    /// The first contradiction: a count out of range; a column with |Σx| > n·2^31, Σx² > n·2^62 or n·Σx² < (Σx)²; a product
    /// with 2|Σxy| > Σx² + Σy²; a label with more rows than there are, or with sums that its rows cannot have; labels that
    /// cover all rows without adding up to the total.
    pub fn check(&self) -> Result<(), MomentsError> {
        if !(0..=i128::from(MAX_ROWS)).contains(&self.count) {
            return Err(MomentsError::Count(self.count));
        }
        let squares: Vec<i128> = (0..self.width())
            .map(|column| self.products(column)[0])
            .collect();
        for (column, &square) in squares.iter().enumerate() {
            let sum = self.sum(column);
            // In this order each bound is what keeps the next product from overflowing.
            let possible = sum.unsigned_abs() <= (self.count * MAX_STEP) as u128
                && (0..=self.count * MAX_STEP * MAX_STEP).contains(&square)
                && self.count * square >= sum * sum;
            if !possible {
                return Err(MomentsError::ImpossibleColumn {
                    column,
                    rows: self.n(),
                });
            }
        }
        for (column, &square) in squares.iter().enumerate() {
            let mut pairs = self.products(column).iter().zip(&squares[column..]);
            if pairs.any(|(product, other)| product.unsigned_abs() > ((square + other) as u128) / 2)
            {
                return Err(MomentsError::ImpossibleColumn {
                    column,
                    rows: self.n(),
                });
            }
        }
        self.check_labels()
    }

    fn check_labels(&self) -> Result<(), MomentsError> {
        let mut labelled = 0;
        for (name, label) in &self.labels {
            let possible = (1..=self.count).contains(&label.count)
                && label
                    .sums
                    .iter()
                    .all(|sum| sum.unsigned_abs() <= (label.count * MAX_STEP) as u128);
            if !possible {
                return Err(MomentsError::ImpossibleLabel(name.clone()));
            }
            labelled += label.count;
        }
        let adds_up = |column: usize| {
            let total: i128 = self.labels.values().map(|label| label.sums[column]).sum();
            total == self.sum(column)
        };
        if labelled > self.count || (labelled == self.count && !(0..self.width()).all(adds_up)) {
            return Err(MomentsError::LabelTotal);
        }
        Ok(())
    }
}

/// Adds `terms` to `sums`; false if a sum leaves i128.
fn add_checked(sums: &mut [i128], terms: &[i128]) -> bool {
    sums.iter_mut()
        .zip(terms)
        .all(|(sum, &term)| match sum.checked_add(term) {
            Some(total) => {
                *sum = total;
                true
            }
            None => false,
        })
}

#[cfg(test)]
mod tests;
