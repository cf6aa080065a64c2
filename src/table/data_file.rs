//! Data files: rows as Parquet, written once, never changed.
//!
//! The bytes are a function of the rows and of this code alone: nothing of the clock, the machine or
//! the order of columns enters, so equal rows make equal files (but for the uuid in their names).
//!
//! Columns of floats are stored plainly and compressed with zstd at its lightest; the other columns have
//! dictionaries. BYTE_STREAM_SPLIT would make features some 10 % smaller, but Spark's vectorised reader refuses
//! it. One row group a file: a file is what one worker writes in one epoch.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType as ArrowType, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use delta_kernel::engine::arrow_expression::evaluate_expression::to_json;
use delta_kernel::expressions::ColumnName;
use delta_kernel_default_engine::stats::collect_stats;
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::form::{Form, own_name, undress};
use super::range_reader::RangeReader;
use super::schema::{Record, SchemaError};
use super::sealed;
use crate::storage::{Place, StorageError};

/// A file of rows that a commit may name. It travels from the worker that wrote it to the one that commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Name relative to the table's root.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Number of rows.
    pub rows: u64,
    /// Delta's statistics of the file: a JSON object of row count, bounds and null counts.
    pub stats: String,
}

/// A data file that can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum DataFileError {
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The bytes are not those that were written, or no Parquet.
    #[error(
        "{file} is damaged: {reason}; restore it from a copy, or go back to an older version of the table"
    )]
    Damaged {
        /// Its name.
        file: String,
        /// What was found.
        reason: String,
    },
    /// A value that no column holds, or a file of another table.
    #[error("{file}: {source}")]
    Schema {
        /// Its name; «new file» while writing.
        file: String,
        /// Which column.
        source: SchemaError,
    },
    /// Rows could not be encoded.
    #[error("rows can't be encoded as Parquet: {0}")]
    Encode(String),
}

/// Writes and reads the files of one table. Cheap to clone; needs no look at the log.
#[derive(Clone, Debug)]
pub struct DataFiles<R> {
    place: Place,
    form: Arc<Form>,
    record: PhantomData<fn() -> R>,
}

impl<R: Record> DataFiles<R> {
    /// Files in the root of a table; new ones are of this form.
    #[must_use]
    pub fn new(place: Place, form: Form) -> Self {
        Self {
            place,
            form: Arc::new(form),
            record: PhantomData,
        }
    }

    /// The form of new files. Files tell theirs themselves.
    #[must_use]
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// Writes rows as one new file, in the given order. Sort them by path: equal sets then make equal files, and
    /// readers can skip by it.
    ///
    /// # Errors
    /// [`DataFileError`]; the file does not exist for any reader until a commit names it.
    pub async fn write(&self, rows: Vec<R>) -> Result<DataFile, DataFileError> {
        let row_count = rows.len() as u64;
        let form = self.form.clone();
        let encoded = tokio::task::spawn_blocking(move || encode(&rows, &form));
        let (bytes, stats) = encoded
            .await
            .map_err(|error| DataFileError::Encode(error.to_string()))??;
        let file = DataFile {
            name: sealed::name(Uuid::new_v4().simple(), &bytes, "parquet"),
            bytes: bytes.len() as u64,
            rows: row_count,
            stats,
        };
        self.place.put(&file.name, bytes.into()).await?;
        Ok(file)
    }

    /// All rows of a file, every byte checked against the digest in its name.
    ///
    /// # Errors
    /// [`DataFileError::Damaged`] for a single wrong bit.
    pub async fn read(&self, file: &DataFile) -> Result<Vec<R>, DataFileError> {
        let bytes = self.place.get(&file.name).await?;
        let file = file.clone();
        let decoded = tokio::task::spawn_blocking(move || {
            if !sealed::holds(&file.name, &bytes) {
                return Err(damaged(
                    &file.name,
                    "its bytes don't match the digest in its name",
                ));
            }
            decode(&file.name, bytes)
        });
        decoded
            .await
            .map_err(|error| DataFileError::Encode(error.to_string()))?
    }

