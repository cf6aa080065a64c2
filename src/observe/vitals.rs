//! What every process tells process 0, once a second, while somebody listens there.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::metrics::resident_bytes;
use super::{Lag, Metrics, Spell};

/// Rejects that one record holds at most, and that are kept for it.
pub const REFUSED_MAX: usize = 50;

/// A process at one moment. Counts are since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vitals {
    /// Its number in the job.
    pub process: usize,
    /// Memory in RAM; 0 where the system does not say.
    pub resident_bytes: u64,
    /// Its workers.
    pub workers: Vec<WorkerVitals>,
    /// Object events that it read.
    pub events: u64,
    /// Bytes of objects that it fetched.
    pub fetched_bytes: u64,
    /// Requests to the store that failed and were repeated.
    pub store_failures: u64,
    /// Requests to the broker that failed and were repeated.
    pub broker_failures: u64,
    /// The partitions that it reads.
    pub partitions: Vec<(i32, Lag)>,
    /// What it rejected since the record before, at most `REFUSED_MAX`, the latest last.
    pub refused: Vec<Refused>,
    /// What is wrong, in sentences.
    pub troubles: Vec<String>,
}

/// A worker at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerVitals {
    /// Its number in the job.
    pub index: usize,
    /// Images that became rows.
    pub images: u64,
    /// What its thread has had of a core, in seconds.
    pub cpu_s: f64,
}

/// An object or message that became no row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its path, as in the rejects table.
    pub path: String,
    /// The word for the reason.
    pub reason: String,
    /// When, in ms since 1970 UTC.
    pub at_ms: i64,
}

/// The latest rejects of a process, until they are told.
#[derive(Debug, Default)]
pub struct LatestRefused(Mutex<VecDeque<Refused>>);

impl LatestRefused {
    /// One more; the oldest goes where there are too many.
    pub fn push(&self, refused: Refused) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() == REFUSED_MAX {
            latest.pop_front();
        }
        latest.push_back(refused);
    }

    fn take(&self) -> Vec<Refused> {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest.drain(..).collect()
    }
}

impl Vitals {
    /// Of this process, now. What was rejected is told once.
    pub fn now(process: usize, metrics: &Metrics, spells: [&Spell; 2]) -> Self {
        let [store, broker] = spells;
        let worker = |worker: &std::sync::Arc<super::Worker>| WorkerVitals {
            index: worker.index,
            images: worker.images.get(),
            cpu_s: worker.cpu.get(),
        };
        Vitals {
            process,
            resident_bytes: resident_bytes().unwrap_or(0.0) as u64,
            workers: metrics.workers().iter().map(worker).collect(),
            events: metrics.hints(),
            fetched_bytes: metrics.fetched_bytes.get(),
            store_failures: store.failures(),
            broker_failures: broker.failures(),
            partitions: metrics.lags.list(),
            refused: metrics.refused.take(),
            troubles: spells.into_iter().filter_map(Spell::unwell).collect(),
        }
    }
}
