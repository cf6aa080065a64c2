//! Rewriting rows under the newest models: their clusters, groups of files to merged files, and the one commit that swaps them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::alarm::Alarm;
use super::models::{ModelFiles, Models};
use super::write::write_rows;
use super::{Host, Round, Tasks};
use crate::clusters::{ClusterError, Outcome};
use crate::job::state::{FileList, JobState};
use crate::job::{FILES_IN_FLIGHT, Plan, Tables};
use crate::table::DataFile;

/// How often a commit under way is looked at.
const COMMIT_POLL: Duration = Duration::from_millis(5);

/// The outputs of [`publish`], at worker 0.
pub struct Outputs<'scope> {
    /// What rows are to be written under.
    pub models: StreamVec<'scope, Round, ModelFiles>,
    /// What the commit is to say beside its files.
    pub state: StreamVec<'scope, Round, JobState>,
}

/// Puts the clusters that were found into the store, and into models and state of the `plan`, which is worker 0's.
pub fn publish<'scope, H: Host>(
    host: Arc<H>,
    found: StreamVec<'scope, Round, Result<Box<Outcome>, ClusterError>>,
    plan: Option<Plan>,
) -> Outputs<'scope> {
    let scope = found.scope();
    let mut builder = OperatorBuilder::new("Publish".to_owned(), scope);
    let mut tasks: Tasks<Plan> =
        Tasks::new(scope.worker(), &builder.operator_info().address, &host);
    let mut found = builder.new_input(found, Pipeline);
    let (models_out, models) = builder.new_output();
    let (state_out, state) = builder.new_output();
    let mut models_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<ModelFiles>>>::from(models_out);
    let mut state_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<JobState>>>::from(state_out);
    builder.build(move |capabilities| {
        let mut held = plan.is_some().then_some(capabilities);
        let mut plan = plan;
        let mut outcome = None;
        move |frontiers| {
            found.for_each(|_, data| outcome = data.drain(..).next());
            if frontiers[0].is_empty()
                && let Some(plan) = plan.take()
            {
                let (host, outcome) = (host.clone(), outcome.take());
                tasks.spawn(async move { plan.published(host.tables(), outcome).await });
            }
            if let Some(plan) = tasks.finished()
                && let Some(at) = held.take()
            {
                models_out.activate().session(&at[0]).give(plan.models);
                state_out.activate().session(&at[1]).give(plan.state);
            }
        }
    });
    Outputs { models, state }
}

/// Files that become one, with their number.
pub type Group = (usize, Vec<DataFile>);

/// Rewrites each group as one file, its rows sorted by path and under `models`.
pub fn regroup<'scope, H: Host>(
    host: Arc<H>,
    groups: StreamVec<'scope, Round, Group>,
    models: StreamVec<'scope, Round, ModelFiles>,
) -> StreamVec<'scope, Round, FileList> {
    let scope = groups.scope();
    let mut builder = OperatorBuilder::new("Regroup".to_owned(), scope);
    let mut tasks: Tasks<FileList> =
        Tasks::new(scope.worker(), &builder.operator_info().address, &host);
    let mut groups = builder.new_input(groups, Exchange::new(|(number, _): &Group| *number as u64));
    let mut models = builder.new_input(models, Pipeline);
    let (output, lists) = builder.new_output();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<FileList>>>::from(output);
    builder.build(move |_| {
        let mut queue: VecDeque<(Capability<Round>, Vec<DataFile>)> = VecDeque::new();
        let mut running: Option<Capability<Round>> = None;
        let mut under = None;
        move |_frontiers| {
            groups.for_each(|time, data| {
                queue.extend(data.drain(..).map(|(_, files)| (time.retain(0), files)))
            });
            models.for_each(|_, data| {
                for files in data.drain(..) {
                    match Models::open(&files) {
                        Ok(models) => under = Some(Arc::new(models)),
                        Err(error) => host.failure().set(error),
                    }
                }
            });
            if let Some(list) = tasks.finished()
                && let Some(at) = running.take()
            {
                output.activate().session(&at).give(list);
            }
            if running.is_none()
                && let Some(models) = &under
                && let Some((at, files)) = queue.pop_front()
            {
                running = Some(at);
                let (host, models) = (host.clone(), models.clone());
                tasks.spawn(async move { merge(host.tables(), files, models).await });
            }
        }
    });
    lists
}

async fn merge(tables: &Tables, files: Vec<DataFile>, models: Arc<Models>) -> Result<FileList> {
    let reads: Vec<_> = files.iter().map(|file| tables.rows.read(file)).collect();
    let reads = stream::iter(reads).buffered(FILES_IN_FLIGHT);
    let read: Vec<_> = reads.try_collect().await?;
    let mut rows: Vec<_> = read.into_iter().flatten().collect();
    rows.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    // The models have learnt these rows: how well they tell them is no test.
    let (file, _) = write_rows(&tables.rows, rows, models).await?;
    Ok(FileList {
        adds: vec![file],
        removes: files.into_iter().map(|file| file.name).collect(),
    })
}

/// Commits all that `regroup` did, at worker 0, under the `state` that `publish` gave: no event was read, so its epoch stays.
pub fn conclude<'scope, H: Host>(
    host: Arc<H>,
    lists: StreamVec<'scope, Round, FileList>,
    state: StreamVec<'scope, Round, JobState>,
) {
    let scope = lists.scope();
    let mut builder = OperatorBuilder::new("Conclude".to_owned(), scope);
    let mut alarm = Alarm::new(scope.activator_for(builder.operator_info().address.clone()));
    let mut tasks: Tasks<()> = Tasks::new(scope.worker(), &builder.operator_info().address, &host);
    let mut lists = builder.new_input(lists, Exchange::new(|_: &FileList| 0));
    let mut states = builder.new_input(state, Pipeline);
    builder.build_reschedule(move |_| {
        let mut state = None;
        let mut all = FileList::default();
        move |frontiers| {
            lists.for_each(|_, data| {
                for list in data.drain(..) {
                    all.adds.extend(list.adds);
                    all.removes.extend(list.removes);
                }
            });
            states.for_each(|_, data| state = data.drain(..).next());
            if frontiers.iter().all(|frontier| frontier.is_empty())
                && let Some(state) = state.take().filter(|_| !all.removes.is_empty())
            {
                let (host, all) = (host.clone(), std::mem::take(&mut all));
                tasks.spawn(async move {
                    let files = (all.removes.len(), all.adds.len());
                    let summary = host.tables().commit(&state, all).await?;
                    host.committed(&state, &summary);
                    tracing::info!(
                        epoch = state.epoch,
                        rows = summary.rows,
                        files_before = files.0,
                        files = files.1,
                        "reprojected"
                    );
                    Ok(())
                });
            }
            tasks.finished();
            // Not done while the commit is under way, though no capability is held.
            let busy = tasks.running() > 0 && !host.failure().is_set();
            if busy {
                alarm.within(COMMIT_POLL);
            }
            busy
        }
    });
}
