//! What a process counts while it works.
//!
//! Counters are atomics that any thread may add to; a reader sees each of them whole, not all of them at one instant.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How often something was done, and how long it took in all.
#[derive(Debug, Default)]
pub struct Stage {
    count: AtomicU64,
    busy_ns: AtomicU64,
}

impl Stage {
    /// Counts one that took `elapsed`.
    pub fn record(&self, elapsed: Duration) {
        self.count.fetch_add(1, Relaxed);
        self.busy_ns.fetch_add(elapsed.as_nanos() as u64, Relaxed);
    }

    /// How often.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// How many a second one worker does while it is at it; `None` before the first.
    pub fn per_second(&self) -> Option<f64> {
        let busy_s = self.busy_ns.load(Relaxed) as f64 / 1e9;
        (busy_s > 0.0).then(|| self.count() as f64 / busy_s)
    }
}

/// The counters of one process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Object events that were read.
    pub events: AtomicU64,
    /// Messages and events that name no object to look at.
    pub malformed: AtomicU64,
    /// Worker 0: changes of the whole job that left `extract`.
    pub settled: AtomicU64,
    /// Rows made.
    pub rows: AtomicU64,
    /// Objects that are no readable image.
    pub rejects: AtomicU64,
    /// GETs of objects; their times overlap.
    pub fetched: Stage,
    /// Decoding and fitting to the network's input.
    pub decoded: Stage,
    /// The network.
    pub extracted: Stage,
    /// Commits, from the arrival of the epoch's last part.
    pub committed: Stage,
}
