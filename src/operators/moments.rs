//! The moments of an epoch's rows as a differential collection whose difference is a group of integer sums.
//!
//! Every worker turns the rows that an epoch adds, and the old rows that it takes away, into one delta of Σx and Σxxᵀ,
//! keyed by [`Part`] (a block of columns, a label, the count). The deltas are exchanged by part and consolidated, so every
//! worker reduces its share of the parts, whatever their number; `project` adds the sums to the running totals. Integer
//! addition is order-free and has an inverse: the totals are those of the live rows, whatever came in between and
//! wherever it was computed.

use std::collections::BTreeMap;
use std::sync::Arc;

use differential_dataflow::difference::{Abelian, IsZero, Monoid, Semigroup};
use differential_dataflow::{AsCollection, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::{Batch, Round, SharedBatch};
use crate::job::Job;
use crate::moments::{Accumulator, Part, Sums, quantise};

impl IsZero for Sums {
    fn is_zero(&self) -> bool {
        Sums::is_zero(self)
    }
}

impl Semigroup for Sums {
    fn plus_equals(&mut self, other: &Self) {
        self.plus_assign(other);
    }
}

impl Monoid for Sums {
    fn zero() -> Self {
        Sums::default()
    }
}

impl Abelian for Sums {
    fn negate(&mut self) {
        Sums::negate(self);
    }
}

/// What the sums need of an old row, and no more: an epoch may take away many.
#[derive(Debug)]
pub struct Retraction {
    /// What it was counted under.
    pub label: Option<String>,
    /// As its file has them: \[d\].
    pub features: Vec<f32>,
}

/// Old rows of committed files that an epoch takes away.
pub type Retracted = Arc<Vec<Retraction>>;

/// The change of each part by an epoch, at its lower round and at the worker that owns the part.
pub fn moments<'scope>(
    job: Arc<Job>,
    batches: StreamVec<'scope, Round, SharedBatch>,
    retracted: StreamVec<'scope, Round, Retracted>,
) -> VecCollection<'scope, Round, Part, Sums> {
    deltas(job, batches, retracted)
        .as_collection()
        .consolidate()
}

/// One epoch's signed rows, until both inputs are sealed.
#[derive(Default)]
struct Epoch {
    at: Option<Capability<Round>>,
    added: Vec<SharedBatch>,
    retracted: Vec<Retracted>,
}

fn deltas<'scope>(
    job: Arc<Job>,
    batches: StreamVec<'scope, Round, SharedBatch>,
    retracted: StreamVec<'scope, Round, Retracted>,
) -> StreamVec<'scope, Round, (Part, Round, Sums)> {
    let scope = batches.scope();
    let worker = scope.index();
    let mut builder = OperatorBuilder::new("Deltas".to_owned(), scope);
    let mut batches = builder.new_input(batches, Pipeline);
    let mut retracted = builder.new_input(retracted, Pipeline);
    let (output, deltas) = builder.new_output();
    let mut output =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<(Part, Round, Sums)>>>::from(output);
    builder.build(move |_| {
        let mut epochs: BTreeMap<Round, Epoch> = BTreeMap::new();
        let mut accumulator = match Accumulator::new(job.features) {
            Ok(accumulator) => Some(accumulator),
            Err(error) => {
                job.failure.set(error.into());
                None
            }
        };
        let mut grid = vec![0; job.features];
        move |frontiers| {
            batches.for_each(|time, data| {
                let epoch = epochs.entry(*time.time()).or_default();
                epoch.at.get_or_insert_with(|| time.retain(0));
                epoch.added.append(data);
            });
            retracted.for_each(|time, data| {
                let epoch = epochs.entry(*time.time()).or_default();
                epoch.at.get_or_insert_with(|| time.retain(0));
                epoch.retracted.append(data);
            });
            while let Some(entry) = epochs.first_entry() {
                let round = *entry.key();
                if frontiers.iter().any(|frontier| frontier.less_equal(&round)) {
                    break;
                }
                // An epoch that fails stays, and with it its capability: it must not look complete to others.
                let (Some(accumulator), epoch) = (&mut accumulator, entry.get()) else {
                    return;
                };
                let span = job.traces.begin("moments").with("worker", worker);
                match delta(accumulator, &mut grid, &epoch.added, &epoch.retracted) {
                    Ok(delta) => {
                        span.with("parts", delta.len()).end();
                        if let Some(at) = entry.remove().at {
                            let updates = delta.into_iter().map(|(part, sums)| (part, round, sums));
                            output.activate().session(&at).give_iterator(updates);
                        }
                    }
                    Err(error) => return job.failure.set(error),
                }
            }
        }
    });
    deltas
}

fn delta(
    sums: &mut Accumulator,
    grid: &mut [i32],
    added: &[SharedBatch],
    retracted: &[Retracted],
) -> anyhow::Result<Vec<(Part, Sums)>> {
    for batch in added {
        if let Batch::Rows(_, rows) = &**batch {
            for row in rows {
                quantise(&row.features, grid)?;
                sums.add(grid, row.label.as_deref())?;
            }
        }
    }
    for row in retracted.iter().flat_map(|rows| rows.iter()) {
        quantise(&row.features, grid)?;
        sums.retract(grid, row.label.as_deref())?;
    }
    Ok(sums.drain())
}
