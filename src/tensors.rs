//! Models as files: safetensors of f64 and one entry of JSON, so that numpy, PyTorch and Rust read them without us.
//!
//! All that is no tensor is one entry of the metadata, because safetensors writes several in random order, and equal models
//! must be equal bytes.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;

/// Why bytes are no stored model.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// Not the container format.
    #[error(
        "it is no safetensors file ({0}): restore it from a copy, or go back to an older version of the table"
    )]
    Container(#[from] safetensors::SafeTensorError),
    /// The container of something else.
    #[error("the safetensors file has no {0} entry: it is another's, or of another kind")]
    Foreign(&'static str),
    /// Our entry, but not readable.
    #[error("the file's entry is damaged or of another release ({0}): run verify")]
    Metadata(#[from] serde_json::Error),
    /// A tensor of another type or shape than the others imply.
    #[error("tensor {name} is {found}, not {expected}: the file is damaged; run verify")]
    Tensor {
        /// Which tensor.
        name: &'static str,
        /// Its type and shape.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// NaN, an infinity, or what else can't be.
    #[error("tensor {0} holds an impossible value: the file is damaged; run verify")]
    Value(&'static str),
}

/// A tensor to write: its name, its shape, and its values in the order of rows.
pub(crate) type Tensor<'a> = (&'static str, Vec<usize>, &'a [f64]);

/// The file of `tensors`, with `metadata` as the entry of this name; equal values give equal bytes.
pub(crate) fn encode(
    entry: &'static str,
    metadata: &impl Serialize,
    tensors: &[Tensor<'_>],
) -> Result<Vec<u8>, StoredError> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(.., values)| le_bytes(values))
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        Ok((*name, TensorView::new(Dtype::F64, shape.clone(), bytes)?))
    });
    let views = views.collect::<Result<Vec<_>, StoredError>>()?;
    let entry = HashMap::from([(entry.to_owned(), serde_json::to_string(metadata)?)]);
    Ok(safetensors::serialize(views, Some(entry))?)
}

/// Little-endian, as they are stored and hashed.
pub(crate) fn le_bytes(values: &[f64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Tensors that are checked as they are read.
pub(crate) struct Tensors<'a>(SafeTensors<'a>);

impl<'a> Tensors<'a> {
    /// The entry of this name, and the tensors beside it.
    pub(crate) fn open<M: DeserializeOwned>(
        entry: &'static str,
        bytes: &'a [u8],
    ) -> Result<(M, Self), StoredError> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let entries = header.metadata().as_ref();
        let json = entries.and_then(|entries| entries.get(entry));
        let metadata = serde_json::from_str(json.ok_or(StoredError::Foreign(entry))?)?;
        Ok((metadata, Tensors(SafeTensors::deserialize(bytes)?)))
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.tensor(name).is_ok()
    }

    /// Shape and values of a tensor of finite f64 whose axes have the lengths that are given, and no axis the length 0.
    pub(crate) fn read(
        &self,
        name: &'static str,
        expected: &[Option<usize>],
    ) -> Result<(Vec<usize>, Vec<f64>), StoredError> {
        let tensor = self.0.tensor(name)?;
        let shape = tensor.shape().to_vec();
        let fits = |(&found, expected): (&usize, &Option<usize>)| {
            found > 0 && expected.is_none_or(|expected| found == expected)
        };
        if tensor.dtype() != Dtype::F64
            || shape.len() != expected.len()
            || !shape.iter().zip(expected).all(fits)
        {
            let axes = expected
                .iter()
                .map(|axis| axis.map_or("any".to_owned(), |len| len.to_string()));
            return Err(StoredError::Tensor {
                name,
                found: format!("{:?} {shape:?}", tensor.dtype()),
                expected: format!("F64 [{}]", axes.collect::<Vec<_>>().join(", ")),
            });
        }
        let (words, _) = tensor.data().as_chunks::<8>();
        let values: Vec<f64> = words.iter().map(|word| f64::from_le_bytes(*word)).collect();
        if values.iter().all(|value| value.is_finite()) {
            Ok((shape, values))
        } else {
            Err(StoredError::Value(name))
        }
    }

    /// The values of a tensor with one axis.
    pub(crate) fn vector(
        &self,
        name: &'static str,
        len: Option<usize>,
    ) -> Result<Vec<f64>, StoredError> {
        Ok(self.read(name, &[len])?.1)
    }
}
