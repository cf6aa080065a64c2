//! A job that has nothing to do costs next to nothing.
//!
//! What a wake costs is the machine's matter: a virtual processor that was halted may take fifty times what a real one
//! takes. So the wakes have a bound of their own beside that of the share of a core.

use std::time::{Duration, Instant};

use crate::backend::{Backend, keep_on_all_servers};
use crate::process::Process;
use crate::shared::loud;
use crate::world::{Layout, World, picture};

keep_on_all_servers!(an_empty_topic_costs_less_than_two_percent_of_a_core);

/// From its first commit to the pace of a quiet topic; the threads that wrote it have ended by then.
const SETTLING: Duration = Duration::from_secs(13);
/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(20);
/// Wakes a second that there may be for each worker: its own and its two clients' of the broker.
const WAKES_MAX: f64 = 30.0;
/// The share of one core that the whole job may take.
const SHARE_MAX: f64 = 0.02;

/// What a job has taken so far.
struct Usage {
    wakes: u64,
    processor: Duration,
}

/// A job that is ready and has nothing to read.
struct Idle {
    layout: Layout,
    listens: bool,
    processes: Vec<Process>,
    world: World,
}

impl Idle {
    fn start(servers: Backend, layout: Layout, listens: bool) -> Self {
        let world = servers.world(2);
        let arguments: &[&str] = match listens {
            true => &["--listen", "127.0.0.1:0"],
            false => &[],
        };
        let processes = world.start(layout, "", arguments);
        Idle {
            layout,
            listens,
            processes,
            world,
        }
    }

    fn usage(&self) -> Usage {
        Usage {
            wakes: self.processes.iter().map(Process::wakes).sum(),
            processor: self.processes.iter().map(Process::processor_time).sum(),
        }
    }

    /// Its first commit tells where the topic begins; what it takes for its start is over soon after.
    fn settle(&self) {
        self.world.wait_for(|state| {
            let offsets = state["offsets"].as_object();
            offsets.is_some_and(|offsets| offsets.len() == 2)
        });
    }
}

fn an_empty_topic_costs_less_than_two_percent_of_a_core(servers: Backend) {
    let layouts = [Layout::ONE, Layout::TWO, Layout::PROCESSES];
    let ways = layouts
        .iter()
        .flat_map(|layout| [(*layout, false), (*layout, true)]);
    let jobs: Vec<Idle> = ways
        .map(|(layout, listens)| Idle::start(servers, layout, listens))
        .collect();
    jobs.iter().for_each(Idle::settle);
    std::thread::sleep(SETTLING);
    let before: Vec<Usage> = jobs.iter().map(Idle::usage).collect();
    let start = Instant::now();
    std::thread::sleep(WATCHED);
    // Of all before the first of them is given something to do.
    let after: Vec<Usage> = jobs.iter().map(Idle::usage).collect();
    let watched = start.elapsed().as_secs_f64();
    for ((mut job, before), after) in jobs.into_iter().zip(before).zip(after) {
        let wakes = after.wakes.saturating_sub(before.wakes) as f64 / watched;
        let share = (after.processor - before.processor).as_secs_f64() / watched;
        let workers = (job.layout.workers * job.layout.processes) as f64;
        let way = format!("{:?}, listening: {}", job.layout, job.listens);
        loud(&format!(
            "idle on {}: {way}: {wakes:.0} wakes a second, {:.2} % of a core",
            servers.name(),
            100.0 * share
        ));
        assert!(wakes < WAKES_MAX * workers, "{way}: {wakes} a second");
        assert!(share < SHARE_MAX, "{way}: {share}");
        for process in &mut job.processes {
            assert!(!process.has_ended(), "{}", process.log());
        }
        // The topic was watched all the while.
        job.world.upload(1, 1, "a/1.png", picture(1));
        job.world.wait_for(|state| state["rows"] == 1);
    }
}
