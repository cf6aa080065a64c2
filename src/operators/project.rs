//! The models of an epoch: running totals, standardisation, principal components, discriminants of the labels.
//!
//! Worker 0 adds the epoch's sums to the totals of the live rows, fits on a thread of the runtime (extraction goes on meanwhile), and sends every
//! worker what the epoch's rows are to be written under: its own projection, and the classifier of the commit *before*, which has
//! not learnt them. While the rows are written, it puts moments and models beside the table. An epoch that changes no sum keeps the models it has, unless the options
//! of the fit are others than they were fitted by; a classifier that is newly enabled waits for the next change.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::{Instant, SystemTime};

use futures::future::{try_join, try_join3};
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Broadcast;

use super::models::ModelFiles;
use super::{Cut, Epoch, Round, Tasks};
use crate::classifier::{self, ClassifierError};
use crate::job::state::{ClassifierRef, MomentsRef, ProjectionRef, encode_moments};
use crate::job::{Contradiction, Job};
use crate::moments::{Moments, Part, Sums};
use crate::projection::{self, Stored};
use crate::table::state::{CLASSIFIERS, PROJECTIONS, STATE};

/// The change of a part's total, as `moments` has it.
pub type Delta = (Part, Round, Sums);

/// What the commit says of moments and models.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Published {
    /// The moments' object.
    pub moments: Option<MomentsRef>,
    /// The projection's object.
    pub projection: Option<ProjectionRef>,
    /// The classifier's object.
    pub classifier: Option<ClassifierRef>,
}

/// The outputs of [`project`], at the epoch's lower round.
pub struct Projections<'scope> {
    /// At every worker.
    pub models: StreamVec<'scope, Round, ModelFiles>,
    /// At worker 0.
    pub published: StreamVec<'scope, Round, Published>,
}

/// Worker 0's state, which its tasks borrow in turn.
pub struct State {
    moments: Moments,
    projection: Option<Stored>,
    classifier: Option<classifier::Stored>,
    published: Published,
}

/// What a task comes to, one after the other.
enum Step {
    /// Moments and models are those of the epoch; what its rows are to be written under.
    Fitted(Fitted, ModelFiles),
    /// They are in the store.
    Published(State),
}

/// A state whose objects are not in the store yet.
struct Fitted {
    moments: Moments,
    projection: Option<Stored>,
    classifier: Option<classifier::Stored>,
    files: ModelFiles,
    epoch: Epoch,
    began: (SystemTime, Instant),
}

