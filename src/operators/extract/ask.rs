//! The owner's side: which objects are to be looked at.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::{Hashable, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::Activator;

use super::Look;
use super::keys::{Arrivals, Keys};
use super::tally::Tally;
use crate::job::Job;
use crate::operators::latest::Latest;
use crate::operators::restore::Restored;
use crate::operators::{Change, Read, Round};
use crate::storage::Key;

/// The outputs of [`ask`], at the rounds of the changes.
pub struct Asked<'scope> {
    /// To be exchanged to who is asked.
    pub looks: StreamVec<'scope, Round, Look>,
    /// What needs no look.
    pub known: StreamVec<'scope, Round, (Key, Change)>,
    /// To be activated when `keys` have heard an answer: another look may be due.
    pub activator: Activator,
}

/// Asks for looks at what `changes` and `reads` may have changed of the table that was `restored`.
pub fn ask<'scope>(
    job: Arc<Job>,
    changes: VecCollection<'scope, Round, (Key, Latest), isize>,
    reads: StreamVec<'scope, Round, Read>,
    restored: StreamVec<'scope, Round, Restored>,
    keys: Rc<RefCell<Keys>>,
    tally: Rc<Tally>,
) -> Asked<'scope> {
    let scope = reads.scope();
    let mut builder = OperatorBuilder::new("Ask".to_owned(), scope);
    let activator = scope.activator_for(builder.operator_info().address);
    let meter = job.metrics.worker(scope.index());
    let mut changes = builder.new_input(changes.inner, Pipeline);
    let mut reads = builder.new_input(reads, Exchange::new(|read: &Read| read.key().hashed()));
    let mut restored = builder.new_input(
        restored,
        Exchange::new(|restored: &Restored| restored.key.hashed()),
    );
    let (looks_out, looks) = builder.new_output();
    let (known_out, known) = builder.new_output();
    let mut looks_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Look>>>::from(looks_out);
    let mut known_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<(Key, Change)>>>::from(known_out);
    builder.build(move |_| {
        let mut rounds: BTreeMap<Round, Arrivals> = BTreeMap::new();
        move |frontiers| {
            let mut keys = keys.borrow_mut();
            restored.for_each(|_, data| data.drain(..).for_each(|key| keys.restore(key)));
            changes.for_each(|time, data| {
                // A message of a collection may hold several rounds, at or after its own. Round 0 is the table's.
                for (change, round, diff) in data.drain(..).filter(|(_, round, _)| *round > 0) {
                    let arrivals = rounds.entry(round).or_default();
                    arrivals.hold(|| [time.delayed(&round, 0), time.delayed(&round, 1)]);
                    arrivals.changes.push((change, diff));
                }
            });
            reads.for_each(|time, data| {
                let arrivals = rounds.entry(*time.time()).or_default();
                arrivals.hold(|| [time.retain(0), time.retain(1)]);
                arrivals.reads.append(data);
            });
            while let Some(entry) = rounds.first_entry() {
                if frontiers
                    .iter()
                    .any(|frontier| frontier.less_equal(entry.key()))
                {
                    break;
                }
                tally.opened(*entry.key());
                keys.open(entry.remove());
            }
            if job.failure.is_set() {
                return;
            }
            while let Some((at, look)) = keys.next() {
                looks_out.activate().session(&at).give(look);
            }
            for (at, key, change) in keys.known() {
                known_out.activate().session(&at).give((key, change));
            }
            meter.keys.set(keys.live() as f64);
        }
    });
    Asked {
        looks,
        known,
        activator,
    }
}
