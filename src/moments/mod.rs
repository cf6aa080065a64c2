//! Exact running moments: n, Σx and Σxxᵀ of feature vectors as integers, as an Abelian group.
//!
//! Every feature is rounded once to a fixed grid ([`quantise`]); from there on nothing is rounded until a statistic
//! is read. Sums of integers do not care for order, batches or workers, and what was added can be taken away to the
//! last bit: inserting N rows and retracting the same N gives the bytes of the empty state.
//!
//! ```text
//! f32 row ──quantise──> i32 row ──Accumulator (one a worker, ±)──> (Part, Sums) ──Σ──> Moments ──> mean, covariance, …
//! ```
//!
//! [`Part`] names a slice of the sums, so that workers can own some each; [`Sums`] is what a slice holds, the
//! group; [`Moments`] is all of it in one place, and the only thing that can be asked for a statistic.
//!
//! # Bounds
//! |x| < 512 ([`MAX_ABS`]), so the grid's integers fit i32; n <= 2^32 - 1 ([`MAX_ROWS`]). Hence |Σx| < 2^63 fits i64,
//! |Σxy| < 2^94, and n·Σxy − ΣxΣy, the largest number that is ever formed, stays below 2^127 and fits i128. [`quantise`]
//! enforces the first bound, [`Accumulator`] and [`Moments::check`] the second, so no sum can wrap.
//!
//! ```
//! use eigenflow::moments::{Accumulator, Moments, quantise};
//! let mut accumulator = Accumulator::new(2)?;
//! let mut row = [0; 2];
//! for features in [[0.0, 1.0], [2.0, 5.0]] {
//!     quantise(&features, &mut row)?;
//!     accumulator.add(&row, Some("apple"))?;
//! }
//! let moments = Moments::from_parts(2, accumulator.drain())?;
//! assert_eq!(moments.mean()?, [1.0, 3.0]);
//! assert_eq!(moments.covariance(1)?[[0, 1]], 4.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accumulator;
mod digest;
mod gram;
mod grid;
mod parts;
mod quotient;
mod state;
mod statistics;

pub use accumulator::{Accumulator, RowError};
pub use digest::{combine, part_digest};
pub use grid::{FRACTION_BITS, GridError, MAX_ABS, quantise};
pub use parts::{Layout, MAX_WIDTH, Part, Sums, WidthError};
pub use state::{LabelSums, Moments, MomentsError};
pub use statistics::Group;

/// The most rows that the sums hold, and that one [`Accumulator`] takes between two drains: see the module's bounds.
pub const MAX_ROWS: u64 = u32::MAX as u64;
