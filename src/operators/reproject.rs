//! Rewriting rows under the newest models: groups of files to merged files, and the one commit that swaps them.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::Result;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::models::{ModelFiles, Models};
use super::write::write_rows;
use super::{Host, Round, Tasks};
use crate::job::Tables;
use crate::job::state::{FileList, JobState};
use crate::table::DataFile;

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
    let mut rows = Vec::new();
    for file in &files {
        rows.extend(tables.rows.read(file).await?);
    }
    rows.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    // The models have learnt these rows: how well they tell them is no test.
    let (file, _) = write_rows(&tables.rows, rows, models).await?;
    Ok(FileList {
        adds: vec![file],
        removes: files.into_iter().map(|file| file.name).collect(),
    })
}

/// Commits all that `regroup` did, at worker 0, whose `state` the commit repeats: no event was read, so its epoch stays.
pub fn conclude<'scope, H: Host>(
    host: Arc<H>,
    lists: StreamVec<'scope, Round, FileList>,
    state: Option<JobState>,
) {
    let scope = lists.scope();
    let mut builder = OperatorBuilder::new("Conclude".to_owned(), scope);
    let activator = scope.activator_for(builder.operator_info().address.clone());
    let mut tasks: Tasks<()> = Tasks::new(scope.worker(), &builder.operator_info().address, &host);
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
                activator.activate_after(std::time::Duration::from_millis(5));
            }
            busy
        }
    });
}
