//! Changes without end and a kill every now and then, for as long as it is told: the outcome is the oracle's, and neither
//! memory nor open files grow.
//!
//! `EIGENFLOW_SOAK=1800 cargo test --release --test promises soak -- --ignored --nocapture`, in seconds; `EIGENFLOW_SEED`
//! decides the changes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use eigenflow::event::{Change, render};

use crate::crash::{Dice, seed};
use crate::process::Process;
use crate::world::{Layout, Published, World, event, picture};

const LAYOUT: Layout = Layout::new(2, 1);
const SETTINGS: &str = "[publish]\nrows = 50\ninterval_ms = 1000\n[projection]\ncomponents = 5\n";
const PARTITIONS: u64 = 3;
const KEYS: u64 = 300;
const PAUSE: Duration = Duration::from_millis(30);
/// A kill comes after this time, and up to as much again: some 20 s on average.
const KILL_S: u64 = 13;

/// A process of the job.
struct Job {
    process: Process,
    /// Open files when it began: the mock broker's sockets are inherited.
    inherited: usize,
}

impl Job {
    fn start(world: &World) -> Self {
        let process = world.start(LAYOUT, SETTINGS, &[]).pop();
        let process = process.expect("a process");
        let inherited = files(&process).unwrap_or(0);
        Job { process, inherited }
    }

    /// What it holds: resident memory in KiB, and files that it opened itself.
    fn holds(&self) -> Option<(u64, usize)> {
        let status = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(status).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident_kib = resident?.split_whitespace().next()?.parse().ok()?;
        let own = files(&self.process)?.saturating_sub(self.inherited);
        Some((resident_kib, own))
    }
}

fn files(process: &Process) -> Option<usize> {
    let listed = std::fs::read_dir(format!("/proc/{}/fd", process.id()));
    Some(listed.ok()?.count())
}

#[test]
#[ignore = "runs as long as EIGENFLOW_SOAK says, in seconds"]
fn changes_without_end_and_kills_end_where_the_oracle_does() {
    let seconds = std::env::var("EIGENFLOW_SOAK").expect("EIGENFLOW_SOAK says how many seconds");
    let end = Instant::now() + Duration::from_secs(seconds.parse().expect("a number of seconds"));
    let mut dice = Dice(seed());
    let world = World::new(PARTITIONS as usize);
    let mut job = Job::start(&world);
    let mut live = BTreeMap::new();
    let (mut changes, mut held) = (0, Vec::new());
    let mut kill_at = Instant::now() + Duration::from_secs(KILL_S);
    while Instant::now() < end {
        changes += 1;
        let number = dice.roll(KEYS);
        let (partition, key) = (
            (number % PARTITIONS) as i32,
            format!("class {}/{number}.png", number % 7),
        );
        if dice.roll(4) == 0 {
            world.remove(partition, changes, &key);
            live.remove(&key);
        } else {
            let seed = dice.roll(1 << 32);
            world.upload(partition, changes, &key, picture(seed));
            live.insert(key, (partition, changes, seed));
        }
        std::thread::sleep(PAUSE);
        if Instant::now() > kill_at {
            held.extend(job.holds());
            job.process.signal(libc::SIGKILL);
            job.process.wait();
            job = Job::start(&world);
            kill_at = Instant::now() + Duration::from_secs(KILL_S + dice.roll(KILL_S));
        }
    }
    let kills = held.len();
    held.extend(job.holds());
    job.process.signal(libc::SIGTERM);
    let output = job.process.wait();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    world.run(LAYOUT, SETTINGS);

    let oracle = World::new(PARTITIONS as usize);
    for (key, (partition, time_ms, seed)) in live {
        let etag = oracle.put(&key, picture(seed)).etag;
        let created = event(Change::Created, &key, Some(etag), time_ms);
        oracle.send(partition, &render(&created));
    }
    oracle.run(LAYOUT, SETTINGS);
    assert_eq!(Published::of(&world), Published::of(&oracle));
    eprintln!(
        "{changes} changes, {kills} kills; (resident KiB, files opened) before each kill, first {:?}, last {:?}, all {held:?}",
        held.first(),
        held.last()
    );
}
