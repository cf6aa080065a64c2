//! The latest version of every key: a last-writer-wins register as a difference type.
//!
//! A collection of keys whose difference is [`Latest`]: "adding" two registers keeps the newer. That is a commutative,
//! associative and idempotent semigroup, so redelivered, duplicated and reordered events have no effect on what is
//! accumulated, and consolidation keeps one register a key: state is O(keys), not O(events). `count_total` turns the
//! collection into (key, register) with ±1, which is just the sequence of changes.
//!
//! The order of versions must be total, or the semigroup is none: event time, then sequencer, then the content itself
//! (a removal last). Partition and offset take no part: the same events through other partitions give the same state.

use std::cmp::Ordering;

use differential_dataflow::difference::{IsZero, Semigroup};
use differential_dataflow::operators::CountTotal;
use differential_dataflow::{AsCollection, VecCollection};
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;

use super::{Key, Round};
use crate::event::Version;

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

impl IsZero for Latest {
    /// Never: a key that was heard of stays known, by its tombstone if it is gone.
    fn is_zero(&self) -> bool {
        false
    }
}

impl Semigroup for Latest {
    fn plus_equals(&mut self, other: &Self) {
        if other > self {
            self.clone_from(other);
        }
    }
}

/// The changes of each key's latest version: (key, old) with -1, (key, new) with +1, at the worker that owns the key.
pub fn latest<'scope>(
    versions: StreamVec<'scope, Round, (Key, Latest)>,
) -> VecCollection<'scope, Round, (Key, Latest), isize> {
    versions
        .unary(Pipeline, "Versions", |_, _| {
            |input, output| {
                input.for_each(|time, data| {
                    let round = *time.time();
                    let updates = data.drain(..).map(|(key, latest)| (key, round, latest));
                    output.session(&time).give_iterator(updates);
                });
            }
        })
        .as_collection()
        .count_total()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn registers_are_a_commutative_idempotent_semigroup(a in register(), b in register(), c in register()) {
            prop_assert_eq!(sum(&sum(&a, &b), &c), sum(&a, &sum(&b, &c)));
            prop_assert_eq!(sum(&a, &b), sum(&b, &a));
            prop_assert_eq!(sum(&a, &a), a);
        }
    }
}
