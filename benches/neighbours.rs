//! `eigenflow similar` on a large table in a folder: the whole command, from its start to its answer.
//!
//! cargo bench --bench neighbours -- [--rows N]
//!
//! Rows have 50 normal components, and the features of the other benchmarks, which no neighbour is asked for.

use std::process::Command;
use std::time::Instant;

use eigenflow::job::state::{FileList, JobState, ProjectionRef};
use eigenflow::moments::{Accumulator, Moments, quantise};
use eigenflow::projection::{self, Stored};
use eigenflow::table::state::PROJECTIONS;

use job::{config, number};
use rows::{LABEL, features, open, row};

#[path = "shared/job.rs"]
mod job;
#[path = "shared/rows.rs"]
mod rows;

const WIDTH: usize = 50;
const ROWS_PER_FILE: usize = 10_000;

fn main() {
    let count = number("--rows", 20_000);
    let dir = tempfile::tempdir().expect("a folder");
    let table = dir.path().join("many/table");
    // No broker is asked: the commit is made here.
    let config = config(dir.path(), "many", "localhost:1", "");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(fill(&config, count));
    for _ in 0..4 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eigenflow"));
        let image = format!("s3://landing/{LABEL}/{:08}.jpg", count / 2);
        command.args(["similar", &image, "--table"]).arg(&table);
        let start = Instant::now();
        let output = command.output().expect("a process");
        let seconds = start.elapsed().as_secs_f64();
        assert!(output.status.success(), "{output:?}");
        let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
        println!("{count} rows: {lines} neighbours in {seconds:.3} s");
    }
}

/// Near enough normal: the sum of eight uniform numbers, from a generator of Marsaglia's.
fn normal(state: &mut u64) -> f32 {
    let mut sum = 0.0;
    for _ in 0..8 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        sum += (*state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
    }
    sum
}

async fn fill(config: &std::path::Path, count: usize) {
    let job = open(config).await;
    let mut state = 88_172_645_463_325_252;
    let mut components = || -> Vec<f32> { (0..WIDTH).map(|_| normal(&mut state)).collect() };
    let mut accumulator = Accumulator::new(WIDTH).expect("a width");
    let mut grid = vec![0; WIDTH];
    for _ in 0..1000 {
        quantise(&components(), &mut grid).expect("features");
        accumulator.add(&grid, None).expect("sums");
    }
    let moments = Moments::from_parts(WIDTH, accumulator.drain()).expect("moments");
    let options = projection::Options::default();
    let stored = Stored {
        version: 1,
        projection: projection::fit(&moments, &options).expect("a projection"),
        drift: None,
    };
    let (features, mut adds) = (features(&job), Vec::new());
    for first in (0..count).step_by(ROWS_PER_FILE) {
        let rows = (first..count.min(first + ROWS_PER_FILE)).map(|number| {
            let mut row = row(number, &features);
            row.reduced_features = Some(components());
            row.projection_version = Some(1);
            row
        });
        let file = job.tables.rows.write(rows.collect()).await;
        adds.push(file.expect("a file"));
    }
    let bytes = stored.to_safetensors().expect("a file");
    let object = job
        .tables
        .objects
        .put(PROJECTIONS, 1, "safetensors", bytes.into());
    let object = object.await.expect("an object");
    let state = JobState {
        projection: Some(ProjectionRef::new(object, &stored, options)),
        ..rows::state(&job, 1)
    };
    let files = FileList {
        adds,
        ..FileList::default()
    };
    job.tables.commit(&state, files).await.expect("a commit");
}
