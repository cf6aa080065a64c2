//! Named f32 tensors on their way from a package to a safetensors file.

use std::collections::{BTreeMap, HashMap};

use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, TensorView, serialize};

/// A dense tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// A network's tensors by torchvision's names.
pub(super) type Tensors = BTreeMap<String, Tensor>;

impl Tensor {
    /// Makes a strided view dense: element `i` is `source(offset + i · strides)`, where `source` says `None` outside of
    /// its storage. `None` too when the view is larger than `limit` elements, the storage's length: no network's is.
    pub(super) fn from_strided(
        shape: Vec<usize>,
        strides: &[usize],
        offset: usize,
        limit: usize,
        source: impl Fn(usize) -> Option<f32>,
    ) -> Option<Self> {
        let len = shape
            .iter()
            .try_fold(1usize, |len, &dim| len.checked_mul(dim))
            .filter(|&len| len <= limit && shape.len() == strides.len())?;
        let mut values = Vec::with_capacity(len);
        let mut position = vec![0; shape.len()];
        for _ in 0..len {
            let at = position
                .iter()
                .zip(strides)
                .try_fold(offset, |at, (&i, &stride)| {
                    at.checked_add(stride.checked_mul(i)?)
                })?;
            values.push(source(at)?);
            for (i, &dim) in position.iter_mut().zip(&shape).rev() {
                *i += 1;
                if *i < dim {
                    break;
                }
                *i = 0;
            }
        }
        Some(Self { shape, values })
    }

    /// Convolution kernels `[height, width, in, out]`, as TensorFlow and JAX have them, as torch's
    /// `[out, in, height, width]`; `value` reads the source at a row-major index.
    pub(super) fn from_hwio(
        [height, width, inputs, outputs]: [usize; 4],
        value: impl Fn(usize) -> Option<f32>,
    ) -> Option<Self> {
        let len = [height, width, inputs, outputs]
            .iter()
            .try_fold(1usize, |len, &dim| len.checked_mul(dim))?;
        Self::from_strided(
            vec![outputs, inputs, height, width],
            &[1, outputs, width * inputs * outputs, inputs * outputs],
            0,
            len,
            value,
        )
    }
}

/// The `index`th little-endian f32 of `bytes`.
pub(super) fn f32_at(bytes: &[u8], index: usize) -> Option<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    values.get(index).copied().map(f32::from_le_bytes)
}

/// The safetensors file of these tensors. `about` is its only metadata entry: the format keeps the order of several
/// nowhere, and a file with two would not be reproducible.
pub(super) fn to_safetensors(tensors: &Tensors, about: &str) -> Result<Vec<u8>, SafeTensorError> {
    let bytes: Vec<(&str, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let bytes = tensor.values.iter().flat_map(|value| value.to_le_bytes());
            (name.as_str(), tensor.shape.as_slice(), bytes.collect())
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.to_vec(), bytes).map(|view| (*name, view))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let metadata = HashMap::from([("about".to_owned(), about.to_owned())]);
    serialize(views, Some(metadata))
}
