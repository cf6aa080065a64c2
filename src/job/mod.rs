//! A job in one process: what its operators share, and what its last commit says.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::backbone::Model;
use crate::classifier;
use crate::config::Config;
use crate::image::{Limits, Preprocess};
use crate::observe::{
    Board, Commit, Event, FITTED_MAX, Fitted, Health, Metrics, Spell, Traces, now_ms,
};
use crate::operators::extract::Images;
use crate::operators::{Host, Load};
use crate::projection;
use crate::storage::{Uploads, Witnesses};
use state::JobState;

mod calibration;
mod clusterer;
mod extraction;
mod models;
mod open;
mod origin;
mod points;
mod rebuilding;
mod rendezvous;
mod reprojection;
mod run;
mod sample;
pub mod state;
pub(crate) mod statistics;
mod stop;
mod tables;
pub mod uploads;
mod verification;
mod view;

pub use calibration::{calibrate, calibrate_on, calibration};
pub use clusterer::Clusterer;
pub use extraction::Extraction;
pub use models::{read_classifier, read_clustering, read_moments, read_projection};
pub use open::{Options, form, open, open_tables};
pub use origin::{Beginning, Origin};
pub use points::{FILES_IN_FLIGHT, Points};
pub use rebuilding::{Rebuilding, Rebuilt};
pub use reprojection::{Asked, Plan, Reprojected, Reprojection};
pub use run::{cluster, reproject, run, verify};
pub use sample::Sample;
pub use stop::Stop;
pub use tables::{Found, Summary, Sweep, Tables};
pub use verification::{Check, Difference, Digests, Findings, Opened, Verdict, Verification};
pub use view::View;

/// Everything that the operators of a process share.
pub struct Job {
    /// As it was said and meant.
    pub config: Config,
    /// Where tasks run.
    pub runtime: Handle,
    /// The images.
    pub uploads: Arc<dyn Uploads>,
    /// Which of them could be read.
    pub witnesses: Witnesses,
    /// The tables.
    pub tables: Tables,
    /// The network, loaded once a process.
    pub model: Model,
    /// What the bits of the features depend on.
    pub identity: String,
    /// Those that wait for the network.
    pub images: Images,
    /// Features of an image.
    pub features: usize,
    /// Fitting of images to the network's input.
    pub preprocess: Preprocess,
    /// What is no longer an image but an attack.
    pub image_limits: Limits,
    /// How the projection is fitted.
    pub projection_options: projection::Options,
    /// How the classifier is fitted; `None`: there is to be none.
    pub classifier_options: Option<classifier::Options>,
    /// Ends where the topic ended at the start.
    pub until_end: bool,
    /// This run's name in the commits it makes.
    pub writer: String,
    /// Set by a signal to this process: finish the rounds in flight, publish, end.
    pub stop: Stop,
    /// Known to process 0: some process was stopped by a signal.
    pub stopped: AtomicBool,
    /// The first error that ends the job.
    pub failure: Failure,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Where the time of each epoch went.
    pub traces: Traces,
    /// Trouble with the store, of images and of tables.
    pub store: Arc<Spell>,
    /// Trouble with reading events.
    pub broker: Spell,
    /// How this process is.
    pub health: Arc<Health>,
    /// What is known of all processes: in process 0, where somebody may ask for it.
    pub board: Option<Arc<Board>>,
    fetch_budget: Arc<Semaphore>,
    /// Not the job's, and told of.
    other_buckets: Mutex<BTreeSet<String>>,
}

/// So many buckets of others are told of; a topic may have the events of any number.
const OTHER_BUCKETS_MAX: usize = 16;
/// One permit of the fetch budget.
const BUDGET_UNIT_BYTES: u64 = 4096;

impl Job {
    /// Waits until `bytes` more may be in flight in this process. An object larger than the whole budget gets all of it.
    pub async fn fetch_budget(&self, bytes: u64) -> OwnedSemaphorePermit {
        let all = budget_units(self.config.limits.fetch_bytes_in_flight);
        let permits = budget_units(bytes).min(all);
        match self.fetch_budget.clone().acquire_many_owned(permits).await {
            Ok(permit) => permit,
            Err(_) => unreachable!("the budget is never closed"),
        }
    }

    /// Each event of a bucket that is not the job's is a reject; that its events are, is told once a bucket.
    pub fn tell_of_bucket(&self, bucket: &str) {
        let told = self.other_buckets.lock();
        let mut told = told.unwrap_or_else(PoisonError::into_inner);
        if told.len() < OTHER_BUCKETS_MAX && told.insert(bucket.to_owned()) {
            let ours = self.config.s3.buckets.join(", ");
            tracing::warn!(
                "events of bucket {bucket:?} are rejected: it is not among s3.buckets ({ours})"
            );
        }
    }

