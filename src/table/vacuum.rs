//! Deletes what no retained commit names: files of epochs that were never committed, and what later
//! commits removed.
//!
//! A version is *retained* while it is the newest, or was so at any time within `older_than`: a reader that
//! opened it may still be reading. An object younger than that is kept in any case: its commit may be on its way.
//! Ages are the store's own (`Last-Modified`) against this machine's clock, so `older_than` must be
//! far above their difference and above the longest epoch; a day is sensible.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use serde::Deserialize;

use super::schema::Record;
use super::table::{JOB_DOMAIN, Snapshot, Table, TableError};
use crate::storage::{Place, StorageError};

/// An object that nothing retained names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// Its name, relative to the place it was found in.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What retained versions before the newest name.
#[derive(Debug, Default)]
struct Retained {
    /// Removed since; what was not removed is in the newest.
    files: BTreeSet<String>,
    jobs: Vec<String>,
}

impl<R: Record> Table<R> {
    /// Data files in the table's folder that no retained version names. `snapshot` must be the newest.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn unnamed_files(
        &self,
        snapshot: &Snapshot,
        older_than: Duration,
    ) -> Result<Vec<Garbage>, TableError> {
        let cutoff = cutoff(older_than);
        let mut named = self.retained(cutoff).await?.files;
        named.extend(snapshot.files.iter().map(|file| file.name.clone()));
        let is_data = |name: &str| name.ends_with(".parquet") && !name.contains('/');
        Ok(unnamed(self.place(), cutoff, |name| {
            !is_data(name) || named.contains(name)
        })
        .await?)
    }

    /// Objects in `folders` beside the table (see [`state`](super::state)) that no retained version's job JSON
    /// names; `named_by` lists the names in such a JSON. Names are relative to the table's parent.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn unnamed_objects(
        &self,
        snapshot: &Snapshot,
        older_than: Duration,
        folders: &[&str],
        named_by: impl Fn(&str) -> Vec<String>,
    ) -> Result<Vec<Garbage>, TableError> {
        let cutoff = cutoff(older_than);
        let mut jobs = self.retained(cutoff).await?.jobs;
        jobs.extend(snapshot.job.clone());
        let named: BTreeSet<String> = jobs.iter().flat_map(|job| named_by(job)).collect();
        let mut garbage = Vec::new();
        let parent = self.place().parent()?;
        for folder in folders {
            let place = parent.inside(folder)?;
            let found = unnamed(&place, cutoff, |name| {
                named.contains(&format!("{folder}/{name}"))
            });
            garbage.extend(found.await?.into_iter().map(|found| Garbage {
                name: format!("{folder}/{}", found.name),
                ..found
            }));
        }
        Ok(garbage)
    }

    /// Reads the commits since the cutoff, and the one that was the newest then.
    async fn retained(&self, cutoff: DateTime<Utc>) -> Result<Retained, TableError> {
        let log = self.place().inside("_delta_log")?;
        let mut commits: Vec<_> = log
            .list()
            .try_filter_map(|(name, meta)| async move {
                let version = name
                    .strip_suffix(".json")
                    .and_then(|v| v.parse::<u64>().ok());
                Ok(version.map(|version| (version, name, meta.last_modified)))
            })
            .try_collect()
            .await?;
        commits.sort_unstable();
        let newest_then = commits.iter().rposition(|(_, _, time)| *time < cutoff);

        let mut retained = Retained::default();
        for (at, (version, name, _)) in commits.iter().enumerate().skip(newest_then.unwrap_or(0)) {
            for line in log.get(name).await?.split(|byte| *byte == b'\n') {
                if line.is_empty() {
                    continue;
                }
                // What can't be read might name anything: better to delete nothing at all.
                let action: Action =
                    serde_json::from_slice(line).map_err(|error| TableError::Log {
                        table: self.place().to_string(),
                        reason: format!("version {version}: {error}"),
                    })?;
                // What the oldest retained version removed, it does not name; its later ones may have removed what it does.
                if newest_then != Some(at) {
                    retained.files.extend(action.remove.map(|file| file.path));
                }
                let job = action
                    .domain_metadata
                    .filter(|domain| domain.domain == JOB_DOMAIN);
                retained.jobs.extend(job.map(|domain| domain.configuration));
            }
        }
        Ok(retained)
    }
}

/// Deletes what was found.
///
/// # Errors
/// [`StorageError`] of the first that could not be deleted; it is safe to run again.
pub async fn delete(place: &Place, garbage: &[Garbage]) -> Result<(), StorageError> {
    for object in garbage {
        place.delete(&object.name).await?;
    }
    Ok(())
}

fn cutoff(older_than: Duration) -> DateTime<Utc> {
    let age = chrono::Duration::from_std(older_than).unwrap_or(chrono::Duration::MAX);
    Utc::now()
        .checked_sub_signed(age)
        .unwrap_or(DateTime::<Utc>::MIN_UTC)
}

async fn unnamed(
    place: &Place,
    cutoff: DateTime<Utc>,
    keep: impl Fn(&str) -> bool,
) -> Result<Vec<Garbage>, StorageError> {
    place
        .list()
        .try_filter_map(|(name, meta)| {
            let old = meta.last_modified < cutoff;
            let garbage = (old && !keep(&name)).then_some(Garbage {
                name,
                bytes: meta.size,
            });
            async move { Ok(garbage) }
        })
        .try_collect()
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    remove: Option<FileAction>,
    domain_metadata: Option<Domain>,
}

#[derive(Deserialize)]
struct FileAction {
    path: String,
}

#[derive(Deserialize)]
struct Domain {
    domain: String,
    configuration: String,
}
