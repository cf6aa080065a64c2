//! All rows under the newest models: what there is to do for it, as the last commit tells, and whom the command
//! `reproject` works for. A bounded run does the same at its end.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::runtime::Handle;

use super::origin::{read_classifier, read_projection};
use super::state::JobState;
use super::statistics::{Kind, all_under};
use super::{Failure, Tables};
use crate::operators::models::ModelFiles;
use crate::operators::{Epoch, Host, Load};
use crate::table::{CommitError, DataFile, Row};

/// Worker 0's plan.
pub struct Plan {
    /// Files to be rewritten as one, each within the bounds of a file, unless it is one.
    pub groups: Vec<Vec<DataFile>>,
    /// The newest models; without a classifier where the table doesn't show what it predicts.
    pub models: ModelFiles,
    /// The last commit's state, under this writer's name: all that the new commit says beside its files.
    pub state: JobState,
}

impl Plan {
    /// The plan for the last commit that `tables` know, as `writer`; `None` where a rewriting would change nothing.
    ///
    /// # Errors
    /// A projection or statistics that can't be read.
    pub async fn of(tables: &Tables, writer: &str, file_max: Load) -> Result<Option<Self>> {
        let Some((mut state, files)) = tables.committed().await? else {
            return Ok(None);
        };
        let projection = state.projection.as_ref().map(|named| named.version);
        let mut newest = vec![(Kind::Projection, projection)];
        let predicts = tables.rows.form().shows::<Row>("classifier_version");
        if predicts {
            let classifier = state.classifier.as_ref().map(|named| named.version);
            newest.push((Kind::Classifier, classifier));
        }
        let groups = worth_it(groups(files, file_max, state.features), &newest)?;
        if groups.is_empty() {
            return Ok(None);
        }
        let projection = read_projection(tables, &state).await?;
        let classifier = match predicts {
            true => read_classifier(tables, &state).await?,
            false => None,
        };
        state.writer = writer.to_owned();
        Ok(Some(Plan {
            groups,
            models: ModelFiles::new(projection.as_ref(), classifier.as_ref())?,
            state,
        }))
    }
}

