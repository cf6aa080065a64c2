//! The job as a discrete-event simulation: what happens next, and when, by the costs of a [`Plan`].
//!
//! ```text
//! tick ─> sealed ─> fetched ─> done                    (a round: events to workers by chance, as keys are hashed)
//!           tick ─> cut ─> summed ─> reduced ─> fitted ─> written ─> committed     (an epoch; one at a time)
//! ```
//! A worker is one core: images one after another, of any key, and between them what the operators have to do. An image is fetched and computed by the machine
//! that owes its key's owner least; another than the owner's hears of it, and the owner of the row, a step later. So whatever has to go
//! through all workers, a round's seal or an epoch's next stage, waits for the image that each is at: a `step` (the job may be at four). Where a machine has
//! no core to spare, work of other threads is taken from its workers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use super::Plan;
use super::random::Random;
use crate::operators::clock::{BUSY, QUOTA_MIN, next_quota};
use crate::operators::extract::Owed;

/// Reading pauses at so many epochs' worth of changes, as in the dataflow.
const EPOCHS_UNCOMMITTED: u64 = crate::dataflows::online_pca::EPOCHS_UNCOMMITTED;

mod epoch;

/// In ns since the start.
type Time = u64;

/// What a simulation came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Of the whole backlog, until its last commit.
    pub images_per_s: f64,
    /// Of all workers' time.
    pub workers_busy: f64,
    /// Asked for, on average.
    pub gets_per_s: f64,
    /// From a cut to its commit, on average.
    pub publishing_s: f64,
    /// Of the time, how much no round began because too much waited for its commit.
    pub withheld: f64,
}

impl Outcome {
    /// What more of would help.
    pub fn bound_by(&self, plan: &Plan) -> &'static str {
        match self {
            _ if self.gets_per_s > 0.9 * plan.gets_per_second => "the store's GETs (prefixes)",
            _ if self.withheld > 0.2 => "epochs (publish.rows, publish.bytes)",
            _ if self.workers_busy > 0.9 => "workers",
            _ => "rounds (limits.rounds_in_flight, partitions)",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Tick,
    Sealed(u64),
    /// What a worker asked another for is at that one's machine, of a round.
    Fetched(Asked, u64),
    /// A worker has computed an image.
    Done(usize, Asked, u64),
    /// Its row is at the worker that had asked.
    Answered(Asked, u64),
    Cut,
    Summed(usize),
    Reduced,
    Fitted,
    Written,
    Committed,
}

/// Who asked whom for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    by: usize,
    whom: usize,
}

#[derive(Debug)]
struct Worker {
    /// Rounds of its keys' images that nobody was asked for yet.
    queue: VecDeque<u64>,
    /// Images that others were asked for.
    owed: Owed,
    busy: bool,
    /// An epoch's sums are due.
    sums: bool,
    /// Seconds of other work that are due before the next image.
    debt_s: f64,
    busy_s: f64,
}

#[derive(Debug)]
struct Round {
    begun: Time,
    quota: usize,
    images: u64,
    left: u64,
}

impl Worker {
    fn new(index: usize, peers: usize, workers: usize) -> Self {
        Worker {
            queue: VecDeque::new(),
            owed: Owed::new(index, peers, workers),
            busy: false,
            sums: false,
            debt_s: 0.0,
            busy_s: 0.0,
        }
    }
}

/// What `plan` has `machines` do.
pub fn simulate(plan: &Plan, machines: usize) -> Outcome {
    let mut simulation = Simulation::new(plan, machines);
    simulation.run();
    simulation.outcome()
}

struct Simulation<'a> {
    plan: &'a Plan,
    machines: usize,
    now: Time,
    due: BinaryHeap<Reverse<(Time, u64, Event)>>,
    scheduled: u64,
    random: Random,
    workers: Vec<Worker>,
    /// Of each machine, what is fetched, and its round.
    ready: Vec<VecDeque<(Asked, u64)>>,
    /// Those under way.
    rounds: BTreeMap<u64, Round>,
    begun: u64,
    quota: usize,
    /// Events that were not read.
    waiting: u64,
    /// Images that were asked for.
    gets: u64,
    store_free: Time,
    withheld: Duration,
    /// Rows of ended rounds that no epoch has, and rows that are extracted and not committed.
    ended: u64,
    uncommitted: u64,
    /// Rows of the epoch that is published, and its cut.
    epoch: Option<(u64, Time)>,
    summing: usize,
    since: Time,
    /// Rows of each epoch that is committed.
    commits: Vec<u64>,
    publishing: Duration,
}

