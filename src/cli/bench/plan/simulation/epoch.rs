//! From a cut to its commit: what an epoch has to go through, one stage after another.

use std::time::Duration;

use super::{Event, Simulation};

/// What of a worker's time bytes between processes take, to write and to read; an assumption.
const WIRE_BYTES_PER_S: f64 = 1e9;
/// PUTs one after another: the commit and what it names beside files.
const COMMIT_PUTS: f64 = 2.0;

impl Simulation<'_> {
    /// Every worker adds up its rows, and gives the sums away.
    pub(super) fn sum(&mut self) {
        self.summing = self.workers.len();
        for worker in 0..self.workers.len() {
            self.workers[worker].sums = true;
            self.work(worker);
        }
    }

    /// Each worker's sums go to those that own their parts, and from these to the first.
    pub(super) fn reduce(&mut self) {
        let remote = 1.0 - 1.0 / self.machines as f64;
        let bytes = self.plan.sums_bytes() * remote;
        let wire_s = 2.0 * bytes / WIRE_BYTES_PER_S;
        for worker in &mut self.workers {
            worker.debt_s += wire_s;
        }
        let gbit_s = (self.plan.workers() + 1) as f64 * bytes * 8.0 / 1e9;
        let network_s = gbit_s / self.plan.gbit_per_second;
        self.after(3.0 * self.step_s() + wire_s + network_s, Event::Reduced);
    }

    pub(super) fn fit(&mut self) {
        let fit_s = self.beside_workers(self.plan.fit_ms / 1e3);
        self.after(fit_s, Event::Fitted);
    }

    /// Rows by all workers; moments and models, whose PUTs go beside each other, by the first process.
    pub(super) fn write(&mut self) {
        let store_s = self.beside_workers(self.plan.store_ms / 1e3);
        let put_s = self.plan.put_ms / 1e3;
        self.after(store_s.max(2.0 * self.step_s()) + put_s, Event::Written);
    }

    /// How long a thread of the first process takes for this much work.
    fn beside_workers(&mut self, work_s: f64) -> f64 {
        if !self.crowded() {
            return work_s;
        }
        // One thread more than cores, each with its share.
        let workers = self.plan.workers();
        for worker in &mut self.workers[..workers] {
            worker.debt_s += work_s / workers as f64;
        }
        work_s * (1.0 + 1.0 / workers as f64)
    }

    pub(super) fn commit(&mut self) {
        let commit_s = (self.plan.commit_ms + COMMIT_PUTS * self.plan.put_ms) / 1e3;
        self.after(2.0 * self.step_s() + commit_s, Event::Committed);
    }

    pub(super) fn committed(&mut self) {
        if let Some((rows, cut)) = self.epoch.take() {
            self.uncommitted -= rows;
            self.commits.push(rows);
            self.publishing += Duration::from_nanos(self.now - cut);
        }
    }
}
