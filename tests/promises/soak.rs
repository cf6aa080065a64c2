//! Changes without end and a kill every now and then, for as long as it is told: the outcome is the oracle's, and neither
//! memory nor open files grow.
//!
//! `EIGENFLOW_SOAK=1800 cargo test --release --test promises soak -- --ignored --nocapture`, in seconds; `EIGENFLOW_SEED`
//! decides the changes. Beside the job that is killed, another one reads the same events into a table of its own and is
//! left alone, so that what grows slowly in one life is seen, too.

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
/// A life is looked at when it is so old: it is restored and has made some epochs.
const AGE: Duration = Duration::from_secs(10);
/// Until then all keys have come, and nothing is compared.
const WARM: Duration = Duration::from_secs(60);
/// What the last may hold more than the first. 64 MiB in half an hour are 2.3 kB a change, or 36 kB an epoch; the pages that
/// an allocator keeps, and a log of some thousand commits, take less.
const GROWTH_KIB_MAX: u64 = 64 << 10;
/// Connections come and go; one file an epoch, or a minute, would be more.
const GROWTH_FILES_MAX: usize = 16;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    resident_kib: u64,
    /// Open files beyond those that it inherited: the mock broker's sockets.
    files: usize,
}

/// A process of the job.
struct Job {
    process: Process,
    inherited: usize,
    begun: Instant,
    looked: bool,
}

impl Job {
    fn start(world: &World) -> Self {
        let process = world.start(LAYOUT, SETTINGS, &[]).pop();
        let process = process.expect("a process");
        let inherited = process.open_files();
        Job {
            process,
            inherited,
            begun: Instant::now(),
            looked: false,
        }
    }

    fn holds(&self) -> Held {
        Held {
            resident_kib: self.process.resident_kib(),
            files: self.process.open_files().saturating_sub(self.inherited),
        }
    }

    /// Whether it has come to the [`AGE`] at which it is looked at, for the first time.
    fn comes_of_age(&mut self) -> bool {
        let now = !self.looked && self.begun.elapsed() > AGE;
        self.looked |= now;
        now
    }

    fn end(self) {
        self.process.signal(libc::SIGTERM);
        let output = self.process.wait();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
    }
}

/// The last may not hold more than any of the first third, when pools of connections have filled, but for the stated growth.
fn assert_flat(which: &str, held: &[Held]) {
    let (Some(first), Some(last)) = (held.first(), held.last()) else {
        panic!("{which}: nothing was seen; the soak must last longer");
    };
    let most = |of: fn(&Held) -> u64| held.iter().map(of).max().unwrap_or_default();
    let early = &held[..held.len().div_ceil(3)];
    let early_kib = early.iter().map(|held| held.resident_kib).max();
    let early_files = early.iter().map(|held| held.files).max();
    eprintln!(
        "{which}: first {first:?}, last {last:?}, at most {} KiB and {} files, seen {} times",
        most(|held| held.resident_kib),
        most(|held| held.files as u64),
        held.len()
    );
    assert!(
        last.resident_kib <= early_kib.unwrap_or_default() + GROWTH_KIB_MAX,
        "{which}: memory grows: {held:?}"
    );
    assert!(
        last.files <= early_files.unwrap_or_default() + GROWTH_FILES_MAX,
        "{which}: open files grow: {held:?}"
    );
}

#[test]
#[ignore = "runs as long as EIGENFLOW_SOAK says, in seconds"]
fn changes_without_end_and_kills_end_where_the_oracle_does() {
    let seconds = std::env::var("EIGENFLOW_SOAK").expect("EIGENFLOW_SOAK says how many seconds");
    let begun = Instant::now();
    let end = begun + Duration::from_secs(seconds.parse().expect("a number of seconds"));
    let mut dice = Dice(seed());
    let world = World::new(PARTITIONS as usize);
    let beside = world.fork();
    let mut job = Job::start(&world);
    let undisturbed = Job::start(&beside);
    let mut live = BTreeMap::new();
    let (mut changes, mut kills) = (0, 0);
    let (mut lives, mut long_life) = (Vec::new(), Vec::new());
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
        if job.comes_of_age() && begun.elapsed() > WARM {
            lives.push(job.holds());
            long_life.push(undisturbed.holds());
        }
        if Instant::now() > kill_at {
            kills += 1;
            job.process.signal(libc::SIGKILL);
            job.process.wait();
            job = Job::start(&world);
            kill_at = Instant::now() + Duration::from_secs(KILL_S + dice.roll(KILL_S));
        }
    }
    eprintln!("{changes} changes, {kills} kills");
    for job in [job, undisturbed] {
        job.end();
    }
    assert_flat(&format!("lives at {AGE:?}"), &lives);
    assert_flat("one long life", &long_life);

    let oracle = World::new(PARTITIONS as usize);
    for (key, (partition, time_ms, seed)) in live {
        let etag = oracle.put(&key, picture(seed)).etag;
        let created = event(Change::Created, &key, Some(etag), time_ms);
        oracle.send(partition, &render(&created));
    }
    oracle.run(LAYOUT, SETTINGS);
    let oracle = Published::of(&oracle);
    for world in [world, beside] {
        world.run(LAYOUT, SETTINGS);
        assert_eq!(Published::of(&world), oracle);
    }
}