impl<'a> Simulation<'a> {
    fn new(plan: &'a Plan, machines: usize) -> Self {
        let count = machines * plan.workers();
        let backlog = plan.backlog_s * count as f64 * 1e3 / plan.image_ms;
        Simulation {
            plan,
            machines,
            now: 0,
            due: BinaryHeap::new(),
            scheduled: 0,
            random: Random::new(1),
            workers: (0..count)
                .map(|index| Worker::new(index, count, plan.workers()))
                .collect(),
            ready: vec![VecDeque::new(); machines],
            rounds: BTreeMap::new(),
            begun: 0,
            quota: QUOTA_MIN.min(plan.events_per_round),
            waiting: backlog.ceil() as u64,
            gets: 0,
            store_free: 0,
            withheld: Duration::ZERO,
            ended: 0,
            uncommitted: 0,
            epoch: None,
            summing: 0,
            since: 0,
            commits: Vec::new(),
            publishing: Duration::ZERO,
        }
    }

    fn run(&mut self) {
        self.after(0.0, Event::Tick);
        while let Some(Reverse((at, _, event))) = self.due.pop() {
            self.now = at;
            match event {
                Event::Tick => self.tick(),
                Event::Sealed(round) => self.seal(round),
                Event::Fetched(asked, round) => {
                    let machine = self.machine(asked.whom);
                    self.ready[machine].push_back((asked, round));
                    let first = machine * self.plan.workers();
                    let mut workers = first..first + self.plan.workers();
                    if let Some(idle) = workers.find(|&worker| !self.workers[worker].busy) {
                        self.work(idle);
                    }
                }
                Event::Done(worker, asked, round) => {
                    self.workers[worker].busy = false;
                    self.after(self.hop_s(asked), Event::Answered(asked, round));
                    self.work(worker);
                }
                Event::Answered(asked, round) => {
                    self.workers[asked.by].owed.answered(asked.whom);
                    self.fetch(asked.by);
                    self.uncommitted += 1;
                    if let Some(round) = self.rounds.get_mut(&round) {
                        round.left -= 1;
                    }
                }
                Event::Summed(worker) => {
                    self.workers[worker].busy = false;
                    self.summing -= 1;
                    if self.summing == 0 {
                        self.reduce();
                    }
                    self.work(worker);
                }
                Event::Cut => self.sum(),
                Event::Reduced => self.fit(),
                Event::Fitted => self.write(),
                Event::Written => self.commit(),
                Event::Committed => self.committed(),
            }
        }
    }

    fn after(&mut self, seconds: f64, event: Event) {
        self.scheduled += 1;
        let at = self.now + ns(seconds);
        self.due.push(Reverse((at, self.scheduled, event)));
    }

    /// Until every worker has heard of something.
    fn step_s(&self) -> f64 {
        self.plan.image_ms / 1e3
    }

    fn machine(&self, worker: usize) -> usize {
        worker / self.plan.workers()
    }

    /// Until what one worker says to another is heard. Workers of one machine share what is fetched, and what is done.
    fn hop_s(&self, asked: Asked) -> f64 {
        match self.machine(asked.by) == self.machine(asked.whom) {
            true => 0.0,
            false => self.step_s(),
        }
    }

    /// Whether what other threads do is taken from the workers.
    fn crowded(&self) -> bool {
        self.plan.cores <= self.plan.workers()
    }

    fn image_s(&self) -> f64 {
        let beside_ms = if self.crowded() {
            self.plan.beside_ms
        } else {
            0.0
        };
        (self.plan.image_ms + beside_ms) / 1e3
    }

