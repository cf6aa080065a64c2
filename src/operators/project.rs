//! The projection of an epoch: running totals, standardisation, principal components.
//!
//! Worker 0 adds the epoch's sums to the totals of the live rows, fits on a thread of the runtime (extraction goes on meanwhile), puts moments and
//! projection beside the table, and sends the projection to every worker. An epoch that changes no sum keeps the
//! projection it has, unless the options of the fit are others than it was fitted by.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Broadcast;

use super::{Cut, Epoch, Round, Tasks};
use crate::job::Job;
use crate::job::state::{MomentsRef, ProjectionRef, encode_moments};
use crate::moments::{Moments, Part, Sums};
use crate::projection::{self, Stored};
use crate::table::state::{PROJECTIONS, STATE};

/// The change of a part's total, as `moments` has it.
pub type Delta = (Part, Round, Sums);

/// The projection under which an epoch's new rows are reduced.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Projected {
    /// Its safetensors; `None` where there are too few rows for one.
    pub projection: Option<Vec<u8>>,
}

/// What the commit says of moments and projection.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Published {
    /// The moments' object.
    pub moments: Option<MomentsRef>,
    /// The projection's object.
    pub projection: Option<ProjectionRef>,
}

/// The outputs of [`project`], at the epoch's lower round.
pub struct Projections<'scope> {
    /// At every worker.
    pub projected: StreamVec<'scope, Round, Projected>,
    /// At worker 0.
    pub published: StreamVec<'scope, Round, Published>,
}

/// Worker 0's state, which its tasks borrow in turn.
pub struct State {
    moments: Moments,
    projection: Option<Stored>,
    published: Published,
}

impl State {
    /// What the last commit published.
    pub fn new(moments: Moments, projection: Option<Stored>, published: Published) -> Self {
        State {
            moments,
            projection,
            published,
        }
    }
}

/// Publishes a projection for every cut whose epoch changes the totals. `state` is worker 0's.
pub fn project<'scope>(
    job: Arc<Job>,
    deltas: StreamVec<'scope, Round, Delta>,
    cuts: StreamVec<'scope, Round, Cut>,
    state: Option<State>,
) -> Projections<'scope> {
    let scope = cuts.scope();
    let mut builder = OperatorBuilder::new("Project".to_owned(), scope);
    let mut tasks: Tasks<State> =
        Tasks::new(scope.worker(), &builder.operator_info().address, &job);
    let mut deltas = builder.new_input(deltas, Exchange::new(|_: &Delta| 0));
    let mut cuts = builder.new_input(cuts, Pipeline);
    let (projected_out, projected) = builder.new_output();
    let (published_out, published) = builder.new_output();
    let mut projected_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<Projected>>>::from(projected_out);
    let mut published_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<Published>>>::from(published_out);
    builder.build(move |_| {
        let mut state = state;
        let mut waiting: BTreeMap<Round, Vec<(Part, Sums)>> = BTreeMap::new();
        let mut due: BTreeMap<Round, ([Capability<Round>; 2], Epoch)> = BTreeMap::new();
        let mut fitting: Option<[Capability<Round>; 2]> = None;
        move |frontiers| {
            deltas.for_each(|_, data| {
                // A message of a collection may hold several rounds.
                for (part, round, sums) in data.drain(..) {
                    waiting.entry(round).or_default().push((part, sums));
                }
            });
            cuts.for_each(|time, data| {
                due.extend(
                    data.drain(..)
                        .map(|cut| (*time.time(), ([time.retain(0), time.retain(1)], cut.epoch))),
                );
            });
            let mut give = |state: &State, at: &[Capability<Round>; 2]| match state.projected() {
                Ok(projected) => {
                    projected_out.activate().session(&at[0]).give(projected);
                    published_out
                        .activate()
                        .session(&at[1])
                        .give(state.published.clone());
                }
                Err(error) => job.failure.set(error),
            };
            if let Some(fitted) = tasks.finished() {
                if let Some(at) = fitting.take() {
                    give(&fitted, &at);
                }
                state = Some(fitted);
            }
            let Some(current) = state.take() else {
                // Worker 0 waits for its task; the others have nothing to do.
                if fitting.is_none() {
                    due.clear();
                }
                return;
            };
            let sealed =
                |round: &Round| !frontiers.iter().any(|frontier| frontier.less_equal(round));
            if let Some(entry) = due.first_entry().filter(|entry| sealed(entry.key())) {
                let (round, (at, epoch)) = entry.remove_entry();
                let deltas = waiting.remove(&round).unwrap_or_default();
                if !deltas.is_empty() || current.fitted_otherwise(&job.projection_options) {
                    fitting = Some(at);
                    let job = job.clone();
                    tasks.spawn(async move { current.fit(&job, epoch, deltas).await });
                    return;
                }
                give(&current, &at);
            }
            state = Some(current);
        }
    });
    Projections {
        projected: projected.broadcast(),
        published,
    }
}

