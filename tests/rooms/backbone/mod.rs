//! Backbones as their users see them: right, repeatable, sharing weights, and clear about what is wrong.

mod conformance;
mod int8;
mod pytorch;
mod timing;
mod weights;

use eigenflow::backbone::{Architecture, Backbone, Model, Options, Strides};

fn resnet(depth: usize) -> Architecture {
    Architecture::resnet(depth, Strides::V15)
}

/// Small inputs, the defaults for all else.
fn of_side(side: usize) -> Options {
    Options {
        side,
        ..Options::default()
    }
}

fn pixels(side: usize, seed: usize) -> Vec<u8> {
    (0..side * side * 3)
        .map(|i| ((i + seed) * 7919 / 13 % 251) as u8)
        .collect()
}

fn features(model: &Model, pixels: &[u8]) -> Vec<f32> {
    extract(&mut *model.worker(), pixels)
}

fn extract(worker: &mut dyn Backbone, pixels: &[u8]) -> Vec<f32> {
    let mut features = vec![f32::NAN; worker.spec().features];
    worker.extract(pixels, &mut features).unwrap();
    features
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn relative_l2(got: &[f32], want: &[f32]) -> f64 {
    let difference: Vec<f32> = got.iter().zip(want).map(|(g, w)| g - w).collect();
    (dot(&difference, &difference) / dot(want, want)).sqrt()
}
