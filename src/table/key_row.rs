//! Which objects the rows of a file are of, whichever table's they are.

use arrow::array::RecordBatch;
use arrow::datatypes::TimestampMicrosecondType;

use super::columns::{millis, numbers, texts};
use super::data_file::{DataFile, DataFileError, DataFiles};
use super::schema::{Record, SchemaError};

/// Which object a row or a reject is of, and by which event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// `s3://bucket/key`.
    pub path: String,
    /// Entity tag; a reject may have none.
    pub etag: Option<String>,
    /// Event time in ms since 1970 UTC.
    pub event_time_ms: i64,
    /// The version's text.
    pub version: String,
}

impl<R: Record> DataFiles<R> {
    /// Which objects a file's rows are of, however large their features.
    ///
    /// # Errors
    /// [`DataFileError`]; only the bytes that are read are checked.
    pub async fn read_keys(&self, file: &DataFile) -> Result<Vec<KeyRow>, DataFileError> {
        let columns = ["path", "etag", "event_time", "version"];
        self.columns(file, &columns, keys_of).await
    }
}

fn keys_of(batch: &RecordBatch, keys: &mut Vec<KeyRow>) -> Result<(), SchemaError> {
    let (path, etag) = (texts(batch, "path")?, texts(batch, "etag")?);
    let version = texts(batch, "version")?;
    let event_time = numbers::<TimestampMicrosecondType>(batch, "event_time", "timestamp")?;
    keys.reserve(batch.num_rows());
    for row in 0..batch.num_rows() {
        keys.push(KeyRow {
            path: path.required(row)?.into(),
            etag: etag.get(row).map(Into::into),
            event_time_ms: millis(event_time.required(row)?),
            version: version.required(row)?.into(),
        });
    }
    Ok(())
}
