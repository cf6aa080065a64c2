//! Against Spark 4.3's own `PCA`, fed with the rows as they are and from both kinds of `StandardScaler`.

use super::*;

const ROWS: usize = 40;
const WIDTH: usize = 12;
/// Rows whose reductions are held against Spark's.
const SHOWN: [usize; 4] = [0, 1, 17, 39];

/// Numbers on a coarse grid whose means are far from 0, so that it shows whether they were subtracted; feature 7 is constant.
fn rows() -> Vec<Vec<f32>> {
    let number = |i: usize, j: usize| {
        let wild = (i * i * 37 + j * 101 + i * j * 29 + (i % 5) * j * j * 11) % 509;
        (wild as f32 / 64.0 + j as f32 / 4.0) * (1 + j % 4) as f32 / 4.0
    };
    let row = |i| (0..WIDTH).map(move |j| if j == 7 { 3.25 } else { number(i, j) });
    (0..ROWS).map(|i| row(i).collect()).collect()
}

fn assert_equals_spark(options: &Options, reduced: [[f64; 4]; 4], ratios: [f64; 4]) {
    let rows = rows();
    let projection = fit(&moments_of(&rows), options).unwrap();
    let found = reduced_rows(&projection, &rows);
    for component in 0..ratios.len() {
        let ratio = projection.explained_variance_ratio()[component];
        assert!((ratio - ratios[component]).abs() < 1e-9, "{ratio}");
        // The sign of a component is anyone's choice.
        let pairs = SHOWN.iter().zip(&reduced);
        let pairs: Vec<_> = pairs
            .map(|(row, spark)| (f64::from(found[*row][component]), spark[component]))
            .collect();
        let sign = pairs.iter().map(|(a, b)| a * b).sum::<f64>().signum();
        for (ours, spark) in pairs {
            assert!(
                (ours * sign - spark).abs() < 2e-6,
                "component {component}: {ours}, Spark {spark}"
            );
        }
    }
}

/// `PCA(k=4, inputCol="features")`.
#[test]
fn unscaled_and_uncentred_is_sparks_pca_alone() {
    let options = Options {
        standardise: false,
        center: false,
        ..count(4)
    };
    let reduced = [
        [1.74262901, 4.75109925, -6.15600985, 5.2808132],
        [5.3236873, 1.10040785, -4.32900115, 5.27265242],
        [0.12859236, 6.56278563, 0.125288244, 4.28484037],
        [4.59623529, 5.8596991, -3.73641757, 3.78575761],
    ];
    let ratios = [
        0.23651877968045665,
        0.21918170737464512,
        0.1751335997784103,
        0.12102643428047541,
    ];
    assert_equals_spark(&options, reduced, ratios);
}

/// `StandardScaler()`, which does not centre, before `PCA(k=4)`, which does not either.
#[test]
fn scaled_and_uncentred_is_sparks_scaler_as_it_comes() {
    let options = Options {
        center: false,
        ..count(4)
    };
    let reduced = [
        [1.88454191, 1.96104106, -1.59708169, -2.98427154],
        [1.05772237, -0.276791312, -0.452689267, -1.94075153],
        [0.326258832, 0.726872645, -0.398517024, 0.824785847],
        [0.715214854, 0.640598747, -1.44553177, -1.18569308],
    ];
    assert_equals_spark(&options, reduced, SCALED);
}

/// `StandardScaler(withMean=True)` before `PCA(k=4)`.
#[test]
fn the_default_is_sparks_scaler_with_means() {
    let reduced = [
        [2.07832529, 0.611681647, 1.39502073, 1.22327375],
        [1.25150575, -1.62615073, 0.25062831, 0.179753739],
        [0.520042207, -0.622486773, 0.196456067, -2.58578364],
        [0.908998229, -0.70876067, 1.24347081, -0.575304708],
    ];
    assert_equals_spark(&count(4), reduced, SCALED);
}

const SCALED: [f64; 4] = [
    0.17672690380595987,
    0.16176427547118,
    0.12011571819154247,
    0.10796402102289765,
];
