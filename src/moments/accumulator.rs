//! One worker's running sums: rows in, parts out.
//!
//! Rows wait in blocks, one of rows added and one of rows retracted, because the way of their products into the d²/2
//! integers costs as much for a full block as for a single row.

use super::gram::{BLOCK_ROWS, add_gram};
use super::{Layout, MAX_ROWS, Part, Sums, WidthError};
use std::collections::BTreeMap;

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
/// Memory: while it holds sums d²/2 i128 (34 MB at d = 2048), two blocks of 256 rows in i32, and d i64 a label; while a block
/// is multiplied, 256 rows and 64 columns in f64 (6 MB) too.
pub struct Accumulator {
    layout: Layout,
    rows: u64,
    count: i64,
    columns: Vec<i64>,
    labels: BTreeMap<String, (i64, Vec<i64>)>,
    /// Rows whose products are yet to be added: [at most [`BLOCK_ROWS`], d], row-major.
    added: Vec<i32>,
    /// Likewise, to be subtracted.
    retracted: Vec<i32>,
    /// Σx and the products. Σx is filled in by `drain`.
    sums: Columns,
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
            added: Vec::new(),
            retracted: Vec::new(),
            sums: Columns::new(layout),
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
        let block = if sign > 0 {
            &mut self.added
        } else {
            &mut self.retracted
        };
        block.extend_from_slice(row);
        if block.len() == BLOCK_ROWS * width {
            self.multiply();
        }
        Ok(())
    }

    /// Adds the products of all rows that wait, and forgets the rows.
    fn multiply(&mut self) {
        for (block, sign) in [(&mut self.added, 1), (&mut self.retracted, -1)] {
            if !block.is_empty() {
                add_gram(&mut self.sums, self.layout, block, sign);
                block.clear();
            }
        }
    }

    /// Hands over what was summed since the last drain, non-zero parts only, in the order of [`Part`], and starts anew.
    pub fn drain(&mut self) -> Vec<(Part, Sums)> {
        if self.rows == 0 {
            return Vec::new();
        }
        self.multiply();
        for (column, sum) in self.columns.iter_mut().enumerate() {
            self.sums.of(column)[0] = i128::from(std::mem::take(sum));
        }
        let count = (Part::Count, Sums::from(vec![i128::from(self.count)]));
        let blocks = self.sums.take();
        let blocks = blocks.map(|(block, sums)| (Part::Columns(block), Sums::from(sums)));
        let labels = std::mem::take(&mut self.labels)
            .into_iter()
            .map(|(label, (count, sums))| {
                let integers = std::iter::once(count).chain(sums).map(i128::from);
                (Part::Label(label), Sums::from(integers.collect::<Vec<_>>()))
            });
        let parts = std::iter::once(count).chain(blocks).chain(labels);
        let parts = parts.filter(|(_, sums)| !sums.is_zero()).collect();
        self.rows = 0;
        self.count = 0;
        parts
    }
}

/// The packed sums, an allocation a block: a drain hands over the blocks as they are.
pub(super) struct Columns {
    layout: Layout,
    /// Empty until something is added to it.
    blocks: Vec<Vec<i128>>,
}

impl Columns {
    /// All zero.
    pub(super) fn new(layout: Layout) -> Self {
        let blocks = vec![Vec::new(); layout.blocks() as usize];
        Self { layout, blocks }
    }

    /// The sums of a column: Σx, then the products with itself and the columns behind it.
    pub(super) fn of(&mut self, column: usize) -> &mut [i128] {
        let block = self.layout.block_of(column);
        let range = self.layout.block_range(block as u32);
        let sums = &mut self.blocks[block];
        if sums.is_empty() {
            sums.resize(range.len(), 0);
        }
        &mut sums
            [self.layout.offset(column) - range.start..self.layout.offset(column + 1) - range.start]
    }

    /// Every block that something was added to; zero afterwards.
    fn take(&mut self) -> impl Iterator<Item = (u32, Vec<i128>)> {
        let empty = vec![Vec::new(); self.blocks.len()];
        let blocks = std::mem::replace(&mut self.blocks, empty);
        (0..).zip(blocks).filter(|(_, sums)| !sums.is_empty())
    }
}

/// Cannot overflow: at most [`MAX_ROWS`] terms below 2^31 stay below 2^63.
fn add_scaled(sums: &mut [i64], row: &[i32], sign: i64) {
    for (sum, &q) in sums.iter_mut().zip(row) {
        *sum += sign * i64::from(q);
    }
}
