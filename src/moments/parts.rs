//! Slices of the sums, by name: what workers own, exchange and store.
//!
//! The packed sums of width d are, column after column, Σx_j followed by Σ x_i x_j for i = j..d (the lower triangle).
//! Columns are cut into blocks of [`BLOCK_COLUMNS`]; where the cuts lie depends on d alone, never on the workers.

use serde::{Deserialize, Serialize};

/// Columns in a block: 64 blocks at d = 2048, enough to spread over workers, few enough to exchange cheaply.
const BLOCK_COLUMNS: usize = 32;

/// The widest features whose Gram matrix is kept exactly (67 MB of packed f64, 134 MB of i128).
pub const MAX_WIDTH: usize = 4096;

/// Which slice of the sums.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Part {
    /// \[n\], the number of rows.
    Count,
    /// Block b of the packed columns: for each of its columns j, Σx_j, then Σ x_i x_j for i = j..d.
    Columns(u32),
    /// \[n_l, Σx_0, … Σx_{d-1}\] over the rows of one label.
    Label(String),
}

/// The integers of one [`Part`], in grid steps (Σx: 2^-22, Σxy: 2^-44): an Abelian group under [`Sums::plus_assign`].
///
/// Zero is the empty vector, and the only zero: a vector of zeros becomes it, so equal elements are equal bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sums(#[serde(with = "as_bytes")] Vec<i128>);

impl Sums {
    /// The neutral element.
    pub const fn zero() -> Self {
        Self(Vec::new())
    }

    /// Whether this is the neutral element.
    pub fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// The integers; empty for zero.
    pub fn as_slice(&self) -> &[i128] {
        &self.0
    }

    /// `self + other`, in place.
    ///
    /// # Panics
    /// If both are non-zero and of different lengths (they belong to different parts), or if a sum leaves i128. Within
    /// the bounds of [`crate::moments`] the second cannot happen; it ends the job rather than wrap.
    pub fn plus_assign(&mut self, other: &Self) {
        if other.is_zero() {
            return;
        }
        if self.is_zero() {
            self.0.clone_from(&other.0);
            return;
        }
        assert_eq!(
            self.0.len(),
            other.0.len(),
            "sums of different parts cannot be added"
        );
        for (sum, term) in self.0.iter_mut().zip(&other.0) {
            *sum = sum.strict_add(*term);
        }
        if is_all_zero(&self.0) {
            self.0 = Vec::new();
        }
    }

    /// `-self`, in place: the inverse.
    ///
    /// # Panics
    /// On `i128::MIN`, which no sum within the bounds reaches.
    pub fn negate(&mut self) {
        for sum in &mut self.0 {
            *sum = sum.strict_neg();
        }
    }
}

impl From<Vec<i128>> for Sums {
    fn from(sums: Vec<i128>) -> Self {
        if is_all_zero(&sums) {
            Self::zero()
        } else {
            Self(sums)
        }
    }
}

impl From<Sums> for Vec<i128> {
    fn from(sums: Sums) -> Self {
        sums.0
    }
}

const SUM_BYTES: usize = size_of::<i128>();

/// The bytes of integers, little-endian. Integer by integer a megabyte of them is slow to hash or to send.
pub(super) fn little_endian(sums: &[i128]) -> Vec<u8> {
    let mut bytes = vec![0; sums.len() * SUM_BYTES];
    let (places, _) = bytes.as_chunks_mut::<SUM_BYTES>();
    for (place, sum) in places.iter_mut().zip(sums) {
        *place = sum.to_le_bytes();
    }
    bytes
}

/// Sums as they travel between processes.
mod as_bytes {
    use super::{SUM_BYTES, Sums, little_endian};
    use bytes::Bytes;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(sums: &[i128], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&little_endian(sums))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i128>, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        let (sums, rest) = bytes.as_chunks::<SUM_BYTES>();
        if !rest.is_empty() {
            let found = bytes.len();
            return Err(D::Error::custom(format!(
                "{found} bytes are no 128-bit sums"
            )));
        }
        let sums: Vec<i128> = sums.iter().map(|sum| i128::from_le_bytes(*sum)).collect();
        Ok(Sums::from(sums).0)
    }
}

