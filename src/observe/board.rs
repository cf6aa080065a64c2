//! What process 0 knows of the whole job: the vitals of every process, and the commits. For the page.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::vitals::REFUSED_MAX;
use super::{Refused, Vitals};

/// Rates are means over this time.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Projections that are remembered.
const FITTED_MAX: usize = 500;

/// A commit of this job, or the one that it found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// Counts the commits of jobs; 0 before the first.
    pub epoch: i64,
    /// Version of the table.
    pub version: u64,
    /// Rows of the table.
    pub rows: u64,
    /// Rows of the rejects table.
    pub rejects: u64,
    /// The newest projection.
    pub projection: Option<Fitted>,
}

/// A projection.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The epoch that made it.
    pub version: i64,
    /// Rows that it was fitted to.
    pub rows: u64,
    /// Of each component.
    pub explained_variance_ratio: Vec<f64>,
    /// The largest principal angle to the one before.
    pub drift_rad: Option<f64>,
}

impl Fitted {
    /// The share of the variance that all components explain together.
    pub fn explained(&self) -> f64 {
        self.explained_variance_ratio.iter().sum()
    }
}

/// Something at its time.
#[derive(Clone, Debug)]
pub struct Event<T> {
    /// When, in ms since 1970 UTC.
    pub at_ms: i64,
    /// What.
    pub what: T,
}

/// See the module.
#[derive(Debug)]
pub struct Board {
    heard: Mutex<Heard>,
    commits: watch::Sender<Option<Event<Commit>>>,
}

/// All of it, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// By process: records of the last [`WINDOW`] and one before, the latest last.
    pub processes: BTreeMap<usize, VecDeque<(Instant, Event<Vitals>)>>,
    /// The latest rejects, the latest first.
    pub refused: VecDeque<Refused>,
    /// The latest projections since the start, the latest last.
    pub fitted: VecDeque<Event<Fitted>>,
    /// When this process last committed.
    pub committed_ms: Option<i64>,
    /// Nobody tells any more: all is read and published, and the job ends.
    pub over: bool,
}

impl Default for Board {
    fn default() -> Self {
        Board {
            heard: Mutex::default(),
            commits: watch::Sender::new(None),
        }
    }
}

impl Board {
    /// A process told how it is.
    pub fn hear(&self, mut vitals: Vitals) {
        let now = Instant::now();
        let mut heard = self.heard();
        for refused in vitals.refused.drain(..) {
            heard.refused.push_front(refused);
        }
        heard.refused.truncate(REFUSED_MAX);
        let records = heard.processes.entry(vitals.process).or_default();
        let at_ms = super::now_ms();
        records.push_back((
            now,
            Event {
                at_ms,
                what: vitals,
            },
        ));
        // The first of what is kept is the last that is as old as the window.
        while records
            .get(1)
            .is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW)
        {
            records.pop_front();
        }
    }

    /// All is read and published: no process will tell any more.
    pub fn end(&self) {
        self.heard().over = true;
    }

    /// There is a commit: one that the job `found`, or has made.
    pub fn published(&self, commit: Commit, found: bool) {
        let at_ms = super::now_ms();
        let mut heard = self.heard();
        if !found {
            heard.committed_ms = Some(at_ms);
        }
        let known = heard.fitted.back().map(|latest| latest.what.version);
        if let Some(fitted) = &commit.projection
            && known != Some(fitted.version)
        {
            let what = fitted.clone();
            heard.fitted.push_back(Event { at_ms, what });
            if heard.fitted.len() > FITTED_MAX {
                heard.fitted.pop_front();
            }
        }
        drop(heard);
        let what = commit;
        self.commits.send_replace(Some(Event { at_ms, what }));
    }

    /// The last commit, and those to come; `None` before the table was opened.
    pub fn commits(&self) -> watch::Receiver<Option<Event<Commit>>> {
        self.commits.subscribe()
    }

    /// What was heard until now.
    pub fn look(&self) -> Heard {
        self.heard().clone()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
