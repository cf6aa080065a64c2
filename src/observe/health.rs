//! Whether a process moves, and whether it does what it is there for.
//!
//! *Live* is a process whose workers take their steps; one that is not should be started again. *Ready* is a process that
//! takes part in the job: connected, restored from the last commit, and not told to stop. A job that waits for its store
//! or its broker is live, as a restart would cure nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::now_ms;

/// A worker that took no step for so long is stuck: parked ones look up far more often, and no operator takes longer.
const STALL: Duration = Duration::from_secs(60);

/// A process's health.
#[derive(Debug)]
pub struct Health {
    start: Instant,
    started_ms: i64,
    workers: Mutex<Vec<Arc<Beats>>>,
    stopping: AtomicBool,
}

#[derive(Debug, Default)]
struct Beats {
    /// Of the last steps, in ms since the start.
    last_ms: AtomicU64,
    restored: AtomicBool,
}

/// A worker's part: it reports between its steps.
#[derive(Debug)]
pub struct Pulse {
    start: Instant,
    beats: Arc<Beats>,
}

impl Default for Health {
    fn default() -> Self {
        Health {
            start: Instant::now(),
            started_ms: now_ms(),
            workers: Mutex::default(),
            stopping: AtomicBool::new(false),
        }
    }
}

impl Health {
    /// A worker has begun.
    pub fn worker(&self) -> Pulse {
        let pulse = Pulse {
            start: self.start,
            beats: Arc::default(),
        };
        pulse.beat();
        self.workers().push(pulse.beats.clone());
        pulse
    }

    /// When the process began, in ms since 1970 UTC.
    pub fn started_ms(&self) -> i64 {
        self.started_ms
    }

    /// Whether the process was told to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// The process was told to end.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Why the process should be started again; nothing if it shouldn't.
    pub fn stalls(&self) -> Vec<String> {
        let now_ms = self.start.elapsed().as_millis() as u64;
        let mut stalls = Vec::new();
        for (worker, beats) in self.workers().iter().enumerate() {
            let idle = Duration::from_millis(now_ms.saturating_sub(beats.last_ms.load(Relaxed)));
            if idle > STALL {
                stalls.push(format!(
                    "worker {worker} took no step for {} s",
                    idle.as_secs()
                ));
            }
        }
        stalls
    }

    /// Why the process is not ready; nothing if it is.
    pub fn obstacles(&self) -> Vec<String> {
        let mut obstacles = self.stalls();
        let workers = self.workers();
        if workers.is_empty() {
            obstacles
                .push("starting: loading the network, waiting for the other processes".to_owned());
        }
        let restoring = workers
            .iter()
            .filter(|beats| !beats.restored.load(Relaxed))
            .count();
        if restoring > 0 {
            obstacles.push(format!(
                "{restoring} of {} workers restore from the last commit",
                workers.len()
            ));
        }
        if self.stopping.load(Relaxed) {
            obstacles.push("stopping: what is in flight is finished and published".to_owned());
        }
        obstacles
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Beats>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    /// The worker takes its steps.
    pub fn beat(&self) {
        let now_ms = self.start.elapsed().as_millis() as u64;
        self.beats.last_ms.store(now_ms, Relaxed);
    }

    /// The worker has all that the last commit says.
    pub fn restored(&self) {
        self.beats.restored.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_between_restoring_and_stopping() {
        let health = Health::default();
        assert!(health.obstacles()[0].contains("starting"));
        let (one, two) = (health.worker(), health.worker());
        one.restored();
        assert_eq!(
            health.obstacles(),
            ["1 of 2 workers restore from the last commit"]
        );
        two.restored();
        assert!(health.obstacles().is_empty());
        health.stop();
        assert!(health.obstacles()[0].contains("stopping"));
        assert!(health.stalls().is_empty());
    }

    #[test]
    fn a_worker_that_takes_no_step_is_told_by_its_number() {
        let mut health = Health::default();
        let (_moves, _stuck) = (health.worker(), health.worker());
        let Some(long_ago) = Instant::now().checked_sub(2 * STALL) else {
            return;
        };
        health.start = long_ago;
        health.workers()[0]
            .last_ms
            .store(2 * STALL.as_millis() as u64, Relaxed);
        assert_eq!(health.stalls(), ["worker 1 took no step for 120 s"]);
    }
}
