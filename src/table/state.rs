//! What lies beside a table: the moments that make a restart cheap, the tombstones, the models.
//!
//! ```text
//!   …/table/_delta_log/…n.json ── job JSON ──> state/<label>-<digest>.parquet
//!                                         ├──> projections/<version>-<digest>.safetensors
//!                                         ├──> classifiers/<version>-<digest>.safetensors
//!                                         └──> clusters/<version>-<digest>.safetensors
//! ```
//!
//! No private format: exact sums are Parquet decimals, so any engine can check a mean. Objects are written before the
//! commit that names them, and never change.

use std::fmt::Display;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, FixedSizeBinaryArray, Int64Array, ListArray,
    RecordBatch, StringArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type};
use arrow::error::ArrowError;
use bytes::Bytes;
use futures::TryStreamExt;
use parquet::errors::ParquetError;
use uuid::Uuid;

use super::columns::{numbers, texts};
use super::data_file::{from_parquet, parquet_writer, to_parquet};
use super::schema::SchemaError;
use super::sealed;
use crate::storage::{Place, StorageError};

/// Folder of the state objects, beside the table.
pub const STATE: &str = "state";
/// Folder of the projections, beside the table.
pub const PROJECTIONS: &str = "projections";
/// Folder of the classifiers, beside the table.
pub const CLASSIFIERS: &str = "classifiers";
/// Folder of the clusterings, beside the table.
pub const CLUSTERS: &str = "clusters";

/// The largest absolute value of a sum: what `decimal(38, 0)` holds.
pub const SUM_MAX: i128 = 10i128.pow(38) - 1;

/// A state object that can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The bytes are not those that were written.
    #[error(
        "{object} is damaged: {reason}; restore it from a copy, or go back to an older version of the table"
    )]
    Damaged {
        /// Its name.
        object: String,
        /// What was found.
        reason: String,
    },
    /// A sum beyond [`SUM_MAX`].
    #[error("part {kind} {key}: the sum {value} has more than 38 digits")]
    Overflow {
        /// Kind of the part.
        kind: String,
        /// Key of the part.
        key: String,
        /// The sum.
        value: i128,
    },
    /// Columns that aren't ours.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Parquet disagrees.
    #[error("state can't be encoded as Parquet: {0}")]
    Encode(#[from] ParquetError),
}

impl From<ArrowError> for StateError {
    fn from(error: ArrowError) -> Self {
        Self::Schema(error.into())
    }
}

/// The objects beside a table.
#[derive(Clone, Debug)]
pub struct Objects {
    parent: Place,
}

impl Objects {
    /// Those beside the table at `table`.
    ///
    /// # Errors
    /// [`StorageError::Refused`] where the table is a whole bucket.
    pub fn beside(table: &Place) -> Result<Self, StorageError> {
        Ok(Self {
            parent: table.parent()?,
        })
    }

    /// Writes an object as `folder/<label>-<uuid>-<digest>.<extension>` and returns that name, which the commit
    /// is to carry. No name comes back: `vacuum` may be about to delete what an earlier try left.
    ///
    /// # Errors
    /// [`StateError::Storage`].
    pub async fn put(
        &self,
        folder: &str,
        label: impl Display,
        extension: &str,
        bytes: Bytes,
    ) -> Result<String, StateError> {
        let label = format!("{label}-{}", Uuid::new_v4().simple());
        let name = format!("{folder}/{}", sealed::name(label, &bytes, extension));
        self.parent.put(&name, bytes).await?;
        Ok(name)
    }

    /// The names in a folder, as [`put`](Self::put) gave them, in no order.
    ///
    /// # Errors
    /// [`StateError::Storage`].
    pub async fn list(&self, folder: &str) -> Result<Vec<String>, StateError> {
        let place = self.parent.inside(folder)?;
        if place.is_empty().await? {
            return Ok(Vec::new());
        }
        let names = place.list().map_ok(|(name, _)| format!("{folder}/{name}"));
        Ok(names.try_collect().await?)
    }

    /// Reads an object by the name that [`put`](Self::put) gave, every byte checked.
    ///
    /// # Errors
    /// [`StateError::Damaged`] for a single wrong bit, [`StateError::Storage`] if it isn't there.
    pub async fn get(&self, name: &str) -> Result<Bytes, StateError> {
        let bytes = self.parent.get(name).await?;
        if sealed::holds(name, &bytes) {
            Ok(bytes)
        } else {
            Err(StateError::Damaged {
                object: format!("{}{name}", self.parent),
                reason: "its bytes don't match the digest in its name".into(),
            })
        }
    }
}

