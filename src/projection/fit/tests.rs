use super::*;
use crate::moments::{Accumulator, quantise};
use std::time::Instant;

mod reference;
mod spark;

/// The moments of rows of f32, as the job makes them.
pub(in crate::projection) fn moments_of<R: AsRef<[f32]>>(rows: &[R]) -> Moments {
    let width = rows.first().map_or(1, |row| row.as_ref().len());
    let mut accumulator = Accumulator::new(width).unwrap();
    let mut grid = vec![0; width];
    for row in rows {
        quantise(row.as_ref(), &mut grid).unwrap();
        accumulator.add(&grid, None).unwrap();
    }
    Moments::from_parts(width, accumulator.drain()).unwrap()
}

/// Rows on the grid, correlated, of very different scales.
pub(in crate::projection) fn some_rows(n: usize, width: usize) -> Vec<Vec<f32>> {
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as i32 % 4096) as f32 / 256.0
    };
    let row = |_| {
        let factors = [next(), next(), next()];
        (0..width)
            .map(|j| factors[j % 3] * (1 + j % 4) as f32 + next() / 8.0)
            .collect()
    };
    (0..n).map(row).collect()
}

fn count(k: usize) -> Options {
    Options {
        components: Components::Count(k),
        ..Options::default()
    }
}

fn reduced_rows(projection: &Projection, rows: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let reduce = |row: &Vec<f32>| {
        let mut reduced = vec![0.0; projection.n_components()];
        projection.reduce(row, &mut reduced);
        reduced
    };
    rows.iter().map(reduce).collect()
}

/// The variance of column `c` with denominator n − 1.
fn variance(rows: &[Vec<f32>], c: usize) -> f64 {
    let n = rows.len() as f64;
    let mean = rows.iter().map(|row| f64::from(row[c])).sum::<f64>() / n;
    rows.iter()
        .map(|row| (f64::from(row[c]) - mean).powi(2))
        .sum::<f64>()
        / (n - 1.0)
}

#[test]
fn too_few_rows_and_impossible_options_are_named() {
    let few = |rows: &[[f32; 2]]| fit(&moments_of(rows), &count(1)).unwrap_err();
    assert_eq!(
        fit(&Moments::empty(2).unwrap(), &count(1)),
        Err(ProjectionError::TooFewRows { rows: 0, needed: 2 })
    );
    assert_eq!(
        few(&[[1.0, 2.0]]),
        ProjectionError::TooFewRows { rows: 1, needed: 2 }
    );
    let moments = moments_of(&[[1.0], [2.0]]);
    for components in [
        Components::Count(0),
        Components::Ratio(0.0),
        Components::Ratio(1.5),
        Components::Ratio(f64::NAN),
    ] {
        let options = Options {
            components,
            ..Options::default()
        };
        assert!(matches!(
            fit(&moments, &options),
            Err(ProjectionError::Components(_))
        ));
    }
}

#[test]
fn one_feature_is_its_own_component() {
    let projection = fit(&moments_of(&[[1.0], [2.0], [6.0]]), &count(50)).unwrap();
    assert_eq!(projection.components()[[0, 0]], 1.0);
    assert_eq!(projection.explained_variance(), [1.0]);
    let mut scaled = [0.0];
    projection.scale(&[6.0], &mut scaled);
    assert!((scaled[0] - 3.0 / 7f64.sqrt()).abs() < 1e-15);
}

#[test]
fn components_are_cut_to_what_the_rows_span() {
    for (n, width, k) in [(2, 10, 1), (5, 10, 4), (30, 10, 10), (5, 300, 4)] {
        let projection = fit(&moments_of(&some_rows(n, width)), &count(50)).unwrap();
        assert_eq!(projection.n_components(), k, "{n} rows of {width} features");
        let total: f64 = projection.explained_variance_ratio().iter().sum();
        assert!(
            (total - 1.0).abs() < 1e-10,
            "{n} rows of {width} features: {total}"
        );
    }
}

#[test]
fn rows_without_variance_reduce_to_zero() {
    for standardise in [true, false] {
        let options = Options {
            standardise,
            whiten: true,
            ..count(2)
        };
        let rows = vec![vec![3.25f32; 300]; 10];
        let projection = fit(&moments_of(&rows), &options).unwrap();
        assert_eq!(projection.explained_variance(), [0.0, 0.0]);
        assert_eq!(projection.explained_variance_ratio(), [0.0, 0.0]);
        assert_eq!(reduced_rows(&projection, &rows[..1]), [[0.0, 0.0]]);
    }
}