    /// What `of` makes of some columns of a file, by range reads of these. A file of at most 64 KiB is one request, a larger one two: its end,
    /// then these columns. A footer longer than that end is one more, as are columns between them that take over 256 KiB.
    ///
    /// # Errors
    /// [`DataFileError`]. Damage is noticed only where it breaks the format: bytes that aren't read aren't checked.
    pub(super) async fn columns<T>(
        &self,
        file: &DataFile,
        columns: &[&str],
        of: impl Fn(&RecordBatch, &mut Vec<T>) -> Result<(), SchemaError>,
    ) -> Result<Vec<T>, DataFileError> {
        let failed = |error: ParquetError| match error {
            ParquetError::External(error) => match error.downcast::<StorageError>() {
                Ok(error) => DataFileError::Storage(*error),
                Err(error) => damaged(&file.name, error),
            },
            error => damaged(&file.name, error),
        };
        let reader = RangeReader::new(self.place.clone(), file.name.clone(), file.bytes);
        let builder = ParquetRecordBatchStreamBuilder::new(reader)
            .await
            .map_err(failed)?;
        let fields = builder.schema().fields().iter();
        let wanted = fields.filter(|field| columns.contains(&own_name(field)));
        let names = wanted.map(|field| field.name().as_str());
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        let batches: Vec<RecordBatch> = builder
            .with_projection(mask)
            .build()
            .map_err(failed)?
            .try_collect()
            .await
            .map_err(failed)?;
        let mut values = Vec::new();
        for batch in &batches {
            let read = undress(batch).and_then(|batch| of(&batch, &mut values));
            read.map_err(|source| DataFileError::Schema {
                file: file.name.clone(),
                source,
            })?;
        }
        Ok(values)
    }
}

/// Rows as the bytes of a Parquet file, and Delta's statistics of them as JSON.
fn encode<R: Record>(rows: &[R], form: &Form) -> Result<(Vec<u8>, String), DataFileError> {
    let schema_error = |source| DataFileError::Schema {
        file: "new file".into(),
        source,
    };
    let batch = R::to_batch(rows).and_then(|batch| form.dress::<R>(&batch));
    let batch = batch.map_err(schema_error)?;
    let bytes = to_parquet(&batch).map_err(|error| DataFileError::Encode(error.to_string()))?;

    let schema = form.schema::<R>().map_err(schema_error)?;
    let columns: Vec<_> = schema
        .fields()
        .map(|field| ColumnName::new([field.name()]))
        .collect();
    let stats = collect_stats(&batch, &columns, &schema)
        .map_err(|error| DataFileError::Encode(error.to_string()))?;
    let json = to_json(&stats).map_err(|error| DataFileError::Encode(error.to_string()))?;
    let json = arrow::array::AsArray::as_string_opt::<i32>(&json)
        .map(|texts| texts.value(0).to_string())
        .ok_or_else(|| DataFileError::Encode("statistics have no text".into()))?;
    Ok((bytes, json))
}

/// A batch as a whole Parquet file.
pub(super) fn to_parquet(batch: &RecordBatch) -> Result<Vec<u8>, ParquetError> {
    let mut writer = parquet_writer(&batch.schema())?;
    writer.write(batch)?;
    writer.into_inner()
}

/// A Parquet file in memory, with the properties of all files here.
pub(super) fn parquet_writer(schema: &SchemaRef) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(None)
        .set_created_by("eigenflow".into());
    for field in schema.fields() {
        if *field.data_type() == ArrowType::Binary {
            // Images are compressed already.
            let path = ColumnPath::from(field.name().as_str());
            properties = properties
                .set_column_compression(path.clone(), Compression::UNCOMPRESSED)
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_statistics_enabled(path, EnabledStatistics::None);
        }
        if let ArrowType::List(element) = field.data_type() {
            let path = vec![field.name().clone(), "list".into(), element.name().clone()];
            let path = ColumnPath::new(path);
            // Features rarely repeat, and no one looks for the images whose features lie between two numbers.
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties.build()))
}

/// The batches of a whole Parquet file.
pub(super) fn from_parquet(bytes: Bytes) -> Result<Vec<RecordBatch>, ArrowError> {
    ParquetRecordBatchReaderBuilder::try_new(bytes)?
        .build()?
        .collect()
}

fn decode<R: Record>(name: &str, bytes: Bytes) -> Result<Vec<R>, DataFileError> {
    let batches = from_parquet(bytes).map_err(|error| damaged(name, error))?;
    let mut rows = Vec::new();
    for batch in &batches {
        rows.extend(
            undress(batch)
                .and_then(|batch| R::from_batch(&batch))
                .map_err(|source| DataFileError::Schema {
                    file: name.into(),
                    source,
                })?,
        );
    }
    Ok(rows)
}

fn damaged(file: &str, reason: impl ToString) -> DataFileError {
    DataFileError::Damaged {
        file: file.into(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests;
