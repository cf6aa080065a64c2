//! Rewriting all rows under one projection: groups of files to merged files, and the one commit that swaps them.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::Result;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::write::reduced;
use super::{Round, Tasks};
use crate::job::Job;
use crate::job::state::{FileList, JobState};
use crate::projection::Stored;
use crate::table::DataFile;

/// Files that become one, with their number.
pub type Group = (usize, Vec<DataFile>);

/// Rewrites each group as one file, its rows sorted by path and reduced by `projection`, a safetensors file, or not reduced where
/// there is none.
pub fn regroup<'scope>(
    job: Arc<Job>,
    groups: StreamVec<'scope, Round, Group>,
    projection: StreamVec<'scope, Round, Option<Vec<u8>>>,
) -> StreamVec<'scope, Round, FileList> {
    let scope = groups.scope();
    let mut builder = OperatorBuilder::new("Regroup".to_owned(), scope);
    let mut tasks: Tasks<FileList> =
        Tasks::new(scope.worker(), &builder.operator_info().address, &job);
    let mut groups = builder.new_input(groups, Exchange::new(|(number, _): &Group| *number as u64));
    let mut projection = builder.new_input(projection, Pipeline);
    let (output, lists) = builder.new_output();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<FileList>>>::from(output);
    builder.build(move |_| {
        let mut queue: VecDeque<(Capability<Round>, Vec<DataFile>)> = VecDeque::new();
        let mut running: Option<Capability<Round>> = None;
        let mut reduce_by = None;
        move |_frontiers| {
            groups.for_each(|time, data| {
                queue.extend(data.drain(..).map(|(_, files)| (time.retain(0), files)))
            });
            projection.for_each(|_, data| {
                for file in data.drain(..) {
                    match file.as_deref().map(Stored::from_safetensors).transpose() {
                        Ok(stored) => reduce_by = Some(stored.map(Arc::new)),
                        Err(error) => job.failure.set(error.into()),
                    }
                }
            });
            if let Some(list) = tasks.finished()
                && let Some(at) = running.take()
            {
                output.activate().session(&at).give(list);
            }
            if running.is_none()
                && let Some(projection) = &reduce_by
                && let Some((at, files)) = queue.pop_front()
            {
                running = Some(at);
                let (job, projection) = (job.clone(), projection.clone());
                tasks.spawn(async move { merge(&job, files, projection).await });
            }
        }
    });
    lists
}

async fn merge(
    job: &Job,
    files: Vec<DataFile>,
    projection: Option<Arc<Stored>>,
) -> Result<FileList> {
    let mut rows = Vec::new();
    for file in &files {
        rows.extend(job.tables.rows.read(file).await?);
    }
    let newest = projection.as_ref().map(|stored| stored.version);
    if files.len() == 1 && rows.iter().all(|row| row.projection_version == newest) {
        return Ok(FileList::default());
    }
    rows.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let rows = reduced(rows, projection).await?;
    let adds = vec![job.tables.rows.write(rows).await?];
    Ok(FileList {
        adds,
        removes: files.into_iter().map(|file| file.name).collect(),
    })
}

/// Commits all that `regroup` did, at worker 0, whose `state` the commit repeats under a new epoch.
pub fn conclude<'scope>(
    job: Arc<Job>,
    lists: StreamVec<'scope, Round, FileList>,
    state: Option<JobState>,
) {
    let scope = lists.scope();
    let mut builder = OperatorBuilder::new("Conclude".to_owned(), scope);
    let activator = scope.activator_for(builder.operator_info().address.clone());
    let mut tasks: Tasks<()> = Tasks::new(scope.worker(), &builder.operator_info().address, &job);
    let mut lists = builder.new_input(lists, Exchange::new(|_: &FileList| 0));
    builder.build_reschedule(move |_| {
        let mut state = state;
        let mut all = FileList::default();
        move |frontiers| {
            lists.for_each(|_, data| {
                for list in data.drain(..) {
                    all.adds.extend(list.adds);
                    all.removes.extend(list.removes);
                }
            });
            if frontiers[0].is_empty()
                && let Some(mut state) = state.take().filter(|_| !all.removes.is_empty())
            {
                state.epoch += 1;
                state.writer.clone_from(&job.writer);
                state.rejects_commit = FileList::default();
                let (job, all) = (job.clone(), std::mem::take(&mut all));
                tasks.spawn(async move {
                    let files = (all.removes.len(), all.adds.len());
                    let summary = job.tables.commit(&state, all).await?;
                    job.tell_of(&state, &summary, false);
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
            let busy = tasks.running() > 0 && !job.failure.is_set();
            if busy {
                activator.activate_after(std::time::Duration::from_millis(5));
            }
            busy
        }
    });
}
