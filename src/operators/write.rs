//! New rows to data files: reduce under the epoch's projection, predict by the classifier before it, encode, put.
//!
//! Every worker writes its own rows, on the runtime, as whole Parquet files. A file is not part of a table until a commit
//! names it, so a crash between leaves only an orphan for `vacuum`.

use std::collections::BTreeMap;
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::models::{ModelFiles, Models};
use super::{Batch, FileChange, Placed, Round, SharedBatch, Tasks};
use crate::job::Job;
use crate::job::state::Prequential;
use crate::table::{DataFile, DataFiles, Row};

#[derive(Default)]
struct Waiting {
    at: Option<Capability<Round>>,
    batches: Vec<SharedBatch>,
    models: Option<ModelFiles>,
}

/// Writes each batch once the models of its epoch are there.
pub fn write<'scope>(
    job: Arc<Job>,
    batches: StreamVec<'scope, Round, SharedBatch>,
    models: StreamVec<'scope, Round, ModelFiles>,
) -> StreamVec<'scope, Round, FileChange> {
    let scope = batches.scope();
    let worker = scope.index();
    let mut builder = OperatorBuilder::new("Write".to_owned(), scope);
    let mut tasks: Tasks<Vec<FileChange>> =
        Tasks::new(scope.worker(), &builder.operator_info().address, &job);
    let mut batches = builder.new_input(batches, Pipeline);
    let mut models = builder.new_input(models, Pipeline);
    let (output, files) = builder.new_output();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<FileChange>>>::from(output);
    builder.build(move |_| {
        let mut epochs: BTreeMap<Round, Waiting> = BTreeMap::new();
        let mut writing: Option<Capability<Round>> = None;
        move |frontiers| {
            batches.for_each(|time, data| {
                let epoch = epochs.entry(*time.time()).or_default();
                epoch.at.get_or_insert_with(|| time.retain(0));
                epoch.batches.append(data);
            });
            models.for_each(|time, data| {
                epochs.entry(*time.time()).or_default().models = data.drain(..).next();
            });
            while let Some(files) = tasks.finished() {
                let Some(at) = writing.take() else {
                    unreachable!("the capability is held while files are written")
                };
                output
                    .activate()
                    .session(&at)
                    .give_iterator(files.into_iter());
            }
            if writing.is_none()
                && let Some(entry) = epochs.first_entry()
                && frontiers
                    .iter()
                    .all(|frontier| !frontier.less_equal(entry.key()))
            {
                let epoch = entry.remove();
                if let Some(at) = epoch.at {
                    writing = Some(at);
                    let job = job.clone();
                    tasks
                        .spawn(async move { put(&job, epoch.batches, epoch.models, worker).await });
                }
            }
        }
    });
    files
}

async fn put(
    job: &Arc<Job>,
    batches: Vec<SharedBatch>,
    models: Option<ModelFiles>,
    worker: usize,
) -> anyhow::Result<Vec<FileChange>> {
    let span = job.traces.begin("write").with("worker", worker);
    let models = Arc::new(Models::open(&models.unwrap_or_default())?);
    let mut files = Vec::new();
    for batch in batches {
        let (slot, (file, prequential)) = match Arc::unwrap_or_clone(batch) {
            Batch::Rows(slot, rows) => (
                slot,
                write_rows(&job.tables.rows, rows, models.clone()).await?,
            ),
            Batch::Rejects(slot, rejects) => {
                let file = job.tables.rejects.write(rejects).await?;
                (slot, (file, Prequential::default()))
            }
        };
        files.push(FileChange {
            placed: Placed {
                slot,
                file: Some(file),
            },
            replaces: None,
            prequential,
        });
    }
    let written = files.iter().filter_map(|file| file.placed.file.as_ref());
    let (rows, bytes) = written.fold((0, 0), |(rows, bytes), file| {
        (rows + file.rows, bytes + file.bytes)
    });
    span.with("files", files.len())
        .with("rows", rows)
        .with("bytes", bytes)
        .end();
    Ok(files)
}

/// Writes `rows` as one file under `models`; how often their labels were predicted.
pub async fn write_rows(
    files: &DataFiles<Row>,
    mut rows: Vec<Row>,
    models: Arc<Models>,
) -> anyhow::Result<(DataFile, Prequential)> {
    let form = files.form().clone();
    let completed = tokio::task::spawn_blocking(move || {
        let tested = models.complete(&mut rows, &form);
        (rows, tested)
    });
    let (rows, tested) = completed.await?;
    Ok((files.write(rows).await?, tested))
}
