//! Random projection by signs (Achlioptas 2003, "Database-friendly random projections"): `y = S x / √m`, where every entry of S
//! is +1 or -1 by the flip of a fair coin. Distances are kept within 1 ± ε with the certainty that Gaussian numbers give
//! (Johnson & Lindenstrauss 1984).
//!
//! A product with a sign is exact and sums are formed in one order, so the same features give the same bits on every
//! CPU; the instruction set decides the speed alone. The coin is a published generator, so that anyone can write S down: see
//! [`Signs::new`].

use super::isa::{Family, Isa};
use super::lanes::{Lanes, Task};
use super::source::split_mix;
use crate::backbone::{BackboneError, Precision};

/// Features that share a word of signs.
const ROWS: usize = 32;
/// Outputs that are summed together, for the compiler to keep in registers.
const OUTPUTS: usize = 16;

/// The matrix S, a bit an entry.
pub(in crate::backbone) struct Signs {
    isa: Isa,
    outputs: usize,
    /// `[outputs / 16][features / 32]`; bit b of a word is of feature b of the 32, 1 for minus.
    words: Vec<[u32; OUTPUTS]>,
}

impl Signs {
    /// The matrix of a seed, from `inputs` features to `outputs`.
    ///
    /// Entry (feature j, output i) is -1 where bit j mod 32 is set in the upper half of number ⌊j / 32⌋ · outputs + i, counted
    /// from 0, of SplitMix64 begun with the seed.
    ///
    /// # Errors
    /// [`BackboneError::Unsupported`], which the family of `Family::registers` never is.
    pub(in crate::backbone) fn new(
        inputs: usize,
        outputs: usize,
        seed: u64,
    ) -> Result<Self, BackboneError> {
        let rows = inputs.div_ceil(ROWS);
        let mut words = vec![[0; OUTPUTS]; rows * outputs.div_ceil(OUTPUTS)];
        let mut state = seed;
        for (row, output) in (0..rows).flat_map(|row| (0..outputs).map(move |o| (row, o))) {
            let word = (split_mix(&mut state) >> 32) as u32;
            words[output / OUTPUTS * rows + row][output % OUTPUTS] = word;
        }
        Ok(Self {
            isa: Isa::new(Family::registers(), Precision::F32)?,
            outputs,
            words,
        })
    }

    /// `from`: `[inputs]`; `to`: `[outputs]`.
    pub(in crate::backbone) fn run(&self, from: &[f32], to: &mut [f32]) {
        let signs = self;
        // SAFETY: the task has no pointers.
        unsafe { self.isa.enter(Project { signs, from, to }) }
    }
}

struct Project<'a> {
    signs: &'a Signs,
    from: &'a [f32],
    to: &'a mut [f32],
}

impl Task for Project<'_> {
    /// Plain loops: compiled once for each instruction set, they use its registers.
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Signs { outputs, words, .. } = self.signs;
        let rows = self.from.len().div_ceil(ROWS);
        let scale = (1.0 / (*outputs as f64).sqrt()) as f32;
        for (to, words) in self.to.chunks_mut(OUTPUTS).zip(words.chunks_exact(rows)) {
            let mut sums = [0.0; OUTPUTS];
            for (words, features) in words.iter().zip(self.from.chunks(ROWS)) {
                // By 32 and then their sums: shorter sums round less.
                let mut parts = [0.0; OUTPUTS];
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
