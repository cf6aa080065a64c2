//! The commit: files, removals, epoch and job metadata become true by one conditional PUT, or not at all.
//!
//! **One writer.** A job owns its table. Version n+1 goes to whoever creates `_delta_log/…n+1.json` first; the
//! loser is fenced out and must end, because its state no longer follows from the table's.
//!
//! **Lost answers.** A PUT may win and its answer get lost; the retry then meets our own commit. So nothing but the log
//! is believed: after any failure the commit file is read, and the stamp in it tells whether it is ours. Each call
//! of [`Table::commit`] makes a new stamp, and its retries keep it.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray, StructArray};
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::engine_data::FilteredEngineData;
use delta_kernel::scan::scan_row_schema;
use delta_kernel::schema::SchemaRef;
use delta_kernel::snapshot::{Snapshot as KernelSnapshot, SnapshotRef};
use delta_kernel::transaction::{CommitResult, Transaction, UpdateTableOperation};
use delta_kernel::{Engine as _, EngineData, FileMeta, KernelError, KernelResult};
use delta_kernel_default_engine::build_add_file_metadata;
use delta_kernel_default_engine::parquet::DataFileMetadata;
use uuid::Uuid;

use super::data_file::DataFile;
use super::schema::Record;
use super::stamp::{Author, STAMP_DOMAIN, Stamp, Winner};
use super::table::{APP_ID, ENGINE_INFO, Engine, JOB_DOMAIN, Snapshot, Table, TableError};
use crate::storage::StorageError;

/// Commits between two checkpoints: the most commit files that opening a table reads.
const CHECKPOINT_EVERY: u64 = 100;

/// What becomes true together.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Files that come, already written.
    pub adds: Vec<DataFile>,
    /// Names of files that go.
    pub removes: Vec<String>,
    /// The epoch that ends with this commit.
    pub epoch: i64,
    /// The job's JSON: offsets, names of state and projection objects. Kept byte for byte.
    pub job: String,
}

/// Why a commit is not true, or not known to be.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Another writer made that version. This one must end; nothing of its epoch was published.
    #[error(
        "version {version} of {table} was written by {by}: two jobs run on one table; stop one of them"
    )]
    Fenced {
        /// The table.
        table: String,
        /// The version that both wanted.
        version: u64,
        /// Who has it.
        by: String,
    },
    /// A `reproject` or `rebuild` made that version. The job's state no longer follows from the table's, but nobody else owns it: started
    /// again, it goes on. Nothing of its epoch was published.
    #[error(
        "version {version} of {table} was written by {by} while the job was at work: start the job again, it goes on from there"
    )]
    Overtaken {
        /// The table.
        table: String,
        /// The version that both wanted.
        version: u64,
        /// Who has it.
        by: String,
    },
    /// The run that made the version before this one's first made that version, too: its commit was on its way when this run began, or
    /// it runs still. Nothing of this run's epoch was published; started again, it goes on from there.
    #[error(
        "version {version} of {table} was written by {by}, as the one before, since this job began: start it again, it goes on from there; \
         but if that job runs still, stop one of them"
    )]
    Late {
        /// The table.
        table: String,
        /// The version that both wanted.
        version: u64,
        /// Who has it.
        by: String,
    },
    /// Patience ended before the store said whether it is true. Open the table again to see.
    #[error("it is not known whether version {version} of {table} was written: {source}")]
    Unknown {
        /// The table.
        table: String,
        /// The version in question.
        version: u64,
        /// The last failure.
        source: TableError,
    },
    /// A removal of what isn't there.
    #[error("{name} is to be removed but is not in version {version}")]
    NotInBase {
        /// The file.
        name: String,
        /// The version that was to be changed.
        version: u64,
    },
    /// The store or the log refuse, and nothing was written.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl CommitError {
    /// Whether `error` comes of a race that another writer won.
    pub fn fenced(error: &anyhow::Error) -> bool {
        let fenced = |cause: &CommitError| matches!(cause, CommitError::Fenced { .. });
        (error.chain()).any(|cause| cause.downcast_ref().is_some_and(fenced))
    }

    /// `error`, with what the loss of a race means where it comes of one: the fence itself speaks of jobs.
    pub fn explained(error: anyhow::Error, meaning: &'static str) -> anyhow::Error {
        match Self::fenced(&error) {
            true => error.context(meaning),
            false => error,
        }
    }
}

