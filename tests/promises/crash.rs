//! Killed at any call to store or broker, at any moment between: what is published is what an undisturbed run publishes.
//!
//! A schedule names an act, a layout, a call to one of the servers and a side of it: the job's processes are killed by SIGKILL
//! before the server hears of the call, or after it has answered and before the answer is given. Then the job is started
//! again with another number of workers, and runs to the end of the topic. Moments, projection, rows and rejects must be
//! those of the undisturbed run, bit for bit.
//!
//! Calls to the broker are all requests of Kafka's protocol but repetitions ([`crate::proxy::Proxy::before_broker`]), as clients poll. How
//! often images and events are asked for depends on who comes first, so the numbers of calls differ by some from run to run;
//! a schedule beyond the last call kills nothing. Every fourth random schedule kills at a random moment instead of at a call.
//!
//! `EIGENFLOW_CRASHES` says how much of it: a number of seconds of random schedules (60 unless said, and 30 on real
//! servers; drawn from `EIGENFLOW_SEED`), `all` for every schedule, or one schedule as a failure prints it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::backend::{Backend, keep_on_all_servers};
use crate::doors::{Doors, SERVERS, Server};
use crate::process::{Process, signal_to};
use crate::proxy::{Call, Fate, Moment};
use crate::shared::loud;
use crate::world::{Layout, Published, World, picture};

keep_on_all_servers!(a_crash_at_any_call_leaves_no_trace);

const PARTITIONS: i32 = 2;
/// Several epochs a run.
const SETTINGS: &str = "[publish]\nrows = 4\ninterval_ms = 200\n[projection]\ncomponents = 3\n";
const LAYOUTS: [Layout; 4] = [
    Layout::new(1, 1),
    Layout::new(2, 1),
    Layout::new(1, 2),
    Layout::new(2, 2),
];
/// Longer than any run takes.
const MOMENT_MS_MAX: u64 = 2000;

/// A half of the history.
struct Act {
    /// What store, topic and table hold when the job starts.
    before: World,
    undisturbed: Published,
    /// Calls of the undisturbed run, by layout, to each of [`SERVERS`].
    calls: [[u64; SERVERS.len()]; LAYOUTS.len()],
}

/// Where the job is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kill {
    At(Server, Moment, u64),
    AfterMs(u64),
}

const MOMENTS: [Moment; 2] = [Moment::Before, Moment::After];

#[derive(Clone, Copy, Debug, PartialEq)]
struct Schedule {
    act: usize,
    layout: usize,
    kill: Kill,
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}:{}:", self.act, self.layout)?;
        match self.kill {
            Kill::At(server, moment, call) => write!(out, "{server:?}:{moment:?}:{call}"),
            Kill::AfterMs(time_ms) => write!(out, "ms:{time_ms}"),
        }
    }
}

impl Schedule {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (act, layout, kill) = match parts[..] {
            [act, layout, "ms", time_ms] => (act, layout, Kill::AfterMs(time_ms.parse().ok()?)),
            [act, layout, server, moment, call] => {
                let server = SERVERS.into_iter().find(|s| format!("{s:?}") == server);
                let moment = MOMENTS.into_iter().find(|m| format!("{m:?}") == moment);
                (act, layout, Kill::At(server?, moment?, call.parse().ok()?))
            }
            _ => return None,
        };
        Some(Schedule {
            act: act.parse().ok()?,
            layout: layout.parse().ok()?,
            kill,
        })
    }
}

/// First objects come into an empty table; then some are overwritten, some removed, some come, one is no image.
fn acts(servers: Backend) -> [Act; 2] {
    let [first, second] = [(); 2].map(|()| {
        let world = servers.world(PARTITIONS);
        for i in 0..10 {
            let key = format!("class {}/{i}.png", i % 3);
            world.upload(i % PARTITIONS, 1, &key, picture(i as u64));
        }
        world
    });
    second.run(LAYOUTS[0], SETTINGS);
    for i in [0, 1, 5, 10, 11] {
        let key = format!("class {}/{i}.png", i % 3);
        second.upload(i % PARTITIONS, 2, &key, picture(100 + i as u64));
    }
    second.upload(0, 2, "class 0/broken.png", &b"no image"[..]);
    for i in [2, 3, 7] {
        second.remove(i % PARTITIONS, 2, &format!("class {}/{i}.png", i % 3));
    }
    [first, second].map(Act::measured)
}

impl Act {
    /// Runs the act in every layout, to know its outcome and its calls.
    fn measured(before: World) -> Self {
        let undisturbed = before.fork();
        undisturbed.run(LAYOUTS[0], SETTINGS);
        let undisturbed = Published::of(&undisturbed);
        let calls = LAYOUTS.map(|layout| {
            let mut world = before.fork();
            let doors = Doors::before(&mut world);
            let asked = Arc::new(Mutex::new(BTreeSet::new()));
            let asking = asked.clone();
            doors.of(Server::Broker).watch(move |call, _| {
                asking.lock().expect("names").insert(call.method.clone());
                Fate::Pass
            });
            world.run(layout, SETTINGS);
            let calls = SERVERS.map(|server| doors.of(server).calls());
            assert_eq!(Published::of(&world), undisturbed, "{layout:?}");
            let asked = asked.lock().expect("names");
            for api in ["Metadata", "ListOffsets", "Fetch"] {
                assert!(
                    asked.contains(api),
                    "the broker was met elsewhere: {asked:?}"
                );
            }
            calls
        });
        Act {
            before,
            undisturbed,
            calls,
        }
    }

