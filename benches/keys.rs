//! A million live keys: how long a restart from them takes, and how much memory each one costs.
//!
//! cargo bench --bench keys -- [--keys N] [--workers N]
//!
//! The table is made by the library's own writers, in files as large as a job's, each row with a path, an etag and
//! a version of its own and with 768 features, which are the same in all rows: a restart does not read them. The job then
//! starts on it, finds its topic at the end, and ends: the time of a restart is at most that of the whole process. What
//! a key costs is what the process took at most, less what one on an empty table takes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eigenflow::config::Said;
use eigenflow::embedded::EmbeddedKafka;
use eigenflow::event::Version;
use eigenflow::job::state::{FORMAT, FileList, JobState, MomentsRef, encode_moments};
use eigenflow::job::{self, Job, Options};
use eigenflow::moments::{Accumulator, Moments, Sums, quantise};
use eigenflow::table::Row;
use eigenflow::table::state::STATE;
use tokio::runtime::Runtime;

const TOPIC: &str = "uploads";
const LABEL: &str = "a class of fruit";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        at.map_or(default, |at| arguments[at + 1].parse().expect("a number"))
    };
    let (keys, workers) = (number("--keys", 1_000_000), number("--workers", 2));
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(dir.path().join("store/landing")).expect("a bucket");
    let kafka = EmbeddedKafka::start(TOPIC, 1).expect("a broker");
    let runtime = Runtime::new().expect("a runtime");

    let empty = start(&config(dir.path(), "empty", kafka.brokers()), workers);
    println!("empty table      {empty}");
    let config = config(dir.path(), "full", kafka.brokers());
    let making = Instant::now();
    let bytes = runtime.block_on(make(&config, keys));
    let seconds = making.elapsed().as_secs_f64();
    println!(
        "table made       {keys} rows, {:.1} MB of files, {seconds:.1} s",
        bytes as f64 / 1e6
    );
    let full = start(&config, workers);
    println!("{keys} keys   {full}");
    let each = |most: u64, least: u64| most.saturating_sub(least) as f64 / keys as f64;
    println!(
        "a live key       {:.0} bytes at the peak, {:.0} at the end",
        each(full.peak_bytes, empty.peak_bytes),
        each(full.last_bytes, empty.last_bytes)
    );
}

/// Writes a job's configuration; its file.
fn config(dir: &Path, name: &str, brokers: &str) -> std::path::PathBuf {
    let text = format!(
        "[kafka]\nbrokers = \"{brokers}\"\ntopic = \"{TOPIC}\"\n[s3]\nendpoint = \"file://{0}/store\"\n\
         buckets = [\"landing\"]\n[table]\nuri = \"{0}/{name}/table\"\n[backbone]\nname = \"pixels\"\n\
         [publish]\nreproject_at_end = false\n",
        dir.display()
    );
    let file = dir.join(format!("{name}.toml"));
    std::fs::write(&file, text).expect("a configuration");
    file
}

/// Makes the table as if a job had published `keys` rows in one epoch; the bytes of its files.
async fn make(config: &Path, keys: usize) -> u64 {
    let said = Said::load(config, std::iter::empty()).expect("a configuration");
    let config = said.resolve().expect("a configuration");
    let job = job::open(config, Options::default()).await.expect("a job");
    job.tables.open().await.expect("tables");
    let features: Vec<f32> = (0..job.features).map(|i| i as f32 / 255.0).collect();
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
        format: FORMAT,
        epoch: 1,
        backbone: job.identity.clone(),
        features: job.features,
        topic: TOPIC.to_owned(),
        offsets: BTreeMap::from([(0, 0)]),
        moments: Some(moments(&job, keys, &features).await),
        ..JobState::default()
    };
    job.tables.commit(&state, files).await.expect("a commit");
    bytes
}

fn row(number: usize, features: &[f32]) -> Row {
    let version = Version {
        time_ms: 1_700_000_000_000 + number as i64,
        sequencer: number as u128,
    };
    Row {
        path: format!("s3://landing/{LABEL}/{number:08}.jpg"),
        label: Some(LABEL.to_owned()),
        etag: format!(
            "{:032x}",
            (number as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
        ),
        event_time_ms: version.time_ms,
        version: version.to_string(),
        width: 100,
        height: 100,
        features: features.to_vec(),
        reduced_features: None,
        projection_version: None,
    }
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
    last_bytes: u64,
}

impl std::fmt::Display for Taken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let (peak, last) = (mb(self.peak_bytes), mb(self.last_bytes));
        write!(
            out,
            "{:.1} s, {peak:.0} MB at the peak, {last:.0} MB at the end",
            self.seconds
        )
    }
}

/// Runs the job until the end of its topic.
fn start(config: &Path, workers: usize) -> Taken {
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_eigenflow"))
        .args(["run", "--until-end", "-w", &workers.to_string(), "--config"])
        .arg(config)
        .spawn()
        .expect("the binary");
    let mut taken = Taken {
        seconds: 0.0,
        peak_bytes: 0,
        last_bytes: 0,
    };
    while child.try_wait().expect("its state").is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let status = status.unwrap_or_default();
        let of = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kilobytes * 1024)
        };
        taken.peak_bytes = of("VmHWM:").unwrap_or(taken.peak_bytes);
        taken.last_bytes = of("VmRSS:").unwrap_or(taken.last_bytes);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().expect("its end").success(), "the job failed");
    taken.seconds = began.elapsed().as_secs_f64();
    taken
}
