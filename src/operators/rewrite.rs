//! Edits of committed rows: read the file, take the old rows out, write what remains.
//!
//! Edits come to the worker that owns the file's slot. The old rows' features are read back from the file, not computed
//! again and never kept in memory; they go to `moments` as retractions. What remains of the file becomes a new file of
//! the same slot, so that the owners of its other keys need not hear of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Result, ensure};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::moments::{Retracted, Retraction};
use super::{Amend, Amendment, Cut, Edit, FileChange, Placed, Round, Slot, Tasks, Which};
use crate::job::Job;
use crate::job::state::Prequential;
use crate::storage::{Key, key_of};
use crate::table::{DataFile, DataFiles};

/// The outputs of [`rewrite`], at the epoch's lower round.
pub struct Rewritten<'scope> {
    /// Rows of the main table that went.
    pub retracted: StreamVec<'scope, Round, Retracted>,
    /// Files that others replace.
    pub files: StreamVec<'scope, Round, FileChange>,
}

#[derive(Default)]
struct Waiting {
    at: Option<[Capability<Round>; 2]>,
    edits: HashMap<Slot, HashMap<Key, Amendment>>,
}

/// Applies `edits` to the files of this worker's slots, which `restored` and the cuts make known.
pub fn rewrite<'scope>(
    job: Arc<Job>,
    edits: StreamVec<'scope, Round, Edit>,
    cuts: StreamVec<'scope, Round, Cut>,
    restored: StreamVec<'scope, Round, Placed>,
) -> Rewritten<'scope> {
    let scope = cuts.scope();
    let (index, peers) = (scope.index() as u64, scope.peers() as u64);
    let mut builder = OperatorBuilder::new("Rewrite".to_owned(), scope);
    let mut tasks: Tasks<Applied> =
        Tasks::new(scope.worker(), &builder.operator_info().address, &job);
    let mut edits = builder.new_input(edits, Exchange::new(|edit: &Edit| edit.slot.id));
    let mut cuts = builder.new_input(cuts, Pipeline);
    let mut restored = builder.new_input(restored, Pipeline);
    let (retracted_out, retracted) = builder.new_output();
    let (files_out, files) = builder.new_output();
    let mut retracted_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<Retracted>>>::from(retracted_out);
    let mut files_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<FileChange>>>::from(files_out);
    builder.build(move |_| {
        let mut placed: HashMap<Slot, DataFile> = HashMap::new();
        let mut epochs: BTreeMap<Round, Waiting> = BTreeMap::new();
        let mut running: Option<[Capability<Round>; 2]> = None;
        move |frontiers| {
            restored.for_each(|_, data| data.drain(..).for_each(|now| place(&mut placed, now)));
            cuts.for_each(|_, data| {
                for cut in data.drain(..) {
                    let mine = cut
                        .placed
                        .into_iter()
                        .filter(|now| now.slot.id % peers == index);
                    mine.for_each(|now| place(&mut placed, now));
                }
            });
            edits.for_each(|time, data| {
                let epoch = epochs.entry(*time.time()).or_default();
                epoch
                    .at
                    .get_or_insert_with(|| [time.retain(0), time.retain(1)]);
                for edit in data.drain(..) {
                    epoch
                        .edits
                        .entry(edit.slot)
                        .or_default()
                        .insert(edit.key, edit.amendment);
                }
            });
            while let Some((rows, files)) = tasks.finished() {
                let Some(at) = running.take() else {
                    unreachable!("the capabilities are held while files are rewritten")
                };
                retracted_out
                    .activate()
                    .session(&at[0])
                    .give(Arc::new(rows));
                files_out
                    .activate()
                    .session(&at[1])
                    .give_iterator(files.into_iter());
            }
            if running.is_none()
                && let Some(entry) = epochs.first_entry()
                && frontiers
                    .iter()
                    .all(|frontier| !frontier.less_equal(entry.key()))
            {
                let epoch = entry.remove();
                let work: Vec<_> = epoch
                    .edits
                    .into_iter()
                    .map(|(slot, edits)| (slot, placed.get(&slot).cloned(), edits))
                    .collect();
                running = epoch.at;
                let job = job.clone();
                tasks.spawn(async move { apply(&job, work, index).await });
            }
        }
    });
    Rewritten { retracted, files }
}

fn place(placed: &mut HashMap<Slot, DataFile>, now: Placed) {
    match now.file {
        Some(file) => placed.insert(now.slot, file),
        None => placed.remove(&now.slot),
    };
}

type Work = Vec<(Slot, Option<DataFile>, HashMap<Key, Amendment>)>;

/// What went, and the files' changes.
type Applied = (Vec<Retraction>, Vec<FileChange>);

async fn apply(job: &Arc<Job>, work: Work, worker: u64) -> Result<Applied> {
    let edits: usize = work.iter().map(|(_, _, edits)| edits.len()).sum();
    let span = job.traces.begin("rewrite").with("worker", worker);
    let (mut retracted, mut files) = (Vec::new(), Vec::new());
    for (slot, file, edits) in work {
        let file =
            file.ok_or_else(|| anyhow::anyhow!("edits of slot {slot:?}, which holds no file"))?;
        files.push(match slot.which {
            Which::Main => {
                let (removed, change) = amend(&job.tables.rows, slot, file, &edits).await?;
                // Pictures that a table keeps of its rows go here, one file's at a time.
                retracted.extend(removed.into_iter().map(|row| Retraction {
                    label: row.label,
                    features: row.features,
                }));
                change
            }
            Which::Rejects => amend(&job.tables.rejects, slot, file, &edits).await?.1,
        });
    }
    span.with("files", files.len())
        .with("edits", edits)
        .with("rows", retracted.len())
        .end();
    Ok((retracted, files))
}

/// Replaces one file: the rows that went, and the change.
async fn amend<R: Amend>(
    files: &DataFiles<R>,
    slot: Slot,
    file: DataFile,
    edits: &HashMap<Key, Amendment>,
) -> Result<(Vec<R>, FileChange)> {
    let (mut kept, mut removed, mut met) = (Vec::new(), Vec::new(), 0);
    for mut row in files.read(&file).await? {
        match edits.get(&key_of(row.path())) {
            Some(Amendment::Remove) => {
                met += 1;
                removed.push(row);
            }
            Some(Amendment::Touch(version)) => {
                met += 1;
                row.stamp(*version);
                kept.push(row);
            }
            None => kept.push(row),
        }
    }
    ensure!(
        met == edits.len(),
        "file {} lacks {} of {} rows to edit",
        file.name,
        edits.len() - met,
        edits.len()
    );
    let placed = if kept.is_empty() {
        Placed { slot, file: None }
    } else {
        Placed {
            slot,
            file: Some(files.write(kept).await?),
        }
    };
    Ok((
        removed,
        FileChange {
            placed,
            replaces: Some(file.name),
            prequential: Prequential::default(),
        },
    ))
}
