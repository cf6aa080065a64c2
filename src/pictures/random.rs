//! Seeded numbers: a generator, and noise over space.

use crate::splitmix::{GOLDEN, SplitMix, finalise, fraction, mix};

/// A generator for one place.
pub(super) struct Random(SplitMix);

impl Random {
    /// A stream for these coordinates, unrelated to that of any others.
    pub(super) fn of<const N: usize>(coordinates: [u64; N]) -> Self {
        let seed = coordinates.iter().fold(0, |state, c| mix(state ^ mix(*c)));
        Random(SplitMix(seed))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// Uniform in `[low, high)`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * fraction(self.next())
    }
}

/// One hash a lattice point. The factors are odd and unrelated, so that no neighbours share theirs.
fn lattice(seed: u64, cell: [i64; 3]) -> u64 {
    let [x, y, z] = cell.map(|c| c as u64);
    let spread = x.wrapping_mul(0xd6e8_feb8_6659_fd93)
        ^ y.wrapping_mul(0xa076_1d64_78bd_642f)
        ^ z.wrapping_mul(0xe703_7ed1_a0b4_28db);
    finalise(seed.wrapping_mul(GOLDEN) ^ spread)
}

/// Smooth value noise in `[0, 1)`, one lattice cell a unit.
pub(super) fn noise(seed: u64, p: [f64; 3]) -> f64 {
    let cell = p.map(|c| c.floor());
    let ease = [0, 1, 2].map(|i| {
        let t: f64 = p[i] - cell[i];
        t * t * (3.0 - 2.0 * t)
    });
    let mut sum = 0.0;
    for corner in 0..8 {
        let bits = [corner & 1, corner >> 1 & 1, corner >> 2 & 1];
        let weight = [0, 1, 2].map(|i| if bits[i] == 1 { ease[i] } else { 1.0 - ease[i] });
        let at = [0, 1, 2].map(|i| cell[i] as i64 + bits[i]);
        sum += weight[0] * weight[1] * weight[2] * fraction(lattice(seed, at));
    }
    sum
}

/// Squared distance to the nearest of random points, one in each unit cell (after Worley, 1996; only the own cell is
/// searched, so points near a wall are cut, which suits specks).
pub(super) fn nearest_point(seed: u64, p: [f64; 3]) -> f64 {
    let cell = p.map(|c| c.floor());
    let mut random = Random(SplitMix(lattice(seed, cell.map(|c| c as i64))));
    cell.iter().zip(p).fold(0.0, |sum, (corner, c)| {
        let d = c - corner - random.between(0.3, 0.7);
        sum + d * d
    })
}
