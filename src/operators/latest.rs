//! The latest version of every key: a last-writer-wins register as a difference type.
//!
//! A collection of keys whose difference is [`Latest`]: "adding" two registers keeps the newer. That is a commutative,
//! associative and idempotent semigroup, so redelivered, duplicated and reordered events have no effect on what is
//! accumulated, and consolidation keeps one register a key: state is O(keys), not O(events). `count_total` turns the
//! collection into (key, register) with ±1, which is just the sequence of changes.
//!
//! A removal older than the retention is the semigroup's zero, so consolidation drops it like any other zero: whenever
//! differential merges the batches that hold it. State is O(live keys + removals within the retention). An event that is
//! late by more than that finds no register, costs a look at the store, and changes nothing.
//!
//! The order of versions must be total, or the semigroup is none: event time, then sequencer, then the content itself
//! (a removal last). Partition and offset take no part: the same events through other partitions give the same state.

use std::cell::Cell;
use std::cmp::Ordering;
use std::time::Duration;

use differential_dataflow::Hashable as _;
use differential_dataflow::difference::{IsZero, Semigroup};
use differential_dataflow::operators::CountTotal;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::KeySpine;
use differential_dataflow::{AsCollection, VecCollection};
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;

use super::Round;
use crate::event::Version;
use crate::observe::now_ms;
use crate::storage::Key;

/// What a version says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Content {
    /// An object with this digest of its etag.
    Present(u128),
    /// No object.
    Removed,
}

/// The newest version of a key that is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Latest {
    /// When, in the order of events.
    pub version: Version,
    /// What.
    pub content: Content,
}

impl Ord for Latest {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.version, self.content).cmp(&(&other.version, other.content))
    }
}

impl PartialOrd for Latest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

thread_local! {
    /// The event time before which this thread's worker forgets removals; it only grows. Here, because differential asks
    /// a difference, which is alone then, whether it is zero.
    static HORIZON_MS: Cell<i64> = const { Cell::new(i64::MIN) };
}

impl IsZero for Latest {
    /// Whether it is a removal that may be forgotten. No other: a key that is there stays known.
    fn is_zero(&self) -> bool {
        self.content == Content::Removed && self.version.time_ms < HORIZON_MS.get()
    }
}

impl Semigroup for Latest {
    /// What may be forgotten counts for nothing, whether it was dropped yet or not.
    fn plus_equals(&mut self, other: &Self) {
        if !other.is_zero() && (self.is_zero() || other > self) {
            self.clone_from(other);
        }
    }
}

/// How far ahead of this machine's clock an event may be and still tell the time.
const AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// The time before which removals are forgotten: the newest of them less the retention. By the clock of the events, not
/// ours, so that a replayed history is remembered the same; but one that is dated years ahead tells no time, or all others
/// would be forgotten at once and for good.
pub fn horizon_ms(removed_ms: impl Iterator<Item = i64>, retention_ms: u64) -> i64 {
    let latest_ms = now_ms().saturating_add_unsigned(AHEAD.as_millis() as u64);
    let newest_ms = removed_ms.filter(|time_ms| *time_ms <= latest_ms).max();
    newest_ms.map_or(i64::MIN, |ms| ms.saturating_sub_unsigned(retention_ms))
}

/// The changes of each key's latest version: (key, old) with -1, (key, new) with +1, at the worker that owns the key.
/// Removals are remembered for `retention_ms` by the clock of the events.
pub fn latest<'scope>(
    versions: StreamVec<'scope, Round, (Key, Latest)>,
    retention_ms: u64,
) -> VecCollection<'scope, Round, (Key, Latest), isize> {
    registers(versions, retention_ms).count_total()
}

/// One register a key.
type Registers = TraceAgent<KeySpine<Key, Round, Latest>>;

fn registers<'scope>(
    versions: StreamVec<'scope, Round, (Key, Latest)>,
    retention_ms: u64,
) -> Arranged<'scope, Registers> {
    HORIZON_MS.set(i64::MIN);
    // By key before the removals are seen: the worker that keeps a key, and no other, has to forget it.
    let by_key = Exchange::new(|(key, _): &(Key, Latest)| key.hashed());
    versions
        .unary(by_key, "Versions", move |_, _| {
            move |input, output| {
                input.for_each(|time, data| {
                    let round = *time.time();
                    let removed = data.iter().filter(|(_, l)| l.content == Content::Removed);
                    let removed = removed.map(|(_, latest)| latest.version.time_ms);
                    let horizon_ms = horizon_ms(removed, retention_ms);
                    HORIZON_MS.set(HORIZON_MS.get().max(horizon_ms));
                    let updates = data.drain(..).map(|(key, latest)| (key, round, latest));
                    output.session(&time).give_iterator(updates);
                });
            }
        })
        .as_collection()
        .arrange_by_self_named("Registers")
}

