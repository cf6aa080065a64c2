//! The timely and differential operators, one a file, and what they have in common.
//!
//! ```text
//!            clock ─── ticks ──> source ──> latest ──> extract ──> stage ──> write ──> commit
//!              ^                   │  hints ─────────────^           │          ^         │
//!              │                   └─ reports ──> mint ── cuts ──────┤          │         │
//!              │                         │                           v          │         │
//!              └──── control (worker 0) ─┴─────────────────────── rewrite   project <── moments
//! ```
//!
//! Timestamps are [`Round`]s. Round 0 is what `restore` finds in the table; the clock opens every later one. An epoch is
//! a range of rounds `[lower, upper)`: `mint` closes it when the frontier behind `extract` has passed it, and everything
//! that belongs to its publication (files, sums, projection, commit) travels at the time `lower`.
//!
//! Keys are exchanged by [`differential_dataflow::Hashable`], as the arrangement of `latest` does, so that one worker
//! owns all that concerns a key; files are exchanged by their slot.

use std::iter::Sum;
use std::ops::{Add, Sub};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::Version;
use crate::job::state::Prequential;
use crate::observe::Trace;
use crate::storage::Key;
use crate::table::{DataFile, Record, Reject, Row};

mod alarm;
pub mod clock;
pub mod cluster;
pub mod commit;
mod control;
mod discovery;
pub mod extract;
pub mod kafka;
pub mod latest;
pub mod mint;
pub mod models;
pub mod moments;
mod progress;
pub mod project;
pub mod reproject;
pub mod restore;
pub mod rewrite;
pub mod source;
pub mod stage;
mod tasks;
pub mod verify;
pub mod vitals;
pub mod write;

pub use control::Control;
pub use tasks::{Host, Tasks};

/// The dataflow's timestamp.
pub type Round = u64;

/// Counts commits of a table from 1; the table's transaction version.
pub type Epoch = i64;

/// A hint that an object may have changed. What it now is, the store says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// Of the path.
    pub key: Key,
    /// Bucket name.
    pub bucket: String,
    /// Object key, decoded.
    pub object: String,
    /// What the event said of its size.
    pub size_bytes: Option<u64>,
    /// The event's place in the order of versions.
    pub latest: latest::Latest,
}

/// What a message came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Read {
    /// An object event.
    Hint(Hint),
    /// A message or event that names no object to look at.
    Malformed(Key, Reject),
}

impl Read {
    /// The key by which it is exchanged.
    pub fn key(&self) -> Key {
        match self {
            Read::Hint(hint) => hint.key,
            Read::Malformed(key, _) => *key,
        }
    }
}

/// What became of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Change {
    /// Its object was read: this row replaces whatever there was.
    Row(Box<Row>),
    /// Its object can't be read: this reject replaces whatever there was.
    Reject(Box<Reject>),
    /// Its object is what it was; only the version that vouches for it is newer.
    Touch(Version),
    /// There is no such object (any more).
    Remove(Version),
}

/// How much something is: of changes, or of a file's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Changes, or rows.
    pub count: u64,
    /// Bytes that they take in memory.
    pub bytes: u64,
}

impl Load {
    /// Whether it is as much as `bound` in either.
    pub fn reaches(self, bound: Load) -> bool {
        self.count >= bound.count || self.bytes >= bound.bytes
    }

    /// Whether it is more than `bound` in either.
    pub fn exceeds(self, bound: Load) -> bool {
        self.count > bound.count || self.bytes > bound.bytes
    }

    /// So many times as much.
    pub fn times(self, factor: u64) -> Load {
        Load {
            count: self.count.saturating_mul(factor),
            bytes: self.bytes.saturating_mul(factor),
        }
    }
}

impl Add for Load {
    type Output = Load;