impl State {
    /// What the last commit published.
    pub fn new(
        moments: Moments,
        projection: Option<Stored>,
        classifier: Option<classifier::Stored>,
        published: Published,
    ) -> Self {
        State {
            moments,
            projection,
            classifier,
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
    let mut tasks: Tasks<Step> = Tasks::new(scope.worker(), &builder.operator_info().address, &job);
    let mut deltas = builder.new_input(deltas, Exchange::new(|_: &Delta| 0));
    let mut cuts = builder.new_input(cuts, Pipeline);
    let (models_out, models) = builder.new_output();
    let (published_out, published) = builder.new_output();
    let mut models_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<ModelFiles>>>::from(models_out);
    let mut published_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<Published>>>::from(published_out);
    builder.build(move |_| {
        let mut state = state;
        let mut waiting: BTreeMap<Round, Vec<(Part, Sums)>> = BTreeMap::new();
        let mut due: BTreeMap<Round, ([Capability<Round>; 2], Epoch)> = BTreeMap::new();
        // Where the epoch's models go out, until they are there, and what is published of it.
        let mut fitting: Option<Capability<Round>> = None;
        let mut publishing: Option<Capability<Round>> = None;
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
            match tasks.finished() {
                Some(Step::Fitted(fitted, models)) => {
                    if let Some(at) = fitting.take() {
                        models_out.activate().session(&at).give(models);
                    }
                    let job = job.clone();
                    tasks.spawn(async move { fitted.publish(&job).await });
                }
                Some(Step::Published(fitted)) => {
                    if let Some(at) = publishing.take() {
                        let published = fitted.published.clone();
                        published_out.activate().session(&at).give(published);
                    }
                    state = Some(fitted);
                }
                None => {}
            }
            let Some(current) = state.take() else {
                // Worker 0 waits for its task; the others have nothing to do.
                if publishing.is_none() {
                    due.clear();
                }
                return;
            };
            let sealed =
                |round: &Round| !frontiers.iter().any(|frontier| frontier.less_equal(round));
            if let Some(entry) = due.first_entry().filter(|entry| sealed(entry.key())) {
                let (round, ([models_at, published_at], epoch)) = entry.remove_entry();
                let deltas = waiting.remove(&round).unwrap_or_default();
                if !deltas.is_empty() || current.fitted_otherwise(&job) {
                    (fitting, publishing) = (Some(models_at), Some(published_at));
                    let job = job.clone();
                    tasks.spawn(async move { current.fit(&job, epoch, deltas).await });
                    return;
                }
                match current.models() {
                    Ok(models) => {
                        models_out.activate().session(&models_at).give(models);
                        let published = current.published.clone();
                        published_out
                            .activate()
                            .session(&published_at)
                            .give(published);
                    }
                    Err(error) => {
                        job.failure.set(error);
                        // To others this epoch must not look complete.
                        (fitting, publishing) = (Some(models_at), Some(published_at));
                        return;
                    }
                }
            }
            state = Some(current);
        }
    });
    Projections {
        models: models.broadcast(),
        published,
    }
}

impl State {
    /// Whether there is a model that was fitted by other options than the job's.
    fn fitted_otherwise(&self, job: &Job) -> bool {
        let Published {
            projection,
            classifier,
            ..
        } = &self.published;
        projection
            .as_ref()
            .is_some_and(|named| named.options != job.projection_options)
            || classifier
                .as_ref()
                .is_some_and(|named| Some(&named.options) != job.classifier_options.as_ref())
    }

    /// What rows are written under that change no sum.
    fn models(&self) -> anyhow::Result<ModelFiles> {
        ModelFiles::new(self.projection.as_ref(), self.classifier.as_ref())
    }

