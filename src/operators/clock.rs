//! Rounds: when they begin, and how much may be read in each.
//!
//! The clock is one operator on worker 0. For each round it sends every source one [`Tick`], which is both the
//! permission to read and the capability to emit: sources hold no capability of their own, so the frontier behind them
//! is the clock's. A tick is withheld while the frontier behind `extract` lags `rounds_in_flight` rounds or while too
//! much is extracted and uncommitted. That is all the flow control there is, and all that is needed: nothing enters the
//! dataflow without a tick.
//!
//! The quota follows the time that a full round takes: rounds are to last about half a second, so that an epoch can be
//! cut, and a shutdown finished, soon after it is wanted.

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
const ROUND_SHORT: Duration = Duration::from_millis(250);
const ROUND_LONG: Duration = Duration::from_millis(1000);
pub(crate) const QUOTA_FIRST: usize = 32;
const QUOTA_MIN: usize = 4;

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
        let mut quota = QUOTA_FIRST.min(pace.quota_max);
        let mut begun: VecDeque<(Round, Instant)> = VecDeque::new();
        let mut latest = Instant::now();
        move |_frontiers| {
            if index > 0 {
                return;
            }
            while let Some(&(round, start)) =
                begun.front().filter(|(round, _)| !behind.less_equal(round))
            {
                quota = next_quota(
                    quota,
                    pace.quota_max,
                    start.elapsed(),
                    control.backlog.get(),
                );
                begun.pop_front();
                tracing::trace!(round, quota, "round ended");
            }
            metrics.rounds_in_flight.set(begun.len() as f64);
            metrics
                .frontier_age
                .set(begun.front().map(|(_, start)| *start));
            let Some(held) = capability.as_mut().filter(|_| !control.stop.get()) else {
                capability = None;
                // What is in flight is still watched.
                if !begun.is_empty() {
                    alarm.within(IDLE);
                }
                return;
            };
            let pause = pause(&control);
            if latest.elapsed() >= pause
                && (begun.len() as u64) < pace.rounds_in_flight
                && !control.uncommitted.get().reaches(pace.uncommitted_max)
            {
                latest = Instant::now();
                begun.push_back((*held.time(), latest));
                output.activate().session(&held).give(Tick { quota });
                let next = held.time() + 1;
                held.downgrade(&next);
            }
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

/// Doubles after short rounds, halves after long ones, as long as there is a backlog to judge by.
pub(crate) fn next_quota(quota: usize, quota_max: usize, round: Duration, backlog: bool) -> usize {
    match round {
        _ if round > ROUND_LONG => (quota / 2).max(QUOTA_MIN),
        _ if round < ROUND_SHORT && backlog => (quota * 2).min(quota_max),
        _ => quota,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_grows_only_with_a_backlog_and_shrinks_after_long_rounds() {
        assert_eq!(next_quota(32, 4096, Duration::from_millis(10), true), 64);
        assert_eq!(next_quota(32, 4096, Duration::from_millis(10), false), 32);
        assert_eq!(
            next_quota(4096, 4096, Duration::from_millis(10), true),
            4096
        );
        assert_eq!(next_quota(32, 4096, Duration::from_millis(1500), false), 16);
        assert_eq!(next_quota(4, 4096, Duration::from_secs(60), true), 4);
    }
}
