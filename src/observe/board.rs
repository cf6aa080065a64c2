//! What process 0 knows of the whole job: the vitals of every process, and the commits. For the page.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::vitals::REFUSED_MAX;
use super::{Refused, Vitals};

/// Rates are means over this time.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Projections that are remembered.
pub const FITTED_MAX: usize = 500;

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
    /// Labelled images that were predicted before they were learnt, in all commits until then.
    pub tested: u64,
    /// Those of them whose label was predicted.
    pub correct: u64,
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

/// All of it, at one moment. A list is another allocation when it has changed since somebody looked.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// By process: records of the last [`WINDOW`] and one before, the latest last.
    pub processes: BTreeMap<usize, VecDeque<(Instant, Event<Vitals>)>>,
    /// The latest rejects, the latest first.
    pub refused: Arc<VecDeque<Refused>>,
    /// The latest projections, the latest last.
    pub fitted: Arc<VecDeque<Event<Fitted>>>,
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
        if !vitals.refused.is_empty() {
            let latest = Arc::make_mut(&mut heard.refused);
            for refused in vitals.refused.drain(..) {
                latest.push_front(refused);
            }
            latest.truncate(REFUSED_MAX);
        }
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
            remember(&mut heard.fitted, Event { at_ms, what });
        }
        drop(heard);
        let what = commit;
        self.commits.send_replace(Some(Event { at_ms, what }));
    }

    /// The projections of commits before this job, oldest first.
    pub fn recall(&self, past: Vec<Event<Fitted>>) {
        let mut heard = self.heard();
        let since = std::mem::take(&mut heard.fitted);
        for event in past.into_iter().chain(since.iter().cloned()) {
            let newest = heard.fitted.back().map(|latest| latest.what.version);
            // What this job found when it began is in the past, with its time.
            if newest.is_none_or(|newest| newest < event.what.version) {
                remember(&mut heard.fitted, event);
            }
        }
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

fn remember(fitted: &mut Arc<VecDeque<Event<Fitted>>>, event: Event<Fitted>) {
    let fitted = Arc::make_mut(fitted);
    if fitted.len() == FITTED_MAX {
        fitted.pop_front();
    }
    fitted.push_back(event);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(version: i64) -> Fitted {
        Fitted {
            version,
            rows: 1,
            explained_variance_ratio: Vec::new(),
            drift_rad: None,
            tested: 0,
            correct: 0,
        }
    }

    fn commit(version: i64) -> Commit {
        let projection = Some(fitted(version));
        Commit {
            projection,
            ..Commit::default()
        }
    }

    #[test]
    fn what_is_recalled_lies_before_what_was_seen_and_nothing_is_twice() {
        let board = Board::default();
        board.published(commit(3), true);
        let before = board.look();
        board.published(commit(3), false);
        assert!(Arc::ptr_eq(&before.fitted, &board.look().fitted));
        board.published(commit(5), false);
        let past = [1, 3].map(|version| Event {
            at_ms: 10 * version,
            what: fitted(version),
        });
        board.recall(past.to_vec());
        let fitted = board.look().fitted;
        let versions: Vec<i64> = fitted.iter().map(|event| event.what.version).collect();
        assert_eq!((versions, fitted[1].at_ms), (vec![1, 3, 5], 30));
        assert!(!Arc::ptr_eq(&before.fitted, &fitted));
    }
}
