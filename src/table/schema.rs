//! The records of the two tables, their columns, and the way to Arrow and back.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{Float32Type, Int32Type, Int64Type, Schema, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bytes::Bytes;
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::schema::{ArrayType, DataType, StructField, StructType};

use super::columns::{blobs, bytes, floats, lists, millis, numbers, sides, strings, texts, times};

/// What a table holds: columns, and the way to Arrow and back. Everything else is the same for every table.
///
/// Laws: `from_batch(&to_batch(rows)?)? == rows`, and the columns `path`, `etag`, `event_time` and
/// `version` exist (see [`KeyRow`](super::KeyRow)).
pub trait Record: Clone + Send + Sync + 'static {
    /// Columns that a table need not have: all their values are null where it doesn't.
    const OPTIONAL: &[&str] = &[];

    /// The columns in their order, by their own names.
    fn fields() -> Vec<StructField>;

    /// One array a column, in the order of [`fields`](Self::fields).
    ///
    /// # Errors
    /// [`SchemaError`] for a value that its column can't hold.
    fn to_columns(rows: &[Self]) -> Result<Vec<ArrayRef>, SchemaError>;

    /// The rows of a batch; columns are found by name, others ignored.
    ///
    /// # Errors
    /// [`SchemaError`] for an absent or mistyped column, and for null where a value must be.
    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, SchemaError>;

    /// Rows as one Arrow batch of all columns under their own names; list elements are called `element`, as Delta wants
    /// them.
    ///
    /// # Errors
    /// As [`to_columns`](Self::to_columns).
    fn to_batch(rows: &[Self]) -> Result<RecordBatch, SchemaError> {
        let schema = StructType::try_new(Self::fields())
            .map_err(|error| SchemaError::Form(error.to_string()))?;
        let schema: Schema = (&schema).try_into_arrow()?;
        Ok(RecordBatch::try_new(
            Arc::new(schema),
            Self::to_columns(rows)?,
        )?)
    }
}

/// An image of the main table.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Row {
    /// `s3://bucket/key`, the key verbatim.
    pub path: String,
    /// What the label rule made of the key.
    pub label: Option<String>,
    /// Entity tag of the object that was read.
    pub etag: String,
    /// When it was written, by its event, in ms since 1970 UTC.
    pub event_time_ms: i64,
    /// The version's text; its order is the order of versions.
    pub version: String,
    /// Pixels of a row of the stored image.
    pub width: u32,
    /// Pixels of a column of the stored image.
    pub height: u32,
    /// `[d]`, as the backbone gave them.
    pub features: Vec<f32>,
    /// `[k]`, absent until there is a projection.
    pub reduced_features: Option<Vec<f32>>,
    /// `[d]`, standardised by the projection that reduced the row; absent without one, or where the table doesn't show them.
    pub scaled_features: Option<Vec<f32>>,
    /// The projection that made `reduced_features`.
    pub projection_version: Option<i64>,
    /// What a classifier made of the features; absent without one, or where the table doesn't show it.
    pub predicted_label: Option<String>,
    /// How likely the classifier held that, above 0 and at most 1.
    pub confidence: Option<f32>,
    /// The classifier that made `predicted_label`; there where one of the two is shown.
    pub classifier_version: Option<i64>,
    /// The number of the nearest centroid; absent before a clustering has met the row, or where the table doesn't show it.
    pub cluster: Option<i32>,
    /// The clustering that made `cluster`.
    pub clustering_version: Option<i64>,
    /// The object's bytes; absent where the table doesn't show them.
    pub content: Option<Bytes>,
}

impl Row {
    /// About what it takes in memory once it is reduced, with or without its scaled features.
    pub fn bytes(&self) -> u64 {
        let reduced = self.reduced_features.as_ref().map_or(0, Vec::len);
        let floats = 2 * self.features.len() + reduced;
        let content = self.content.as_ref().map_or(0, Bytes::len);
        (size_of::<Self>() + self.path.len() + floats * size_of::<f32>() + content) as u64
    }
}

