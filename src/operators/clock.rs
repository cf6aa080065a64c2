//! Rounds: when they begin, and how much may be read in each.
//!
//! The clock is one operator on worker 0. For each round it sends every source one [`Tick`], which is both the
//! permission to read and the capability to emit: sources hold no capability of their own, so the frontier behind them
//! is the clock's. A tick is withheld while the frontier behind `extract` lags `rounds_in_flight` rounds or while too
//! much is extracted and uncommitted. That is all the flow control there is, and all that is needed: nothing enters the
//! dataflow without a tick.
//!
//! The quota follows the time that a full round takes: rounds are to last between half a second and one, so that no worker runs out
//! of images, and an epoch can be cut, and a shutdown finished, soon after it is wanted. It begins with the least, as nothing is known then,
//! and after a lull: what comes next may take longer than what it grew by.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::probe;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::{Scope, StreamVec};

use super::alarm::Alarm;
use super::{Control, Load, Round};
use crate::observe::Metrics;

/// Permission to read for one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// Messages that a source may take.
    pub quota: usize,
}

/// Bounds of the clock.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Rounds that may be under way at once.
    pub rounds_in_flight: u64,
    /// Most messages that a source may take in a round.
    pub quota_max: usize,
    /// Most changes that may wait for a commit before reading pauses.
    pub uncommitted_max: Load,
}

/// Round 0 belongs to what is restored; reading begins with this one.
pub const FIRST_ROUND: Round = 1;

/// From one round to the next while sources leave something behind, while they don't, and once nothing has come for [`LULL`].
pub(crate) const BUSY: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_millis(100);
const QUIET: Duration = Duration::from_millis(500);
const LULL: Duration = Duration::from_secs(3);
const ROUND_SHORT: Duration = Duration::from_millis(500);
const ROUND_LONG: Duration = Duration::from_millis(1000);
/// The least of a round, and what the first have: eight such are four times what a worker's keys may have under way by default. The
/// rest is on its way there and back, each hop of which waits for what the workers compute meanwhile.
pub(crate) const QUOTA_MIN: usize = 8;

/// A round under way.
struct Begun {
    round: Round,
    at: Instant,
    quota: usize,
}

/// The stream of ticks, at every worker. `behind` is the frontier behind `extract`.
pub fn clock<'scope>(
    scope: Scope<'scope, Round>,
    pace: Pace,
    control: Rc<Control>,
    metrics: Arc<Metrics>,
    behind: probe::Handle<Round>,
) -> StreamVec<'scope, Round, Tick> {
    let index = scope.index();
    let mut builder = OperatorBuilder::new("Clock".to_owned(), scope);
    let address = builder.operator_info().address;
    let mut alarm = Alarm::new(scope.activator_for(address.clone()));
    control.clock.replace(Some(scope.activator_for(address)));
    let (output, ticks) = builder.new_output();
    let mut output =
        OutputBuilder::<_, timely::container::CapacityContainerBuilder<Vec<Tick>>>::from(output);
    builder.build(move |mut capabilities| {
        let mut capability = capabilities.pop().filter(|_| index == 0);
        if let Some(capability) = &mut capability {
            capability.downgrade(&FIRST_ROUND);
        }
        let mut quota = QUOTA_MIN.min(pace.quota_max);
        let mut begun: VecDeque<Begun> = VecDeque::new();
        let mut latest = Instant::now();
        move |_frontiers| {
            if index > 0 {
                return;
            }
            while let Some(ended) = begun.pop_front_if(|begun| !behind.less_equal(&begun.round)) {
                let (took, backlog) = (ended.at.elapsed(), control.backlog.get());
                quota = next_quota(quota, ended.quota, pace.quota_max, took, backlog);
                tracing::trace!(round = ended.round, quota, "round ended");
            }
            let show = |begun: &VecDeque<Begun>| {
                metrics.rounds_in_flight.set(begun.len() as f64);
                let oldest = begun.front().map(|begun| begun.at);
                metrics.frontier_age.set(oldest);
            };
            let Some(held) = capability.as_mut().filter(|_| !control.stop.get()) else {
                show(&begun);
                capability = None;
                // What is in flight is still watched.
                if !begun.is_empty() {
                    alarm.within(IDLE);
                }
                return;
            };
            let pause = pause(&control);
            if pause == QUIET {
                quota = QUOTA_MIN.min(pace.quota_max);
            }
            let free = match control.uncommitted.get().reaches(pace.uncommitted_max) {
                true => 0,
                false => pace.rounds_in_flight.saturating_sub(begun.len() as u64),
            };
            for _ in 0..due(latest.elapsed(), pause, control.backlog.get()).min(free) {
                latest = Instant::now();
                begun.push_back(Begun {
                    round: *held.time(),
                    at: latest,
                    quota,
                });
                output.activate().session(&held).give(Tick { quota });
                let next = held.time() + 1;
                held.downgrade(&next);
            }
            show(&begun);
            // While ticks are withheld, their time is over.
            let rest = pause.checked_sub(latest.elapsed());
            alarm.within(rest.filter(|rest| !rest.is_zero()).unwrap_or(pause));
        }
    });
    ticks.broadcast()
}

