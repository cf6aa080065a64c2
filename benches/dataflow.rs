//! The dataflow alone: events and images a second in each layout of processes and workers.
//!
//! cargo bench --bench dataflow -- [--images N] [--repeats N] [--cores N] [--rounds N]
//!
//! The network is `pixels`, which takes next to nothing; images are rendered; buckets and table are folders, so there is no
//! store's latency; the broker is librdkafka's mock, in this process. Three topics hold the same events: of a tenth of the images; of
//! all; of all, and then `repeats` times more, which is old news that costs no GET. Each is run by a job of its own from its start
//! to its end. Differences leave out what every run takes: the second less the first is what images cost, the third less the
//! second what events do. So it is with the processors' time of all threads of the job, which the system counts.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eigenflow::embedded::EmbeddedKafka;
use eigenflow::event::{Change, Dialect, ObjectEvent, Version, render};
use eigenflow::pictures;
use eigenflow::storage::{FolderUploads, Uploads};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use tokio::runtime::Runtime;

use job::{TOPIC, config, number};

#[path = "shared/job.rs"]
mod job;

/// Pictures that differ; more images are copies of them under other keys.
const PICTURES: usize = 200;
const BUCKET: &str = "landing";
/// More than any layout has workers.
const PARTITIONS_MIN: usize = 32;

fn main() {
    let (images, repeats) = (number("--images", 20_000), number("--repeats", 20));
    let here = std::thread::available_parallelism().map_or(1, usize::from);
    let (cores, rounds) = (number("--cores", here), number("--rounds", 1));
    let dir = tempfile::tempdir().expect("a folder");
    let events = upload(&dir.path().join("store/landing"), images);
    let few = &events[..images / 10];
    let topics = [topic(few, 0), topic(&events, 0), topic(&events, repeats)];
    let images = (events.len() - few.len()) as f64;
    let events = (events.len() * repeats) as f64;
    println!("processes  workers   images/s  CPU us an image   events/s  CPU us an event");
    for _ in 0..rounds {
        for (processes, workers) in layouts(cores) {
            let mut run = |topic: usize| {
                let name = format!("{topic}-{processes}-{workers}");
                let taken = work(
                    dir.path(),
                    &name,
                    topics[topic].brokers(),
                    processes,
                    workers,
                );
                std::fs::remove_dir_all(dir.path().join(name)).expect("its table");
                taken
            };
            let [start, read, repeated] = [0, 1, 2].map(&mut run);
            let (image, event) = (read.less(start), repeated.less(read));
            println!(
                "{processes:>9}  {workers:>7}  {:>9.0}  {:>15.0}  {:>9.0}  {:>15.1}",
                images / image.seconds,
                image.cpu_s * 1e6 / images,
                events / event.seconds,
                event.cpu_s * 1e6 / events
            );
        }
    }
}

/// One worker; all cores as workers of one process, as processes of one worker, and between.
fn layouts(cores: usize) -> Vec<(usize, usize)> {
    let powers = (0..).map(|power| 1 << power);
    let mut layouts = vec![(1, 1)];
    for workers in powers.take_while(|workers| *workers <= cores).skip(1) {
        let mut processes = 1;
        while processes <= workers {
            layouts.push((processes, workers / processes));
            processes *= 2;
        }
    }
    layouts
}

/// Uploads so many images; the events of them.
fn upload(bucket: &Path, images: usize) -> Vec<Vec<u8>> {
    std::fs::create_dir_all(bucket).expect("a bucket");
    let uploads = FolderUploads::new(BUCKET, bucket).expect("a bucket");
    let runtime = Runtime::new().expect("a runtime");
    let classes = pictures::classes();
    let pictures: Vec<Bytes> = (0..PICTURES.min(images))
        .map(|i| pictures::render(1, i % classes.len(), i).into())
        .collect();
    let events = (0..images).map(|i| {
        let picture = i % pictures.len();
        let key = format!("{}/{i:07}.jpg", classes[picture % classes.len()]);
        let uploaded = uploads.put(BUCKET, &key, pictures[picture].clone());
        let etag = runtime.block_on(uploaded).expect("an image").etag;
        event(key, etag)
    });
    events.collect()
}

/// A broker whose topic holds these events, and then all of them again so many times.
fn topic(messages: &[Vec<u8>], repeats: usize) -> EmbeddedKafka {
    let bytes = messages.iter().map(Vec::len).sum::<usize>() * (repeats + 1);
    let count = messages.len() * (repeats + 1);
    let partitions = EmbeddedKafka::partitions_for(count, 2 * bytes).max(PARTITIONS_MIN);
    let kafka = EmbeddedKafka::start(TOPIC, partitions).expect("a broker");
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .set("queue.buffering.max.messages", "10000000")
        .set("queue.buffering.max.kbytes", "4000000")
        .create()
        .expect("a producer");
    for _ in 0..=repeats {
        for (i, message) in messages.iter().enumerate() {
            let record = BaseRecord::<(), _>::to(TOPIC).partition((i % partitions) as i32);
            let sent = producer.send(record.payload(message));
            sent.map_err(|(error, _)| error)
                .expect("a broker that takes events");
        }
    }
    producer
        .flush(Duration::from_secs(600))
        .expect("a broker that takes events");
    kafka
}

fn event(key: String, etag: String) -> Vec<u8> {
    render(&ObjectEvent {
        change: Change::Created,
        bucket: BUCKET.to_owned(),
        key,
        etag: Some(etag),
        version_id: None,
        size: None,
        version: Version {
            time_ms: 1_700_000_000_000,
            sequencer: 1,
        },
        dialect: Dialect::Aws,
    })
}

/// What a run took.
#[derive(Clone, Copy)]
struct Taken {
    seconds: f64,
    /// Of all threads of its processes.
    cpu_s: f64,
}

impl Taken {
    fn less(self, other: Taken) -> Taken {
        Taken {
            seconds: self.seconds - other.seconds,
            cpu_s: self.cpu_s - other.cpu_s,
        }
    }
}

/// Runs the job to the end of the topic.
fn work(dir: &Path, name: &str, brokers: &str, processes: usize, workers: usize) -> Taken {
    let config = config(dir, name, brokers, "[publish]\nreproject_at_end = false\n");
    let (before_s, began) = (children_cpu_s(), Instant::now());
    let ended = Command::new(env!("CARGO_BIN_EXE_eigenflow"))
        .args(["run", "--until-end", "--config"])
        .arg(config)
        .args(["-n", &processes.to_string(), "-w", &workers.to_string()])
        .status()
        .expect("the binary");
    assert!(ended.success(), "{ended}");
    Taken {
        seconds: began.elapsed().as_secs_f64(),
        cpu_s: children_cpu_s() - before_s,
    }
}

/// What processors did for the processes that this one has waited for, and for theirs.
fn children_cpu_s() -> f64 {
    // SAFETY: a structure of numbers, which the system fills.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
