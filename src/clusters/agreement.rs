//! How far two partitions of the same rows are one: clusters and labels.

use std::collections::BTreeMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

/// Of two partitions, as scikit-learn's `adjusted_rand_score` and `normalized_mutual_info_score` have them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// 1 for the same partition, 0 for what chance would give (Hubert and Arabie 1985).
    pub adjusted_rand_index: f64,
    /// 1 for the same partition, 0 for independent ones: over the mean of both entropies.
    pub normalised_mutual_information: f64,
}

impl Agreement {
    /// Of how many rows are in each pair of parts; `None` if there are none.
    pub fn new<A: Ord + Copy + Hash, B: Ord + Copy + Hash>(
        table: impl IntoIterator<Item = ((A, B), u64)>,
    ) -> Option<Self> {
        let mut cells: BTreeMap<(A, B), u64> = BTreeMap::new();
        let (mut first, mut second) = (BTreeMap::new(), BTreeMap::new());
        for ((a, b), rows) in table {
            *cells.entry((a, b)).or_default() += rows;
            *first.entry(a).or_default() += rows;
            *second.entry(b).or_default() += rows;
        }
        let rows: u64 = cells.values().sum();
        if rows == 0 {
            return None;
        }
        Some(Agreement {
            adjusted_rand_index: rand_index(&cells, &first, &second, rows),
            normalised_mutual_information: mutual_information(&cells, &first, &second, rows),
        })
    }
}

fn rand_index<A, B>(
    cells: &BTreeMap<(A, B), u64>,
    first: &BTreeMap<A, u64>,
    second: &BTreeMap<B, u64>,
    rows: u64,
) -> f64 {
    let squares = |sizes: &mut dyn Iterator<Item = &u64>| -> i128 {
        sizes
            .map(|size| i128::from(*size) * i128::from(*size))
            .sum()
    };
    let rows = i128::from(rows);
    let together = squares(&mut cells.values());
    let in_first = squares(&mut first.values());
    let in_second = squares(&mut second.values());
    // Ordered pairs of rows: together in both, in the first or the second only, in neither.
    let both = together - rows;
    let only_first = in_first - together;
    let only_second = in_second - together;
    if only_first == 0 && only_second == 0 {
        return 1.0;
    }
    let neither = rows * rows - both - only_first - only_second - rows;
    let [both, only_first, only_second, neither] =
        [both, only_first, only_second, neither].map(|pairs| pairs as f64);
    2.0 * (both * neither - only_first * only_second)
        / ((both + only_first) * (only_first + neither)
            + (both + only_second) * (only_second + neither))
}

fn mutual_information<A: Ord, B: Ord>(
    cells: &BTreeMap<(A, B), u64>,
    first: &BTreeMap<A, u64>,
    second: &BTreeMap<B, u64>,
    rows: u64,
) -> f64 {
    if first.len() == 1 && second.len() == 1 {
        return 1.0;
    }
    let rows = rows as f64;
    let share = |size: u64| size as f64 / rows;
    let entropy = |sizes: &mut dyn Iterator<Item = &u64>| -> f64 {
        sizes.map(|size| -share(*size) * share(*size).ln()).sum()
    };
    let shared = cells.iter().map(|((a, b), size)| {
        let expected = share(first[a]) * share(second[b]);
        share(*size) * (share(*size) / expected).ln()
    });
    let shared: f64 = shared.sum();
    let mean = (entropy(&mut first.values()) + entropy(&mut second.values())) / 2.0;
    // Rounding may leave a little below nothing.
    if mean > 0.0 {
        (shared / mean).clamp(0.0, 1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(first: &str, second: &str) -> Agreement {
        let pairs = first.chars().zip(second.chars());
        Agreement::new(pairs.map(|pair| (pair, 1))).unwrap()
    }

    /// `adjusted_rand_score` and `normalized_mutual_info_score` of scikit-learn 1.9.
    #[test]
    fn numbers_are_those_of_scikit_learn() {
        for (first, second, rand, information) in [
            ("aabb", "xxyy", 1.0, 1.0),
            ("aabb", "xyxy", -0.5, 0.0),
            ("aaaa", "xxxx", 1.0, 1.0),
            ("aaaa", "wxyz", 0.0, 0.0),
            (
                "aaabbbcccc",
                "xxyyyzzzzx",
                0.20454545454545456,
                0.44270128334605,
            ),
            ("abcabcabca", "xxxyyyzzzz", -0.25, 0.012714017928048455),
        ] {
            let found = of(first, second);
            let near = |found: f64, wanted: f64| (found - wanted).abs() < 1e-12;
            assert!(
                near(found.adjusted_rand_index, rand),
                "{first} {second} {found:?}"
            );
            assert!(
                near(found.normalised_mutual_information, information),
                "{first} {second} {found:?}"
            );
        }
        assert_eq!(Agreement::new(Vec::<((u8, u8), u64)>::new()), None);
    }
}
