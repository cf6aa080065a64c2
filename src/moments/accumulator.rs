//! One worker's running sums: rows in, parts out, at the price of a floating-point GEMM and with none of its error.
//!
//! Rows are buffered to blocks, and a block's Gram matrix is one f64 matrix product of integer-valued rows. Every partial
//! sum of Σ q_i q_j is an integer, and by Cauchy and Schwarz at most the larger of Σ q_i² and Σ q_j²: while no column's
//! Σ q² exceeds 2^53 all of them are exact, in whatever order and with or without fused multiply-adds. So the
//! accumulator keeps Σ q² of each column, folds the f64 sums into i128 before one exceeds the bound, and starts anew: every
//! 500 rows if the busiest feature is 1 in quadratic mean. The rare large features, whose squares would fill the bound after
//! a few rows, are multiplied in integers instead, at the price of a row of the matrix each.

use super::{Layout, MAX_ROWS, Part, Sums, WidthError};
use faer::linalg::matmul::triangular::{BlockStructure, matmul};
use faer::{Accum, Mat, MatRef, Par};
use std::collections::BTreeMap;

/// Rows in a block: enough that reading and writing the d x d sums is small beside the arithmetic.
const BLOCK_ROWS: usize = 256;

/// Integers up to here are exact in f64.
const EXACT_MAX: u64 = 1 << 53;

/// Beyond this, |q| is large: eight of its squares would fill [`EXACT_MAX`].
const LARGE: u32 = 1 << 25;

/// Why a row was not taken. The sums are as they were before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// A row of another width than the accumulator's.
    #[error(
        "a row of {found} features in moments of {expected}: was the backbone changed? start a new table for it"
    )]
    Width {
        /// The accumulator's width.
        expected: usize,
        /// The row's.
        found: usize,
    },
    /// More rows than the bounds of the sums allow.
    #[error(
        "{MAX_ROWS} rows since the last drain are as many as the sums hold: drain the accumulator more often"
    )]
    Full,
}

/// Sums of the rows since the last [`Accumulator::drain`], added and retracted; one per worker.
///
/// Memory: d² f64 and d²/2 i128 (67 MB together at d = 2048), blocks of 256 rows in f64, and d i64 a label.
pub struct Accumulator {
    layout: Layout,
    rows: u64,
    count: i64,
    columns: Vec<i64>,
    labels: BTreeMap<String, (i64, Vec<i64>)>,
    added: RowBlock,
    retracted: RowBlock,
    /// Lower triangle: the Gram matrix of the blocks since the last fold.
    gram: Mat<f64>,
    /// Σ q² of each column over the rows in `gram` and in the blocks, large q left out; at most [`EXACT_MAX`].
    energy: Vec<u64>,
    /// The folded sums, packed as [`Layout`] says. Σx is filled in by `drain`.
    packed: Vec<i128>,
}

impl Accumulator {
    /// Empty sums of `width` features.
    ///
    /// # Errors
    /// If `width` has no [`Layout`].
    pub fn new(width: usize) -> Result<Self, WidthError> {
        let layout = Layout::new(width)?;
        Ok(Self {
            layout,
            rows: 0,
            count: 0,
            columns: vec![0; width],
            labels: BTreeMap::new(),
            added: RowBlock::default(),
            retracted: RowBlock::default(),
            gram: Mat::zeros(width, width),
            energy: vec![0; width],
            packed: vec![0; layout.packed_len()],
        })
    }

    /// Takes in a row on the grid (`row`: \[d\], see [`super::quantise`]).
    ///
    /// # Errors
    /// [`RowError`], with nothing taken in.
    pub fn add(&mut self, row: &[i32], label: Option<&str>) -> Result<(), RowError> {
        self.take(row, label, 1)
    }

    /// Takes a row out, whether or not this accumulator is the one that took it in.
    ///
    /// # Errors
    /// [`RowError`], with nothing taken out.
    pub fn retract(&mut self, row: &[i32], label: Option<&str>) -> Result<(), RowError> {
        self.take(row, label, -1)
    }

    fn take(&mut self, row: &[i32], label: Option<&str>, sign: i64) -> Result<(), RowError> {
        let width = self.layout.width();
        if row.len() != width {
            return Err(RowError::Width {
                expected: width,
                found: row.len(),
            });
        }
        if self.rows == MAX_ROWS {
            return Err(RowError::Full);
        }
        self.rows += 1;
        self.count += sign;
        add_scaled(&mut self.columns, row, sign);
        if let Some(label) = label {
            if !self.labels.contains_key(label) {
                self.labels.insert(label.to_owned(), (0, vec![0; width]));
            }
            if let Some((count, sums)) = self.labels.get_mut(label) {
                *count += sign;
                add_scaled(sums, row, sign);
            }
        }
        self.take_products(row, sign);
        Ok(())
    }

