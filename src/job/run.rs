//! Running a job: workers, signals, and the end.

use std::any::Any;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Hooks};
use timely::execute::execute_from;
use timely::worker::Worker;
use timely::{CommunicationConfig, WorkerConfig};

use super::rendezvous::rendezvous;
use super::reprojection::explained;
use super::{
    Asked, Beginning, Clusterer, Job, Layout, Plan, Reprojected, Reprojection, Verdict,
    Verification,
};
use crate::clusters::Outcome;
use crate::dataflows;
use crate::dataflows::online_pca::online_pca;
use crate::operators::Host;
use crate::operators::extract::Featuriser;

/// Steps before a worker computes images again. What comes to it passes one operator a step; where each step waits for images, a round
/// waits for many.
const STEPS: usize = 4;
/// How often a parked worker looks whether another one has failed.
const WATCH: Duration = Duration::from_millis(500);
/// How often a worker looks how much of a core it has had.
const METER: Duration = Duration::from_millis(250);

/// Runs the main job in this process until it ends, by its end, a signal or an error. Blocks; not for a runtime's thread.
///
/// # Errors
/// The first error in this process. Other processes of the job then end by the loss of the connection.
pub fn run(job: &Arc<Job>, layout: &Layout) -> Result<()> {
    job.traces.start(&job.runtime, layout.process, &job.writer);
    let ended = run_workers(job, layout);
    job.images.clear();
    job.traces.end(&job.runtime);
    ended
}

fn run_workers(job: &Arc<Job>, layout: &Layout) -> Result<()> {
    let beginning = match layout.process {
        0 => Some(job.runtime.block_on(Beginning::read(job))?),
        _ => None,
    };
    job.stop.begin_work();
    let beginning = Mutex::new(beginning);
    let (ended, ends) = channel();
    let ended = Mutex::new(ended);
    let (shared, workers) = (job.clone(), layout.workers);
    let gives_up = || job.stop.is_asked() || job.failure.is_set();
    let Some((allocators, network)) = connect(layout, &job.config.table.uri, gives_up)? else {
        return job.failure.take().map_or(Ok(()), Err);
    };
    let guards = execute_from(
        allocators,
        network,
        WorkerConfig::default(),
        move |worker| {
            let ended = ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mine = match worker.index() {
                0 => beginning
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
                _ => None,
            };
            let succeeded = work(worker, &shared, mine, workers);
            // The receiver is gone only when another worker has failed already.
            let _ = ended.send(succeeded);
            // A worker that returned would close its connections in good order, and other processes would wait for ever.
            if !succeeded {
                loop {
                    std::thread::park();
                }
            }
        },
    )
    .map_err(|error| anyhow!(error))?;
    for _ in 0..layout.workers {
        if ends.recv() != Ok(true) {
            // Joining would wait for other processes, which wait for this one: leave them behind.
            std::mem::forget(guards);
            let error = job.failure.take();
            return Err(error.unwrap_or_else(|| anyhow!("a worker died")));
        }
    }
    drop(guards);
    Ok(())
}

/// Timely's allocators, one a worker, and what holds their connections.
type Connected = (Vec<AllocatorBuilder>, Box<dyn Any + Send>);

/// Timely's workers of this process, connected to those of the others; nothing if `gives_up` ends the wait for them.
fn connect(
    layout: &Layout,
    job: &str,
    gives_up: impl Fn() -> bool + Sync,
) -> Result<Option<Connected>> {
    if layout.addresses.len() < 2 {
        let workers = CommunicationConfig::Process(layout.workers);
        return Ok(Some(workers.try_build().map_err(|error| anyhow!(error))?));
    }
    let Some(sockets) = rendezvous(layout, job, gives_up)? else {
        return Ok(None);
    };
    let hooks = Hooks::default();
    let workers =
        ProcessBuilder::new_typed_vector(layout.workers, hooks.refill.clone(), hooks.spill.clone());
    let (allocators, network) =
        initialize_networking_from_sockets(workers, sockets, layout.process, layout.workers, hooks)
            .context("the connections to the job's other processes")?;
    let allocators = allocators.into_iter().map(AllocatorBuilder::Tcp).collect();
    Ok(Some((allocators, Box::new(network))))
}

