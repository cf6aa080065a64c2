//! Each stage of one image's way by itself, on one core: decode, fit, network, moments, projection, reduction. Beside the
//! moments, which are exact, Gram matrices of the same rows in floats, which are not.
//!
//! cargo bench --bench stages -- [--images DIR]      JPEGs of a folder tree, or the demo's own pictures

use std::path::{Path, PathBuf};
use std::time::Instant;

use eigenflow::backbone::{Architecture, Model, Options as NetworkOptions, Precision, Strides};
use eigenflow::image::{Filter, Fit, Limits, Preprocess, Resizer, decode};
use eigenflow::moments::{Accumulator, Moments, quantise};
use eigenflow::pictures;
use eigenflow::projection::{Options, fit};
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::traits::RealField;
use faer::{Accum, Mat, MatRef, Par};

const IMAGES: usize = 300;
const WIDTH: usize = 2048;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let folder = arguments
        .iter()
        .position(|a| a == "--images")
        .map(|at| PathBuf::from(&arguments[at + 1]));
    let images = match folder {
        Some(folder) => of_folder(&folder),
        None => (0..IMAGES)
            .map(|i| pictures::render(1, i % pictures::classes().len(), i))
            .collect(),
    };

    let limits = Limits::default();
    let decoded: Vec<_> = timed("decode", images.len(), || {
        images
            .iter()
            .map(|bytes| decode(bytes, &limits).expect("an image"))
            .collect()
    });
    let preprocess = Preprocess {
        side: 224,
        fit: Fit::Stretch,
        filter: Filter::Bilinear,
    };
    let (mut resizer, mut pixels) = (Resizer::new(), Vec::new());
    timed("fit to 224x224", decoded.len(), || {
        for picture in &decoded {
            resizer
                .apply(picture, &preprocess, &mut pixels)
                .expect("a square");
        }
    });
    for precision in [Precision::F32, Precision::Bf16] {
        let network = Architecture::resnet(50, Strides::V1);
        let options = NetworkOptions {
            precision,
            ..NetworkOptions::default()
        };
        let Ok(model) = Model::random(network, 1, &options) else {
            println!("{:28} not on this CPU", format!("ResNet-50 {precision}"));
            continue;
        };
        let (mut worker, mut features) = (model.worker(), vec![0.0; WIDTH]);
        worker.extract(&pixels, &mut features).expect("features");
        timed(&format!("ResNet-50 {precision}"), 60, || {
            for _ in 0..60 {
                worker.extract(&pixels, &mut features).expect("features");
            }
        });
    }

    let rows = rows(2000);
    let (mut sums, mut grid) = (Accumulator::new(WIDTH).expect("a width"), vec![0; WIDTH]);
    let start = Instant::now();
    timed("moments, d = 2048", rows.len(), || {
        for row in &rows {
            quantise(row, &mut grid).expect("on the grid");
            sums.add(&grid, Some("a label")).expect("a row");
        }
    });
    let exact_s = start.elapsed().as_secs_f64();
    let single = Mat::from_fn(rows.len(), WIDTH, |i, j| rows[i][j]);
    let double = Mat::from_fn(rows.len(), WIDTH, |i, j| f64::from(rows[i][j]));
    gram("f32", single.as_ref(), 1.0, exact_s);
    gram("f64", double.as_ref(), 1.0, exact_s);
    let parts = timed("drain of an epoch's sums", 1, || sums.drain());
    let moments = Moments::from_parts(WIDTH, parts).expect("moments");
    let projection = timed("projection, k = 50", 1, || {
        fit(&moments, &Options::default()).expect("a projection")
    });
    let mut reduced = vec![0.0; projection.n_components()];
    timed("reduction of a row", rows.len(), || {
        rows.iter()
            .for_each(|row| projection.reduce(row, &mut reduced))
    });
}

/// Gram matrices of all rows [n, d] at once: of its lower triangle, and of the whole, by faer; beside `exact_s` of the moments.
fn gram<T: RealField>(name: &str, rows: MatRef<'_, T>, one: T, exact_s: f64) {
    let mut gram = Mat::zeros(rows.ncols(), rows.ncols());
    let mut beside = |stage: String, work: &mut dyn FnMut(&mut Mat<T>)| {
        let start = Instant::now();
        timed(&stage, rows.nrows(), || work(&mut gram));
        let ratio = exact_s / start.elapsed().as_secs_f64();
        println!("{:28} {ratio:9.2} of its time", "  the exact moments take");
    };
    beside(format!("  syrk {name}"), &mut |gram| {
        triangular::matmul(
            gram.as_mut(),
            BlockStructure::TriangularLower,
            Accum::Replace,
            rows.transpose(),
            BlockStructure::Rectangular,
            rows,
            BlockStructure::Rectangular,
            one.clone(),
            Par::Seq,
        );
    });
    beside(format!("  gemm {name}"), &mut |gram| {
        let (gram, one) = (gram.as_mut(), one.clone());
        matmul(gram, Accum::Replace, rows.transpose(), rows, one, Par::Seq);
    });
}

/// Says how long `work` took for each of `count`.
fn timed<T>(stage: &str, count: usize, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let each_ms = start.elapsed().as_secs_f64() * 1e3 / count as f64;
    println!("{stage:28} {each_ms:9.3} ms {:10.1} /s", 1e3 / each_ms);
    result
}

/// Rows like rectified features: half of them zero, all of them of some tens of hidden causes.
fn rows(count: usize) -> Vec<Vec<f32>> {
    let mut state = 1u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let causes: Vec<Vec<f32>> = (0..60)
        .map(|_| (0..WIDTH).map(|_| random()).collect())
        .collect();
    (0..count)
        .map(|_| {
            let strengths: Vec<f32> = (1..=60).map(|i| random() * 4.0 / i as f32).collect();
            let of = |j: usize| -> f32 {
                strengths
                    .iter()
                    .zip(&causes)
                    .map(|(s, cause)| s * cause[j])
                    .sum()
            };
            (0..WIDTH)
                .map(|j| (of(j) + 0.1 * random()).max(0.0))
                .collect()
        })
        .collect()
}

fn of_folder(folder: &Path) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push(path)
            }
        }
    }
    files.sort();
    let step = files.len().div_ceil(IMAGES).max(1);
    files
        .iter()
        .step_by(step)
        .map(|file| std::fs::read(file).expect("an image"))
        .collect()
}