impl<R: Record> Table<R> {
    /// Makes `commit` the version after `base`, which must be the newest. A handful of requests: one PUT,
    /// and every 100th time a checkpoint (whose failure is only logged: the commit is true by then).
    ///
    /// # Errors
    /// [`CommitError::Fenced`] where another writer was faster, [`CommitError::Overtaken`] where it was a `reproject` or `rebuild`,
    /// [`CommitError::Late`] where it was the writer of `base`. Transient faults are retried as long as the place's patience lasts, then
    /// [`CommitError::Unknown`].
    pub async fn commit(&self, base: &Snapshot, commit: Commit) -> Result<Snapshot, CommitError> {
        let version = base.version + 1;
        let (kept, removed) = split(base, &commit)?;
        let stamp = Stamp {
            writer: self.writer,
            commit: Uuid::new_v4(),
            epoch: commit.epoch,
            author: self.author,
        };
        let change = Arc::new(Change {
            base: Arc::clone(&base.kernel),
            adds: commit.adds,
            removed,
            epoch: commit.epoch,
            job: commit.job,
            stamp,
        });

        let attempt = || self.attempt(&change);
        let patience = self.place.patience();
        let tried = patience.retry("commit", |tried| tried.is_transient(), attempt);
        let kernel = match tried.await {
            Ok(kernel) => kernel,
            Err(Failed::Late(winner)) => return Err(self.lost(version, &winner).await),
            Err(Failed::Table(source)) if source.is_transient() => {
                return Err(CommitError::Unknown {
                    table: self.place.to_string(),
                    version,
                    source,
                });
            }
            Err(Failed::Table(source)) => return Err(source.into()),
        };

        let change = Arc::unwrap_or_clone(change);
        Ok(Snapshot {
            form: base.form.clone(),
            version,
            files: kept.into_iter().chain(change.adds).collect(),
            txn: Some(change.epoch),
            job: Some(change.job),
            kernel: self.checkpointed(kernel).await,
        })
    }

    /// One try. Whatever went wrong, the log decides what happened.
    async fn attempt(&self, change: &Arc<Change>) -> Result<SnapshotRef, Failed> {
        let tried = {
            let change = Arc::clone(change);
            self.call(move |place, engine| {
                change
                    .put(&engine)
                    .map_err(|error| TableError::from_kernel(&place, error))
            })
        };
        let tried = match tried.await {
            Ok(Some(kernel)) => return Ok(kernel),
            tried => tried,
        };
        let version = change.base.version() + 1;
        match self.winner(version).await? {
            Some(winner) if winner.stamp == Some(change.stamp) => {
                let change = Arc::clone(change);
                let read = self.call(move |place, engine| {
                    KernelSnapshot::builder_from(Arc::clone(&change.base))
                        .at_version(version)
                        .build(engine.as_ref())
                        .map_err(|error| TableError::from_kernel(&place, error))
                });
                Ok(read.await?)
            }
            Some(winner) => Err(Failed::Late(winner)),
            None => match tried {
                Err(error) => Err(error.into()),
                // The store said that the version is taken and doesn't show it: it isn't settled yet.
                Ok(_) => Err(Failed::Table(TableError::Storage(
                    StorageError::Transient {
                        object: self.place.to_string(),
                        reason: format!("version {version} is taken but can't be read"),
                    },
                ))),
            },
        }
    }

    /// What the loss of `version` to `winner` means.
    async fn lost(&self, version: u64, winner: &Winner) -> CommitError {
        let (table, by) = (self.place.to_string(), winner.name());
        if self.author != Author::Job {
            return CommitError::Fenced { table, version, by };
        }
        if winner.is_command() {
            return CommitError::Overtaken { table, version, by };
        }
        // Of a run that was killed one commit may have been on its way; two are a job at work.
        let (before, after) = (self.winner(version - 1), self.winner(version + 1));
        let (before, after) = (before.await.ok().flatten(), after.await.ok().flatten());
        let writer = |stamp: Option<Stamp>| stamp.map(|stamp| stamp.writer);
        let before = before.and_then(|before| writer(before.stamp));
        match before.is_some() && before == writer(winner.stamp) && after.is_none() {
            true => CommitError::Late { table, version, by },
            false => CommitError::Fenced { table, version, by },
        }
    }

    /// Who wrote a version, if anybody did.
    async fn winner(&self, version: u64) -> Result<Option<Winner>, TableError> {
        match self
            .place
            .get(&format!("_delta_log/{version:020}.json"))
            .await
        {
            Ok(bytes) => Ok(Some(Winner::read(&bytes))),
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn checkpointed(&self, kernel: SnapshotRef) -> SnapshotRef {
        if !kernel.version().is_multiple_of(CHECKPOINT_EVERY) {
            return kernel;
        }
        let before = Arc::clone(&kernel);
        let written = self.call(move |place, engine| {
            kernel
                .checkpoint(engine.as_ref(), None)
                .map_err(|error| TableError::from_kernel(&place, error))
        });
        match written.await {
            Ok((_, after)) => after,
            Err(error) => {
                tracing::warn!(%error, version = before.version(), "no checkpoint was written");
                before
            }
        }
    }
}

/// The files of `base` that stay, and those that go.
fn split(base: &Snapshot, commit: &Commit) -> Result<(Vec<DataFile>, Vec<DataFile>), CommitError> {
    let going: BTreeSet<_> = commit.removes.iter().map(String::as_str).collect();
    let (removed, kept): (Vec<_>, Vec<_>) = base
        .files
        .iter()
        .cloned()
        .partition(|file| going.contains(file.name.as_str()));
    if removed.len() < going.len() {
        let found: BTreeSet<_> = removed.iter().map(|file| file.name.as_str()).collect();
        if let Some(name) = going.difference(&found).next() {
            return Err(CommitError::NotInBase {
                name: (*name).into(),
                version: base.version,
            });
        }
    }
    Ok((kept, removed))
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("another writer was faster: {}", .0.name())]
    Late(Winner),
    #[error(transparent)]
    Table(#[from] TableError),
}

impl Failed {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Table(error) if error.is_transient())
    }
}