#[cfg(test)]
mod tests {
    use differential_dataflow::trace::{BatchReader, TraceReader};
    use proptest::prelude::*;
    use timely::dataflow::operators::{Input, Probe};
    use timely::progress::frontier::AntichainRef;

    use super::*;

    fn register() -> impl Strategy<Value = Latest> {
        (
            0..4i64,
            0..3u128,
            prop_oneof![
                (0..3u128).prop_map(Content::Present),
                Just(Content::Removed)
            ],
        )
            .prop_map(|(time_ms, sequencer, content)| Latest {
                version: Version { time_ms, sequencer },
                content,
            })
    }

    fn sum(a: &Latest, b: &Latest) -> Latest {
        let mut sum = a.clone();
        sum.plus_equals(b);
        sum
    }

    /// A register, but that all which are forgotten are one zero.
    fn kept(register: Latest) -> Option<Latest> {
        (!register.is_zero()).then_some(register)
    }

    proptest! {
        #[test]
        fn registers_are_a_commutative_idempotent_semigroup(
            a in register(), b in register(), c in register(), horizon_ms in 0..4i64,
        ) {
            HORIZON_MS.set(horizon_ms);
            prop_assert_eq!(kept(sum(&sum(&a, &b), &c)), kept(sum(&a, &sum(&b, &c))));
            prop_assert_eq!(kept(sum(&a, &b)), kept(sum(&b, &a)));
            prop_assert_eq!(sum(&a, &a), a.clone());
            if b.is_zero() {
                prop_assert_eq!(sum(&a, &b), a);
            }
        }
    }

    const ROUNDS: u64 = 2_000;
    const KEYS: u64 = 8;
    const RETENTION_MS: u64 = 50;
    const WITHIN: u64 = RETENTION_MS * KEYS;

    /// The registers that each of so many workers holds after removals of ever new keys, all read by the first. `dated` is the
    /// time of one of them.
    fn held(workers: usize, dated: i64) -> Vec<u64> {
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let (mut input, mut trace, probe) = worker.dataflow::<Round, _, _>(|scope| {
                let (input, versions) = scope.new_input::<Vec<(Key, Latest)>>();
                let registers = registers(versions, RETENTION_MS);
                let (probe, _) = registers.stream.probe();
                (input, registers.trace, probe)
            });
            for round in 0..ROUNDS {
                let keys = (0..KEYS).filter(|_| worker.index() == 0);
                for number in keys {
                    let odd = (round, number) == (ROUNDS / 4, 0);
                    let version = Version {
                        time_ms: if odd { dated } else { round as i64 },
                        sequencer: 0,
                    };
                    let content = Content::Removed;
                    let key = u128::from(round * KEYS + number);
                    input.send((key, Latest { version, content }));
                }
                let next = [round + 1];
                input.advance_to(round + 1);
                while probe.less_than(&(round + 1)) {
                    worker.step();
                }
                trace.set_logical_compaction(AntichainRef::new(&next));
                trace.set_physical_compaction(AntichainRef::new(&next));
            }
            let mut held = 0;
            trace.map_batches(|batch| held += batch.len() as u64);
            held
        });
        let held = guards.expect("workers").join().into_iter();
        held.map(|held| held.expect("a worker")).collect()
    }

    #[test]
    fn removals_older_than_the_retention_take_no_memory() {
        let held = held(1, 0)[0];
        assert!((WITHIN..4 * WITHIN).contains(&held), "{held} are held");
    }

    #[test]
    fn a_worker_that_reads_nothing_forgets_removals_too() {
        let held = held(2, 0);
        assert!(
            held.iter().all(|held| (1..4 * WITHIN).contains(held)),
            "{held:?} are held"
        );
    }

    #[test]
    fn a_removal_dated_years_ahead_makes_no_other_forgotten() {
        let held = held(1, now_ms() + 70 * 365 * 86_400_000)[0];
        assert!((WITHIN..4 * WITHIN).contains(&held), "{held} are held");
    }
}
