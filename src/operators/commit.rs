//! One commit makes an epoch true.
//!
//! On worker 0, when everything of an epoch has arrived: files of all workers, moments, projection, offsets, tombstones.
//! All of it, or its name, goes into one Delta commit, which is one conditional PUT. The rejects table is a second Delta
//! table and can't be part of that PUT, so its commit is written ahead inside the first one and carried out after it; a
//! crash between the two is made good at the next start.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::latest::horizon_ms;
use super::progress::Progress;
use super::project::Published;
use super::stage::Tombstone;
use super::{Control, Cut, Epoch, FileChange, Host as _, Placed, Round, Tasks, Which};
use crate::event::Version;
use crate::job::Job;
use crate::job::state::{FileList, JobState, Prequential, encode_tombstones};
use crate::storage::Key;
use crate::table::state::STATE;

/// Worker 0's view of what is committed.
pub struct Ledger {
    /// The last commit.
    pub state: JobState,
    /// Removals that are remembered.
    pub tombstones: HashMap<Key, Version>,
}

/// Everything of one epoch.
#[derive(Default)]
struct Parts {
    cut: Option<(Capability<Round>, Cut)>,
    files: Vec<FileChange>,
    tombstones: Vec<Tombstone>,
    published: Option<Published>,
}

/// A commit under way: its capability and the offsets it makes true.
type Committing = (Capability<Round>, Vec<(i32, i64)>);

/// The inputs of [`commit`], at any worker.
pub struct Inputs<'scope> {
    /// The cuts.
    pub cuts: StreamVec<'scope, Round, Cut>,
    /// Files that come and go.
    pub files: StreamVec<'scope, Round, FileChange>,
    /// Removals and returns.
    pub tombstones: StreamVec<'scope, Round, Tombstone>,
    /// Moments and models.
    pub published: StreamVec<'scope, Round, Published>,
}

/// Commits every epoch in turn; the stream of what is committed, at worker 0. `ledger` is worker 0's.
pub fn commit<'scope>(
    job: Arc<Job>,
    inputs: Inputs<'scope>,
    control: Rc<Control>,
    ledger: Option<Ledger>,
) -> StreamVec<'scope, Round, JobState> {
    let scope = inputs.cuts.scope();
    let mut builder = OperatorBuilder::new("Commit".to_owned(), scope);
    let mut tasks: Tasks<(Ledger, Vec<Placed>)> =
        Tasks::new(scope.worker(), &builder.operator_info().address, &job);
    let mut cuts = builder.new_input(inputs.cuts, Pipeline);
    let mut files = builder.new_input(inputs.files, Exchange::new(|_: &FileChange| 0));
    let mut tombstones = builder.new_input(inputs.tombstones, Exchange::new(|_: &Tombstone| 0));
    let mut published = builder.new_input(inputs.published, Exchange::new(|_: &Published| 0));
    let (output, committed) = builder.new_output();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<JobState>>>::from(output);
    builder.build(move |_| {
        let mut ledger = ledger;
        let here = ledger.is_some();
        let mut epochs: BTreeMap<Round, Parts> = BTreeMap::new();
        let mut committing: Option<Committing> = None;
        let mut progress = None;
        move |frontiers| {
            cuts.for_each(|time, data| {
                for cut in data.drain(..).filter(|_| here) {
                    epochs.entry(*time.time()).or_default().cut = Some((time.retain(0), cut));
                }
            });
            files.for_each(|time, data| epochs.entry(*time.time()).or_default().files.append(data));
            tombstones.for_each(|time, data| {
                epochs
                    .entry(*time.time())
                    .or_default()
                    .tombstones
                    .append(data)
            });
            published.for_each(|time, data| {
                epochs.entry(*time.time()).or_default().published = data.pop()
            });
            if let Some((now, placed)) = tasks.finished()
                && let Some((at, offsets)) = committing.take()
            {
                control.committed.set(now.state.epoch);
                control.placed.replace(placed);
                publish_offsets(&job, &mut progress, &offsets);
                output.activate().session(&at).give(now.state.clone());
                ledger = Some(now);
            }
            if job.failure.is_set() {
                return;
            }
            if ledger.is_some()
                && let Some(entry) = epochs.first_entry()
                && frontiers
                    .iter()
                    .all(|frontier| !frontier.less_equal(entry.key()))
            {
                let parts = entry.remove();
                if let (Some((at, cut)), Some(ledger)) = (parts.cut, ledger.take()) {
                    committing = Some((at, cut.offsets.clone()));
                    let job = job.clone();
                    let (published, waiting) =
                        (parts.published.unwrap_or_default(), control.waiting.get());
                    tasks.spawn(async move {
                        ledger
                            .commit(&job, cut, parts.files, parts.tombstones, published, waiting)
                            .await
                    });
                }
            }
        }
    });
    committed
}

