//! The published state is a function of the live objects alone: seeded histories through the real graph, in every layout
//! and with other cuts, against an oracle that shares no code with it.
//!
//! `EIGENFLOW_HISTORIES=10000 cargo test --release --test promises histories` runs more of them;
//! `EIGENFLOW_HISTORY=SEED` runs one.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use eigenflow::classifier;
use eigenflow::config::Said;
use eigenflow::embedded::EmbeddedKafka;
use eigenflow::event::render;
use eigenflow::job::{self, Layout, Options, Tables};
use eigenflow::projection::{self, Components, fit};
use eigenflow::storage::{FolderUploads, S3Config, Uploads};
use eigenflow::table::Row;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::process::LIMIT;
use crate::shared::loud;
use crate::world::BUCKET;

mod history;

use history::{History, PARTITIONS, Random, moments_of};

/// Workers and processes.
const LAYOUTS: [(usize, usize); 5] = [(1, 1), (2, 1), (4, 1), (1, 2), (2, 2)];
/// Changes that cut an epoch.
const CUTS: [usize; 4] = [3, 7, 19, 100_000];
const HISTORIES: u64 = 100;
/// Histories at a time: a job waits for its clock and its broker more than it works.
const SIDE_BY_SIDE: usize = 6;
const COMPONENTS: usize = 3;
const TOPIC: &str = "uploads";
const GLANCE: Duration = Duration::from_millis(1);

