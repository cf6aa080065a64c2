//! New rows to data files: reduce under the epoch's projection, encode, put.
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

use super::project::Projected;
use super::{Batch, FileChange, Placed, Round, SharedBatch, Tasks};
use crate::job::Job;
use crate::projection::Stored;
use crate::table::{DataFile, DataFiles, Row};

#[derive(Default)]
struct Waiting {
    at: Option<Capability<Round>>,
    batches: Vec<SharedBatch>,
    projected: Option<Projected>,
}

/// Writes each batch once the projection of its epoch is there.
pub fn write<'scope>(
    job: Arc<Job>,
    batches: StreamVec<'scope, Round, SharedBatch>,
    projected: StreamVec<'scope, Round, Projected>,
) -> StreamVec<'scope, Round, FileChange> {
    let scope = batches.scope();
    let mut builder = OperatorBuilder::new("Write".to_owned(), scope);
    let mut tasks: Tasks<Vec<FileChange>> =
        Tasks::new(scope.worker(), &builder.operator_info().address, &job);
    let mut batches = builder.new_input(batches, Pipeline);
    let mut projected = builder.new_input(projected, Pipeline);
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
            projected.for_each(|time, data| {
                epochs.entry(*time.time()).or_default().projected = data.drain(..).next();
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
                    tasks.spawn(async move { put(&job, epoch.batches, epoch.projected).await });
                }
            }
        }
    });
    files
}

async fn put(
    job: &Arc<Job>,
    batches: Vec<SharedBatch>,
    projected: Option<Projected>,
) -> anyhow::Result<Vec<FileChange>> {
    let projection = match projected.and_then(|projected| projected.projection) {
        Some(file) => Some(Arc::new(Stored::from_safetensors(&file)?)),
        None => None,
    };
    let mut files = Vec::new();
    for batch in batches {
        let (slot, file) = match Arc::unwrap_or_clone(batch) {
            Batch::Rows(slot, rows) => (
                slot,
                write_reduced(&job.tables.rows, rows, projection.clone()).await?,
            ),
            Batch::Rejects(slot, rejects) => (slot, job.tables.rejects.write(rejects).await?),
        };
        files.push(FileChange {
            placed: Placed {
                slot,
                file: Some(file),
            },
            replaces: None,
        });
    }
    Ok(files)
}

/// Writes `rows` as one file, reduced by `projection`, or not at all where there is none.
pub async fn write_reduced(
    files: &DataFiles<Row>,
    mut rows: Vec<Row>,
    projection: Option<Arc<Stored>>,
) -> anyhow::Result<DataFile> {
    let scaled = files.form().shows::<Row>("scaled_features");
    let reduced = tokio::task::spawn_blocking(move || {
        for row in &mut rows {
            reduce(row, projection.as_deref(), scaled);
        }
        rows
    });
    Ok(files.write(reduced.await?).await?)
}

/// Fills in what `projection` makes of the row's features.
fn reduce(row: &mut Row, projection: Option<&Stored>, scaled: bool) {
    let of = projection.map(|stored| &stored.projection);
    row.reduced_features = of.map(|projection| projection.reduced(&row.features));
    row.scaled_features = of
        .filter(|_| scaled)
        .map(|projection| projection.scaled(&row.features));
    row.projection_version = projection.map(|stored| stored.version);
}
