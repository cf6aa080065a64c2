//! Commits as a table grows: how long one takes, and how long the table then takes to open.
//!
//! cargo bench --bench commits -- [--commits N] [--rows N]
//!
//! Each goes the way of the job's own: a Parquet file of its rows; then file, offsets of 64 partitions and the state in one Delta
//! commit, with checkpoints as they fall due. The table is a folder: a store further away takes its latency
//! more for each request, of which `cargo test --release --test rooms few_requests -- --nocapture` counts fewer than four a commit.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use eigenflow::job::open_tables;
use eigenflow::job::state::{FileList, JobState};
use eigenflow::storage::S3Config;
use tokio::runtime::Runtime;

use job::{config, number};
use rows::{features, open, row};

#[path = "shared/job.rs"]
mod job;
#[path = "shared/rows.rs"]
mod rows;

fn main() {
    let (commits, rows) = (number("--commits", 10_000), number("--rows", 1_000_000));
    let dir = tempfile::tempdir().expect("a folder");
    // No broker is asked: the commits are made here.
    let config = config(dir.path(), "growing", "localhost:1", "");
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(grow(&config, dir.path(), commits, rows.div_ceil(commits)));
}

async fn grow(config: &Path, dir: &Path, commits: usize, rows_each: usize) {
    let job = open(config).await;
    let features = features(&job);
    let (mut writing, mut committing) = (Vec::new(), Vec::new());
    println!("commits     rows  file ms  commit ms: median    p99  worst  open ms");
    for epoch in 1..=commits {
        let first = (epoch - 1) * rows_each;
        let rows = (first..first + rows_each).map(|number| row(number, &features));
        let start = Instant::now();
        let file = job.tables.rows.write(rows.collect()).await;
        writing.push(start.elapsed());
        let state = JobState {
            offsets: (0..64)
                .map(|partition| (partition, epoch as i64))
                .collect::<BTreeMap<_, _>>(),
            ..rows::state(&job, epoch)
        };
        let files = FileList {
            adds: vec![file.expect("a file")],
            ..FileList::default()
        };
        let start = Instant::now();
        job.tables.commit(&state, files).await.expect("a commit");
        committing.push(start.elapsed());
        if is_milestone(epoch) || epoch == commits {
            let table = dir.join("growing/table");
            let start = Instant::now();
            let mut tables = open_tables(&table.to_string_lossy(), &S3Config::default())
                .await
                .expect("a table");
            let found = tables.open_existing().await.expect("a table");
            let opened = start.elapsed();
            assert_eq!(found.rows.len(), epoch);
            println!(
                "{epoch:>7}  {:>7}  {:>7.1}  {:>17.1}  {:>5.1}  {:>5.1}  {:>7.1}",
                epoch * rows_each,
                ms(quantile(&mut writing, 0.5)),
                ms(quantile(&mut committing, 0.5)),
                ms(quantile(&mut committing, 0.99)),
                ms(quantile(&mut committing, 1.0)),
                ms(opened)
            );
            (writing, committing) = (Vec::new(), Vec::new());
        }
    }
}

/// 100, 200, 500, 1,000 and so on.
fn is_milestone(epoch: usize) -> bool {
    let digits = epoch.to_string();
    let (first, rest) = digits.split_at(1);
    rest.len() > 1 && ["1", "2", "5"].contains(&first) && rest.bytes().all(|digit| digit == b'0')
}

/// Of what was taken since the milestone before.
fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
