//! Epochs: which rounds the next commit makes true.
//!
//! On worker 0. The frontier of its reports is the frontier behind `source` and `extract` of all workers: what lies
//! below it is complete everywhere. When enough time or changes have passed, that frontier becomes the upper end of the
//! epoch, and every worker is told by a [`Cut`]. No source takes part in the decision, nothing stops for it, and the
//! offsets of a cut are exactly those of the rounds below it.
//!
//! One epoch is in flight at a time: the next cut waits for the commit of the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Broadcast;

use super::alarm::Alarm;
use super::clock::{FIRST_ROUND, pause};
use super::{Control, Cut, Epoch, Load, Placed, Report, Round};
use crate::config::Start;
use crate::job::Job;
use crate::observe::Trace;

/// While an epoch is in flight, and otherwise.
const POLL_BUSY: Duration = Duration::from_millis(10);
const POLL_IDLE: Duration = Duration::from_millis(500);

/// The cuts, at every worker. `last` is the last committed epoch at the start.
pub fn mint<'scope>(
    job: Arc<Job>,
    reports: StreamVec<'scope, Round, Report>,
    control: Rc<Control>,
    last: Epoch,
) -> StreamVec<'scope, Round, Cut> {
    let scope = reports.scope();
    let (index, peers) = (scope.index(), scope.peers());
    let mut builder = OperatorBuilder::new("Mint".to_owned(), scope);
    let mut alarm = Alarm::new(scope.activator_for(builder.operator_info().address));
    let mut reports = builder.new_input_connection(reports, Exchange::new(|_| 0), []);
    let (output, cuts) = builder.new_output_connection([]);
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Cut>>>::from(output);
    builder.build(move |mut capabilities| {
        let mut capability = capabilities.pop().filter(|_| index == 0);
        if let Some(capability) = &mut capability {
            capability.downgrade(&FIRST_ROUND);
        }
        let mut reported = Reported::default();
        let mut minted = last;
        // Where a job begins that reads what is news from now on, its first commit says: until then a restart would begin later.
        let begins = job.config.kafka.start == Start::Latest;
        let mut since = Instant::now();
        control.committed.set(last);
        move |frontiers| {
            let (stopped, before) = (control.stop.get(), pause(&control));
            reports.for_each(|time, data| {
                for report in data.drain(..) {
                    match report {
                        Report::Extracted(load) => {
                            job.metrics.settled.inc_by(load.count);
                        }
                        // Told to any process, it holds for the job.
                        Report::Read { stop: true, .. } => job.stopped.store(true, Relaxed),
                        Report::Read { .. } => {}
                    }
                    reported.record(*time.time(), report, &control);
                }
            });
            let Some(held) = &mut capability else { return };
            let mut wait = POLL_IDLE;
            if job.stop.is_asked() {
                job.stopped.store(true, Relaxed);
            }
            if job.stopped.load(Relaxed) {
                job.health.stop();
            }
            if job.stopped.load(Relaxed) || (job.until_end && reported.ended.len() == peers) {
                control.stop.set(true);
            }
            if (control.stop.get() != stopped || pause(&control) < before)
                && let Some(clock) = &*control.clock.borrow()
            {
                clock.activate();
            }
            if control.committed.get() == minted {
                reported.committed(&control);
                let upper = frontiers[0].frontier().first().copied();
                let (load, moved) = reported.below(upper);
                let interval = Duration::from_millis(job.config.publish.interval_ms);
                let left = interval.saturating_sub(since.elapsed());
                let beginning = begins && minted == 0;
                let due = upper.is_none()
                    || load.reaches(job.epoch_max())
                    || left.is_zero()
                    || (beginning && reported.waiting.len() == peers);
                // A beginning of some partitions only would have the others begin with their oldest.
                let partial = beginning && !reported.unread.is_empty();
                let holds = (load.count > 0 || moved) && !partial;
                if holds && !due {
                    wait = wait.min(left);
                }
                if holds && due {
                    minted += 1;
                    since = Instant::now();
                    let cut = reported.cut(&job, minted, upper, control.placed.take());
                    let end = cut.upper;
                    output.activate().session(&held).give(cut);
                    held.downgrade(&end);
                } else if upper.is_none() {
                    capability = None;
                    return;
                }
            }
            let busy = control.committed.get() != minted || control.stop.get();
            alarm.within(if busy { POLL_BUSY } else { wait });
        }
    });
    cuts.broadcast()
}

/// What was reported and is in no epoch yet, and how much is in the epoch in flight.
#[derive(Default)]
struct Reported {
    /// Of the epoch in flight: its rows are in memory until it is committed.
    closed: Load,
    changes: BTreeMap<Round, Load>,
    moves: BTreeMap<Round, Vec<(i32, i64)>>,
    /// When something of a round was first reported.
    begun: BTreeMap<Round, SystemTime>,
    offsets: BTreeMap<i32, i64>,
    ended: BTreeSet<usize>,
    /// Workers that were told to stop before they knew where their partitions begin.
    unread: BTreeSet<usize>,
    /// Messages that wait, by worker.
    waiting: BTreeMap<usize, u64>,
    /// Whether a worker's source met its quota when it last told: each tells its own in order, but not one before the other.
    full: BTreeMap<usize, bool>,
}

