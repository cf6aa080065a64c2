//! VGG-16 (Simonyan & Zisserman 2014, configuration D): 3x3 convolutions with biases, a 2x2 maximum behind each block.

use super::super::layer::RELU;
use super::super::plan::{Layer, Maps, Plan, Role};
use crate::backbone::BackboneError;

/// Channels and convolutions of each block.
const BLOCKS: [(usize, usize); 5] = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];

pub(super) fn plan(plan: &mut Plan) -> Result<Maps, BackboneError> {
    let mut side = plan.input.side();
    let mut maps = plan.maps(64, side, true, Role::Narrow);
    plan.first(&layer(0), maps)?;
    // torchvision counts the ReLUs, and the maxima, too.
    let mut place = 2;
    for (block, (channels, convolutions)) in BLOCKS.into_iter().enumerate() {
        let first = usize::from(block == 0);
        for index in first..convolutions {
            let role = [Role::Narrow, Role::Middle][index % 2];
            let to = plan.maps(channels, side, true, role);
            plan.convolution(&layer(place), [maps, to])?;
            (maps, place) = (to, place + 2);
        }
        side /= 2;
        let to = plan.maps(channels, side, true, Role::Wide);
        plan.maximum([maps, to]);
        (maps, place) = (to, place + 1);
    }
    Ok(maps)
}

fn layer(place: usize) -> Layer {
    Layer {
        conv: format!("features.{place}"),
        norm: None,
        k: 3,
        epilogue: RELU,
    }
}