/// For the ordinary lag tools; a failure costs nothing but their accuracy.
fn publish_offsets(job: &Job, progress: &mut Option<Progress>, offsets: &[(i32, i64)]) {
    let published = match progress {
        Some(progress) => progress.publish(offsets),
        None => Progress::new(&job.config.kafka)
            .and_then(|begun| progress.insert(begun).publish(offsets)),
    };
    if let Err(error) = published {
        tracing::debug!(%error, "offsets were not published to the consumer group");
    }
}

impl Ledger {
    /// Makes an epoch true; `waiting` messages are not read yet.
    async fn commit(
        mut self,
        job: &Arc<Job>,
        cut: Cut,
        files: Vec<FileChange>,
        tombstones: Vec<Tombstone>,
        published: Published,
        waiting: u64,
    ) -> anyhow::Result<(Self, Vec<Placed>)> {
        let start = Instant::now();
        let span = job.traces.begin("commit");
        let before = job.tables.summary().await?;
        let (mut main, mut rejects) = (FileList::default(), FileList::default());
        let mut added = 0;
        let mut tested = Prequential::default();
        for change in &files {
            tested.add(change.prequential);
            if let (Which::Main, None, Some(file)) = (
                change.placed.slot.which,
                &change.replaces,
                &change.placed.file,
            ) {
                added += file.rows;
            }
            let list = if change.placed.slot.which == Which::Main {
                &mut main
            } else {
                &mut rejects
            };
            list.adds.extend(change.placed.file.clone());
            list.removes.extend(change.replaces.clone());
        }
        let object = self.bury(job, cut.epoch, tombstones).await?;
        let state = &mut self.state;
        state.epoch = cut.epoch;
        state.writer.clone_from(&job.writer);
        state.offsets.extend(cut.offsets);
        state.moments = published.moments;
        state.projection = published.projection;
        state.classifier = published.classifier;
        state.prequential.add(tested);
        state.tombstones = object;
        state.rejects_commit = rejects;
        let summary = job.tables.commit(state, main).await?;
        job.metrics.committed.record(start.elapsed());
        let removed = (before.rows + added).saturating_sub(summary.rows);
        span.with("files", files.len()).end();
        job.traces
            .epoch(cut.trace)
            .with("table", job.config.table.uri.as_str())
            .with("epoch", state.epoch)
            .with("version", summary.version)
            .with("added", added)
            .with("removed", removed)
            .with("rows", summary.rows)
            .with("rejects", summary.rejects)
            .end();
        job.committed(state, &summary);
        job.metrics
            .predicted(tested.correct, tested.tested - tested.correct);
        let projection = state.projection.as_ref();
        tracing::info!(
            epoch = state.epoch,
            version = summary.version,
            rows = summary.rows,
            added,
            removed,
            rejects = summary.rejects,
            files = files.len(),
            waiting,
            projection = projection.map(|projection| projection.version),
            components = projection.map(|projection| projection.components),
            explained = projection.map(|projection| projection.explained()),
            drift_rad = projection.and_then(|projection| projection.drift_rad),
            labels = state.classifier.as_ref().map(|named| named.labels),
            tested = tested.tested,
            accuracy = tested.accuracy(),
            took_ms = start.elapsed().as_millis() as u64,
            trace = job.traces.wanted().then(|| cut.trace.to_string()),
            "committed"
        );
        Ok((
            self,
            files.into_iter().map(|change| change.placed).collect(),
        ))
    }

    /// Takes in removals and returns; forgets what is older than the retention. The object that holds the rest.
    async fn bury(
        &mut self,
        job: &Arc<Job>,
        epoch: Epoch,
        news: Vec<Tombstone>,
    ) -> anyhow::Result<Option<String>> {
        if news.is_empty() {
            return Ok(self.state.tombstones.clone());
        }
        for (key, removed) in news {
            match removed {
                Some(version) => self.tombstones.insert(key, version),
                None => self.tombstones.remove(&key),
            };
        }
        let removed_ms = self.tombstones.values().map(|version| version.time_ms);
        let oldest_ms = horizon_ms(removed_ms, job.config.limits.tombstone_retention_ms);
        self.tombstones
            .retain(|_, version| version.time_ms >= oldest_ms);
        if self.tombstones.is_empty() {
            return Ok(None);
        }
        let bytes = encode_tombstones(&self.tombstones)?.into();
        let label = format!("tombstones-{epoch:010}");
        Ok(Some(
            job.tables
                .objects
                .put(STATE, label, "parquet", bytes)
                .await?,
        ))
    }
}