/// An object or event that did not become a row.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reject {
    /// `s3://bucket/key`, or the topic's coordinates where there is no key.
    pub path: String,
    /// A stable word to count and filter by: `truncated`, `too-many-pixels`, …
    pub reason: String,
    /// The whole message.
    pub detail: String,
    /// Entity tag of the object, where it was read.
    pub etag: Option<String>,
    /// When it happened, in ms since 1970 UTC.
    pub event_time_ms: i64,
    /// The version's text.
    pub version: String,
    /// The event, verbatim as far as it is text.
    pub event: Option<String>,
}

/// A batch that isn't what its table says, or a value that no column holds.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Absent, or of another type.
    #[error("column {column} is not {wanted}; was the table written by something else?")]
    Column {
        /// Its name.
        column: &'static str,
        /// The type it must have.
        wanted: &'static str,
    },
    /// Null where a value must be.
    #[error("column {column} is null in row {row}; was the table written by something else?")]
    Null {
        /// Its name.
        column: &'static str,
        /// The row within its batch.
        row: usize,
    },
    /// A number outside its column's range.
    #[error("column {column} can't hold {value}")]
    Range {
        /// Its name.
        column: &'static str,
        /// What was given or found.
        value: i64,
    },
    /// Names that can't be a table's.
    #[error("{0}")]
    Form(String),
    /// Arrow disagrees.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

impl Record for Row {
    const OPTIONAL: &[&str] = &[
        "scaled_features",
        "predicted_label",
        "confidence",
        "classifier_version",
        "cluster",
        "clustering_version",
        "content",
    ];

    fn fields() -> Vec<StructField> {
        let array = || DataType::from(ArrayType::new(DataType::FLOAT, true));
        vec![
            StructField::nullable("path", DataType::STRING),
            StructField::nullable("label", DataType::STRING),
            StructField::nullable("etag", DataType::STRING),
            StructField::nullable("event_time", DataType::TIMESTAMP),
            StructField::nullable("version", DataType::STRING),
            StructField::nullable("width", DataType::INTEGER),
            StructField::nullable("height", DataType::INTEGER),
            StructField::nullable("features", array()),
            StructField::nullable("reduced_features", array()),
            StructField::nullable("scaled_features", array()),
            StructField::nullable("projection_version", DataType::LONG),
            StructField::nullable("predicted_label", DataType::STRING),
            StructField::nullable("confidence", DataType::FLOAT),
            StructField::nullable("classifier_version", DataType::LONG),
            StructField::nullable("cluster", DataType::INTEGER),
            StructField::nullable("clustering_version", DataType::LONG),
            StructField::nullable("content", DataType::BINARY),
        ]
    }