    /// What the clock does, and mint.
    fn tick(&mut self) {
        while let Some(entry) = self.rounds.first_entry().filter(|e| e.get().left == 0) {
            let round = entry.remove();
            self.ended += round.images;
            let took = Duration::from_nanos(self.now - round.begun);
            let backlog = self.waiting > 0;
            let most = self.plan.events_per_round;
            self.quota = next_quota(self.quota, round.quota, most, took, backlog);
        }
        let epoch_rows = self.plan.epoch_rows;
        if self.waiting > 0 && self.rounds.len() < self.plan.rounds_in_flight {
            if self.uncommitted < EPOCHS_UNCOMMITTED * epoch_rows {
                self.begin();
            } else {
                self.withheld += BUSY;
            }
        }
        let over = self.waiting == 0 && self.rounds.is_empty();
        let long = self.now - self.since >= ns(self.plan.interval_s);
        if self.epoch.is_none() && self.ended > 0 && (over || long || self.ended >= epoch_rows) {
            self.epoch = Some((std::mem::take(&mut self.ended), self.now));
            self.since = self.now;
            self.after(self.step_s(), Event::Cut);
        }
        if !over || self.ended > 0 || self.epoch.is_some() {
            self.after(BUSY.as_secs_f64(), Event::Tick);
        }
    }

    fn begin(&mut self) {
        let readers = self.workers.len().min(self.plan.partitions);
        let images = self.waiting.min((readers * self.quota) as u64);
        self.waiting -= images;
        let reading_s = images as f64 / readers as f64 * self.plan.event_us / 1e6;
        for worker in &mut self.workers[..readers] {
            worker.debt_s += reading_s;
        }
        let round = Round {
            begun: self.now,
            quota: self.quota,
            images,
            left: images,
        };
        self.rounds.insert(self.begun, round);
        // A step until all sources have read, another until all workers know that they have.
        self.after(2.0 * self.step_s() + reading_s, Event::Sealed(self.begun));
        self.begun += 1;
    }

    fn seal(&mut self, round: u64) {
        for _ in 0..self.rounds[&round].images {
            let worker = self.random.below(self.workers.len());
            self.workers[worker].queue.push_back(round);
        }
        for worker in 0..self.workers.len() {
            self.fetch(worker);
        }
    }

    fn fetch(&mut self, index: usize) {
        while self.workers[index].owed.all() < self.plan.fetches_in_flight
            && let Some(round) = self.workers[index].queue.pop_front()
        {
            let whom = self.workers[index].owed.ask();
            let asked = Asked { by: index, whom };
            self.gets += 1;
            self.store_free = self.store_free.max(self.now) + ns(1.0 / self.plan.gets_per_second);
            let turn_s = (self.store_free - self.now) as f64 / 1e9;
            // Half of the time is the same for all, half is chance.
            let took_s = self.plan.get_ms / 1e3 * (0.5 + 0.5 * self.random.wait());
            let heard_s = self.hop_s(asked);
            self.after(heard_s + turn_s + took_s, Event::Fetched(asked, round));
        }
    }

    fn work(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        if worker.busy {
            return;
        }
        let machine = index / self.plan.workers();
        let (seconds, event) = if std::mem::take(&mut worker.sums) {
            let rows = self.epoch.map_or(0, |(rows, _)| rows) as f64 / self.workers.len() as f64;
            let seconds = (rows * self.plan.sum_ms + self.plan.drain_ms) / 1e3;
            (seconds, Event::Summed(index))
        } else if let Some((asked, round)) = self.ready[machine].pop_front() {
            (self.image_s(), Event::Done(index, asked, round))
        } else {
            return;
        };
        let worker = &mut self.workers[index];
        let seconds = seconds + std::mem::take(&mut worker.debt_s);
        worker.busy = true;
        worker.busy_s += seconds;
        self.after(seconds, event);
    }

    fn outcome(self) -> Outcome {
        let total_s = self.now as f64 / 1e9;
        let rows: u64 = self.commits.iter().sum();
        let busy_s: f64 = self.workers.iter().map(|worker| worker.busy_s).sum();
        Outcome {
            images_per_s: rows as f64 / total_s,
            workers_busy: busy_s / (total_s * self.workers.len() as f64),
            gets_per_s: self.gets as f64 / total_s,
            publishing_s: self.publishing.as_secs_f64() / self.commits.len() as f64,
            withheld: self.withheld.as_secs_f64() / total_s,
        }
    }
}

fn ns(seconds: f64) -> Time {
    (seconds * 1e9) as Time
}

#[cfg(test)]
mod tests;
