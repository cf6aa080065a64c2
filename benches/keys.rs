//! A million live keys: how long a restart from them takes, and how much memory each one costs.
//!
//! cargo bench --bench keys -- [--keys N] [--workers N]
//!
//! The table is made by the library's own writers, in files as large as a job's, each row with a path, an etag and
//! a version of its own and with 768 features, which are the same in all rows: a restart does not read them. The job then
//! starts on it and is ready when it has committed that it reads on: everything is restored then. What a key costs is what
//! the process takes by then, less what one on an empty table takes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eigenflow::embedded::EmbeddedKafka;
use eigenflow::job::Job;
use eigenflow::job::state::{FileList, JobState, MomentsRef, encode_moments};
use eigenflow::moments::{Accumulator, Moments, Sums, quantise};
use eigenflow::table::state::STATE;
use tokio::runtime::Runtime;

use job::{TOPIC, number};
use rows::{LABEL, features, open, row};

#[path = "shared/job.rs"]
mod job;
#[path = "shared/rows.rs"]
mod rows;

fn main() {
    let (keys, workers) = (number("--keys", 1_000_000), number("--workers", 2));
    let dir = tempfile::tempdir().expect("a folder");
    let kafka = EmbeddedKafka::start(TOPIC, 1).expect("a broker");
    let runtime = Runtime::new().expect("a runtime");

    let empty = start(dir.path(), "empty", 1, workers, kafka.brokers());
    println!("empty table      {empty}");
    let making = Instant::now();
    let bytes = runtime.block_on(make(&config(dir.path(), "full", kafka.brokers()), keys));
    let seconds = making.elapsed().as_secs_f64();
    println!(
        "table made       {keys} rows, {:.1} MB of files, {seconds:.1} s",
        bytes as f64 / 1e6
    );
    let full = start(dir.path(), "full", 2, workers, kafka.brokers());
    println!("{keys} keys   {full}");
    let each = |most: u64, least: u64| most.saturating_sub(least) as f64 / keys as f64;
    println!(
        "a live key       {:.0} bytes at the peak, {:.0} when ready",
        each(full.peak_bytes, empty.peak_bytes),
        each(full.ready_bytes, empty.ready_bytes)
    );
}

/// A job that commits at once; its file.
fn config(dir: &Path, name: &str, brokers: &str) -> std::path::PathBuf {
    job::config(dir, name, brokers, "[publish]\ninterval_ms = 1\n")
}

/// Makes the table as if a job had published `keys` rows in one epoch; the bytes of its files.
async fn make(config: &Path, keys: usize) -> u64 {
    let job = open(config).await;
    let features = features(&job);
    let mut files = FileList::default();
    let numbers: Vec<usize> = (0..keys).collect();
    for chunk in numbers.chunks(job.config.table.rows_per_file) {
        let rows = chunk.iter().map(|&number| row(number, &features));
        files
            .adds
            .push(job.tables.rows.write(rows.collect()).await.expect("a file"));
    }
    let bytes = files.adds.iter().map(|file| file.bytes).sum();
    let state = JobState {
        offsets: BTreeMap::from([(0, 0)]),
        moments: Some(moments(&job, keys, &features).await),
        ..rows::state(&job, 1)
    };
    job.tables.commit(&state, files).await.expect("a commit");
    bytes
}

/// The moments of as many equal rows: those of one, so many times.
async fn moments(job: &Arc<Job>, keys: usize, features: &[f32]) -> MomentsRef {
    let (mut sums, mut grid) = (
        Accumulator::new(job.features).expect("a width"),
        vec![0; job.features],
    );
    quantise(features, &mut grid).expect("on the grid");
    sums.add(&grid, Some(LABEL)).expect("a row");
    let all = sums.drain().into_iter().map(|(part, sums)| {
        let sums = sums.as_slice().iter().map(|sum| sum * keys as i128);
        (part, Sums::from(sums.collect::<Vec<_>>()))
    });
    let moments = Moments::from_parts(job.features, all).expect("moments");
    let bytes = encode_moments(&moments).expect("a file");
    let objects = &job.tables.objects;
    let object = objects.put(STATE, "moments", "parquet", bytes.into()).await;
    MomentsRef {
        object: object.expect("an object"),
        sha256: moments.sha256(),
        n: moments.n(),
    }
}

/// What a process took.
struct Taken {
    seconds: f64,
    peak_bytes: u64,
    ready_bytes: u64,
}

impl std::fmt::Display for Taken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let (peak, ready) = (mb(self.peak_bytes), mb(self.ready_bytes));
        write!(
            out,
            "{:.1} s, {peak:.0} MB at the peak, {ready:.0} MB when ready",
            self.seconds
        )
    }
}

/// Starts the job on a table of the folder, and ends it when it has made the table's version `version`.
fn start(dir: &Path, name: &str, version: u64, workers: usize, brokers: &str) -> Taken {
    let committed = dir.join(format!("{name}/table/_delta_log/{version:020}.json"));
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_eigenflow"))
        .args(["run", "-w", &workers.to_string(), "--config"])
        .arg(config(dir, name, brokers))
        .spawn()
        .expect("the binary");
    while !committed.exists() {
        assert!(
            child.try_wait().expect("its state").is_none(),
            "the job ended"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let seconds = began.elapsed().as_secs_f64();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    let status = status.expect("a process of Linux");
    let bytes = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        kilobytes.expect("a size").parse::<u64>().expect("a number") * 1024
    };
    let taken = Taken {
        seconds,
        peak_bytes: bytes("VmHWM:"),
        ready_bytes: bytes("VmRSS:"),
    };
    child.kill().expect("to end it");
    child.wait().expect("its end");
    taken
}
