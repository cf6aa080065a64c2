//! What the three operators of worker 0 that steer the job tell each other.
//!
//! `clock` lets rounds begin, `mint` closes epochs, `commit` makes them true. All three live on worker 0, so plain
//! cells are enough; everything that crosses workers travels through the dataflow.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use timely::scheduling::Activator;

use super::{Epoch, Load, Placed};

/// Shared by the steering operators of worker 0; on every other worker it is inert.
#[derive(Debug, Default)]
pub struct Control {
    /// Nothing more is to be read: the clock ends, and with it, round by round, the dataflow.
    pub stop: Cell<bool>,
    /// Some source met its quota when it last told: there is a backlog, so the next round need not wait.
    pub backlog: Cell<bool>,
    /// When a source last told that it has read on; nothing yet at first.
    pub moved: Cell<Option<Instant>>,
    /// Has the clock look at once: what it goes by has changed.
    pub clock: RefCell<Option<Activator>>,
    /// Changes that are extracted and not yet committed; the clock pauses while there are too many.
    pub uncommitted: Cell<Load>,
    /// Messages that no source has read yet, as they last told.
    pub waiting: Cell<u64>,
    /// The last epoch that is committed.
    pub committed: Cell<Epoch>,
    /// Files that the last commit made part of a table; the next cut tells them to the workers that may edit them.
    pub placed: RefCell<Vec<Placed>>,
}
