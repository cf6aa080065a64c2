//! A job that has nothing to do costs next to nothing.

use std::time::Duration;

use crate::backend::{Backend, keep_on_all_servers};
use crate::process::Process;
use crate::shared::loud;
use crate::world::{Layout, World, picture};

keep_on_all_servers!(an_empty_topic_costs_less_than_two_percent_of_a_core);

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(20);
/// The share of one core that the whole job may take.
const SHARE_MAX: f64 = 0.02;

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

    fn processor_time(&self) -> Duration {
        self.processes.iter().map(Process::processor_time).sum()
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
    std::thread::sleep(Duration::from_secs(2));
    let before: Vec<Duration> = jobs.iter().map(Idle::processor_time).collect();
    std::thread::sleep(WATCHED);
    for (mut job, before) in jobs.into_iter().zip(before) {
        let share = (job.processor_time() - before).as_secs_f64() / WATCHED.as_secs_f64();
        let way = format!("{:?}, listening: {}", job.layout, job.listens);
        loud(&format!(
            "idle on {}: {way}: {:.2} % of a core",
            servers.name(),
            100.0 * share
        ));
        assert!(share < SHARE_MAX, "{way}: {share}");
        for process in &mut job.processes {
            assert!(!process.has_ended(), "{}", process.log());
        }
        // The topic was watched all the while.
        job.world.upload(1, 1, "a/1.png", picture(1));
        job.world.wait_for(|state| state["rows"] == 1);
    }
}
