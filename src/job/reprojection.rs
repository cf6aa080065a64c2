//! What `reproject` has to do, as worker 0 finds it in the last commit.

use anyhow::Result;

use super::Job;
use super::origin::read_projection;
use super::state::JobState;
use crate::projection::Stored;
use crate::table::DataFile;

/// Worker 0's plan.
pub struct Reprojection {
    /// Files to be merged into one, each at most `table.rows_per_file` rows, unless it is one file.
    pub groups: Vec<Vec<DataFile>>,
    /// The newest projection's safetensors; `None` where there are too few rows for one.
    pub projection: Option<Vec<u8>>,
    /// The last commit's state.
    pub state: JobState,
}

impl Reprojection {
    /// The plan for the last commit of this process; `None` if there is nothing to reproject.
    pub async fn plan(job: &Job) -> Result<Option<Self>> {
        let Some((state, files)) = job.tables.committed().await? else {
            return Ok(None);
        };
        let stored = read_projection(&job.tables, &state).await?;
        Ok(Some(Reprojection {
            groups: groups(files, job.config.table.rows_per_file as u64),
            projection: stored.as_ref().map(Stored::to_safetensors).transpose()?,
            state,
        }))
    }
}

/// Fills groups up to `rows_max` rows, in the order of the files.
fn groups(files: Vec<DataFile>, rows_max: u64) -> Vec<Vec<DataFile>> {
    let mut groups: Vec<(u64, Vec<DataFile>)> = Vec::new();
    for file in files {
        match groups.last_mut() {
            Some((rows, group)) if *rows + file.rows <= rows_max => {
                *rows += file.rows;
                group.push(file);
            }
            _ => groups.push((file.rows, vec![file])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_merged_and_large_ones_left_alone() {
        let file = |name: &str, rows| DataFile {
            name: name.into(),
            bytes: 1,
            rows,
            stats: String::new(),
        };
        let files = vec![
            file("a", 3),
            file("b", 4),
            file("c", 4),
            file("d", 20),
            file("e", 1),
        ];
        let sizes: Vec<Vec<u64>> = groups(files, 10)
            .iter()
            .map(|group| group.iter().map(|file| file.rows).collect())
            .collect();
        assert_eq!(sizes, [vec![3, 4], vec![4], vec![20], vec![1]]);
    }
}
