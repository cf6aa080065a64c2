//! What a process counts while it works: one definition each, from which `/metrics` and its documentation follow.
//!
//! All are atomics that any thread may add to; a reader sees each of them whole, not all of them at one instant. Labels are
//! words of this program, numbers of workers and of partitions: nothing from outside becomes one.

mod lag;
mod set;
mod values;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Unit;

use super::vitals::LatestRefused;
use super::{Refused, now_ms};
pub use lag::{Lag, Lags};
pub use set::Counters;
use set::{By, Set};
use values::Asked;
pub use values::{Age, Reading, Stage};

/// A sum of seconds.
type Seconds = Counter<f64, AtomicU64>;

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    set: Set,
    events: Counters<2>,
    hints: Counter,
    /// How far reading is, by partition of this process.
    pub lags: Lags,
    /// GETs of objects; their times overlap.
    pub fetched: Stage,
    /// Their bytes.
    pub fetched_bytes: Counter,
    /// Decoding and fitting to the network's input.
    pub decoded: Stage,
    /// The network.
    pub extracted: Stage,
    rejects: Counters<1>,
    /// The latest of them.
    pub(super) refused: LatestRefused,
    /// Requests that failed and were repeated, by service.
    pub retries: Counters<1>,
    /// Process 0: when the oldest unfinished round began.
    pub frontier_age: Age,
    /// Process 0: rounds that are not finished.
    pub rounds_in_flight: Reading,
    /// Process 0: changes of the whole job that left `extract`.
    pub settled: Counter,
    /// Process 0: fits of a projection, its objects' PUTs included.
    pub projected: Stage,
    /// Process 0: commits, from the arrival of the epoch's last part.
    pub committed: Stage,
    predictions: Counters<1>,
    /// Spans of traces, by what became of them.
    pub spans: Counters<1>,
    /// Process 0: the last commit.
    pub published: Published,
    images: By<usize, Counter>,
    passes: By<usize, Counter>,
    cpu: By<usize, Seconds>,
    keys: By<usize, Reading>,
    workers: Mutex<Vec<Arc<Worker>>>,
}

/// What became of an event.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// A hint that an object is there or new.
    Created,
    /// A hint that it is gone.
    Removed,
    /// It concerns no content.
    Unchanged,
    /// It only announces that notifications are set up.
    SetUp,
    /// It is a row of the rejects table.
    Rejected,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Created => "created",
            Outcome::Removed => "removed",
            Outcome::Unchanged => "unchanged",
            Outcome::SetUp => "set-up",
            Outcome::Rejected => "rejected",
        }
    }
}

/// What the last commit says.
#[derive(Debug)]
pub struct Published {
    /// Its epoch.
    pub epoch: Reading,
    /// The version of the table.
    pub table_version: Reading,
    /// When it was made, in s since 1970 UTC.
    pub at: Reading,
    /// Rows of the table.
    pub rows: Reading,
    /// Rows of the rejects table.
    pub rejects: Reading,
    /// The newest projection.
    pub projection_version: Reading,
    /// The share of the variance that all its components explain.
    pub explained_variance_ratio: Reading,
    /// The largest principal angle to the projection before, in radians.
    pub drift: Reading,
}

/// One worker's part.
#[derive(Debug)]
pub struct Worker {
    /// Its number in the job.
    pub index: usize,
    /// Images that became rows.
    pub images: Counter,
    /// Passes of the network, each over the images that it takes together.
    pub passes: Counter,
    /// What its thread has had of a core, in seconds.
    pub cpu: Seconds,
    /// Keys of rows and rejects that it owns.
    pub keys: Reading,
}

impl Worker {
    /// Takes in what this thread, the worker's, has had of a core until now.
    #[allow(unsafe_code, reason = "a thread's clock is a system call")]
    pub fn meter(&self) {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the system writes into the structure that it is given.
        if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) } == 0 {
            let had_s = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
            self.cpu.inc_by((had_s - self.cpu.get()).max(0.0));
        }
    }
}

