//! All rows under the newest models: what there is to do for it, as the last commit tells, and whom the command
//! `reproject` works for. A bounded run does the same at its end.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::runtime::Handle;

use super::models::{read_classifier, read_clustering, read_moments, read_projection};
use super::state::{ClusteringRef, JobState};
use super::statistics::{Kind, all_under};
use super::{Failure, Summary, Tables};
use crate::clusters::{self, ClusterError, Outcome};
use crate::operators::cluster::Wanted;
use crate::operators::models::ModelFiles;
use crate::operators::{Epoch, Host, Load};
use crate::table::state::CLUSTERS;
use crate::table::{Author, CommitError, DataFile, Row};

/// The clusters that are asked for; what is not said is as the last time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// How many.
    pub clusters: Option<usize>,
    /// Of all that is left to chance.
    pub seed: Option<u64>,
}

/// Worker 0's plan.
pub struct Plan {
    /// Files to be rewritten as one, each within the bounds of a file, unless it is one.
    pub groups: Vec<Vec<DataFile>>,
    /// What clusters are to be found before; `None` where the table shows none, or has the right ones.
    pub clusters: Option<Wanted>,
    /// The newest models; without a classifier or a clustering where the table doesn't show what it says.
    pub models: ModelFiles,
    /// The last commit's state, under this writer's name: all that the new commit says beside its files.
    pub state: JobState,
}

impl Plan {
    /// The plan for the last commit that `tables` know, as `writer`, with clusters as they are `asked` for, or else as the last were; `None`
    /// where a rewriting would change nothing.
    ///
    /// # Errors
    /// Models or statistics that can't be read.
    pub async fn of(
        tables: &Tables,
        writer: &str,
        file_max: Load,
        asked: Asked,
    ) -> Result<Option<Self>> {
        let Some((mut state, files)) = tables.committed().await? else {
            return Ok(None);
        };
        let projection = state.projection.as_ref().map(|named| named.version);
        let mut newest = vec![(Kind::Projection, projection)];
        let clusters = wanted_clusters(tables, &state, &files, asked).await?;
        if tables.rows.form().shows::<Row>("cluster") {
            let version = match &clusters {
                Clusters::Kept(version) => Some(*version),
                // No row is in it yet, so every file is rewritten.
                Clusters::Wanted(_) => Some(next_version(&state)),
                Clusters::None => None,
            };
            newest.push((Kind::Clustering, version));
        }
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
        let mut models = ModelFiles::new(projection.as_ref(), classifier.as_ref())?;
        let clusters = match clusters {
            Clusters::Kept(_) => {
                let clustering = read_clustering(tables, &state).await?;
                models.clustering = clustering
                    .map(|stored| stored.to_safetensors())
                    .transpose()?;
                None
            }
            Clusters::Wanted(wanted) => Some(wanted),
            Clusters::None => {
                state.clustering = None;
                None
            }
        };
        state.writer = writer.to_owned();
        Ok(Some(Plan {
            groups,
            clusters,
            models,
            state,
        }))
    }

    /// The plan with the clusters that were found, which are put into the store. That there are none is no failure: other rows may have some.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn published(
        mut self,
        tables: &Tables,
        found: Option<Result<Box<Outcome>, ClusterError>>,
    ) -> Result<Self> {
        let outcome = match found {
            None => return Ok(self),
            Some(Err(error)) => {
                tracing::warn!(%error, "no clusters");
                self.state.clustering = None;
                return Ok(self);
            }
            Some(Ok(outcome)) => outcome,
        };
        let stored = clusters::Stored {
            version: next_version(&self.state),
            projection_version: self
                .state
                .projection
                .as_ref()
                .map_or(0, |named| named.version),
            clustering: outcome.clustering.clone(),
        };
        let file = stored.to_safetensors()?;
        let label = format!("{:010}", stored.version);
        let object = tables
            .objects
            .put(CLUSTERS, label, "safetensors", file.clone().into());
        let options = self.clusters.take().map(|(options, _)| options);
        let named = ClusteringRef::new(
            object.await?,
            &stored,
            options.unwrap_or_default(),
            &outcome,
        );
        self.state.clustering = Some(named);
        self.models.clustering = Some(file);
        Ok(self)
    }
}