#[test]
fn histories_end_in_the_state_of_their_live_objects() {
    let number = |name: &str| -> Option<u64> {
        let text = std::env::var(name).ok()?;
        Some(
            text.parse()
                .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        )
    };
    let seeds = match number("EIGENFLOW_HISTORY") {
        Some(seed) => seed..seed + 1,
        None => 0..number("EIGENFLOW_HISTORIES").unwrap_or(HISTORIES),
    };
    let runtime = Runtime::new().expect("a runtime");
    let (next, runs) = (AtomicU64::new(seeds.start), AtomicUsize::new(0));
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    let failed = !failures.lock().expect("no panic under the lock").is_empty();
                    if seed >= seeds.end || failed {
                        return;
                    }
                    match run_history(&runtime, seed) {
                        Ok(count) => drop(runs.fetch_add(count, Relaxed)),
                        Err(difference) => failures
                            .lock()
                            .expect("no panic under the lock")
                            .push((seed, difference)),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic under the lock");
    for (seed, difference) in &failures {
        eprintln!(
            "history {seed}: {difference}\nagain: EIGENFLOW_HISTORY={seed} cargo test --release --test promises histories"
        );
    }
    assert!(
        failures.is_empty(),
        "{} histories went wrong",
        failures.len()
    );
    let (histories, runs) = (seeds.end - seeds.start, runs.into_inner());
    loud(&format!(
        "{histories} histories in {} layouts: {runs} processes ran",
        LAYOUTS.len()
    ));
}

/// Runs a history in every layout; how many processes that took, or what went wrong.
fn run_history(runtime: &Runtime, seed: u64) -> Result<usize, String> {
    let dir = TempDir::new().expect("a folder");
    let bucket = dir.path().join("store").join(BUCKET);
    std::fs::create_dir_all(&bucket).expect("a bucket");
    let store = FolderUploads::new(BUCKET, &bucket).expect("a store");
    let kafka = EmbeddedKafka::start(TOPIC, PARTITIONS as usize).expect("a broker");
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .create()
        .expect("a producer");
    let etag = |bytes: &[u8]| {
        let put = store.put(BUCKET, "etag", bytes.to_vec().into());
        runtime.block_on(put).expect("an object").etag
    };
    let history = History::new(seed, etag);
    let mut random = Random::new(!seed);
    let cut = random.below(CUTS.len());
    let mut runs = 0;
    for stage in &history.stages {
        runtime.block_on(async {
            for (key, object) in &stage.objects {
                match object {
                    Some(bytes) => drop(
                        store
                            .put(BUCKET, key, bytes.clone().into())
                            .await
                            .expect("an upload"),
                    ),
                    None => store.delete(BUCKET, key).await.expect("a removal"),
                }
            }
            let sent = stage.events.iter().map(async |(partition, event)| {
                let payload = render(event);
                let record = FutureRecord::<(), _>::to(TOPIC)
                    .partition(*partition)
                    .payload(&payload);
                producer
                    .send(record, std::time::Duration::from_secs(60))
                    .await
            });
            for sent in futures::future::join_all(sent).await {
                sent.expect("a broker that takes events");
            }
        });
        for (number, (workers, processes)) in LAYOUTS.into_iter().enumerate() {
            let rows = CUTS[(cut + number) % CUTS.len()];
            let config = config(dir.path(), kafka.brokers(), number, rows);
            run_job(runtime, &config, workers, processes)
                .map_err(|error| format!("{workers} workers, {processes} processes: {error:#}"))?;
            runs += processes;
        }
    }
    let expected = Expected::of(&history);
    for (number, (workers, processes)) in LAYOUTS.into_iter().enumerate() {
        let table = dir.path().join(format!("{number}/table"));
        runtime
            .block_on(expected.compare(&table))
            .map_err(|what| format!("{workers} workers, {processes} processes: {what}"))?;
    }
    Ok(runs)
}

fn config(dir: &Path, brokers: &str, number: usize, rows: usize) -> String {
    format!(
        "[kafka]\nbrokers = \"{brokers}\"\ntopic = \"{TOPIC}\"\n[s3]\nendpoint = \"file://{0}/store\"\n\
         buckets = [\"{BUCKET}\"]\n[table]\nuri = \"{0}/{number}/table\"\n[backbone]\nname = \"pixels\"\n\
         [projection]\ncomponents = {COMPONENTS}\n[publish]\nrows = {rows}\n",
        dir.display()
    )
}

/// Runs a job until the end of the topic; each of its processes is a job of its own here, connected over TCP.
fn run_job(
    runtime: &Runtime,
    config: &str,
    workers: usize,
    processes: usize,
) -> anyhow::Result<()> {
    let addresses = addresses(processes);
    std::thread::scope(|scope| {
        let start = |process| {
            let addresses = addresses.clone();
            scope.spawn(move || {
                let said = Said::parse(config, std::iter::empty())?;
                let options = Options {
                    until_end: true,
                    cache: Some(std::env::temp_dir()),
                    ..Options::default()
                };
                let job = runtime.block_on(job::open(said.resolve()?, options))?;
                let layout = Layout {
                    workers,
                    process,
                    addresses,
                };
                job::run(&job, &layout)
            })
        };
        let threads: Vec<_> = (0..processes).map(start).collect();
        let begun = Instant::now();
        while !threads.iter().all(|thread| thread.is_finished()) {
            if begun.elapsed() > LIMIT {
                // A thread can't be ended, and a failure would wait for it.
                loud(&format!(
                    "a history did not end within {LIMIT:?}:\n{config}"
                ));
                std::process::exit(101);
            }
            std::thread::sleep(GLANCE);
        }
        let ends = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        ends.collect()
    })
}

/// Free ports below those that clients are given, so that none of these takes one first.
fn addresses(count: usize) -> Vec<String> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let first = 12_000 + std::process::id() as usize % 64 * 256;
    let ports = std::iter::from_fn(|| Some(first + NEXT.fetch_add(1, Relaxed) % 4096));
    let free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port as u16)).is_ok());
    free.take(count)
        .map(|port| format!("127.0.0.1:{port}"))
        .collect()
}

/// What every layout must publish.
struct Expected {
    moments: String,
    projection: Option<String>,
    classifier: Option<String>,
    rows: BTreeMap<String, Row>,
    rejects: Vec<String>,
}

