//! What the micro-kernel reaches on data in the first-level cache: the ceiling that layers are compared with.

use super::conv::Direct;
use super::grid::Grid;
use super::isa::Isa;
use super::layer::{Folded, RELU};
use super::memory::Block;
use super::micro::PANEL;
use std::time::Instant;

/// Calls timed together.
const CALLS: usize = 100;

/// Operations a second on one tile x 32 outputs: 14 pixels with K of 256 words, 14 KiB of input and 32 KiB of weights; on AMX
/// 32 pixels of a 3x3 with K of 288 words, 13 and 36 KiB. The best of so many rounds counts, each some tenths of a
/// millisecond on registers and tiles.
pub(super) fn peak(isa: Isa, rounds: usize) -> f64 {
    let (pixels, blocks, k) = if isa.tiles() { (32, 2, 3) } else { (14, 16, 1) };
    let cin = blocks * isa.block_channels();
    let grid = |channels| Grid::new(isa, [channels, 1, pixels], k / 2);
    let (from, to) = (grid(cin), grid(PANEL));
    let folded = Folded {
        weights: vec![0.0; PANEL * cin * k * k],
        bias: vec![0.0; PANEL],
        cin,
        cout: PANEL,
        k,
    };
    let tile = Direct::blocked(isa, &folded, 1, RELU, from, to);
    let (input, mut output) = (Block::zeroed(from.bytes()), Block::zeroed(to.bytes()));
    let mut scratch = Block::zeroed(tile.scratch_bytes(1));
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let start = Instant::now();
        (0..CALLS).for_each(|_| tile.run(1, &input, &mut output, &mut scratch));
        best = best.min(start.elapsed().as_secs_f64() / CALLS as f64);
    }
    folded.flops(pixels) / best
}