    /// An epoch is published before it is more, give or take a round.
    pub fn epoch_max(&self) -> Load {
        let publish = &self.config.publish;
        Load {
            count: publish.rows,
            bytes: publish.bytes,
        }
    }

    /// Bounds of a data file.
    pub fn file_max(&self) -> Load {
        let table = &self.config.table;
        Load {
            count: table.rows_per_file as u64,
            bytes: table.file_bytes,
        }
    }

    /// Tells metrics and board of the last commit: one that was `found`, or was just made.
    pub fn tell_of(&self, state: &JobState, summary: &Summary, found: bool) {
        let published = &self.metrics.published;
        published.epoch.set(state.epoch as f64);
        published.table_version.set(summary.version as f64);
        published.rows.set(summary.rows as f64);
        published.rejects.set(summary.rejects as f64);
        if !found {
            published.at.set(now_ms() as f64 / 1e3);
        }
        if let Some(projection) = &state.projection {
            published.projection_version.set(projection.version as f64);
            published
                .explained_variance_ratio
                .set(projection.explained());
            published
                .drift
                .set(projection.drift_rad.unwrap_or(f64::NAN));
        }
        let Some(board) = &self.board else { return };
        let commit = Commit {
            epoch: state.epoch,
            version: summary.version,
            rows: summary.rows,
            rejects: summary.rejects,
            projection: fitted(state),
        };
        board.published(commit, found);
    }

    /// Tells the board of the projections of the commits before, once the table is open: for people, so that nothing waits for
    /// it.
    pub async fn recall(&self) {
        let Some(board) = &self.board else { return };
        if board.commits().wait_for(Option::is_some).await.is_err() {
            return;
        }
        match self.tables.history(FITTED_MAX).await {
            Ok(past) => {
                let event = |(at, state): &(DateTime<Utc>, JobState)| {
                    let at_ms = at.timestamp_millis();
                    fitted(state).map(|what| Event { at_ms, what })
                };
                board.recall(past.iter().filter_map(event).collect());
            }
            Err(error) => {
                tracing::warn!("the page does not show the commits before: {error:#}");
            }
        }
    }

    /// All that rows depend on beside their objects; equal in every process of a job.
    pub fn fingerprint(&self) -> String {
        format!(
            "{}; topic {}; buckets {:?}; select {:?}; label {:?}; columns {}; limits {:?}",
            self.identity,
            self.config.kafka.topic,
            self.config.s3.buckets,
            self.config.select,
            self.config.label,
            self.tables.rows.form(),
            self.image_limits
        )
    }
}

impl Host for Job {
    fn runtime(&self) -> &Handle {
        &self.runtime
    }
    fn failure(&self) -> &Failure {
        &self.failure
    }
    fn tables(&self) -> &Tables {
        &self.tables
    }
    fn committed(&self, state: &JobState, summary: &Summary) {
        self.tell_of(state, summary, false);
    }
}

fn budget_units(bytes: u64) -> u32 {
    bytes
        .div_ceil(BUDGET_UNIT_BYTES)
        .clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize) as u64) as u32
}

/// What was asked for and what is there contradict each other: only a person can decide, so no restart cures it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Contradiction(pub String);

/// A commit's projection, as the board has it.
fn fitted(state: &JobState) -> Option<Fitted> {
    let projection = state.projection.as_ref()?;
    Some(Fitted {
        version: projection.version,
        rows: state.moments.as_ref().map_or(0, |moments| moments.n),
        explained_variance_ratio: projection.explained_variance_ratio.clone(),
        drift_rad: projection.drift_rad,
        tested: state.prequential.tested,
        correct: state.prequential.correct,
    })
}

/// The first error, which ends the job in this process; the loss of its connections ends it in the others.
#[derive(Debug, Default)]
pub struct Failure(Mutex<(bool, Option<anyhow::Error>)>);

impl Failure {
    /// Ends the job, if nothing has ended it yet.
    pub fn set(&self, error: anyhow::Error) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !slot.0 {
            *slot = (true, Some(error));
        }
    }

    /// Whether the job has failed.
    pub fn is_set(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Takes the error, once.
    pub fn take(&self) -> Option<anyhow::Error> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .take()
    }
}

/// Where a job's processes and workers are.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Worker threads of each process.
    pub workers: usize,
    /// This process.
    pub process: usize,
    /// `host:port` of every process; one entry or none for a single process.
    pub addresses: Vec<String>,
}

impl Layout {
    /// One process.
    pub fn single(workers: usize) -> Self {
        Layout {
            workers,
            process: 0,
            addresses: Vec::new(),
        }
    }
}