    fn to_columns(rows: &[Self]) -> Result<Vec<ArrayRef>, SchemaError> {
        Ok(vec![
            strings(rows.iter().map(|row| Some(row.path.as_str()))),
            strings(rows.iter().map(|row| row.label.as_deref())),
            strings(rows.iter().map(|row| Some(row.etag.as_str()))),
            times(rows.iter().map(|row| row.event_time_ms))?,
            strings(rows.iter().map(|row| Some(row.version.as_str()))),
            sides("width", rows.iter().map(|row| row.width))?,
            sides("height", rows.iter().map(|row| row.height))?,
            lists(
                "features",
                rows.iter().map(|row| Some(row.features.as_slice())),
            )?,
            lists(
                "reduced_features",
                rows.iter().map(|row| row.reduced_features.as_deref()),
            )?,
            lists(
                "scaled_features",
                rows.iter().map(|row| row.scaled_features.as_deref()),
            )?,
            Arc::new(Int64Array::from_iter(
                rows.iter().map(|row| row.projection_version),
            )),
            strings(rows.iter().map(|row| row.predicted_label.as_deref())),
            Arc::new(Float32Array::from_iter(
                rows.iter().map(|row| row.confidence),
            )),
            Arc::new(Int64Array::from_iter(
                rows.iter().map(|row| row.classifier_version),
            )),
            Arc::new(Int32Array::from_iter(rows.iter().map(|row| row.cluster))),
            Arc::new(Int64Array::from_iter(
                rows.iter().map(|row| row.clustering_version),
            )),
            blobs("content", rows.iter().map(|row| row.content.as_deref()))?,
        ])
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, SchemaError> {
        let (path, label) = (texts(batch, "path")?, texts(batch, "label")?);
        let (etag, version) = (texts(batch, "etag")?, texts(batch, "version")?);
        let event_time = numbers::<TimestampMicrosecondType>(batch, "event_time", "timestamp")?;
        let width = numbers::<Int32Type>(batch, "width", "int")?;
        let height = numbers::<Int32Type>(batch, "height", "int")?;
        let features = floats(batch, "features")?;
        let reduced = floats(batch, "reduced_features")?;
        let there = |name| batch.column_by_name(name).is_some();
        let scaled = there("scaled_features").then(|| floats(batch, "scaled_features"));
        let scaled = scaled.transpose()?;
        let predicted = there("predicted_label").then(|| texts(batch, "predicted_label"));
        let predicted = predicted.transpose()?;
        let confidence = there("confidence")
            .then(|| numbers::<Float32Type>(batch, "confidence", "float"))
            .transpose()?;
        let classifier = there("classifier_version")
            .then(|| numbers::<Int64Type>(batch, "classifier_version", "long"))
            .transpose()?;
        let cluster = there("cluster")
            .then(|| numbers::<Int32Type>(batch, "cluster", "int"))
            .transpose()?;
        let clustering = there("clustering_version")
            .then(|| numbers::<Int64Type>(batch, "clustering_version", "long"))
            .transpose()?;
        let content = there("content").then(|| bytes(batch, "content"));
        let content = content.transpose()?;
        let projection = numbers::<Int64Type>(batch, "projection_version", "long")?;
        (0..batch.num_rows())
            .map(|row| {
                Ok(Self {
                    path: path.required(row)?.into(),
                    label: label.get(row).map(Into::into),
                    etag: etag.required(row)?.into(),
                    event_time_ms: millis(event_time.required(row)?),
                    version: version.required(row)?.into(),
                    width: width.side(row)?,
                    height: height.side(row)?,
                    features: features.get(row)?.ok_or(SchemaError::Null {
                        column: "features",
                        row,
                    })?,
                    reduced_features: reduced.get(row)?,
                    scaled_features: match &scaled {
                        Some(scaled) => scaled.get(row)?,
                        None => None,
                    },
                    projection_version: projection.get(row),
                    predicted_label: predicted
                        .as_ref()
                        .and_then(|label| label.get(row))
                        .map(Into::into),
                    confidence: confidence.as_ref().and_then(|number| number.get(row)),
                    classifier_version: classifier.as_ref().and_then(|number| number.get(row)),
                    cluster: cluster.as_ref().and_then(|number| number.get(row)),
                    clustering_version: clustering.as_ref().and_then(|number| number.get(row)),
                    content: content.as_ref().and_then(|content| content.get(row)),
                })
            })
            .collect()
    }
}

impl Record for Reject {
    fn fields() -> Vec<StructField> {
        vec![
            StructField::nullable("path", DataType::STRING),
            StructField::nullable("reason", DataType::STRING),
            StructField::nullable("detail", DataType::STRING),
            StructField::nullable("etag", DataType::STRING),
            StructField::nullable("event_time", DataType::TIMESTAMP),
            StructField::nullable("version", DataType::STRING),
            StructField::nullable("event", DataType::STRING),
        ]
    }

