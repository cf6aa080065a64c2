//! The ResNets (He et al. 2015). The residual is added in place, so a stage has one wide buffer: the shortcut (or the block
//! before) wrote it, the last convolution of the block accumulates into it.

use super::super::layer::{Epilogue, LINEAR, RELU};
use super::super::plan::{Layer, Maps, Plan, Role};
use crate::backbone::BackboneError;
use crate::backbone::architecture::{ResNet, Strides};

/// The last block of the first stage that is computed in f32 where the others split their numbers: what trained networks lose by that, they lose nearly all
/// there (Keras' ResNet-50 2.2e-5 with it, 6.1e-6 without).
pub(in super::super) const LAST_IN_F32: usize = 1;

pub(super) fn plan(plan: &mut Plan, network: ResNet) -> Result<Maps, BackboneError> {
    let side = plan.input.side().div_ceil(2).div_ceil(2);
    let mut maps = plan.maps(64, side, !network.bottleneck(), Role::Wide);
    let stem = Layer {
        conv: "conv1".into(),
        norm: Some("bn1".into()),
        k: 7,
        epilogue: RELU,
    };
    plan.stem(&stem, maps)?;
    for (stage, blocks) in network.blocks().into_iter().enumerate() {
        for block in 0..blocks {
            let shape = Block {
                name: format!("layer{}.{block}", stage + 1),
                width: 64 << stage,
                stride: if block == 0 && stage > 0 { 2 } else { 1 },
                reshapes: block == 0 && (stage > 0 || network.bottleneck()),
            };
            maps = if network.bottleneck() {
                bottleneck(plan, &shape, network.strides, maps)?
            } else {
                basic(plan, &shape, maps)?
            };
            if stage == 0 && block + 1 == LAST_IN_F32 {
                maps = plan.converted(maps, !network.bottleneck());
            }
        }
    }
    Ok(maps)
}

struct Block {
    name: String,
    /// Channels of its 3x3 convolutions.
    width: usize,
    stride: usize,
    /// Whether the shortcut is a convolution.
    reshapes: bool,
}

impl Block {
    fn layer(&self, index: usize, k: usize, epilogue: Epilogue) -> Layer {
        Layer {
            conv: format!("{}.conv{index}", self.name),
            norm: Some(format!("{}.bn{index}", self.name)),
            k,
            epilogue,
        }
    }

    /// Brings the input where the block's sum is formed, unless it lies there already.
    fn shortcut(&self, plan: &mut Plan, maps: [Maps; 2]) -> Result<(), BackboneError> {
        if !self.reshapes {
            assert!(
                maps[0] == maps[1],
                "a block that keeps the shape works in place"
            );
            return Ok(());
        }
        let layer = Layer {
            conv: format!("{}.downsample.0", self.name),
            norm: Some(format!("{}.downsample.1", self.name)),
            k: 1,
            epilogue: LINEAR,
        };
        plan.convolution(&layer, maps)
    }
}

/// 1x1, 3x3, 1x1 (He et al. 2015, figure 5 right). Returns its output.
fn bottleneck(
    plan: &mut Plan,
    block: &Block,
    strides: Strides,
    from: Maps,
) -> Result<Maps, BackboneError> {
    let inner = from.side.div_ceil(block.stride);
    let before = match strides {
        Strides::V1 => inner,
        Strides::V15 => from.side,
    };
    let narrow = plan.maps(block.width, before, true, Role::Narrow);
    let middle = plan.maps(block.width, inner, false, Role::Middle);
    let wide = plan.maps(4 * block.width, inner, false, Role::Wide);
    // Before the shortcut, whose maps may be smaller: from the last large ones on, images go side by side.
    plan.convolution(&block.layer(1, 1, RELU), [from, narrow])?;
    block.shortcut(plan, [from, wide])?;
    plan.convolution(&block.layer(2, 3, RELU), [narrow, middle])?;
    plan.convolution(&block.layer(3, 1, RELU.residual()), [middle, wide])?;
    Ok(wide)
}

/// 3x3, 3x3 (He et al. 2015, figure 5 left). Returns its output.
fn basic(plan: &mut Plan, block: &Block, from: Maps) -> Result<Maps, BackboneError> {
    let inner = from.side.div_ceil(block.stride);
    let middle = plan.maps(block.width, inner, true, Role::Middle);
    let wide = plan.maps(block.width, inner, true, Role::Wide);
    block.shortcut(plan, [from, wide])?;
    plan.convolution(&block.layer(1, 3, RELU), [from, middle])?;
    plan.convolution(&block.layer(2, 3, RELU.residual()), [middle, wide])?;
    Ok(wide)
}
