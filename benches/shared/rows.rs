//! Rows that differ in all but their features, which a restart does not read.

use std::path::Path;
use std::sync::Arc;

use eigenflow::config::Said;
use eigenflow::event::Version;
use eigenflow::job::state::{FORMAT, JobState};
use eigenflow::job::{self, Job, Options};
use eigenflow::table::Row;

use crate::job::TOPIC;
use eigenflow::storage::digest;

pub const LABEL: &str = "a class of fruit";

/// The job of a configuration, with its tables open.
pub async fn open(config: &Path) -> Arc<Job> {
    let said = Said::load(config, std::iter::empty()).expect("a configuration");
    let config = said.resolve().expect("a configuration");
    let job = job::open(config, Options::default()).await.expect("a job");
    job.tables.open().await.expect("tables");
    job
}

/// What an epoch's commit says of the job that made it.
pub fn state(job: &Job, epoch: usize) -> JobState {
    JobState {
        format: FORMAT,
        epoch: epoch as i64,
        backbone: job.identity.clone(),
        features: job.features,
        topic: TOPIC.to_owned(),
        ..JobState::default()
    }
}

/// The features of every row.
pub fn features(job: &Job) -> Vec<f32> {
    (0..job.features).map(|i| i as f32 / 255.0).collect()
}

pub fn row(number: usize, features: &[f32]) -> Row {
    let version = Version {
        time_ms: 1_700_000_000_000 + number as i64,
        sequencer: number as u128,
    };
    Row {
        path: format!("s3://landing/{LABEL}/{number:08}.jpg"),
        label: Some(LABEL.to_owned()),
        etag: format!("{:032x}", digest(&number.to_le_bytes())),
        event_time_ms: version.time_ms,
        version: version.to_string(),
        width: 100,
        height: 100,
        features: features.to_vec(),
        ..Row::default()
    }
}
