//! How often the classifier is right on what it has not learnt, by the features of two tables.
//!
//! cargo bench --bench accuracy -- TRAINING TEST
//!
//! The tables are of one network, made by `demo --images`; their labels are folders of Fruits-360, whose files are the frames of a turning
//! fruit: `32_100.jpg` about one axis, `r_32_100.jpg`, `r2_…` and `r3_…` about others. `accuracy.py` asks scikit-learn the same.

use std::collections::BTreeMap;

use eigenflow::classifier::{Estimator, Options, Shrinkage, fit};
use eigenflow::job::open_tables;
use eigenflow::moments::{Accumulator, Moments, quantise};
use eigenflow::storage::S3Config;
use tokio::runtime::Runtime;

struct Frame {
    label: String,
    /// About the first axis.
    upright: bool,
    number: u32,
    features: Vec<f32>,
}

fn main() {
    let tables: Vec<String> = std::env::args().skip(1).collect();
    let tables = tables.into_iter().filter(|word| !word.starts_with("--"));
    let tables: Vec<String> = tables.collect();
    let [training, test] = &tables[..] else {
        // `cargo test --benches` has none.
        return println!("which tables? cargo bench --bench accuracy -- TRAINING TEST");
    };
    let runtime = Runtime::new().expect("a runtime");
    let [training, test] = [training, test].map(|table| runtime.block_on(frames(table)));
    tell("Training, then Test", &training, &test);

    let (upright, turned): (Vec<Frame>, Vec<Frame>) = training
        .into_iter()
        .chain(test)
        .partition(|frame| frame.upright);
    tell("one axis, then the others", &upright, &turned);

    let mut turns: BTreeMap<String, Vec<Frame>> = BTreeMap::new();
    for frame in upright {
        turns.entry(frame.label.clone()).or_default().push(frame);
    }
    let (mut front, mut back) = (Vec::new(), Vec::new());
    for (_, mut frames) in turns {
        frames.sort_by_key(|frame| frame.number);
        back.extend(frames.split_off(frames.len().div_ceil(2)));
        front.extend(frames);
    }
    tell("half a turn, then the other half", &front, &back);
}

async fn frames(table: &str) -> Vec<Frame> {
    let tables = open_tables(table, &S3Config::default()).await;
    let mut tables = tables.expect("an address");
    let found = tables.open_existing().await.expect("a table");
    let mut frames = Vec::new();
    for file in &found.rows {
        for row in tables.rows.read(file).await.expect("a file") {
            let name = row.path.rsplit('/').next().expect("a name");
            let number = name
                .split('_')
                .rev()
                .nth(1)
                .and_then(|word| word.parse().ok());
            frames.push(Frame {
                label: row.label.expect("a label"),
                upright: !name.starts_with('r'),
                number: number.expect("Fruits-360's names"),
                features: row.features,
            });
        }
    }
    frames
}

/// Of the `others`, those whose label is among the learnt ones.
fn tell(split: &str, learnt: &[Frame], others: &[Frame]) {
    let width = learnt[0].features.len();
    let mut accumulator = Accumulator::new(width).expect("a width");
    let mut grid = vec![0; width];
    for frame in learnt {
        quantise(&frame.features, &mut grid).expect("features");
        accumulator.add(&grid, Some(&frame.label)).expect("sums");
    }
    let moments = Moments::from_parts(width, accumulator.drain()).expect("moments");
    for shrinkage in [
        Shrinkage::By(0.01),
        Shrinkage::Estimated(Estimator::LedoitWolf),
    ] {
        let options = Options {
            shrinkage,
            ..Options::default()
        };
        let classifier = fit(&moments, &options).expect("a classifier");
        let known = |frame: &&Frame| classifier.labels().contains(&frame.label);
        let tested: Vec<&Frame> = others.iter().filter(known).collect();
        let told = |frame: &&&Frame| classifier.classify(&frame.features).label == frame.label;
        let right = tested.iter().filter(told).count();
        println!(
            "{split}: {} learnt, shrinkage {:.4}: {right} of {} right, {:.4}",
            learnt.len(),
            classifier.shrinkage(),
            tested.len(),
            right as f64 / tested.len() as f64
        );
    }
}
