//! What the micro-kernel reaches on data in the first-level cache: the ceiling that layers are compared with.

use super::Family;
use super::conv::{Activation, Direct, Epilogue, Folded, Grid};
use super::isa::Isa;
use super::memory::Block;
use crate::backbone::{BackboneError, Precision};
use std::time::Instant;

/// Calls timed together, and how often: the best counts.
const CALLS: usize = 100;
const ROUNDS: usize = 200;

/// Operations a second on one tile of 14 pixels x 32 outputs with K of 256 words: 14 KiB of input, 32 KiB of weights.
pub(in crate::backbone) fn peak(precision: Precision) -> Result<f64, BackboneError> {
    let isa = Isa::new(Family::detect(), precision)?;
    let grid = |blocks| Grid {
        blocks,
        height: 1,
        width: 14,
        border: 0,
    };
    let (from, to) = (grid(16), grid(32_usize.div_ceil(isa.block_channels())));
    let cin = from.blocks * isa.block_channels();
    let folded = Folded {
        weights: vec![0.0; 32 * cin],
        bias: vec![0.0; 32],
        cin,
        cout: 32,
        k: 1,
    };
    let epilogue = Epilogue {
        accumulate: false,
        activation: Activation::Relu,
    };
    let tile = Direct::blocked(isa, &folded, 1, epilogue, from, to);
    let (input, mut output) = (Block::zeroed(from.bytes()), Block::zeroed(to.bytes()));
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        (0..CALLS).for_each(|_| tile.run(&input, &mut output));
        best = best.min(start.elapsed().as_secs_f64() / CALLS as f64);
    }
    Ok(folded.flops(14) / best)
}