/// Fills groups up to `file_max` of rows of so many `features`, each file into the first that has room. No two groups would fit into one, so files
/// that were made of groups stay as they are, in whatever order they come.
fn groups(files: Vec<DataFile>, file_max: Load, features: usize) -> Vec<Vec<DataFile>> {
    // As rows count where they are staged; the file itself is smaller by its compression.
    let row_bytes = 2 * (features * size_of::<f32>()) as u64;
    let mut groups: Vec<(Load, Vec<DataFile>)> = Vec::new();
    for file in files {
        let load = Load {
            count: file.rows,
            bytes: file.bytes.max(file.rows.saturating_mul(row_bytes)),
        };
        let mut with_room = groups.iter_mut();
        match with_room.find(|(held, _)| !(*held + load).exceeds(file_max)) {
            Some((held, group)) => {
                *held = *held + load;
                group.push(file);
            }
            None => groups.push((load, vec![file])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// The groups but for single files that are what they should be: nothing is read to know it.
fn worth_it(
    groups: Vec<Vec<DataFile>>,
    newest: &[(Kind, Option<Epoch>)],
) -> Result<Vec<Vec<DataFile>>> {
    let mut worth = Vec::new();
    for group in groups {
        let done = match &group[..] {
            [file] => all_newest(file, newest).with_context(|| file.name.clone())?,
            _ => false,
        };
        if !done {
            worth.push(group);
        }
    }
    Ok(worth)
}

fn all_newest(file: &DataFile, newest: &[(Kind, Option<Epoch>)]) -> Result<bool> {
    for (kind, version) in newest {
        if !all_under(&file.stats, *kind, *version)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What `reproject` did, or found to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reprojected {
    /// The main table's newest version.
    pub commit: u64,
    /// The newest projection's version; `None` where there are too few rows for one.
    pub projection: Option<Epoch>,
    /// Rows of the table.
    pub rows: u64,
    /// Files that were rewritten; none: nothing was to do, and nothing was committed.
    pub files_before: usize,
    /// Files that they became.
    pub files: usize,
}

/// What the workers of `reproject` share.
pub struct Reprojection {
    tables: Tables,
    runtime: Handle,
    failure: Failure,
    plan: Mutex<Option<Plan>>,
    outcome: Reprojected,
}

impl Host for Reprojection {
    fn runtime(&self) -> &Handle {
        &self.runtime
    }
    fn failure(&self) -> &Failure {
        &self.failure
    }
    fn tables(&self) -> &Tables {
        &self.tables
    }
}

impl Reprojection {
    /// Finds out what there is to do, from the last commit of `tables`. A rejects commit that a crash left undone is carried
    /// out; nothing else is written yet.
    ///
    /// # Errors
    /// Where there is no table, or no job has committed to it; logs or a projection that can't be read.
    pub async fn open(mut tables: Tables, file_max: Load) -> Result<Self> {
        let found = tables.open_to_rewrite().await.map_err(explained)?;
        let state = found
            .state
            .context("the table is there, but no job has committed to it yet")?;
        let writer = uuid::Uuid::new_v4().simple().to_string();
        let plan = Plan::of(&tables, &writer, file_max).await?;
        let groups = plan.as_ref().map_or(&[][..], |plan| &plan.groups);
        let outcome = Reprojected {
            commit: found.version + u64::from(plan.is_some()),
            projection: state.projection.map(|named| named.version),
            rows: found.rows.iter().map(|file| file.rows).sum(),
            files_before: groups.iter().map(Vec::len).sum(),
            files: groups.len(),
        };
        Ok(Reprojection {
            tables,
            runtime: Handle::current(),
            failure: Failure::default(),
            plan: Mutex::new(plan),
            outcome,
        })
    }

    /// The plan, once; `None` also where there is nothing to do.
    pub(super) fn plan(&self) -> Option<Plan> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.take()
    }

    /// What is true when the workers have ended without failing.
    pub(super) fn outcome(&self) -> Reprojected {
        self.outcome
    }
}

/// Says what the loss of a race means here: the fence itself speaks of jobs.
pub(super) fn explained(error: anyhow::Error) -> anyhow::Error {
    let fenced = |cause: &CommitError| matches!(cause, CommitError::Fenced { .. });
    match error.chain().any(|cause| cause.downcast_ref().is_some_and(fenced)) {
        true => error.context(
            "nothing was reprojected: the table was changed meanwhile. Stop the job that writes to it, or try again in a \
             quieter moment",
        ),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, rows: u64) -> DataFile {
        let bounds = r#"{"projection_version":7}"#;
        DataFile {
            name: name.into(),
            bytes: 1,
            rows,
            stats: format!(
                r#"{{"minValues":{bounds},"maxValues":{bounds},"nullCount":{{"projection_version":0}}}}"#
            ),
        }
    }

    fn of_rows(count: u64) -> Load {
        Load {
            count,
            bytes: u64::MAX,
        }
    }

    fn sizes(groups: &[Vec<DataFile>]) -> Vec<Vec<u64>> {
        let rows = |group: &Vec<DataFile>| group.iter().map(|file| file.rows).collect();
        groups.iter().map(rows).collect()
    }

    #[test]
    fn small_files_are_merged_and_large_ones_left_alone() {
        let files = [("a", 3), ("b", 4), ("c", 4), ("d", 20), ("e", 1)];
        let files = files.map(|(name, rows)| file(name, rows)).to_vec();
        let groups = groups(files, of_rows(10), 768);
        assert_eq!(sizes(&groups), [vec![3, 4, 1], vec![4], vec![20]]);
        assert_eq!(
            sizes(&worth_it(groups.clone(), &[(Kind::Projection, Some(7))]).unwrap()),
            [[3, 4, 1]]
        );
        assert_eq!(
            worth_it(groups, &[(Kind::Projection, Some(8))])
                .unwrap()
                .len(),
            3
        );
        let light = Load {
            count: u64::MAX,
            bytes: 2,
        };
        let files = (0..5).map(|i| file(&i.to_string(), 1)).collect();
        assert_eq!(
            sizes(&super::groups(files, light, 0)),
            [vec![1, 1], vec![1, 1], vec![1]]
        );
    }

    #[test]
    fn merged_files_are_not_merged_again_in_whatever_order() {
        let mut files: Vec<DataFile> = (0..200)
            .map(|i| file(&i.to_string(), 1 + i * 7919 % 37))
            .collect();
        let merged = |files: &[DataFile]| -> Vec<DataFile> {
            let groups = groups(files.to_vec(), of_rows(50), 768).into_iter();
            let whole = |group: Vec<DataFile>| {
                file(&group[0].name, group.iter().map(|file| file.rows).sum())
            };
            groups.map(whole).collect()
        };
        files = merged(&files);
        for turn in 0..files.len() {
            files.rotate_left(turn);
            assert_eq!(merged(&files), files);
            files.reverse();
            assert_eq!(merged(&files), files);
        }
    }
}
