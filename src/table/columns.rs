//! Arrow arrays from values, and values from the columns of a batch, found by name and checked.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float32Array, Int32Array, ListArray, PrimitiveArray,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{ArrowPrimitiveType, DataType as ArrowType, Field, Float32Type};

use bytes::Bytes;

use super::schema::SchemaError;

const MICROS_PER_MS: i64 = 1000;

pub(super) fn strings<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

pub(super) fn times(values_ms: impl Iterator<Item = i64>) -> Result<ArrayRef, SchemaError> {
    let micros = values_ms
        .map(|ms| {
            ms.checked_mul(MICROS_PER_MS).ok_or(SchemaError::Range {
                column: "event_time",
                value: ms,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(
        TimestampMicrosecondArray::from(micros).with_timezone("UTC"),
    ))
}

pub(super) fn sides(
    column: &'static str,
    values: impl Iterator<Item = u32>,
) -> Result<ArrayRef, SchemaError> {
    let values = values
        .map(|side| {
            i32::try_from(side).map_err(|_| SchemaError::Range {
                column,
                value: i64::from(side),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Int32Array::from(values)))
}

pub(super) fn lists<'a>(
    column: &'static str,
    values: impl Iterator<Item = Option<&'a [f32]>> + Clone,
) -> Result<ArrayRef, SchemaError> {
    let lengths = values.clone().map(|list| list.map_or(0, <[f32]>::len));
    let floats: usize = lengths.clone().sum();
    if i32::try_from(floats).is_err() {
        return Err(SchemaError::Range {
            column,
            value: floats as i64,
        });
    }
    let mut flat = Vec::with_capacity(floats);
    values
        .clone()
        .flatten()
        .for_each(|list| flat.extend_from_slice(list));
    let element = Arc::new(Field::new("element", ArrowType::Float32, true));
    Ok(Arc::new(ListArray::try_new(
        element,
        OffsetBuffer::from_lengths(lengths),
        Arc::new(Float32Array::from(flat)),
        Some(values.map(|list| list.is_some()).collect::<NullBuffer>()),
    )?))
}

pub(super) fn blobs<'a>(
    column: &'static str,
    values: impl Iterator<Item = Option<&'a [u8]>> + Clone,
) -> Result<ArrayRef, SchemaError> {
    let bytes: usize = values.clone().flatten().map(<[u8]>::len).sum();
    if i32::try_from(bytes).is_err() {
        return Err(SchemaError::Range {
            column,
            value: bytes as i64,
        });
    }
    Ok(Arc::new(values.collect::<BinaryArray>()))
}

/// A column found by its name, which its errors repeat.
pub(super) struct Column<'a, A> {
    name: &'static str,
    array: &'a A,
}

fn find<'a>(
    batch: &'a RecordBatch,
    name: &'static str,
    wanted: &'static str,
) -> Result<&'a ArrayRef, SchemaError> {
    batch.column_by_name(name).ok_or(SchemaError::Column {
        column: name,
        wanted,
    })
}

pub(super) fn texts<'a>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<Column<'a, StringArray>, SchemaError> {
    let wanted = "string";
    let array = find(batch, name, wanted)?
        .as_string_opt()
        .ok_or(SchemaError::Column {
            column: name,
            wanted,
        })?;
    Ok(Column { name, array })
}

pub(super) fn numbers<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &'static str,
    wanted: &'static str,
) -> Result<Column<'a, PrimitiveArray<T>>, SchemaError> {
    let array = find(batch, name, wanted)?
        .as_primitive_opt()
        .ok_or(SchemaError::Column {
            column: name,
            wanted,
        })?;
    Ok(Column { name, array })
}

pub(super) fn floats<'a>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<Column<'a, ListArray>, SchemaError> {
    let wanted = "array<float>";
    let array = find(batch, name, wanted)?
        .as_list_opt()
        .ok_or(SchemaError::Column {
            column: name,
            wanted,
        })?;
    Ok(Column { name, array })
}

pub(super) fn bytes<'a>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<Column<'a, BinaryArray>, SchemaError> {
    let wanted = "binary";
    let array = find(batch, name, wanted)?
        .as_binary_opt()
        .ok_or(SchemaError::Column {
            column: name,
            wanted,
        })?;
    Ok(Column { name, array })
}

impl Column<'_, BinaryArray> {
    /// A copy, so that a row does not hold the whole batch.
    pub(super) fn get(&self, row: usize) -> Option<Bytes> {
        let there = self.array.is_valid(row);
        there.then(|| Bytes::copy_from_slice(self.array.value(row)))
    }
}

impl<'a> Column<'a, StringArray> {
    pub(super) fn get(&self, row: usize) -> Option<&'a str> {
        self.array.is_valid(row).then(|| self.array.value(row))
    }

    pub(super) fn required(&self, row: usize) -> Result<&'a str, SchemaError> {
        self.get(row).ok_or(SchemaError::Null {
            column: self.name,
            row,
        })
    }
}

impl<T: ArrowPrimitiveType> Column<'_, PrimitiveArray<T>> {
    pub(super) fn get(&self, row: usize) -> Option<T::Native> {
        self.array.is_valid(row).then(|| self.array.value(row))
    }

    pub(super) fn required(&self, row: usize) -> Result<T::Native, SchemaError> {
        self.get(row).ok_or(SchemaError::Null {
            column: self.name,
            row,
        })
    }
}

impl Column<'_, Int32Array> {
    pub(super) fn side(&self, row: usize) -> Result<u32, SchemaError> {
        let value = self.required(row)?;
        u32::try_from(value).map_err(|_| SchemaError::Range {
            column: self.name,
            value: i64::from(value),
        })
    }
}

impl Column<'_, ListArray> {
    pub(super) fn get(&self, row: usize) -> Result<Option<Vec<f32>>, SchemaError> {
        if self.array.is_null(row) {
            return Ok(None);
        }
        let list = self.array.value(row);
        let floats = list
            .as_primitive_opt::<Float32Type>()
            .ok_or(SchemaError::Column {
                column: self.name,
                wanted: "array<float>",
            })?;
        if floats.null_count() > 0 {
            return Err(SchemaError::Null {
                column: self.name,
                row,
            });
        }
        Ok(Some(floats.values().to_vec()))
    }
}

/// Event time of a row in ms.
pub(super) fn millis(micros: i64) -> i64 {
    micros.div_euclid(MICROS_PER_MS)
}