impl Reported {
    fn record(&mut self, round: Round, report: Report, control: &Control) {
        let idle = matches!(&report, Report::Read { offsets, .. } if offsets.is_empty());
        if !idle {
            self.begun.entry(round).or_insert_with(SystemTime::now);
        }
        match report {
            Report::Extracted(load) => {
                let changes = self.changes.entry(round).or_default();
                *changes = *changes + load;
                control.uncommitted.set(control.uncommitted.get() + load);
            }
            Report::Read {
                worker,
                offsets,
                waiting,
                ended,
                full,
                stop,
            } => {
                if stop && offsets.is_empty() && !self.waiting.contains_key(&worker) {
                    self.unread.insert(worker);
                }
                if !offsets.is_empty() {
                    control.moved.set(Some(Instant::now()));
                }
                self.moves.entry(round).or_default().extend(offsets);
                self.waiting.insert(worker, waiting);
                control.waiting.set(self.waiting.values().sum());
                if ended {
                    self.ended.insert(worker);
                }
                self.full.insert(worker, full);
                control.backlog.set(self.full.values().any(|full| *full));
            }
        }
    }

    /// Changes below the frontier, and whether offsets moved. `None` is the end of all rounds.
    fn below(&self, upper: Option<Round>) -> (Load, bool) {
        let upper = upper.unwrap_or(Round::MAX);
        let moved = self
            .moves
            .range(..upper)
            .any(|(_, offsets)| !offsets.is_empty());
        (
            self.changes.range(..upper).map(|(_, load)| *load).sum(),
            moved,
        )
    }

    /// When what lies below a round began.
    fn begun_below(&self, upper: Round) -> SystemTime {
        let begun = self.begun.range(..upper).map(|(_, at)| *at);
        begun.min().unwrap_or_else(SystemTime::now)
    }

    /// The epoch in flight is committed.
    fn committed(&mut self, control: &Control) {
        let closed = std::mem::take(&mut self.closed);
        control.uncommitted.set(control.uncommitted.get() - closed);
    }

    /// What lies below the frontier as an epoch, of which `placed` are the files of the one before.
    fn cut(&mut self, job: &Job, epoch: Epoch, upper: Option<Round>, placed: Vec<Placed>) -> Cut {
        let end = upper.unwrap_or(Round::MAX);
        let begun = self.begun_below(end);
        let trace = Trace::new(&job.config.table.uri, &job.writer, epoch, begun);
        let offsets = self.close(upper);
        job.traces.enter(trace);
        let gather = job.traces.began("gather", trace.began);
        gather
            .with("changes", self.closed.count)
            .with("bytes", self.closed.bytes)
            .end();
        Cut {
            epoch,
            upper: end,
            placed,
            offsets,
            trace,
        }
    }

    /// Takes what lies below the frontier into the epoch in flight: the offsets it reaches.
    fn close(&mut self, upper: Option<Round>) -> Vec<(i32, i64)> {
        let upper = upper.unwrap_or(Round::MAX);
        let later = self.changes.split_off(&upper);
        self.closed = std::mem::replace(&mut self.changes, later)
            .into_values()
            .sum();
        self.begun = self.begun.split_off(&upper);
        let later = self.moves.split_off(&upper);
        self.offsets.extend(
            std::mem::replace(&mut self.moves, later)
                .into_values()
                .flatten(),
        );
        self.offsets
            .iter()
            .map(|(partition, next)| (*partition, *next))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_backlog_while_any_source_leaves_one_whichever_round_it_tells_of() {
        let (mut reported, control) = (Reported::default(), Control::default());
        let mut told = |round, worker, full| {
            let report = Report::Read {
                worker,
                offsets: vec![],
                waiting: 0,
                ended: false,
                full,
                stop: false,
            };
            reported.record(round, report, &control);
            control.backlog.get()
        };
        assert!(told(5, 1, true));
        assert!(!told(6, 1, false));
        // A worker that comes late from its images tells of both rounds at once.
        assert!(told(5, 0, true));
        assert!(!told(6, 0, false));
        // What one has read to its end says nothing of the other's.
        assert!(told(7, 0, true));
        assert!(told(8, 1, false));
    }

    #[test]
    fn what_an_epoch_holds_is_uncommitted_until_its_commit() {
        let (mut reported, control) = (Reported::default(), Control::default());
        let rows = |count| Load { count, bytes: 10 };
        reported.record(1, Report::Extracted(rows(3)), &control);
        reported.record(2, Report::Extracted(rows(4)), &control);
        reported.close(Some(2));
        assert_eq!(control.uncommitted.get().count, 7);
        reported.record(3, Report::Extracted(rows(5)), &control);
        reported.committed(&control);
        assert_eq!(
            control.uncommitted.get(),
            Load {
                count: 9,
                bytes: 20
            }
        );
        // Nothing is taken off twice.
        reported.committed(&control);
        assert_eq!(control.uncommitted.get().count, 9);
    }
}