    /// Takes in an epoch's sums, and fits its models.
    async fn fit(
        self,
        job: &Arc<Job>,
        epoch: Epoch,
        deltas: Vec<(Part, Sums)>,
    ) -> anyhow::Result<Step> {
        let (job, began) = (job.clone(), (SystemTime::now(), Instant::now()));
        let fitted = tokio::task::spawn_blocking(move || {
            let moments = self.moments.apply(deltas)?;
            bounded(moments.labels().count(), job.config.limits.labels)?;
            // Beside each other: a commit does not wait for one after the other.
            let options = job.classifier_options.as_ref();
            let (projection, classifier) = thread::scope(|scope| {
                let classifier = scope.spawn(|| classify(&moments, epoch, options?));
                let before = self.projection.as_ref();
                let projection = reduce(&moments, epoch, &job.projection_options, before);
                (projection, classifier.join())
            });
            let projection = projection?;
            let classifier = classifier.unwrap_or_else(|panic| resume_unwind(panic));
            let files = ModelFiles::new(projection.as_ref(), classifier.as_ref())?;
            let models = ModelFiles {
                projection: files.projection.clone(),
                ..ModelFiles::new(None, self.classifier.as_ref())?
            };
            let fitted = Fitted {
                moments,
                projection,
                classifier,
                files,
                epoch,
                began,
            };
            Ok(Step::Fitted(fitted, models))
        });
        fitted.await?
    }
}

impl Fitted {
    /// Puts moments and models into the store.
    async fn publish(self, job: &Arc<Job>) -> anyhow::Result<Step> {
        let Fitted {
            moments,
            projection,
            classifier,
            files,
            epoch,
            began: (began, start),
        } = self;
        let moments = Arc::new(moments);
        // Only now: the matrices of the fits are what the job takes most memory for.
        let (encoded, hashed) = (moments.clone(), moments.clone());
        let encoded = tokio::task::spawn_blocking(move || encode_moments(&encoded));
        let hashed = tokio::task::spawn_blocking(move || hashed.sha256());
        let (moments_file, sha256) = try_join(encoded, hashed).await?;
        let (objects, label) = (&job.tables.objects, format!("{epoch:010}"));
        let put = async |folder, file: Option<Vec<u8>>| match file {
            Some(file) => {
                let object = objects.put(folder, &label, "safetensors", file.into());
                object.await.map(Some)
            }
            None => Ok(None),
        };
        let in_moments = format!("moments-{epoch:010}");
        let (object, in_projections, in_classifiers) = try_join3(
            objects.put(STATE, in_moments, "parquet", moments_file?.into()),
            put(PROJECTIONS, files.projection),
            put(CLASSIFIERS, files.classifier),
        )
        .await?;
        let moments_ref = MomentsRef {
            object,
            sha256,
            n: moments.n(),
        };
        let projection_ref = in_projections
            .zip(projection.as_ref())
            .map(|(object, stored)| {
                ProjectionRef::new(object, stored, job.projection_options.clone())
            });
        let classifier_ref = (in_classifiers.zip(classifier.as_ref()))
            .zip(job.classifier_options.clone())
            .map(|((object, stored), options)| ClassifierRef::new(object, stored, options));
        let published = Published {
            moments: Some(moments_ref),
            projection: projection_ref,
            classifier: classifier_ref,
        };
        job.metrics.projected.record(start.elapsed());
        let components = projection
            .as_ref()
            .map_or(0, |stored| stored.projection.n_components());
        job.traces
            .began("project", began)
            .with("rows", moments.n())
            .with("components", components)
            .end();
        // Both who shared them have ended.
        let moments = Arc::unwrap_or_clone(moments);
        Ok(Step::Published(State::new(
            moments, projection, classifier, published,
        )))
    }
}

/// Refuses more labels than `limits.labels`. Of the live rows, so that whether a job ends by it is a matter of what is there,
/// not of how it came.
fn bounded(labels: usize, max: usize) -> Result<(), Contradiction> {
    if labels <= max {
        return Ok(());
    }
    Err(Contradiction(format!(
        "the live rows have {labels} labels, limits.labels permits {max}: raise it if memory permits, or start a new table \
         whose [label] rule gives fewer"
    )))
}

/// The projection of these rows; none of fewer than two.
fn reduce(
    moments: &Moments,
    version: Epoch,
    options: &projection::Options,
    before: Option<&Stored>,
) -> anyhow::Result<Option<Stored>> {
    if moments.n() < 2 {
        return Ok(None);
    }
    let projection = projection::fit(moments, options)?;
    let drift = before.and_then(|before| {
        let drift = projection::drift(&before.projection, &projection);
        // It informs; nothing depends on it.
        drift
            .inspect_err(|error| tracing::warn!(%error, "no drift"))
            .ok()
    });
    Ok(Some(Stored {
        version,
        drift,
        projection,
    }))
}

/// The classifier of these rows. That there is none is no failure: other rows may have one again.
fn classify(
    moments: &Moments,
    version: Epoch,
    options: &classifier::Options,
) -> Option<classifier::Stored> {
    match classifier::fit(moments, options) {
        Ok(classifier) => Some(classifier::Stored {
            version,
            classifier,
        }),
        Err(error @ ClassifierError::TooFewLabels(_)) => {
            tracing::debug!(%error, "no classifier");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "no classifier");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_labels_than_the_limit_end_the_job_with_the_cure() {
        assert!(bounded(3, 3).is_ok());
        let error = bounded(4, 3).expect_err("too many").to_string();
        assert!(error.contains("limits.labels") && error.contains("[label]"));
    }
}
