//! A Delta table: opening, creating and reading its log.
//!
//! `delta_kernel` is synchronous and wants threads of its own for each call; here they are tokio's blocking
//! threads, so that a dataflow operator can start a call, go on, and be woken.
//!
//! Domain metadata is a *writer* feature of Delta: every stock reader opens such a table, other writers
//! refuse it. That is wanted: only the job that owns the state may change the table.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::snapshot::{Snapshot as KernelSnapshot, SnapshotRef};
use delta_kernel::transaction::create_table::create_table;
use delta_kernel::{EngineData, KernelError};
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};
use tokio::runtime::{Handle, RuntimeFlavor};
use uuid::Uuid;

use super::data_file::DataFile;
use super::form::Form;
use super::schema::{Record, SchemaError};
use super::stamp::Author;
use crate::storage::{Place, StorageError};

/// Who wrote a commit, in Delta's `commitInfo`.
pub(super) const ENGINE_INFO: &str = concat!("eigenflow/", env!("CARGO_PKG_VERSION"));
/// The application id of `txn` actions; its version is the epoch.
pub(super) const APP_ID: &str = "eigenflow";
/// The metadata domain that holds the job's own JSON.
pub(super) const JOB_DOMAIN: &str = "eigenflow";

pub(super) type Engine = DefaultEngine<TokioMultiThreadExecutor>;

/// A table of `R`. Cheap to clone; all clones are one writer.
pub struct Table<R> {
    pub(super) place: Place,
    pub(super) engine: Arc<Engine>,
    pub(super) writer: Uuid,
    pub(super) author: Author,
    record: PhantomData<fn() -> R>,
}

/// A version of a table: what is true in it.
#[derive(Clone)]
pub struct Snapshot {
    /// The version, counted from 0 (the empty table).
    pub version: u64,
    /// Its live files.
    pub files: Vec<DataFile>,
    /// The epoch of the last commit that had one.
    pub txn: Option<i64>,
    /// How its records are shown.
    pub form: Form,
    /// The job's JSON of the last commit that had one, byte for byte.
    pub job: Option<String>,
    pub(super) kernel: SnapshotRef,
}

/// A table that can't be opened, created or read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The record's columns make no schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// It has other columns.
    #[error(
        "{table} has no column {column} of type {wanted}: it is another table; choose another folder"
    )]
    OtherTable {
        /// Its URL.
        table: String,
        /// The first column that differs.
        column: String,
        /// The type it should have.
        wanted: String,
    },
    /// Another program changed it in a way that this one doesn't read.
    #[error("{table} was changed by another program ({what}); restore an older version")]
    Foreign {
        /// Its URL.
        table: String,
        /// What was found.
        what: &'static str,
    },
    /// The log can't be understood.
    #[error("{table}: {reason}")]
    Log {
        /// Its URL.
        table: String,
        /// The kernel's words.
        reason: String,
    },
    /// Called outside of a multi-threaded tokio runtime, which the kernel needs.
    #[error("a table needs tokio's multi-threaded runtime")]
    Runtime,
}

impl TableError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_transient())
    }

    pub(super) fn from_kernel(table: &Place, error: KernelError) -> Self {
        match error {
            KernelError::Backtraced { source, .. } => Self::from_kernel(table, *source),
            KernelError::ObjectStore(error) => {
                Self::Storage(StorageError::new(table.to_string(), &error))
            }
            KernelError::IOError(error) => Self::Storage(StorageError::Transient {
                object: table.to_string(),
                reason: error.to_string(),
            }),
            error => Self::Log {
                table: table.to_string(),
                reason: error.to_string(),
            },
        }
    }
}

impl<R: Record> Table<R> {
    /// Opens the table at a place; `None` where there is none.
    ///
    /// # Errors
    /// [`TableError`], the transient ones after the place's patience ended.
    pub async fn open(place: Place) -> Result<Option<Self>, TableError> {
        if place.inside("_delta_log")?.is_empty().await? {
            return Ok(None);
        }
        Self::new(place).map(Some)
    }

    /// Creates an empty table of this form, version 0; opens it where another process was faster.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn create(place: Place, form: &Form) -> Result<Self, TableError> {
        let table = Self::new(place)?;
        let schema = form.schema::<R>()?;
        table.place.make_folder().await?;
        let create = || {
            let schema = schema.clone();
            table.call(|place, engine| create_at(&place, &engine, schema))
        };
        let patience = table.place.patience();
        let tried = patience
            .retry("creating a table", TableError::is_transient, create)
            .await;
        // Another process was faster, or it was us and the answer was lost: the table is there.
        if tried.is_err() && table.place.inside("_delta_log")?.is_empty().await? {
            tried?;
        }
        Ok(table)
    }

    fn new(place: Place) -> Result<Self, TableError> {
        let runtime = Handle::try_current().map_err(|_| TableError::Runtime)?;
        if runtime.runtime_flavor() != RuntimeFlavor::MultiThread {
            return Err(TableError::Runtime);
        }
        let engine = DefaultEngineBuilder::new(Arc::clone(place.store()))
            .with_task_executor(Arc::new(TokioMultiThreadExecutor::new(runtime)))
            .build();
        Ok(Self {
            place,
            engine: Arc::new(engine),
            writer: Uuid::new_v4(),
            author: Author::default(),
            record: PhantomData,
        })
    }

    /// The same table, whose commits from now on are `author`'s; a job's unless said.
    #[must_use]
    pub fn written_by(self, author: Author) -> Self {
        Self { author, ..self }
    }

    /// Where it lies.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The newest version.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn snapshot(&self) -> Result<Snapshot, TableError> {
        self.snapshot_at(None).await
    }

    /// This version; `None`: the newest.
    ///
    /// # Errors
    /// As [`open`](Self::open); a version that there is not (any more) among them.
    pub async fn snapshot_at(&self, version: Option<u64>) -> Result<Snapshot, TableError> {
        let read = || {
            self.call(move |place, engine| {
                let mut builder = KernelSnapshot::builder_for(place.url().as_str());
                if let Some(version) = version {
                    builder = builder.at_version(version);
                }
                let kernel = builder
                    .build(engine.as_ref())
                    .map_err(|error| TableError::from_kernel(&place, error))?;
                read_snapshot::<R>(&place, &engine, kernel)
            })
        };
        let patience = self.place.patience();
        patience
            .retry("reading a table's log", TableError::is_transient, read)
            .await
    }

    /// Runs a synchronous call of the kernel on a blocking thread.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(Place, Arc<Engine>) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, TableError> {
        let (place, engine) = (self.place.clone(), Arc::clone(&self.engine));
        let table = self.place.to_string();
        match tokio::task::spawn_blocking(move || work(place, engine)).await {
            Ok(result) => result,
            Err(error) => Err(TableError::Log {
                table,
                reason: error.to_string(),
            }),
        }
    }
}

