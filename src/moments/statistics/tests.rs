use super::super::{Accumulator, MAX_ABS, MAX_ROWS, Part, Sums};
use super::*;
use proptest::prelude::*;

const STEPS: i32 = 1 << FRACTION_BITS;

fn state(rows: &[Vec<i32>]) -> Moments {
    let width = rows.first().map_or(1, Vec::len);
    let mut accumulator = Accumulator::new(width).unwrap();
    rows.iter()
        .for_each(|row| accumulator.add(row, Some("all")).unwrap());
    Moments::from_parts(width, accumulator.drain()).unwrap()
}

proptest! {
    #[test]
    fn statistics_agree_with_the_two_pass_formulas(rows in prop::collection::vec(prop::collection::vec(-1_000_000i32..1_000_000, 7), 2..40)) {
        let moments = state(&rows);
        let (n, step) = (rows.len() as f64, f64::from(STEPS));
        let mean: Vec<f64> = (0..7).map(|j| rows.iter().map(|row| f64::from(row[j]) / step).sum::<f64>() / n).collect();
        let scatter = |i: usize, j: usize| -> f64 {
            rows.iter().map(|row| (f64::from(row[i]) / step - mean[i]) * (f64::from(row[j]) / step - mean[j])).sum()
        };
        let near = |got: f64, expected: f64, scale: f64| (got - expected).abs() <= 1e-12 * scale.max(1e-9);
        let (covariance, correlation) = (moments.covariance(0).unwrap(), moments.correlation().unwrap());
        let variance = moments.variance(1).unwrap();
        for i in 0..7 {
            prop_assert!(near(moments.mean().unwrap()[i], mean[i], 1.0));
            prop_assert!(near(variance[i], scatter(i, i) / (n - 1.0), variance[i]));
            for j in 0..7 {
                let scale = (scatter(i, i) * scatter(j, j)).sqrt();
                prop_assert!(near(covariance[[i, j]] * n, scatter(i, j), scale));
                prop_assert!(near(correlation[[i, j]] * scale, scatter(i, j), scale));
                prop_assert_eq!(covariance[[i, j]], covariance[[j, i]]);
                prop_assert_eq!(correlation[[i, j]], correlation[[j, i]]);
            }
        }
    }
}

#[test]
fn a_large_mean_cancels_nothing() {
    // Two steps apart at the end of the grid: the textbook formula in f64 has no digit left for this variance.
    let base = i32::MAX - 2;
    let rows: Vec<_> = (0..1_000).map(|i| vec![base + 2 * (i % 2)]).collect();
    assert_eq!(
        state(&rows).variance(0).unwrap(),
        [f64::from(STEPS).powi(-2)]
    );
}

#[test]
fn a_full_state_is_evaluated_without_overflow() {
    let n = i128::from(MAX_ROWS);
    let (low, high) = (i128::from(i32::MIN), i128::from(i32::MAX));
    // Half the rows at each end of the grid, but one at 0.
    let half = (n - 1) / 2;
    let sums = vec![half * (low + high), half * (low * low + high * high)];
    let moments = Moments::from_parts(
        1,
        [
            (Part::Count, Sums::from(vec![n])),
            (Part::Columns(0), Sums::from(sums)),
        ],
    )
    .unwrap();
    let expected = f64::from(MAX_ABS).powi(2);
    assert!((moments.variance(1).unwrap()[0] / expected - 1.0).abs() < 1e-8);
    assert!((moments.mean().unwrap()[0] + 0.5 / f64::from(STEPS)).abs() < 1e-14);
}

#[test]
fn constants_have_neither_variance_nor_correlation() {
    let moments = state(&[vec![5, 1, 7], vec![5, 2, 7], vec![5, 4, 7]]);
    assert_eq!(moments.variance(1).unwrap()[0], 0.0);
    let correlation = moments.correlation().unwrap();
    assert_eq!(correlation.diag().to_vec(), [0.0, 1.0, 0.0]);
    assert!(correlation.iter().sum::<f64>() == 1.0);
}

#[test]
fn wide_matrices_are_mirrored_across_tiles() {
    let rows: Vec<Vec<i32>> = (0..9)
        .map(|i| (0..70).map(|j| (i * i * 31 + j * 17 * i) % 1009).collect())
        .collect();
    let covariance = state(&rows).covariance(1).unwrap();
    assert_eq!(covariance, covariance.t());
    assert!(covariance.iter().all(|&c| c != 0.0));
}

#[test]
fn too_few_rows_are_an_error_not_a_nan() {
    let none = Moments::empty(1).unwrap();
    assert_eq!(
        none.mean(),
        Err(MomentsError::TooFewRows { rows: 0, needed: 1 })
    );
    assert_eq!(
        none.variance(0),
        Err(MomentsError::TooFewRows { rows: 0, needed: 1 })
    );
    let one = state(&[vec![3]]);
    assert_eq!(
        one.variance(1),
        Err(MomentsError::TooFewRows { rows: 1, needed: 2 })
    );
    assert_eq!(one.variance(0), Ok(vec![0.0]));
}

#[test]
fn labels_keep_their_own_mean() {
    let mut accumulator = Accumulator::new(1).unwrap();
    for (q, label) in [(STEPS, "pear"), (2 * STEPS, "apple"), (4 * STEPS, "apple")] {
        accumulator.add(&[q], Some(label)).unwrap();
    }
    let moments = Moments::from_parts(1, accumulator.drain()).unwrap();
    let means: Vec<_> = moments
        .labels()
        .map(|(name, label)| (name, label.n(), label.mean()))
        .collect();
    assert_eq!(means, [("apple", 2, vec![3.0]), ("pear", 1, vec![1.0])]);
}