impl Expected {
    fn of(history: &History) -> Self {
        let mut rows = history.rows();
        let moments = moments_of(&rows);
        let options = projection::Options {
            components: Components::Count(COMPONENTS),
            ..projection::Options::default()
        };
        let projection = (rows.len() > 1).then(|| fit(&moments, &options).expect("a projection"));
        if let Some(projection) = &projection {
            for row in rows.values_mut() {
                let mut reduced = vec![0.0; projection.n_components()];
                projection.reduce(&row.features, &mut reduced);
                row.reduced_features = Some(reduced);
            }
        }
        let classifier = classifier::fit(&moments, &classifier::Options::default()).ok();
        if let Some(classifier) = &classifier {
            for row in rows.values_mut() {
                let prediction = classifier.classify(&row.features);
                row.predicted_label = Some(prediction.label.to_owned());
                row.confidence = Some(prediction.confidence);
            }
        }
        Expected {
            classifier: classifier.map(|classifier| classifier.sha256()),
            moments: moments.sha256(),
            projection: projection.map(|projection| projection.sha256()),
            rejects: history.rejects(),
            rows,
        }
    }

    async fn compare(&self, table: &Path) -> Result<(), String> {
        let uri = table.to_str().expect("a path");
        let opened = job::open_tables(uri, &S3Config::default()).await;
        let mut tables: Tables = opened.expect("tables");
        let found = tables.open_existing().await.expect("tables");
        let state = found.state.ok_or("nothing was committed")?;
        let moments = state.moments.map(|moments| moments.sha256);
        if moments.as_ref() != Some(&self.moments) {
            return Err(format!("moments {moments:?}, expected {}", self.moments));
        }
        let projection = state.projection.map(|projection| projection.sha256);
        if projection != self.projection {
            return Err(format!(
                "projection {projection:?}, expected {:?}",
                self.projection
            ));
        }
        let classifier = state.classifier.map(|classifier| classifier.sha256);
        if classifier != self.classifier {
            return Err(format!(
                "classifier {classifier:?}, expected {:?}",
                self.classifier
            ));
        }
        let mut rows = BTreeMap::new();
        for file in &found.rows {
            for row in tables.rows.read(file).await.expect("a file") {
                // The number of the epoch that made the models counts cuts, which are free.
                let row = Row {
                    projection_version: None,
                    classifier_version: None,
                    ..row
                };
                if let Some(twice) = rows.insert(row.path.clone(), row) {
                    return Err(format!("{} has two rows", twice.path));
                }
            }
        }
        if let Some(unlike) = difference(&rows, &self.rows) {
            return Err(unlike);
        }
        let mut rejects = Vec::new();
        for file in &found.rejects {
            let records = tables.rejects.read(file).await.expect("a file");
            rejects.extend(records.into_iter().map(|reject| reject.path));
        }
        rejects.sort();
        if rejects != self.rejects {
            return Err(format!("rejects {rejects:?}, expected {:?}", self.rejects));
        }
        Ok(())
    }
}

/// The first row that differs in any bit.
fn difference(found: &BTreeMap<String, Row>, expected: &BTreeMap<String, Row>) -> Option<String> {
    let paths = found.keys().chain(expected.keys());
    let bits = |row: Option<&Row>| -> Option<Vec<u32>> {
        let reduced = row?.reduced_features.iter().flatten();
        Some(
            row?.features
                .iter()
                .chain(reduced)
                .map(|x| x.to_bits())
                .collect(),
        )
    };
    for path in paths {
        let (found, expected) = (found.get(path), expected.get(path));
        if found != expected || bits(found) != bits(expected) {
            let brief = |row: Option<&Row>| {
                row.map(|row| {
                    (
                        row.etag.clone(),
                        row.version.clone(),
                        row.label.clone(),
                        row.reduced_features.clone(),
                    )
                })
            };
            return Some(format!(
                "{path} is {:?}, expected {:?}",
                brief(found),
                brief(expected)
            ));
        }
    }
    None
}