fn create_at(
    place: &Place,
    engine: &Engine,
    schema: Arc<delta_kernel::schema::StructType>,
) -> Result<(), TableError> {
    create_table(place.url().as_str(), schema, ENGINE_INFO, true)
        .with_table_properties([("delta.feature.domainMetadata", "supported")])
        .build(engine, Box::new(FileSystemCommitter::new()))
        .and_then(|transaction| transaction.commit(engine))
        .map(drop)
        .map_err(|error| TableError::from_kernel(place, error))
}

/// How the table shows its records. More columns are fine, fewer or others are not.
fn form_of<R: Record>(place: &Place, kernel: &SnapshotRef) -> Result<Form, TableError> {
    let schema = kernel.schema();
    let form = Form::of::<R>(&schema);
    for wanted in form.fields::<R>() {
        let found = schema.field(wanted.name());
        if found.is_none_or(|found| found.data_type() != wanted.data_type()) {
            return Err(TableError::OtherTable {
                table: place.to_string(),
                column: wanted.name().clone(),
                wanted: wanted.data_type().to_string(),
            });
        }
    }
    Ok(form)
}

pub(super) fn read_snapshot<R: Record>(
    place: &Place,
    engine: &Engine,
    kernel: SnapshotRef,
) -> Result<Snapshot, TableError> {
    let read = || {
        let txn = kernel.get_app_id_version(APP_ID, engine)?;
        let job = kernel.get_domain_metadata(JOB_DOMAIN, engine)?;
        let scan = Arc::clone(&kernel).scan_builder().build()?;
        let batches = scan.scan_metadata(engine)?.collect::<Result<Vec<_>, _>>()?;
        Ok((txn, job, batches))
    };
    let (txn, job, batches) = read().map_err(|error| TableError::from_kernel(place, error))?;
    let mut files = Vec::new();
    for batch in batches {
        let (data, selected) = batch.scan_files.into_parts();
        live_files(data, &selected, &mut files).map_err(|what| TableError::Foreign {
            table: place.to_string(),
            what,
        })?;
    }
    Ok(Snapshot {
        form: form_of::<R>(place, &kernel)?,
        version: kernel.version(),
        files,
        txn,
        job,
        kernel,
    })
}

/// Appends the selected rows of a scan's metadata; a selection shorter than its data selects the rest.
fn live_files(
    data: Box<dyn EngineData>,
    selected: &[bool],
    files: &mut Vec<DataFile>,
) -> Result<(), &'static str> {
    let data = ArrowEngineData::try_from_engine_data(data);
    let data = data.map_err(|_| "its log is not in Arrow")?;
    let batch = data.record_batch();
    let column = |name| batch.column_by_name(name);
    let paths = column("path").and_then(|a| a.as_string_opt::<i32>());
    let sizes = column("size").and_then(|a| a.as_primitive_opt::<Int64Type>());
    let stats = column("stats").and_then(|a| a.as_string_opt::<i32>());
    let (Some(paths), Some(sizes), Some(stats)) = (paths, sizes, stats) else {
        return Err("its log has other columns");
    };
    let deletions = column("deletionVector").and_then(|a| a.as_struct_opt());
    for row in (0..batch.num_rows()).filter(|row| selected.get(*row).copied().unwrap_or(true)) {
        if deletions.is_some_and(|deletions| deletions.is_valid(row)) {
            return Err("rows were deleted by deletion vectors");
        }
        let stats = if stats.is_valid(row) {
            stats.value(row)
        } else {
            ""
        };
        let count =
            serde_json::from_str::<RowCount>(stats).map_err(|_| "a file has no row count")?;
        files.push(DataFile {
            name: paths.value(row).into(),
            bytes: u64::try_from(sizes.value(row)).map_err(|_| "a file has a negative size")?,
            rows: count.rows,
            stats: stats.into(),
        });
    }
    Ok(())
}

#[derive(serde::Deserialize)]
struct RowCount {
    #[serde(rename = "numRecords")]
    rows: u64,
}

impl<R> Clone for Table<R> {
    fn clone(&self) -> Self {
        Self {
            place: self.place.clone(),
            engine: Arc::clone(&self.engine),
            writer: self.writer,
            author: self.author,
            record: PhantomData,
        }
    }
}

impl<R> fmt::Debug for Table<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("version", &self.version)
            .field("files", &self.files)
            .field("txn", &self.txn)
            .field("job", &self.job)
            .finish_non_exhaustive()
    }
}