/// A part of the moments: a named vector of exact sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MomentsPart {
    /// `count`, `columns` or `label`.
    pub kind: String,
    /// Which of its kind; empty for `count`.
    pub key: String,
    /// The sums, each at most [`SUM_MAX`] from zero.
    pub values: Vec<i128>,
}

/// Sums that are turned into Parquet at a time: 2 MB, of which the writer makes some ten while it is at them.
const BATCH_SUMS: usize = 1 << 17;

/// Moments as Parquet: one row a part, columns `kind`, `key`, `values` (list of decimal(38, 0)). Equal parts in
/// equal order make equal bytes.
///
/// # Errors
/// [`StateError::Overflow`] for a sum that no decimal holds.
pub fn encode_moments(parts: impl IntoIterator<Item = MomentsPart>) -> Result<Vec<u8>, StateError> {
    let mut writer = parquet_writer(&moments_batch(&[])?.schema())?;
    let mut waiting = Vec::new();
    let mut sums = 0;
    for part in parts {
        sums += part.values.len();
        waiting.push(part);
        if sums >= BATCH_SUMS {
            writer.write(&moments_batch(&waiting)?)?;
            waiting.clear();
            sums = 0;
        }
    }
    writer.write(&moments_batch(&waiting)?)?;
    Ok(writer.into_inner()?)
}

fn moments_batch(parts: &[MomentsPart]) -> Result<RecordBatch, StateError> {
    for part in parts {
        let over = part
            .values
            .iter()
            .find(|sum| sum.unsigned_abs() > SUM_MAX.unsigned_abs());
        if let Some(&value) = over {
            return Err(StateError::Overflow {
                kind: part.kind.clone(),
                key: part.key.clone(),
                value,
            });
        }
    }
    let sums = parts.iter().flat_map(|part| part.values.iter().copied());
    let sums = Decimal128Array::from_iter_values(sums).with_precision_and_scale(38, 0)?;
    let values = ListArray::try_new(
        Arc::new(Field::new("element", DataType::Decimal128(38, 0), false)),
        OffsetBuffer::from_lengths(parts.iter().map(|part| part.values.len())),
        Arc::new(sums),
        None,
    )?;
    let text = |of: fn(&MomentsPart) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(parts.iter().map(of)))
    };
    let columns: [(&str, ArrayRef); 3] = [
        ("kind", text(|part| &part.kind)),
        ("key", text(|part| &part.key)),
        ("values", Arc::new(values)),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// The parts that [`encode_moments`] wrote, in their order.
///
/// # Errors
/// [`StateError::Schema`] for bytes of another kind.
pub fn decode_moments(bytes: Bytes) -> Result<Vec<MomentsPart>, StateError> {
    let mut parts = Vec::new();
    for batch in from_parquet(bytes)? {
        let (kind, key) = (texts(&batch, "kind")?, texts(&batch, "key")?);
        let wanted = SchemaError::Column {
            column: "values",
            wanted: "array<decimal(38,0)>",
        };
        let lists = batch
            .column_by_name("values")
            .and_then(|a| a.as_list_opt::<i32>());
        let lists = lists.ok_or(wanted)?;
        for row in 0..batch.num_rows() {
            let sums = lists.value(row);
            let sums = sums
                .as_primitive_opt::<Decimal128Type>()
                .ok_or(SchemaError::Column {
                    column: "values",
                    wanted: "array<decimal(38,0)>",
                })?;
            parts.push(MomentsPart {
                kind: kind.required(row)?.into(),
                key: key.required(row)?.into(),
                values: sums.values().to_vec(),
            });
        }
    }
    Ok(parts)
}

/// A key that was removed, remembered so that an older event does not bring it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tombstone {
    /// 128-bit hash of the key.
    pub key_hash: u128,
    /// Version of the removal: time in ms since 1970 UTC …
    pub time_ms: i64,
    /// … then the store's sequencer.
    pub sequencer: u128,
}

/// Tombstones as Parquet: columns `key_hash` and `sequencer` (16 bytes, big-endian), `time_ms`.
///
/// # Errors
/// [`StateError::Encode`], which no input causes.
pub fn encode_tombstones(tombstones: &[Tombstone]) -> Result<Vec<u8>, StateError> {
    let numbers = |of: fn(&Tombstone) -> u128| -> Result<ArrayRef, ArrowError> {
        let bytes: Vec<u8> = tombstones
            .iter()
            .flat_map(|t| of(t).to_be_bytes())
            .collect();
        Ok(Arc::new(FixedSizeBinaryArray::try_new(
            16,
            bytes.into(),
            None,
        )?))
    };
    let times = Int64Array::from_iter_values(tombstones.iter().map(|t| t.time_ms));
    let columns: [(&str, ArrayRef); 3] = [
        ("key_hash", numbers(|t| t.key_hash)?),
        ("time_ms", Arc::new(times)),
        ("sequencer", numbers(|t| t.sequencer)?),
    ];
    Ok(to_parquet(&RecordBatch::try_from_iter(columns)?)?)
}

