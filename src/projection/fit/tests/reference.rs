//! Against scikit-learn's and Spark's results on the features of four networks, n = 1,900.

use super::*;
use crate::shared::shared;
use safetensors::{Dtype, SafeTensors};

/// A file of the shared reference, or a loud skip.
fn reference(name: &str) -> Option<Vec<u8>> {
    let file = shared(&format!("reference/{name}.safetensors"))?;
    Some(std::fs::read(file).expect("a readable reference"))
}

fn tensor(tensors: &SafeTensors<'_>, name: &str) -> Option<Vec<f64>> {
    let tensor = tensors.tensor(name).ok()?;
    let data = tensor.data();
    Some(match tensor.dtype() {
        Dtype::F32 => data
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f64::from(f32::from_le_bytes(*bytes)))
            .collect(),
        _ => data
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| f64::from_le_bytes(*bytes))
            .collect(),
    })
}

fn max_difference<'a>(
    a: impl IntoIterator<Item = &'a f64>,
    b: impl IntoIterator<Item = &'a f64>,
) -> f64 {
    a.into_iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

/// Flips the columns of `values` [_, k] whose sign is the other way round than in `like`.
fn align_columns(values: &mut [f64], like: &[f64], k: usize) {
    for column in 0..k {
        let agreement: f64 = values
            .iter()
            .zip(like)
            .skip(column)
            .step_by(k)
            .map(|(a, b)| a * b)
            .sum();
        if agreement < 0.0 {
            values
                .iter_mut()
                .skip(column)
                .step_by(k)
                .for_each(|value| *value = -*value);
        }
    }
}

fn assert_equals_scikit_learn(name: &str) {
    let Some(bytes) = reference(name) else { return };
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let n = tensors.tensor("features").unwrap().shape()[0];
    let features: Vec<f32> = tensor(&tensors, "features")
        .unwrap()
        .into_iter()
        .map(|x| x as f32)
        .collect();
    let rows: Vec<&[f32]> = features.chunks_exact(features.len() / n).collect();
    let start = Instant::now();
    let moments = moments_of(&rows);
    eprintln!(
        "{name}: {:.4} ms a row to accumulate",
        start.elapsed().as_secs_f64() * 1e3 / n as f64
    );

    for (prefix, standardise) in [("", true), ("cov.", false)] {
        let expected = |what: &str| tensor(&tensors, &format!("{prefix}{what}"));
        let start = Instant::now();
        let projection = fit(
            &moments,
            &Options {
                standardise,
                ..Options::default()
            },
        )
        .unwrap();
        let fit_s = start.elapsed().as_secs_f64();
        let k = projection.n_components();

        let mut scaled_error = 0.0f64;
        let (mean, var) = (
            tensor(&tensors, "mean").unwrap(),
            tensor(&tensors, "var_ddof1").unwrap(),
        );
        if standardise {
            let mut scaled = vec![0.0; mean.len()];
            for row in &rows {
                projection.scale(row, &mut scaled);
                for (j, got) in scaled.iter().enumerate() {
                    let expected = if var[j] > 0.0 {
                        (f64::from(row[j]) - mean[j]) / var[j].sqrt()
                    } else {
                        0.0
                    };
                    scaled_error =
                        scaled_error.max((got - expected).abs() / expected.abs().max(1.0));
                }
            }
        }
        let explained = expected("explained_variance").unwrap();
        let relative = |(a, b): (&f64, &f64)| (a / b - 1.0).abs();
        let explained_error = projection
            .explained_variance()
            .iter()
            .zip(&explained)
            .map(relative)
            .fold(0.0, f64::max);
        let component =
            |values: &[f64], sign: f64| values.iter().map(|x| sign * x).collect::<Vec<_>>();
        let components = expected("components").unwrap();
        let pairs = components.chunks_exact(mean.len()).zip(
            projection
                .components()
                .rows()
                .into_iter()
                .map(|row| row.to_vec())
                .collect::<Vec<_>>(),
        );
        let component_error = pairs
            .map(|(expected, got)| {
                max_difference(expected, &component(&got, 1.0))
                    .min(max_difference(expected, &component(&got, -1.0)))
            })
            .fold(0.0, f64::max);

        let start = Instant::now();
        let mut reduced = vec![0.0f32; n * k];
        rows.iter()
            .zip(reduced.chunks_exact_mut(k))
            .for_each(|(row, out)| projection.reduce(row, out));
        let reduce_ms = start.elapsed().as_secs_f64() * 1e3 / n as f64;
        let mut reduced: Vec<f64> = reduced.into_iter().map(f64::from).collect();
        let reference = expected("reduced").unwrap();
        align_columns(&mut reduced, &reference, k);
        let reduced_error = max_difference(&reduced, &reference);
        let spark_error = expected("spark.reduced").map(|spark| {
            align_columns(&mut reduced, &spark, k);
            max_difference(&reduced, &spark)
        });
        eprintln!(
            "{name} {prefix}: fit {fit_s:.3} s, reduce {reduce_ms:.4} ms; off by {scaled_error:.1e} scaled, \
             {explained_error:.1e} explained variance, {component_error:.1e} components, {reduced_error:.1e} reduced, spark {spark_error:?}"
        );
        assert!(scaled_error < 1e-6);
        assert!(explained_error < 1e-6);
        assert!(component_error < 1e-5);
        assert!(reduced_error < 1e-4);
        // Of one network there is Spark's own.
        assert_eq!(spark_error.is_some(), name == "resnet50" && standardise);
        assert!(spark_error.is_none_or(|error| error < 1e-4));
        if let Some(ratios) = expected("spark.explained_variance_ratio") {
            let error = max_difference(projection.explained_variance_ratio(), &ratios);
            assert!(error < 1e-9, "{error:.1e} from Spark's ratios");
        }
    }
}

#[test]
fn resnet50_equals_scikit_learn() {
    assert_equals_scikit_learn("resnet50");
}

#[test]
fn resnet18_equals_scikit_learn() {
    assert_equals_scikit_learn("resnet18");
}

#[test]
fn mobilenet_v2_equals_scikit_learn() {
    assert_equals_scikit_learn("mobilenet_v2");
}

#[test]
fn vgg16_equals_scikit_learn() {
    assert_equals_scikit_learn("vgg16_avg");
}
