//! Chance as a function of a seed and a key.

use crate::splitmix::mix;

/// A number that is evenly spread over keys, seeds and turns.
pub(super) fn hash(seed: u64, turn: u64, key: u128) -> u64 {
    mix(mix(mix(mix(seed) ^ turn) ^ key as u64) ^ (key >> 64) as u64)
}

/// When a row of this weight arrives in a race: it is the first with a probability in proportion to the weight. A row without weight
/// never arrives.
pub(super) fn arrival(seed: u64, turn: u64, key: u128, weight: f64) -> Option<f64> {
    // Within (0, 1): both ends are half a step away.
    let uniform = ((hash(seed, turn, key) >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
    (weight > 0.0).then(|| -uniform.ln() / weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_win_in_proportion_to_their_weights() {
        const RACES: u64 = 20_000;
        let weights = [1.0, 0.0, 2.0, 5.0];
        let mut won = [0u32; 4];
        for turn in 0..RACES {
            let arrivals = (0u128..).zip(weights);
            let arrivals = arrivals
                .filter_map(|(key, weight)| Some((arrival(7, turn, key, weight)?, key as usize)));
            let first = arrivals.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            won[first.1] += 1;
        }
        assert_eq!(won[1], 0);
        for (won, weight) in won.into_iter().zip(weights) {
            let share = f64::from(won) / RACES as f64;
            assert!((share - weight / 8.0).abs() < 0.015, "{weight}: {share}");
        }
    }
}
