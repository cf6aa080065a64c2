//! Random projection by signs (Achlioptas 2003, "Database-friendly random projections"): `y = S x / √m`, where every entry of S
//! is +1 or -1 by the flip of a fair coin. Distances are kept within 1 ± ε with the certainty that Gaussian numbers give
//! (Johnson & Lindenstrauss 1984).
//!
//! A product with a sign is exact and sums are formed in one order, so the same features give the same bits on every
//! CPU. The coin is a published generator, so that anyone can write S down: see [`Signs::new`].

use crate::backbone::kernels::split_mix;

/// Features that share a word of signs.
const ROWS: usize = 32;
/// Outputs that are summed together, for the compiler to keep in registers.
const LANES: usize = 16;

/// The matrix S, a bit an entry.
pub(super) struct Signs {
    outputs: usize,
    /// `[features / 32][outputs]`, outputs filled up to whole lanes; bit b of a word is of feature b of the 32, 1 for minus.
    words: Vec<[u32; LANES]>,
}

impl Signs {
    /// The matrix of a seed, from `inputs` features to `outputs`.
    ///
    /// Entry (feature j, output i) is -1 where bit j mod 32 is set in the upper half of number ⌊j / 32⌋ · outputs + i, counted
    /// from 0, of SplitMix64 begun with the seed.
    pub(super) fn new(inputs: usize, outputs: usize, seed: u64) -> Self {
        let mut state = seed;
        let mut words = Vec::new();
        for _ in 0..inputs.div_ceil(ROWS) {
            for first in (0..outputs).step_by(LANES) {
                let mut lanes = [0; LANES];
                let count = LANES.min(outputs - first);
                lanes[..count].fill_with(|| (split_mix(&mut state) >> 32) as u32);
                words.push(lanes);
            }
        }
        Self { outputs, words }
    }

    /// `from`: `[inputs]`; `to`: `[outputs]`.
    pub(super) fn apply(&self, from: &[f32], to: &mut [f32]) {
        let groups = self.outputs.div_ceil(LANES);
        let scale = (1.0 / (self.outputs as f64).sqrt()) as f32;
        for (group, to) in to.chunks_mut(LANES).enumerate() {
            let mut sums = [0.0; LANES];
            let words = self.words.iter().skip(group).step_by(groups);
            for (words, features) in words.zip(from.chunks(ROWS)) {
                // By 32 and then their sums: shorter sums round less.
                let mut parts = [0.0; LANES];
                for (bit, feature) in features.iter().enumerate() {
                    for (part, word) in parts.iter_mut().zip(words) {
                        let sign = (word >> bit) << 31;
                        *part += f32::from_bits(feature.to_bits() ^ sign);
                    }
                }
                for (sum, part) in sums.iter_mut().zip(parts) {
                    *sum += part;
                }
            }
            for (to, sum) in to.iter_mut().zip(sums) {
                *to = sum * scale;
            }
        }
    }
}