impl State {
    /// Whether there is a projection, and one by other options.
    fn fitted_otherwise(&self, options: &projection::Options) -> bool {
        let named = self.published.projection.as_ref();
        named.is_some_and(|named| named.options != *options)
    }

    fn projected(&self) -> anyhow::Result<Projected> {
        let projection = self
            .projection
            .as_ref()
            .map(Stored::to_safetensors)
            .transpose()?;
        Ok(Projected { projection })
    }

    /// Takes in an epoch's sums, fits its projection, and puts both into the store.
    async fn fit(
        self,
        job: &Arc<Job>,
        epoch: Epoch,
        deltas: Vec<(Part, Sums)>,
    ) -> anyhow::Result<Self> {
        let start = Instant::now();
        let options = job.projection_options.clone();
        let fit_options = options.clone();
        let fitted =
            tokio::task::spawn_blocking(move || Fitted::new(self, epoch, deltas, &fit_options));
        let Fitted {
            moments,
            moments_file,
            projection,
            projection_file,
        } = fitted.await??;
        let objects = &job.tables.objects;
        let label = format!("moments-{epoch:010}");
        let object = objects
            .put(STATE, label, "parquet", moments_file.into())
            .await?;
        let mut published = Published {
            moments: Some(MomentsRef {
                object,
                sha256: moments.sha256(),
                n: moments.n(),
            }),
            projection: None,
        };
        if let (Some(stored), Some(file)) = (&projection, projection_file) {
            let label = format!("{epoch:010}");
            let object = objects
                .put(PROJECTIONS, label, "safetensors", file.into())
                .await?;
            published.projection = Some(ProjectionRef::new(object, stored, options));
        }
        job.metrics.projected.record(start.elapsed());
        Ok(State {
            moments,
            projection,
            published,
        })
    }
}

/// What a fit yields.
struct Fitted {
    moments: Moments,
    moments_file: Vec<u8>,
    projection: Option<Stored>,
    projection_file: Option<Vec<u8>>,
}

impl Fitted {
    fn new(
        state: State,
        version: Epoch,
        deltas: Vec<(Part, Sums)>,
        options: &projection::Options,
    ) -> anyhow::Result<Self> {
        let moments = state.moments.apply(deltas)?;
        let projection = match moments.n() {
            0 | 1 => None,
            _ => {
                let projection = projection::fit(&moments, options)?;
                let drift = state.projection.as_ref().and_then(|previous| {
                    let drift = projection::drift(&previous.projection, &projection);
                    // It informs; nothing depends on it.
                    drift
                        .inspect_err(|error| tracing::warn!(%error, "no drift"))
                        .ok()
                });
                Some(Stored {
                    version,
                    drift,
                    projection,
                })
            }
        };
        Ok(Fitted {
            moments_file: encode_moments(&moments)?,
            projection_file: projection
                .as_ref()
                .map(Stored::to_safetensors)
                .transpose()?,
            moments,
            projection,
        })
    }
}