/// A commit that can be tried again and again.
#[derive(Clone)]
struct Change {
    base: SnapshotRef,
    adds: Vec<DataFile>,
    removed: Vec<DataFile>,
    epoch: i64,
    job: String,
    stamp: Stamp,
}

impl Change {
    /// Tries to write the version; `None` if it exists already. The kernel uses a transaction up, so each try
    /// builds its own.
    fn put(&self, engine: &Engine) -> KernelResult<Option<SnapshotRef>> {
        let operation = if self.removed.is_empty() {
            UpdateTableOperation::Write
        } else {
            UpdateTableOperation::Update
        };
        let stamp = serde_json::to_string(&self.stamp).map_err(KernelError::generic_err)?;
        let mut transaction = Arc::clone(&self.base)
            .update_table(operation, ENGINE_INFO, true)
            .build(engine, Box::new(FileSystemCommitter::new()))?
            .with_transaction_id(APP_ID.into(), self.epoch)
            .with_domain_metadata(JOB_DOMAIN.into(), self.job.clone())
            .with_domain_metadata(STAMP_DOMAIN.into(), stamp);
        self.add_files(engine, &mut transaction)?;
        self.remove_files(engine, &mut transaction)?;
        match transaction.commit(engine)? {
            CommitResult::Committed(committed) => match committed.post_commit_snapshot() {
                Some(snapshot) => Ok(Some(Arc::clone(snapshot))),
                None => KernelSnapshot::builder_from(Arc::clone(&self.base))
                    .build(engine)
                    .map(Some),
            },
            CommitResult::Conflicted(_) => Ok(None),
            CommitResult::Retryable(failed) => Err(failed.error),
        }
    }

    fn add_files(&self, engine: &Engine, transaction: &mut Transaction) -> KernelResult<()> {
        if self.adds.is_empty() {
            return Ok(());
        }
        let context = transaction.write_state()?.write_context_builder().build()?;
        let texts = self.adds.iter().map(|file| file.stats.clone());
        let stats = StructArray::from(parse(engine, texts, transaction.stats_schema()?)?);
        // The kernel's own, which names no symbolic link.
        let root = self.base.table_root();
        let now_ms = chrono::Utc::now().timestamp_millis();
        for (row, file) in self.adds.iter().enumerate() {
            let meta = FileMeta::new(root.join(&file.name)?, now_ms, file.bytes);
            let metadata = DataFileMetadata::new(meta, stats.slice(row, 1));
            transaction.add_files(build_add_file_metadata(metadata, &context)?);
        }
        Ok(())
    }

    /// The kernel wants the rows that a scan gave. A scan would read the whole log again for what we know, so the
    /// rows are made from it.
    fn remove_files(&self, engine: &Engine, transaction: &mut Transaction) -> KernelResult<()> {
        if self.removed.is_empty() {
            return Ok(());
        }
        let texts = self.removed.iter().map(|file| {
            serde_json::json!({
                "path": file.name,
                "size": file.bytes,
                "stats": file.stats,
                "fileConstantValues": { "partitionValues": {} },
            })
            .to_string()
        });
        let rows: Box<dyn EngineData> = Box::new(ArrowEngineData::new(parse(
            engine,
            texts,
            scan_row_schema(),
        )?));
        transaction.remove_files(FilteredEngineData::with_all_rows_selected(rows));
        Ok(())
    }
}

/// JSON texts as rows of a schema.
fn parse(
    engine: &Engine,
    texts: impl Iterator<Item = String>,
    schema: SchemaRef,
) -> KernelResult<RecordBatch> {
    let texts: StringArray = texts.map(Some).collect();
    let texts = RecordBatch::try_from_iter([("json", Arc::new(texts) as _)])?;
    let texts = Box::new(ArrowEngineData::new(texts));
    let parsed = engine.json_handler().parse_json(texts, schema)?;
    Ok(ArrowEngineData::try_from_engine_data(parsed)?
        .record_batch()
        .clone())
}
