//! The published table: Delta Lake, written by whole Parquet files and one conditional commit.
//!
//! ```text
//!   rows ── DataFiles::write ──> <uuid>-<digest>.parquet ──┐ DataFile (name, size, statistics)
//!                                                          v
//!   Snapshot n ───────────────────────────> Table::commit(adds, removes, epoch, job) ──> Snapshot n+1
//!                                                          │ one PUT, only if absent
//!                                                          v
//!                                            _delta_log/000…n+1.json
//! ```
//!
//! What no commit names does not exist: a file is written first, by any worker, and becomes part of the
//! table when the one committer names it. Names carry a digest of the bytes ([`sealed`]), so that damage is
//! found without a list of checksums elsewhere.
//!
//! - [`Row`] and [`Reject`] are the two tables' records; [`Record`] is what they share with the code below.
//! - [`DataFiles`] writes and reads rows; [`Table`] reads and commits the log, through `delta_kernel`.
//! - [`state`] holds what lies beside a table: moments and tombstones as Parquet, and the models as they were published.
//! - [`vacuum`] deletes what no retained commit names.

mod columns;
mod commit;
mod data_file;
mod form;
mod history;
mod key_row;
mod point;
mod range_reader;
mod schema;
pub mod sealed;
mod stamp;
pub mod state;
#[allow(clippy::module_inception)]
mod table;
pub mod vacuum;

pub use commit::{Commit, CommitError};
pub use data_file::{DataFile, DataFileError, DataFiles};
pub use form::Form;
pub use history::Past;
pub use key_row::KeyRow;
pub use point::{Point, Predicted, Reduction};
pub use schema::{Record, Reject, Row, SchemaError};
pub use stamp::Author;
pub use table::{Snapshot, Table, TableError};