    /// Plays the act, kills the job as scheduled, and runs it to the end; whether it was killed before it had ended.
    fn crash(&self, schedule: Schedule) -> bool {
        let mut world = self.before.fork();
        let doors = Doors::before(&mut world);
        let victims = Victims::default();
        // Held until all processes are known: a call that comes early waits.
        let mut pids = victims.0.lock().expect("the victims");
        if let Kill::At(server, moment, number) = schedule.kill {
            let victims = victims.clone();
            doors.of(server).watch(move |call: &Call, now| {
                if call.number == number && now == moment {
                    eprintln!("killed {now:?} {} {}", call.method, call.path);
                    victims.kill();
                }
                if victims.are_dead() {
                    Fate::Cut
                } else {
                    Fate::Pass
                }
            });
        }
        let processes = world.start(LAYOUTS[schedule.layout], SETTINGS, &["--until-end"]);
        *pids = Some(processes.iter().map(Process::id).collect());
        drop(pids);
        if let Kill::AfterMs(time_ms) = schedule.kill {
            std::thread::sleep(Duration::from_millis(time_ms));
            victims.kill();
        }
        let mut killed = false;
        for process in processes {
            let output = process.wait();
            killed |= output.status.code().is_none();
            assert!(
                output.status.success() || victims.are_dead(),
                "{schedule}: {}\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        for server in SERVERS {
            doors.of(server).watch(|_, _| Fate::Pass);
        }
        world.run(LAYOUTS[(schedule.layout + 1) % LAYOUTS.len()], SETTINGS);
        assert_eq!(
            Published::of(&world),
            self.undisturbed,
            "repeat it with EIGENFLOW_CRASHES={schedule}"
        );
        killed
    }
}

/// The processes of the job; none once they are killed.
#[derive(Clone, Default)]
struct Victims(Arc<Mutex<Option<Vec<u32>>>>);

impl Victims {
    fn kill(&self) {
        if let Some(pids) = self.0.lock().expect("the victims").take() {
            pids.into_iter().for_each(|id| signal_to(id, libc::SIGKILL));
        }
    }

    fn are_dead(&self) -> bool {
        self.0.lock().expect("the victims").is_none()
    }
}

fn every(acts: &[Act]) -> Vec<Schedule> {
    let mut all = Vec::new();
    for (act, played) in acts.iter().enumerate() {
        for (layout, calls) in played.calls.iter().enumerate() {
            for (server, calls) in SERVERS.into_iter().zip(calls) {
                let sides = (1..=*calls).flat_map(|call| MOMENTS.map(|moment| (moment, call)));
                all.extend(sides.map(|(moment, call)| Schedule {
                    act,
                    layout,
                    kill: Kill::At(server, moment, call),
                }));
            }
        }
    }
    all
}

/// A sequence of numbers that `seed` decides (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    /// The next number below `bound`.
    pub fn roll(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// `EIGENFLOW_SEED`, or a seed of the day's making; printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    let said = std::env::var("EIGENFLOW_SEED").ok();
    let seed = said.map_or_else(
        || u64::from(std::process::id()),
        |text| text.parse().expect("EIGENFLOW_SEED is a number"),
    );
    loud(&format!("EIGENFLOW_SEED={seed}"));
    seed
}

fn a_crash_at_any_call_leaves_no_trace(servers: Backend) {
    let acts = acts(servers);
    let (mut schedules, mut kills) = (0, 0);
    let mut crash = |schedule: Schedule| {
        schedules += 1;
        kills += u64::from(acts[schedule.act].crash(schedule));
    };
    let seconds = match servers {
        Backend::Embedded => "60",
        Backend::Real(_) => "30",
    };
    let said = std::env::var("EIGENFLOW_CRASHES").unwrap_or_else(|_| seconds.into());
    if said == "all" {
        every(&acts).into_iter().for_each(&mut crash);
    } else if let Some(schedule) = Schedule::parse(&said) {
        crash(schedule);
    } else {
        let seconds = said
            .parse()
            .expect("EIGENFLOW_CRASHES is `all`, seconds, or a schedule");
        let (all, mut dice) = (every(&acts), Dice(seed()));
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            let mut schedule = all[dice.roll(all.len() as u64) as usize];
            if dice.roll(4) == 0 {
                schedule.kill = Kill::AfterMs(dice.roll(MOMENT_MS_MAX));
            }
            crash(schedule);
        }
    }
    // Some calls of a schedule are not made that time, and its moment comes after the end.
    assert!(kills > 0 || schedules < 10, "no job was killed");
    loud(&format!(
        "{schedules} schedules, {kills} kills on {}; calls to {SERVERS:?} by act and layout: {:?}",
        servers.name(),
        acts.each_ref().map(|act| act.calls)
    ));
}
