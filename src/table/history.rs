//! What the commits before said.

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;

use super::schema::Record;
use super::table::{JOB_DOMAIN, Table, TableError};

/// Commits that are read at once.
const READS_IN_FLIGHT: usize = 8;

/// A commit of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// The table's version that it made.
    pub version: u64,
    /// When the store took it.
    pub at: DateTime<Utc>,
    /// The job's JSON.
    pub job: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    domain_metadata: Option<Domain>,
}

#[derive(Deserialize)]
struct Domain {
    domain: String,
    configuration: String,
}

impl<R: Record> Table<R> {
    /// The last `count` commits up to `version`, oldest first, as far as the log still has them and a job made them.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn history(&self, version: u64, count: usize) -> Result<Vec<Past>, TableError> {
        let log = self.place().inside("_delta_log")?;
        let mut commits: Vec<(u64, String, DateTime<Utc>)> = log
            .list()
            .try_filter_map(|(name, meta)| async move {
                let number = name.strip_suffix(".json").and_then(|v| v.parse().ok());
                let number = number.filter(|number: &u64| *number <= version);
                Ok(number.map(|number| (number, name, meta.last_modified)))
            })
            .try_collect()
            .await?;
        commits.sort_unstable();
        let last = commits.split_off(commits.len().saturating_sub(count));
        let log = &log;
        let reading = stream::iter(last).map(|(version, name, at)| async move {
            let job = job_of(&log.get(&name).await?);
            Ok::<_, TableError>(job.map(|job| Past { version, at, job }))
        });
        let read: Vec<Option<Past>> = reading.buffered(READS_IN_FLIGHT).try_collect().await?;
        Ok(read.into_iter().flatten().collect())
    }
}

/// The job's JSON in a commit, if it has one.
fn job_of(commit: &[u8]) -> Option<String> {
    let lines = commit.split(|byte| *byte == b'\n');
    let mut domains = lines.filter_map(|line| {
        let action: Action = serde_json::from_slice(line).ok()?;
        action.domain_metadata
    });
    let job = domains.find(|domain| domain.domain == JOB_DOMAIN);
    job.map(|job| job.configuration)
}