/// From one round to the next, as it is now.
pub(super) fn pause(control: &Control) -> Duration {
    match control.moved.get() {
        _ if control.backlog.get() => BUSY,
        Some(moved) if moved.elapsed() > LULL => QUIET,
        _ => IDLE,
    }
}

/// Rounds that should have begun in that time, since the last one did. A worker that computes images comes by only now and then: with a
/// backlog those of the meantime begin together, or its images would run out; without, one reads all that has come.
fn due(elapsed: Duration, pause: Duration, backlog: bool) -> u64 {
    let due = (elapsed.as_nanos() / pause.as_nanos()) as u64;
    if backlog { due } else { due.min(1) }
}

/// The next rounds' after one that `had` so much and took so long: twice as much after a short one, if there is a backlog to judge by,
/// and half as much after a long one. A round that had begun before the last change says nothing of it.
pub(crate) fn next_quota(
    quota: usize,
    had: usize,
    quota_max: usize,
    took: Duration,
    backlog: bool,
) -> usize {
    match took {
        _ if had != quota => quota,
        _ if took > ROUND_LONG => quota.min((quota / 2).max(QUOTA_MIN)),
        _ if took < ROUND_SHORT && backlog => (quota * 2).min(quota_max),
        _ => quota,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_grows_only_with_a_backlog_and_shrinks_after_long_rounds() {
        let next =
            |quota, ms, backlog| next_quota(quota, quota, 4096, Duration::from_millis(ms), backlog);
        assert_eq!(next(32, 10, true), 64);
        assert_eq!(next(32, 10, false), 32);
        assert_eq!(next(4096, 10, true), 4096);
        assert_eq!(next(32, 1_500, false), 16);
        assert_eq!(next(8, 60_000, true), 8);
    }

    #[test]
    fn rounds_of_one_quota_change_it_once() {
        let ends = |quota, ms: &[u64]| {
            let next = |quota, ms| next_quota(quota, 32, 4096, Duration::from_millis(ms), true);
            ms.iter().copied().fold(quota, next)
        };
        assert_eq!(ends(32, &[3_000; 8]), 16);
        assert_eq!(ends(32, &[10; 8]), 64);
        assert_eq!(ends(32, &[1_100, 450, 450]), 16);
        assert_eq!(ends(32, &[700, 450, 1_100]), 64);
        assert_eq!(ends(8, &[3_000, 10]), 8);
    }

    #[test]
    fn a_limit_below_the_least_quota_holds() {
        for ms in [10, 60_000] {
            let took = Duration::from_millis(ms);
            assert_eq!(next_quota(1, 1, 1, took, true), 1);
        }
    }

    #[test]
    fn a_backlog_does_not_wait_for_as_many_steps_as_rounds() {
        assert_eq!(due(Duration::from_millis(4), BUSY, true), 0);
        assert_eq!(due(Duration::from_millis(90), BUSY, true), 18);
        assert_eq!(due(Duration::from_millis(90), IDLE, false), 0);
        assert_eq!(due(Duration::from_secs(90), IDLE, false), 1);
    }
}