#[test]
fn constant_features_count_for_nothing() {
    let rows = some_rows(40, 6);
    let padded: Vec<Vec<f32>> = rows
        .iter()
        .map(|row| [&[7.5], &row[..], &[0.0]].concat())
        .collect();
    let (plain, with_constants) = (
        fit(&moments_of(&rows), &count(3)).unwrap(),
        fit(&moments_of(&padded), &count(3)).unwrap(),
    );
    for (a, b) in plain
        .explained_variance()
        .iter()
        .zip(with_constants.explained_variance())
    {
        assert!((a - b).abs() < 1e-12);
    }
    let mut scaled = [1.0; 8];
    with_constants.scale(&[9.0; 8], &mut scaled);
    assert_eq!((scaled[0], scaled[7]), (0.0, 0.0));
}

#[test]
fn the_same_rows_twice_have_the_same_components() {
    let rows = some_rows(40, 6);
    let (once, twice) = (
        fit(&moments_of(&rows), &count(3)).unwrap(),
        fit(&moments_of(&[rows.clone(), rows].concat()), &count(3)).unwrap(),
    );
    for (a, b) in once.components().iter().zip(twice.components()) {
        assert!((a - b).abs() < 1e-12);
    }
}

#[test]
fn the_largest_loading_of_each_component_is_positive() {
    let projection = fit(&moments_of(&some_rows(60, 9)), &count(9)).unwrap();
    for component in projection.components().rows() {
        let largest = component
            .iter()
            .copied()
            .reduce(|a, b| if b.abs() > a.abs() { b } else { a });
        assert!(largest.unwrap() > 0.0);
    }
}

#[test]
fn reduced_features_have_the_explained_variance() {
    let rows = some_rows(50, 12);
    for (standardise, ddof, center, whiten) in [
        (true, 1, true, false),
        (true, 0, true, false),
        (false, 1, false, false),
        (true, 0, false, true),
    ] {
        let options = Options {
            standardise,
            ddof,
            center,
            whiten,
            ..count(3)
        };
        let projection = fit(&moments_of(&rows), &options).unwrap();
        let reduced = reduced_rows(&projection, &rows);
        for (c, &explained) in projection.explained_variance().iter().enumerate() {
            let expected = if whiten { 1.0 } else { explained };
            assert!(
                (variance(&reduced, c) / expected - 1.0).abs() < 1e-5,
                "{options:?}"
            );
            let mean = reduced.iter().map(|row| f64::from(row[c])).sum::<f64>() / 50.0;
            assert!(!center || mean.abs() < 1e-4);
        }
    }
}

/// As Spark's PCA projects: components times features, no mean subtracted.
#[test]
fn without_centring_a_row_is_multiplied_as_it_is() {
    let rows = some_rows(50, 12);
    let options = Options {
        standardise: false,
        center: false,
        ..count(3)
    };
    let projection = fit(&moments_of(&rows), &options).unwrap();
    for (row, reduced) in rows.iter().zip(reduced_rows(&projection, &rows)) {
        for (component, reduced) in projection.components().rows().into_iter().zip(reduced) {
            let terms = component.iter().zip(row.iter());
            let terms: Vec<f64> = terms.map(|(c, x)| c * f64::from(*x)).collect();
            let (sum, scale) = terms
                .iter()
                .fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
            assert!((f64::from(reduced) - sum).abs() <= 1e-7 * scale);
        }
    }
}

#[test]
fn a_ratio_keeps_as_few_components_as_explain_it() {
    let moments = moments_of(&some_rows(200, 400));
    for ratio in [0.3, 0.9, 0.99] {
        let options = Options {
            components: Components::Ratio(ratio),
            ..Options::default()
        };
        let projection = fit(&moments, &options).unwrap();
        let (last, before) = projection.explained_variance_ratio().split_last().unwrap();
        let before: f64 = before.iter().sum();
        assert!(
            before <= ratio && before + last > ratio,
            "{ratio}: {before} + {last}"
        );
        assert_eq!(projection.components().nrows(), projection.n_components());
    }
}

#[test]
fn equal_moments_give_equal_bits_on_any_thread() {
    let rows = some_rows(300, 260);
    let moments = moments_of(&rows);
    let mut shuffled = rows;
    shuffled.reverse();
    let again = moments_of(&shuffled);
    let hash = fit(&moments, &count(20)).unwrap().sha256();
    let other = std::thread::spawn(move || fit(&again, &count(20)).unwrap().sha256())
        .join()
        .unwrap();
    assert_eq!(hash, other);
}

#[test]
fn a_row_reduces_alike_in_any_company() {
    let rows = some_rows(20, 100);
    let projection = fit(&moments_of(&rows), &count(5)).unwrap();
    let together = reduced_rows(&projection, &rows);
    for (i, row) in rows.iter().enumerate().rev() {
        let elsewhere: Vec<f32> = std::iter::once(0.0).chain(row.iter().copied()).collect();
        let mut alone = [0.0; 5];
        projection.reduce(&elsewhere[1..], &mut alone);
        assert_eq!(
            alone.map(f32::to_bits).to_vec(),
            together[i].iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        );
    }
}