/// The tombstones that [`encode_tombstones`] wrote, in their order.
///
/// # Errors
/// [`StateError::Schema`] for bytes of another kind.
pub fn decode_tombstones(bytes: Bytes) -> Result<Vec<Tombstone>, StateError> {
    fn number(batch: &RecordBatch, column: &'static str, row: usize) -> Result<u128, SchemaError> {
        batch
            .column_by_name(column)
            .and_then(|array| array.as_fixed_size_binary_opt())
            .filter(|array| array.is_valid(row))
            .and_then(|array| array.value(row).try_into().ok())
            .map(u128::from_be_bytes)
            .ok_or(SchemaError::Column {
                column,
                wanted: "16 bytes",
            })
    }
    let mut tombstones = Vec::new();
    for batch in from_parquet(bytes)? {
        let times = numbers::<Int64Type>(&batch, "time_ms", "long")?;
        for row in 0..batch.num_rows() {
            tombstones.push(Tombstone {
                key_hash: number(&batch, "key_hash", row)?,
                time_ms: times.required(row)?,
                sequencer: number(&batch, "sequencer", row)?,
            });
        }
    }
    Ok(tombstones)
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use url::Url;

    use super::*;
    use crate::storage::Patience;

    fn part(kind: &str, key: &str, values: Vec<i128>) -> MomentsPart {
        MomentsPart {
            kind: kind.into(),
            key: key.into(),
            values,
        }
    }

    #[test]
    fn moments_come_back_exactly() {
        let parts = vec![
            part("count", "", vec![10_735]),
            part(
                "columns",
                "0",
                vec![-1, 0, 1, SUM_MAX, -SUM_MAX, i128::from(i64::MIN)],
            ),
            part("label", "Apple \"Golden\" 1/苹果", vec![]),
        ];
        let bytes = encode_moments(parts.clone()).unwrap();
        assert_eq!(bytes, encode_moments(parts.clone()).unwrap());
        assert_eq!(decode_moments(bytes.into()).unwrap(), parts);
        assert_eq!(
            decode_moments(encode_moments([]).unwrap().into()).unwrap(),
            []
        );
    }

    #[test]
    fn a_sum_that_no_decimal_holds_is_refused() {
        for value in [SUM_MAX + 1, i128::MIN] {
            let error = encode_moments([part("columns", "7", vec![0, value])]).unwrap_err();
            assert!(error.to_string().contains("columns 7"), "{error}");
        }
    }

    #[test]
    fn tombstones_come_back_exactly() {
        let tombstones: Vec<_> = [0, 1, u128::MAX]
            .into_iter()
            .map(|n| Tombstone {
                key_hash: n,
                time_ms: -(n as i64),
                sequencer: !n,
            })
            .collect();
        for some in [&tombstones[..], &[]] {
            let bytes = encode_tombstones(some).unwrap();
            assert_eq!(decode_tombstones(bytes.into()).unwrap(), some);
        }
    }

    #[test]
    fn one_kind_is_not_read_as_another() {
        let moments = encode_moments([part("count", "", vec![1])]).unwrap();
        assert!(decode_tombstones(moments.into()).is_err());
        assert!(decode_moments(Bytes::from_static(b"PAR1 no")).is_err());
    }

    #[tokio::test]
    async fn objects_lie_beside_the_table_and_show_damage() {
        let url = Url::parse("memory:///a/table/").unwrap();
        let table = Place::new(Arc::new(InMemory::new()), url, Patience::default()).unwrap();
        let objects = Objects::beside(&table).unwrap();
        let name = objects
            .put(PROJECTIONS, 7, "safetensors", "abc".into())
            .await
            .unwrap();
        assert!(name.starts_with("projections/7-"), "{name}");
        assert_eq!(objects.get(&name).await.unwrap(), "abc");

        let parent = table.parent().unwrap();
        assert_eq!(parent.url().as_str(), "memory:///a/");
        parent.put(&name, "abd".into()).await.unwrap();
        assert!(matches!(
            objects.get(&name).await,
            Err(StateError::Damaged { .. })
        ));
    }
}