/// What there is to do about clusters.
enum Clusters {
    /// There are to be none.
    None,
    /// Those of this version are the rows'.
    Kept(i64),
    /// They are to be found.
    Wanted(Wanted),
}

async fn wanted_clusters(
    tables: &Tables,
    state: &JobState,
    files: &[DataFile],
    asked: Asked,
) -> Result<Clusters> {
    let shown = tables.rows.form().shows::<Row>("cluster");
    let Some(projection) = state.projection.as_ref().filter(|_| shown) else {
        return Ok(Clusters::None);
    };
    let last = state.clustering.as_ref();
    let before = last.map(|last| last.options.clone()).unwrap_or_default();
    let options = clusters::Options {
        clusters: asked.clusters.or(before.clusters),
        seed: asked.seed.unwrap_or(before.seed),
    };
    if let Some(last) = last
        && (last.projection_version, &last.options) == (projection.version, &options)
        && all_of(files, &[(Kind::Clustering, Some(last.version))])?
    {
        return Ok(Clusters::Kept(last.version));
    }
    // A table without labels would be rewritten each time, for nothing.
    if options.clusters.is_none()
        && state.classifier.is_none()
        && read_moments(tables, state).await?.labels().next().is_none()
    {
        return Ok(Clusters::None);
    }
    Ok(Clusters::Wanted((options, projection.components)))
}

/// Of the next clustering.
fn next_version(state: &JobState) -> i64 {
    state.clustering.as_ref().map_or(1, |last| last.version + 1)
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
            [_] => all_of(&group, newest)?,
            _ => false,
        };
        if !done {
            worth.push(group);
        }
    }
    Ok(worth)
}

fn all_of(files: &[DataFile], newest: &[(Kind, Option<Epoch>)]) -> Result<bool> {
    for file in files {
        for (kind, version) in newest {
            let under = all_under(&file.stats, *kind, *version);
            if !under.with_context(|| file.name.clone())? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// What `reproject` did, or found to be done.
#[derive(Clone, Debug, PartialEq)]
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
    /// The clusters, where the table shows them.
    pub clustering: Option<ClusteringRef>,
}

/// What the workers of `reproject` share.
pub struct Reprojection {
    tables: Tables,
    runtime: Handle,
    failure: Failure,
    plan: Mutex<Option<Plan>>,
    outcome: Mutex<Reprojected>,
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
    fn committed(&self, state: &JobState, summary: &Summary) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.commit = summary.version;
        outcome.clustering.clone_from(&state.clustering);
    }
}

impl Reprojection {
    /// Finds out what there is to do, from the last commit of `tables`. A rejects commit that a crash left undone is carried
    /// out; nothing else is written yet.
    ///
    /// # Errors
    /// Where there is no table, or no job has committed to it; logs or a projection that can't be read.
    pub async fn open(mut tables: Tables, file_max: Load, clusters: Asked) -> Result<Self> {
        let found = tables
            .open_to_rewrite(Author::Reproject)
            .await
            .map_err(explained)?;
        let state = JobState::committed(found.state)?;
        let writer = uuid::Uuid::new_v4().simple().to_string();
        let plan = Plan::of(&tables, &writer, file_max, clusters).await?;
        let groups = plan.as_ref().map_or(&[][..], |plan| &plan.groups);
        let outcome = Reprojected {
            commit: found.version,
            projection: state.projection.map(|named| named.version),
            rows: found.rows.iter().map(|file| file.rows).sum(),
            files_before: groups.iter().map(Vec::len).sum(),
            files: groups.len(),
            clustering: state.clustering,
        };
        Ok(Reprojection {
            tables,
            runtime: Handle::current(),
            failure: Failure::default(),
            plan: Mutex::new(plan),
            outcome: Mutex::new(outcome),
        })
    }

    /// The plan, once; `None` also where there is nothing to do.
    pub(super) fn plan(&self) -> Option<Plan> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.take()
    }

    /// What is true when the workers have ended without failing.
    pub(super) fn outcome(&self) -> Reprojected {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.clone()
    }
}

/// Says what the loss of a race means here.
pub(super) fn explained(error: anyhow::Error) -> anyhow::Error {
    CommitError::explained(
        error,
        "nothing was reprojected: the table was changed meanwhile. Stop the job that writes to it, or try again in a \
         quieter moment",
    )
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