/// One worker's part; whether it succeeded, or the job has failed.
fn work(worker: &mut Worker, job: &Arc<Job>, beginning: Option<Beginning>, workers: usize) -> bool {
    let pulse = job.health.worker();
    let meter = job.metrics.worker(worker.index());
    let restoring = online_pca(worker, job, beginning, workers);
    let mut featuriser = Featuriser::new(job, meter.clone());
    let mut metered = Instant::now();
    let mut between = || {
        pulse.beat();
        if metered.elapsed() >= METER {
            metered = Instant::now();
            meter.meter();
        }
        let images = job.images.next(job.model.together(), workers);
        let busy = !images.is_empty();
        featuriser.featurise(images);
        busy
    };
    if !step_while(worker, job, &mut between, |_| restoring.less_equal(&0)) {
        return false;
    }
    pulse.restored();
    if !finish(worker, job, &mut between) {
        return false;
    }
    if job.until_end && job.config.publish.reproject_at_end {
        // Every worker builds the graph; whether there is anything to do in it, worker 0 knows.
        let plan = match worker.index() {
            0 if !job.stopped.load(Relaxed) => {
                let plan = Plan::of(&job.tables, &job.writer, job.file_max(), Asked::default());
                let plan = job.runtime.block_on(plan);
                plan.map_err(|error| job.failure.set(error)).ok().flatten()
            }
            _ => None,
        };
        dataflows::reproject::reproject(worker, job, plan);
        return finish(worker, job, between);
    }
    true
}

/// Recomputes what the last commit of a table published, on threads of this process. Blocks; not for a runtime's thread.
///
/// # Errors
/// What keeps it from a verdict; differences are in the verdict.
pub fn verify(verification: &Arc<Verification>, workers: usize) -> Result<Verdict> {
    execute(verification, workers, dataflows::verify::verify)?;
    verification.verdict()
}

/// Finds the clusters of a table's rows, on threads of this process. Blocks; not for a runtime's thread.
///
/// # Errors
/// Rows that can't be read, or have no clusters.
pub fn cluster(clusterer: &Arc<Clusterer>, workers: usize) -> Result<Outcome> {
    execute(clusterer, workers, dataflows::cluster::clusters)?;
    clusterer.outcome()
}

/// Brings all rows of a table under its newest projection, on threads of this process. Blocks; not for a runtime's thread.
///
/// # Errors
/// What keeps it from that, the loss of the race to another writer's commit ([`CommitError::Fenced`]) among it. The table is
/// then as that writer left it.
///
/// [`CommitError::Fenced`]: crate::table::CommitError::Fenced
pub fn reproject(reprojection: &Arc<Reprojection>, workers: usize) -> Result<Reprojected> {
    let ended = execute(reprojection, workers, |worker, reprojection| {
        let plan = match worker.index() {
            0 => reprojection.plan(),
            _ => None,
        };
        dataflows::reproject::reproject(worker, reprojection, plan);
    });
    ended.map_err(explained)?;
    Ok(reprojection.outcome())
}

/// Runs what `build` makes for `host` on so many threads of this process.
fn execute<H: Host>(
    host: &Arc<H>,
    workers: usize,
    build: impl Fn(&mut Worker, &Arc<H>) + Send + Sync + 'static,
) -> Result<()> {
    let shared = host.clone();
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        build(worker, &shared);
        finish(worker, &shared, || false)
    });
    for ended in guards.map_err(|error| anyhow!(error))?.join() {
        ended.map_err(|panic| anyhow!("a worker died: {panic}"))?;
    }
    host.failure().take().map_or(Ok(()), Err)
}

/// Steps until the dataflows have ended; false if the work has failed before.
fn finish(worker: &mut Worker, host: &Arc<impl Host>, between: impl FnMut() -> bool) -> bool {
    step_while(worker, host, between, Worker::has_dataflows)
}

/// Steps until `goes_on` no longer holds; false if the work has failed before. `between` is what the worker does after every [`STEPS`];
/// while it says that it did something, the worker does not park.
fn step_while(
    worker: &mut Worker,
    host: &Arc<impl Host>,
    mut between: impl FnMut() -> bool,
    goes_on: impl Fn(&Worker) -> bool,
) -> bool {
    let mut busy = true;
    while goes_on(worker) && !host.failure().is_set() {
        worker.step_or_park(Some(if busy { Duration::ZERO } else { WATCH }));
        for _ in 1..STEPS {
            if host.failure().is_set() {
                break;
            }
            worker.step();
        }
        busy = between();
    }
    if !host.failure().is_set() {
        return true;
    }
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
    false
}