    fn to_columns(rows: &[Self]) -> Result<Vec<ArrayRef>, SchemaError> {
        Ok(vec![
            strings(rows.iter().map(|row| Some(row.path.as_str()))),
            strings(rows.iter().map(|row| Some(row.reason.as_str()))),
            strings(rows.iter().map(|row| Some(row.detail.as_str()))),
            strings(rows.iter().map(|row| row.etag.as_deref())),
            times(rows.iter().map(|row| row.event_time_ms))?,
            strings(rows.iter().map(|row| Some(row.version.as_str()))),
            strings(rows.iter().map(|row| row.event.as_deref())),
        ])
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, SchemaError> {
        let (path, reason) = (texts(batch, "path")?, texts(batch, "reason")?);
        let (detail, etag) = (texts(batch, "detail")?, texts(batch, "etag")?);
        let (version, event) = (texts(batch, "version")?, texts(batch, "event")?);
        let event_time = numbers::<TimestampMicrosecondType>(batch, "event_time", "timestamp")?;
        (0..batch.num_rows())
            .map(|row| {
                Ok(Self {
                    path: path.required(row)?.into(),
                    reason: reason.required(row)?.into(),
                    detail: detail.required(row)?.into(),
                    etag: etag.get(row).map(Into::into),
                    event_time_ms: millis(event_time.required(row)?),
                    version: version.required(row)?.into(),
                    event: event.get(row).map(Into::into),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            path: "s3://b/100%25 é\t苹果.jpg".into(),
            etag: "e".into(),
            event_time_ms: -1,
            version: "v".into(),
            width: 1,
            height: i32::MAX as u32,
            features: vec![0.0, -0.0, f32::MIN_POSITIVE, f32::MAX],
            ..Row::default()
        }
    }

    #[test]
    fn rows_come_back_as_they_went() {
        let projected = Row {
            label: Some(String::new()),
            features: vec![],
            reduced_features: Some(vec![1.5]),
            scaled_features: Some(vec![-0.5, 0.5]),
            predicted_label: Some("b".into()),
            confidence: Some(0.75),
            classifier_version: Some(3),
            cluster: Some(0),
            clustering_version: Some(2),
            content: Some(Bytes::from_static(b"\x00\xFF")),
            projection_version: Some(i64::MAX),
            event_time_ms: 1_700_000_000_123,
            ..row()
        };
        let rows = vec![row(), projected];
        let batch = Row::to_batch(&rows).unwrap();
        let back = Row::from_batch(&batch).unwrap();
        assert_eq!(back, rows);
        assert_eq!(back[0].features[1].to_bits(), (-0.0f32).to_bits());
        assert_eq!(Row::from_batch(&Row::to_batch(&[]).unwrap()).unwrap(), []);
    }

    #[test]
    fn rejects_come_back_as_they_went() {
        let reject = Reject {
            path: "p".into(),
            reason: "truncated".into(),
            detail: "d".into(),
            etag: None,
            event_time_ms: 7,
            version: String::new(),
            event: Some("{}".into()),
        };
        let batch = Reject::to_batch(std::slice::from_ref(&reject)).unwrap();
        assert_eq!(Reject::from_batch(&batch).unwrap(), [reject]);
    }

    #[test]
    fn what_no_column_holds_is_refused_by_name() {
        for (bad, column) in [
            (
                Row {
                    event_time_ms: i64::MAX,
                    ..row()
                },
                "event_time",
            ),
            (
                Row {
                    width: u32::MAX,
                    ..row()
                },
                "width",
            ),
        ] {
            let error = Row::to_batch(&[bad]).unwrap_err().to_string();
            assert!(error.contains(column), "{error}");
        }
        let rejects = Reject::to_batch(&[]).unwrap();
        let error = Row::from_batch(&rejects).unwrap_err().to_string();
        assert!(error.contains("label"), "{error}");
    }

    #[test]
    fn columns_are_those_of_the_design() {
        let names = |fields: Vec<StructField>| {
            fields
                .iter()
                .map(|field| field.name().clone())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            names(Row::fields()),
            "path label etag event_time version width height features reduced_features scaled_features projection_version predicted_label confidence classifier_version cluster clustering_version content"
        );
        assert_eq!(
            names(Reject::fields()),
            "path reason detail etag event_time version event"
        );
    }
}