    fn take_products(&mut self, row: &[i32], sign: i64) {
        let full = self
            .energy
            .iter()
            .zip(row)
            .any(|(energy, &q)| energy + small_square(q) > EXACT_MAX);
        if full {
            self.fold();
        }
        for (energy, &q) in self.energy.iter_mut().zip(row) {
            *energy += small_square(q);
        }
        add_large_products(&mut self.packed, self.layout, row, sign);
        let block = if sign > 0 {
            &mut self.added
        } else {
            &mut self.retracted
        };
        block.push(row);
        if block.rows() == BLOCK_ROWS {
            block.multiply_into(&mut self.gram, sign as f64);
        }
    }

    /// Moves all products into the integers, which empties the f64 sums.
    fn fold(&mut self) {
        self.added.multiply_into(&mut self.gram, 1.0);
        self.retracted.multiply_into(&mut self.gram, -1.0);
        for column in 0..self.layout.width() {
            let products =
                &mut self.packed[self.layout.offset(column) + 1..self.layout.offset(column + 1)];
            let exact = &mut self.gram.col_as_slice_mut(column)[column..];
            for (sum, product) in products.iter_mut().zip(exact) {
                *sum += i128::from(std::mem::take(product) as i64);
            }
        }
        self.energy.fill(0);
    }

    /// Hands over what was summed since the last drain, non-zero parts only, in the order of [`Part`], and starts anew.
    pub fn drain(&mut self) -> Vec<(Part, Sums)> {
        if self.rows == 0 {
            return Vec::new();
        }
        self.fold();
        for (column, sum) in self.columns.iter_mut().enumerate() {
            self.packed[self.layout.offset(column)] = i128::from(std::mem::take(sum));
        }
        let count = (Part::Count, Sums::from(vec![i128::from(self.count)]));
        let blocks = (0..self.layout.blocks()).map(|block| {
            (
                Part::Columns(block),
                Sums::from(self.packed[self.layout.block_range(block)].to_vec()),
            )
        });
        let labels = std::mem::take(&mut self.labels)
            .into_iter()
            .map(|(label, (count, sums))| {
                let integers = std::iter::once(count).chain(sums).map(i128::from);
                (Part::Label(label), Sums::from(integers.collect::<Vec<_>>()))
            });
        let parts = std::iter::once(count).chain(blocks).chain(labels);
        let parts = parts.filter(|(_, sums)| !sums.is_zero()).collect();
        self.packed.fill(0);
        self.rows = 0;
        self.count = 0;
        parts
    }
}

/// Rows of one sign that wait for their matrix product: [rows, d], row-major, zero where q is large.
#[derive(Default)]
struct RowBlock {
    width: usize,
    values: Vec<f64>,
}

impl RowBlock {
    fn rows(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    fn push(&mut self, row: &[i32]) {
        self.width = row.len();
        self.values.extend(
            row.iter()
                .map(|&q| if is_large(q) { 0.0 } else { f64::from(q) }),
        );
    }

    /// `gram` += `sign` · rowsᵀ rows in the lower triangle, and forgets the rows.
    fn multiply_into(&mut self, gram: &mut Mat<f64>, sign: f64) {
        if self.values.is_empty() {
            return;
        }
        let rows = MatRef::from_row_major_slice(&self.values, self.rows(), self.width);
        matmul(
            gram,
            BlockStructure::TriangularLower,
            Accum::Add,
            rows.transpose(),
            BlockStructure::Rectangular,
            rows,
            BlockStructure::Rectangular,
            sign,
            Par::Seq,
        );
        self.values.clear();
    }
}

/// Cannot overflow: at most [`MAX_ROWS`] terms below 2^31 stay below 2^63.
fn add_scaled(sums: &mut [i64], row: &[i32], sign: i64) {
    for (sum, &q) in sums.iter_mut().zip(row) {
        *sum += sign * i64::from(q);
    }
}

fn is_large(q: i32) -> bool {
    q.unsigned_abs() > LARGE
}

/// q², or 0 if q is large.
fn small_square(q: i32) -> u64 {
    if is_large(q) {
        0
    } else {
        u64::from(q.unsigned_abs()).pow(2)
    }
}

/// The products of a row's large entries with all of its entries, in integers.
fn add_large_products(packed: &mut [i128], layout: Layout, row: &[i32], sign: i64) {
    for (large, &q) in row.iter().enumerate().filter(|(_, q)| is_large(**q)) {
        let q = sign * i64::from(q);
        for (other, &x) in row.iter().enumerate() {
            // A pair of large entries is met twice, and counts once.
            if other < large && is_large(x) {
                continue;
            }
            let (first, second) = (large.min(other), large.max(other));
            packed[layout.offset(first) + 1 + second - first] += i128::from(q * i64::from(x));
        }
    }
}
