//! The residual networks by Candle's own layers: the way onto a GPU (feature `cuda`), where batches pay, and the check that
//! owes nothing to our kernels.
//!
//! ResNet-18 to 152 (He et al. 2015) up to the global average pool, without the classifier. Convolutions take their BatchNorm
//! in at load.

use candle_core::{DType, Device, Module, Result as CandleResult, Tensor};
use candle_nn::{BatchNormConfig, Conv2d, Conv2dConfig, VarBuilder, batch_norm, conv2d_no_bias};

use super::architecture::{ResNet, Strides};

/// ImageNet's channel means and deviations, of RGB in 0..1.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];
const CHANNELS: usize = 3;

/// Why a network was not loaded or did not run.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// A tensor is missing or of another shape, or the device failed.
    #[error("the reference network: {0}")]
    Candle(#[from] candle_core::Error),
    /// The pixels are not those of `images` pictures.
    #[error("{images} images of {side} x {side} RGB pixels are not {found} bytes long")]
    Pixels {
        /// How many images were promised.
        images: usize,
        /// Their height and width.
        side: usize,
        /// The bytes that came.
        found: usize,
    },
}

/// A loaded residual network on one device.
#[derive(Debug)]
pub struct ReferenceResNet {
    device: Device,
    stem: Conv2d,
    blocks: Vec<Block>,
}

impl ReferenceResNet {
    /// Builds the network of `arch` from a safetensors file with torchvision's tensor names.
    ///
    /// # Errors
    /// Names the tensor that is missing or has another shape; or the device's error.
    pub fn load(arch: ResNet, bytes: &[u8], device: &Device) -> Result<Self, ReferenceError> {
        let tensors = VarBuilder::from_slice_safetensors(bytes, DType::F32, device)?;
        let stem = conv_norm(&tensors, "conv1", "bn1", [CHANNELS, 64], 7, 2)?;
        let mut blocks = Vec::new();
        let mut channels = 64;
        for (stage, count) in arch.blocks().into_iter().enumerate() {
            let width = 64 << stage;
            for index in 0..count {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let tensors = tensors.pp(format!("layer{}.{index}", stage + 1));
                let block = Block::load(arch, &tensors, channels, width, stride)?;
                blocks.push(block);
                channels = if arch.bottleneck() { 4 * width } else { width };
            }
        }
        Ok(Self {
            device: device.clone(),
            stem,
            blocks,
        })
    }

    /// Features of a batch.
    ///
    /// `pixels`: `[n, side, side, 3]` RGB bytes; the result: `[n, d]` row-major, `d` = 512 or 2048. What a GPU computes may
    /// depend on the batch in the last bits.
    ///
    /// # Errors
    /// `Pixels` if their count is wrong; the device's error.
    pub fn forward(
        &self,
        pixels: &[u8],
        n: usize,
        side: usize,
    ) -> Result<Vec<f32>, ReferenceError> {
        let len = [n, side, side, CHANNELS]
            .iter()
            .try_fold(1usize, |len, &dim| len.checked_mul(dim));
        if len != Some(pixels.len()) {
            return Err(ReferenceError::Pixels {
                images: n,
                side,
                found: pixels.len(),
            });
        }
        if n == 0 {
            return Ok(Vec::new());
        }
        let pixels = Tensor::from_slice(pixels, (n, side, side, CHANNELS), &self.device)?;
        let features = self.features(&self.normalise(&pixels)?)?;
        Ok(features.flatten_all()?.to_vec1()?)
    }

    /// `(rgb / 255 - mean) / std`, `[n, 3, side, side]` f32.
    fn normalise(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        let channels = |values: &[f32; CHANNELS]| {
            Tensor::from_slice(values, (1, CHANNELS, 1, 1), &self.device)
        };
        let rgb = pixels
            .permute((0, 3, 1, 2))?
            .contiguous()?
            .to_dtype(DType::F32)?;
        (rgb / 255.0)?
            .broadcast_sub(&channels(&MEAN)?)?
            .broadcast_div(&channels(&STD)?)
    }

    fn features(&self, input: &Tensor) -> CandleResult<Tensor> {
        let stem = self.stem.forward(input)?.relu()?;
        // What pads the pool must not win it; after ReLU nothing is less than zero.
        let padded = stem.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
        let mut maps = padded.max_pool2d_with_stride(3, 2)?;
        for block in &self.blocks {
            maps = block.forward(&maps)?;
        }
        maps.mean((2, 3))
    }
}

/// Two 3x3 convolutions (basic) or 1x1, 3x3, 1x1 (bottleneck) beside a shortcut.
#[derive(Debug)]
struct Block {
    convs: Vec<Conv2d>,
    downsample: Option<Conv2d>,
}

impl Block {
    fn load(
        arch: ResNet,
        tensors: &VarBuilder<'_>,
        channels: usize,
        width: usize,
        stride: usize,
    ) -> CandleResult<Self> {
        let (first, second) = match arch.strides {
            Strides::V1 => (stride, 1),
            Strides::V15 => (1, stride),
        };
        // Inputs and outputs, kernel, stride.
        let layers = if arch.bottleneck() {
            vec![
                ([channels, width], 1, first),
                ([width, width], 3, second),
                ([width, 4 * width], 1, 1),
            ]
        } else {
            vec![([channels, width], 3, stride), ([width, width], 3, 1)]
        };
        let outputs = if arch.bottleneck() { 4 * width } else { width };
        let convs = (1..).zip(layers).map(|(index, (shape, kernel, stride))| {
            conv_norm(
                tensors,
                &format!("conv{index}"),
                &format!("bn{index}"),
                shape,
                kernel,
                stride,
            )
        });
        let downsample = (stride != 1 || channels != outputs).then(|| {
            conv_norm(
                tensors,
                "downsample.0",
                "downsample.1",
                [channels, outputs],
                1,
                stride,
            )
        });
        Ok(Self {
            convs: convs.collect::<CandleResult<_>>()?,
            downsample: downsample.transpose()?,
        })
    }

    fn forward(&self, input: &Tensor) -> CandleResult<Tensor> {
        let mut maps = input.clone();
        for (index, conv) in self.convs.iter().enumerate() {
            if index > 0 {
                maps = maps.relu()?;
            }
            maps = conv.forward(&maps)?;
        }
        match &self.downsample {
            Some(conv) => (maps + conv.forward(input)?)?.relu(),
            None => (maps + input)?.relu(),
        }
    }
}

/// A convolution with the BatchNorm behind it taken in; padded so that stride 1 keeps the size.
fn conv_norm(
    tensors: &VarBuilder<'_>,
    conv: &str,
    norm: &str,
    [inputs, outputs]: [usize; 2],
    kernel: usize,
    stride: usize,
) -> CandleResult<Conv2d> {
    let config = Conv2dConfig {
        padding: kernel / 2,
        stride,
        ..Conv2dConfig::default()
    };
    let conv = conv2d_no_bias(inputs, outputs, kernel, config, tensors.pp(conv))?;
    conv.absorb_bn(&batch_norm(
        outputs,
        BatchNormConfig::default(),
        tensors.pp(norm),
    )?)
}

#[cfg(test)]
mod tests;
