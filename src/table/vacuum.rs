//! Deletes what no retained commit names: files of epochs that were never committed, and what later
//! commits removed.
//!
//! A version is *retained* while it is the newest, or was so at any time within `older_than`: a reader that
//! opened it may still be reading. An object younger than that is kept in any case: its commit may be on its way.
//! Ages are the store's own (`Last-Modified`) against this machine's clock, so `older_than` must be
//! far above their difference and above the longest epoch; a day is sensible.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use serde::Deserialize;

use super::data_file::DataFile;
use super::schema::Record;
use super::table::{JOB_DOMAIN, Snapshot, Table, TableError};
use crate::storage::{Place, StorageError};

/// An object, as a listing has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// Its name, relative to the place it was found in.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What the retained versions of a table name.
#[derive(Debug)]
pub struct Retained {
    /// Data files and Delta's statistics of each.
    pub files: BTreeMap<String, String>,
    /// The job's JSON of each version.
    pub jobs: Vec<String>,
    cutoff: DateTime<Utc>,
}

/// What a place holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// What nothing retained names.
    pub garbage: Vec<Garbage>,
    /// How many objects stay.
    pub kept: u64,
    /// Their size in bytes.
    pub kept_bytes: u64,
}

impl<R: Record> Table<R> {
    /// What the versions name that are retained now. `snapshot` must be the newest.
    ///
    /// # Errors
    /// [`TableError`]: above all a log that can't be read whole, as what can't be read might name anything.
    pub async fn retained(
        &self,
        snapshot: &Snapshot,
        older_than: Duration,
    ) -> Result<Retained, TableError> {
        let age = chrono::Duration::from_std(older_than).unwrap_or(chrono::Duration::MAX);
        let cutoff = Utc::now()
            .checked_sub_signed(age)
            .unwrap_or(DateTime::<Utc>::MIN_UTC);
        let named = |file: &DataFile| (file.name.clone(), file.stats.clone());
        let mut retained = Retained {
            files: snapshot.files.iter().map(named).collect(),
            jobs: snapshot.job.iter().cloned().collect(),
            cutoff,
        };
        self.read_retained(&mut retained).await?;
        Ok(retained)
    }

    /// Reads the commits since the cutoff, and the one that was the newest then.
    async fn read_retained(&self, retained: &mut Retained) -> Result<(), TableError> {
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
        let newest_then = commits
            .iter()
            .rposition(|(_, _, time)| *time < retained.cutoff);

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
                    let removed = action.remove.map(|file| (file.path, file.stats));
                    retained.files.extend(removed);
                }
                let job = action
                    .domain_metadata
                    .filter(|domain| domain.domain == JOB_DOMAIN);
                retained.jobs.extend(job.map(|domain| domain.configuration));
            }
        }
        Ok(())
    }
}

impl Retained {
    /// Looks through the objects of `place` that `concerns` holds for. Those that `named` holds for stay, and those that are
    /// too young to be judged.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn sweep(
        &self,
        place: &Place,
        concerns: impl Fn(&str) -> bool,
        named: impl Fn(&str) -> bool,
    ) -> Result<Swept, StorageError> {
        let mut swept = Swept::default();
        let mut objects = place.list();
        loop {
            let (name, meta) = match objects.try_next().await {
                Ok(Some(object)) => object,
                // A folder of this machine appears with its first object.
                Ok(None) | Err(StorageError::NotFound { .. }) => return Ok(swept),
                Err(error) => return Err(error),
            };
            if !concerns(&name) {
                continue;
            }
            if named(&name) || meta.last_modified >= self.cutoff {
                swept.kept += 1;
                swept.kept_bytes += meta.size;
            } else {
                let bytes = meta.size;
                swept.garbage.push(Garbage { name, bytes });
            }
        }
    }
}

/// Whether an object in a table's folder is one of its data files.
pub fn is_data_file(name: &str) -> bool {
    name.ends_with(".parquet") && !name.contains('/')
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    remove: Option<FileAction>,
    domain_metadata: Option<Domain>,
}

#[derive(Deserialize)]
struct FileAction {
    path: String,
    #[serde(default)]
    stats: String,
}

#[derive(Deserialize)]
struct Domain {
    domain: String,
    configuration: String,
}
