//! MobileNetV2 1.0 (Sandler et al. 2018, table 2): inverted residuals, which widen, filter each channel by itself, and narrow
//! again without an activation.

use super::super::layer::{Epilogue, LINEAR, RELU6};
use super::super::plan::{Layer, Maps, Plan, Role};
use crate::backbone::BackboneError;

/// Expansion, output channels, repetitions and the stride of the first.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];
/// The last block that is computed in f32 where the others are in bf16: the channels of the first maps are few and of very
/// different sizes.
pub(in super::super) const LAST_IN_F32: usize = 3;
/// Channels of the first and the last convolution.
const FIRST: usize = 32;
const LAST: usize = 1280;

pub(super) fn plan(plan: &mut Plan) -> Result<Maps, BackboneError> {
    let side = plan.input.side().div_ceil(2);
    // The first block expands nothing, so its depthwise reads what the first convolution wrote.
    let mut maps = plan.maps(FIRST, side, true, Role::Wide);
    plan.first(&layer("features.0", [0, 1], 3, RELU6), maps)?;
    let mut block = 1;
    for (expansion, channels, count, stride) in STAGES {
        for index in 0..count {
            let stride = if index == 0 { stride } else { 1 };
            let shape = Inverted {
                name: format!("features.{block}.conv"),
                expansion,
                channels,
                stride,
            };
            maps = inverted_residual(plan, &shape, maps)?;
            if block == LAST_IN_F32 {
                maps = plan.converted(maps, false);
            }
            block += 1;
        }
    }
    let to = plan.maps(LAST, maps.side, false, Role::Wide);
    let last = layer(&format!("features.{block}"), [0, 1], 1, RELU6);
    plan.convolution(&last, [maps, to])?;
    Ok(to)
}

struct Inverted {
    name: String,
    expansion: usize,
    channels: usize,
    stride: usize,
}

/// 1x1, depthwise 3x3, 1x1 (Sandler et al. 2018, figure 4d). Returns its output.
fn inverted_residual(plan: &mut Plan, shape: &Inverted, from: Maps) -> Result<Maps, BackboneError> {
    let (wide, side) = (
        from.channels * shape.expansion,
        from.side.div_ceil(shape.stride),
    );
    let mut expanded = from;
    let mut place = 0;
    if shape.expansion > 1 {
        expanded = plan.maps(wide, from.side, true, Role::Narrow);
        let expand = layer(&format!("{}.0", shape.name), [0, 1], 1, RELU6);
        plan.convolution(&expand, [from, expanded])?;
        place = 1;
    }
    let filtered = plan.maps(wide, side, false, Role::Middle);
    let filter = layer(&format!("{}.{place}", shape.name), [0, 1], 3, RELU6);
    plan.depthwise(&filter, [expanded, filtered]);
    let keeps = shape.stride == 1 && from.channels == shape.channels;
    let (to, epilogue) = if keeps {
        // The sum is formed where the shortcut lies.
        (from, LINEAR.residual())
    } else {
        let to = plan.maps(shape.channels, side, false, Role::Wide);
        (to, LINEAR)
    };
    let narrow = layer(&shape.name, [place + 1, place + 2], 1, epilogue);
    plan.convolution(&narrow, [filtered, to])?;
    Ok(to)
}

/// A convolution and its BatchNorm, by their places in a sequence.
fn layer(sequence: &str, [conv, norm]: [usize; 2], k: usize, epilogue: Epilogue) -> Layer {
    Layer {
        conv: format!("{sequence}.{conv}"),
        norm: Some(format!("{sequence}.{norm}")),
        k,
        epilogue,
    }
}
