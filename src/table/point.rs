//! Rows as readers of the reduced space need them, by range reads of a few columns.

use arrow::array::RecordBatch;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use bytes::Bytes;

use super::columns::{bytes, floats, millis, numbers, texts};
use super::data_file::{DataFile, DataFileError, DataFiles};
use super::schema::{Row, SchemaError};

/// A row, with its features or without.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// `s3://bucket/key`.
    pub path: String,
    /// Its label.
    pub label: Option<String>,
    /// When it was written, by its event, in ms since 1970 UTC.
    pub event_time_ms: i64,
    /// `[d]`, where they were asked for.
    pub features: Option<Vec<f32>>,
    /// `[k]`, and the projection that made it.
    pub reduced: Option<(i64, Vec<f32>)>,
    /// What a classifier made of it; absent also where the table doesn't show it.
    pub predicted: Option<Predicted>,
}

/// A predicted label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicted {
    /// The label.
    pub label: String,
    /// Whether the classifier had learnt the row.
    pub learnt: bool,
}

/// What a map needs of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Reduction {
    /// `s3://bucket/key`.
    pub path: String,
    /// Its label.
    pub label: Option<String>,
    /// `[k]`, and the projection that made it.
    pub reduced: Option<(i64, Vec<f32>)>,
}

impl DataFiles<Row> {
    /// Where the rows of a file are among the others, without their features.
    ///
    /// # Errors
    /// As [`read_keys`](Self::read_keys).
    pub async fn read_reductions(&self, file: &DataFile) -> Result<Vec<Reduction>, DataFileError> {
        let columns = ["path", "label", "reduced_features", "projection_version"];
        self.columns(file, &columns, reductions_of).await
    }

    /// The rows of a file, with their `features` if so.
    ///
    /// # Errors
    /// As [`read_keys`](Self::read_keys).
    pub async fn read_points(
        &self,
        file: &DataFile,
        features: bool,
    ) -> Result<Vec<Point>, DataFileError> {
        let mut columns = vec![
            "path",
            "label",
            "event_time",
            "reduced_features",
            "projection_version",
            "predicted_label",
            "classifier_version",
        ];
        columns.extend(features.then_some("features"));
        self.columns(file, &columns, points_of).await
    }

    /// The images of a file by path, where the table shows them. All of them are in memory at once.
    ///
    /// # Errors
    /// As [`read_keys`](Self::read_keys).
    pub async fn read_contents(
        &self,
        file: &DataFile,
    ) -> Result<Vec<(String, Option<Bytes>)>, DataFileError> {
        self.columns(file, &["path", "content"], contents_of).await
    }
}

fn points_of(batch: &RecordBatch, points: &mut Vec<Point>) -> Result<(), SchemaError> {
    let there = |name| batch.column_by_name(name).is_some();
    let (path, label) = (texts(batch, "path")?, texts(batch, "label")?);
    let event_time = numbers::<TimestampMicrosecondType>(batch, "event_time", "timestamp")?;
    let reduced = floats(batch, "reduced_features")?;
    let projection = numbers::<Int64Type>(batch, "projection_version", "long")?;
    let features = there("features").then(|| floats(batch, "features"));
    let features = features.transpose()?;
    let predicted = there("predicted_label").then(|| texts(batch, "predicted_label"));
    let predicted = predicted.transpose()?;
    let classifier = there("classifier_version")
        .then(|| numbers::<Int64Type>(batch, "classifier_version", "long"))
        .transpose()?;
    for row in 0..batch.num_rows() {
        let classifier = classifier.as_ref().and_then(|version| version.get(row));
        let predicted = predicted.as_ref().and_then(|label| label.get(row));
        let projection = projection.get(row);
        points.push(Point {
            path: path.required(row)?.into(),
            label: label.get(row).map(Into::into),
            event_time_ms: millis(event_time.required(row)?),
            features: match &features {
                Some(features) => features.get(row)?,
                None => None,
            },
            reduced: projection.zip(reduced.get(row)?),
            // A row is written under the classifier before its projection's, or under that of the same commit.
            predicted: predicted.map(|label| Predicted {
                label: label.into(),
                learnt: classifier >= projection,
            }),
        });
    }
    Ok(())
}

fn contents_of(
    batch: &RecordBatch,
    contents: &mut Vec<(String, Option<Bytes>)>,
) -> Result<(), SchemaError> {
    let path = texts(batch, "path")?;
    let content = match batch.column_by_name("content") {
        Some(_) => Some(bytes(batch, "content")?),
        None => None,
    };
    for row in 0..batch.num_rows() {
        let content = content.as_ref().and_then(|content| content.get(row));
        contents.push((path.required(row)?.into(), content));
    }
    Ok(())
}

fn reductions_of(batch: &RecordBatch, rows: &mut Vec<Reduction>) -> Result<(), SchemaError> {
    let (path, label) = (texts(batch, "path")?, texts(batch, "label")?);
    let reduced = floats(batch, "reduced_features")?;
    let version = numbers::<Int64Type>(batch, "projection_version", "long")?;
    for row in 0..batch.num_rows() {
        rows.push(Reduction {
            path: path.required(row)?.into(),
            label: label.get(row).map(Into::into),
            reduced: version.get(row).zip(reduced.get(row)?),
        });
    }
    Ok(())
}