impl Default for Metrics {
    #[rustfmt::skip]
    fn default() -> Self {
        let mut set = Set::new();
        let seconds = || Some(Unit::Seconds);
        Metrics {
            events: set.counters("events", ["dialect", "outcome"], "Object events by what became of them: created, removed, unchanged, set-up or rejected"),
            hints: Counter::default(),
            lags: Lags::new(&mut set),
            fetched: set.define("fetch_duration", seconds(), &[], "Time of a GET of an object", Stage::default()),
            fetched_bytes: set.define("fetched", Some(Unit::Bytes), &[], "Bytes of fetched objects", Counter::default()),
            decoded: set.define("decode_duration", seconds(), &[], "Time to decode an image and fit it to the network's input", Stage::default()),
            extracted: set.define("extract_duration", seconds(), &[], "Time of the network for an image", Stage::default()),
            images: By::new(&mut set, "images", None, "worker", "Images that became rows"),
            passes: By::new(&mut set, "network_passes", None, "worker", "Passes of the network, each over a worker's share of the images that waited, four at most, one where the network gains nothing by more"),
            cpu: By::new(&mut set, "worker_cpu", seconds(), "worker", "Time that a worker's thread has had of a core"),
            keys: By::new(&mut set, "live_keys", None, "worker", "Keys of rows and rejects that a worker owns"),
            refused: LatestRefused::default(),
            rejects: set.counters("rejects", ["reason"], "Objects that are no readable image, and messages that name none"),
            retries: set.counters("retries", ["service"], "Requests to store or broker that failed and were repeated"),
            frontier_age: set.define("frontier_age", seconds(), &[], "Process 0: age of the oldest round of events that is not extracted; 0 when all are", Age::default()),
            rounds_in_flight: set.define("rounds_in_flight", None, &[], "Process 0: rounds of events that are not extracted", Reading::default()),
            settled: set.define("changes", None, &[], "Process 0: changes of the table's keys that the whole job extracted", Counter::default()),
            projected: set.define("project_duration", seconds(), &[], "Process 0: time to fit and store a projection", Stage::default()),
            committed: set.define("commit_duration", seconds(), &[], "Process 0: time of a commit, once all its parts are there", Stage::default()),
            predictions: set.counters("predictions", ["outcome"], "Process 0: labelled new images by whether the classifier of the commit before knew their label: correct or wrong"),
            spans: set.counters("spans", ["outcome"], "Spans of traces by what became of them: sent or dropped"),
            published: Published {
                epoch: set.define("epoch", None, &[], "Process 0: the last committed epoch", Reading::default()),
                table_version: set.define("table_version", None, &[], "Process 0: version of the table", Reading::default()),
                at: set.define("commit_timestamp", seconds(), &[], "Process 0: when this process last committed, in seconds since 1970", Reading::default()),
                rows: set.define("table_rows", None, &[], "Process 0: rows of the table", Reading::default()),
                rejects: set.define("table_rejects", None, &[], "Process 0: rows of the rejects table", Reading::default()),
                projection_version: set.define("projection_version", None, &[], "Process 0: the newest projection", Reading::default()),
                explained_variance_ratio: set.define("explained_variance_ratio", None, &[], "Process 0: share of the variance that the projection's components explain together", Reading::default()),
                drift: set.define("drift", Some(Unit::Other("radians".to_owned())), &[], "Process 0: largest principal angle between the last two projections", Reading::default()),
            },
            workers: Mutex::default(),
            set: { set.define("resident_memory", Some(Unit::Bytes), &[], "Memory of the process that lies in RAM", Asked(resident_bytes)); set },
        }
    }
}

impl Metrics {
    /// The exposition, as OpenMetrics text.
    ///
    /// # Errors
    /// None that a value brings about.
    pub fn expose(&self) -> Result<String, fmt::Error> {
        self.set.expose()
    }

    /// Every metric as a markdown table.
    pub fn docs() -> String {
        Metrics::default().set.docs()
    }

    /// Counts `count` events of a dialect that had one outcome.
    pub fn heard(&self, dialect: &'static str, outcome: Outcome, count: u64) {
        if count > 0 {
            self.events.of([dialect, outcome.word()]).inc_by(count);
        }
        if matches!(outcome, Outcome::Created | Outcome::Removed) {
            self.hints.inc_by(count);
        }
    }

    /// Counts labelled images that were predicted before they were learnt.
    pub fn predicted(&self, correct: u64, wrong: u64) {
        for (outcome, count) in [("correct", correct), ("wrong", wrong)] {
            if count > 0 {
                self.predictions.of([outcome]).inc_by(count);
            }
        }
    }

    /// Object events that were read, of any dialect.
    pub fn hints(&self) -> u64 {
        self.hints.get()
    }

    /// Counts an object or message that becomes no row.
    pub fn refuse(&self, reason: &'static str, path: &str) {
        self.rejects.of([reason]).inc();
        self.refused.push(Refused {
            path: path.to_owned(),
            reason: reason.to_owned(),
            at_ms: now_ms(),
        });
    }

    /// The part of one of this process's workers.
    pub fn worker(&self, index: usize) -> Arc<Worker> {
        let mut workers = self.list();
        if let Some(known) = workers.iter().find(|worker| worker.index == index) {
            return known.clone();
        }
        let worker = Arc::new(Worker {
            index,
            images: self.images.of(index),
            passes: self.passes.of(index),
            cpu: self.cpu.of(index),
            keys: self.keys.of(index),
        });
        workers.push(worker.clone());
        worker
    }

    /// The workers of this process that have begun.
    pub fn workers(&self) -> Vec<Arc<Worker>> {
        self.list().clone()
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Worker>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory of this process that lies in RAM; `None` where the system does not say it as Linux does.
#[allow(unsafe_code, reason = "the size of a page is the system's")]
pub(super) fn resident_bytes() -> Option<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: asks for a number.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages as f64 * page_bytes as f64)
}

#[cfg(test)]
mod tests;