    fn add(self, other: Load) -> Load {
        Load {
            count: self.count.saturating_add(other.count),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl Sub for Load {
    type Output = Load;

    fn sub(self, other: Load) -> Load {
        Load {
            count: self.count - other.count,
            bytes: self.bytes - other.bytes,
        }
    }
}

impl Sum for Load {
    fn sum<I: Iterator<Item = Load>>(loads: I) -> Load {
        loads.fold(Load::default(), Add::add)
    }
}

/// What sources and extractors tell `mint`, at the round it concerns.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Report {
    /// A source's round.
    Read {
        /// The worker.
        worker: usize,
        /// (partition, next offset) of those that moved.
        offsets: Vec<(i32, i64)>,
        /// Messages of its partitions that are not read, as far as the broker has told.
        waiting: u64,
        /// Every partition of this worker is at the end that it had at the start.
        ended: bool,
        /// The quota was met.
        full: bool,
        /// This process was told to stop.
        stop: bool,
    },
    /// Changes of a round that left `extract`.
    Extracted(Load),
}

impl Change {
    /// The bytes of what waits for its commit, in a job of so many features.
    pub fn bytes(&self, features: usize) -> u64 {
        match self {
            Change::Row(row) => row.bytes(),
            // The old row's features are read back, to be retracted.
            Change::Remove(_) => (features * size_of::<f32>()) as u64,
            Change::Reject(_) | Change::Touch(_) => 0,
        }
    }
}

/// Which of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Which {
    /// Rows of readable objects.
    Main,
    /// The unreadable rest.
    Rejects,
}

/// A data file's identity through rewrites, so that keys need not be told when their file is replaced. It lives as long
/// as the job: a restart names the slots anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot {
    /// The table.
    pub which: Which,
    /// Unique, and evenly spread over workers.
    pub id: u64,
}

impl Slot {
    /// A slot for a file that is yet to be written.
    pub fn new(which: Which) -> Self {
        Slot {
            which,
            id: uuid::Uuid::new_v4().as_u64_pair().1,
        }
    }
}

/// A slot and the file that holds its rows now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    /// Identity.
    pub slot: Slot,
    /// None: all its rows are gone.
    pub file: Option<DataFile>,
}

/// The closing of an epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cut {
    /// Its number.
    pub epoch: Epoch,
    /// It holds the rounds below this one that no earlier epoch holds.
    pub upper: Round,
    /// Files of the epoch before, now committed.
    pub placed: Vec<Placed>,
    /// (partition, next offset) of every partition read so far, below `upper`.
    pub offsets: Vec<(i32, i64)>,
    /// What its work is told under.
    pub trace: Trace,
}

/// What an edit does to a row of a committed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Amendment {
    /// The row goes.
    Remove,
    /// The row gets this version.
    Touch(Version),
}

/// An edit of one row of a committed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The file.
    pub slot: Slot,
    /// The row.
    pub key: Key,
    /// What happens to it.
    pub amendment: Amendment,
}

/// New rows of one worker that go into one file.
#[derive(Clone, Debug)]
pub enum Batch {
    /// For the main table; `reduced_features` are still to come.
    Rows(Slot, Vec<Row>),
    /// For the rejects table.
    Rejects(Slot, Vec<Reject>),
}

/// A batch as it is handed from operator to operator of one worker.
pub type SharedBatch = Arc<Batch>;

/// One file's part in a commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileChange {
    /// The slot after the commit.
    pub placed: Placed,
    /// The file that goes.
    pub replaces: Option<String>,
    /// How well its new rows were predicted.
    pub prequential: Prequential,
}

/// A record that edits can find and stamp.
pub trait Amend: Record {
    /// Its path.
    fn path(&self) -> &str;
    /// Gives it a version.
    fn stamp(&mut self, version: Version);
}

impl Amend for Row {
    fn path(&self) -> &str {
        &self.path
    }
    fn stamp(&mut self, version: Version) {
        self.event_time_ms = version.time_ms;
        self.version = version.to_string();
    }
}

impl Amend for Reject {
    fn path(&self) -> &str {
        &self.path
    }
    fn stamp(&mut self, version: Version) {
        self.event_time_ms = version.time_ms;
        self.version = version.to_string();
    }
}