fn is_all_zero(sums: &[i128]) -> bool {
    sums.iter().all(|&sum| sum == 0)
}

/// Why a width has no [`Layout`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WidthError {
    /// No features at all.
    #[error(
        "features of width 0 have no moments: choose a backbone that yields at least one feature"
    )]
    Empty,
    /// Wider than [`MAX_WIDTH`].
    #[error(
        "{0} features are too many for exact moments, which take up to {MAX_WIDTH}: reduce them first, by a seeded \
         random projection or by pooling (average or max instead of flatten)"
    )]
    TooWide(usize),
}

/// Where the packed sums of width d are, and which [`Part`] holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    width: usize,
}

impl Layout {
    /// The layout of `width` features.
    ///
    /// # Errors
    /// If `width` is 0 or above [`MAX_WIDTH`].
    pub fn new(width: usize) -> Result<Self, WidthError> {
        match width {
            0 => Err(WidthError::Empty),
            1..=MAX_WIDTH => Ok(Self { width }),
            _ => Err(WidthError::TooWide(width)),
        }
    }

    /// d, the number of features.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many [`Part::Columns`] there are.
    pub fn blocks(&self) -> u32 {
        self.width.div_ceil(BLOCK_COLUMNS) as u32
    }

    /// The columns of a block.
    pub fn columns(&self, block: u32) -> std::ops::Range<usize> {
        let start = block as usize * BLOCK_COLUMNS;
        start.min(self.width)..(start + BLOCK_COLUMNS).min(self.width)
    }

    /// Where column j begins in the packed sums: Σx_j is there, Σ x_i x_j at `offset(j) + 1 + i - j`.
    pub fn offset(&self, column: usize) -> usize {
        // Column i has 1 + (d - i) entries; this is their sum over i < column.
        column * (self.width + 1) - column * column.saturating_sub(1) / 2
    }

    /// Length of all packed sums, d(d + 3)/2.
    pub fn packed_len(&self) -> usize {
        self.offset(self.width)
    }

    /// The block that holds a column.
    pub(super) fn block_of(&self, column: usize) -> usize {
        column / BLOCK_COLUMNS
    }

    /// Where a block lies in the packed sums.
    pub fn block_range(&self, block: u32) -> std::ops::Range<usize> {
        let columns = self.columns(block);
        self.offset(columns.start)..self.offset(columns.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_tile_the_packed_sums() {
        for width in [1, 2, 31, 32, 33, 100, 2048, MAX_WIDTH] {
            let layout = Layout::new(width).unwrap();
            let mut end = 0;
            for block in 0..layout.blocks() {
                let range = layout.block_range(block);
                assert_eq!(range.start, end, "width {width}, block {block}");
                assert!(!range.is_empty());
                end = range.end;
            }
            assert_eq!(end, layout.packed_len());
            assert_eq!(end, width * (width + 3) / 2);
            assert!(layout.block_range(layout.blocks()).is_empty());
        }
    }

    #[test]
    fn widths_beyond_the_exact_ones_name_both_ways_out() {
        assert_eq!(Layout::new(0), Err(WidthError::Empty));
        let message = Layout::new(25_088).unwrap_err().to_string();
        assert!(
            message.contains("random projection") && message.contains("pooling"),
            "{message}"
        );
    }

    #[test]
    fn zeros_are_the_zero_whatever_way_they_come() {
        assert_eq!(Sums::from(vec![0; 5]), Sums::zero());
        let zeros = serde_json::to_vec(&vec![0u8; 48]).unwrap();
        let read: Sums = serde_json::from_slice(&zeros).unwrap();
        assert!(read.is_zero());
    }

    #[test]
    fn bytes_that_are_no_sums_are_refused() {
        let cut = serde_json::to_vec(&vec![1u8; 17]).unwrap();
        let error = serde_json::from_slice::<Sums>(&cut).unwrap_err();
        assert!(error.to_string().contains("17 bytes"), "{error}");
    }

    #[test]
    #[should_panic(expected = "overflow")]
    fn a_sum_beyond_i128_stops_instead_of_wrapping() {
        Sums::from(vec![i128::MAX]).plus_assign(&Sums::from(vec![1]));
    }
}
