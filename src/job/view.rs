//! A version of a table as any reader finds it, and its rows in one reduced space.

use anyhow::{Context, Result};

use super::origin::read_projection;
use super::state::JobState;
use super::statistics::{Kind, all_under};
use super::{Found, Tables};
use crate::projection::Stored;
use crate::table::{DataFile, DataFiles, Point, Row};

/// A version of a table that has a projection.
pub struct View {
    /// The table.
    pub tables: Tables,
    /// Its version.
    pub version: u64,
    /// What that commit says.
    pub state: JobState,
    /// Its projection, under which all rows are seen.
    pub projection: Stored,
    /// Its files.
    pub files: Vec<DataFile>,
    /// The files of its rejects.
    pub rejects: Vec<DataFile>,
}

impl View {
    /// This `version` of `tables`, which must be there; `None`: the newest.
    ///
    /// # Errors
    /// Where there is no such version, or it has no projection yet; objects that can't be read.
    pub async fn open(mut tables: Tables, version: Option<u64>) -> Result<Self> {
        let Found {
            version,
            state,
            rows,
            rejects,
        } = tables.open_existing_at(version).await?;
        let state = state.context("the table is there, but no job has committed to it yet")?;
        let projection = read_projection(&tables, &state).await?;
        let projection = projection
            .context("the table has no projection yet: it comes with the second image")?;
        Ok(View {
            tables,
            version,
            state,
            projection,
            files: rows,
            rejects,
        })
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// The rows of a file under this version's projection, with their `features` if so.
    ///
    /// # Errors
    /// As [`read_points`].
    pub async fn points(&self, file: &DataFile, features: bool) -> Result<Vec<Point>> {
        read_points(&self.tables.rows, file, &self.projection, features).await
    }
}

/// The rows of a file, reduced by `projection`: those that are under it as they are stored, the others from their features. Where all are under it, the
/// features are read only if they are `wanted`.
///
/// # Errors
/// A file or statistics that can't be read.
pub async fn read_points(
    files: &DataFiles<Row>,
    file: &DataFile,
    projection: &Stored,
    wanted: bool,
) -> Result<Vec<Point>> {
    let version = projection.version;
    let under = all_under(&file.stats, Kind::Projection, Some(version))?;
    let points = files.read_points(file, wanted || !under).await?;
    if under {
        return Ok(points);
    }
    let projection = projection.clone();
    let reducing = tokio::task::spawn_blocking(move || {
        let mut points = points;
        for point in &mut points {
            if let Some(features) = &point.features
                && point
                    .reduced
                    .as_ref()
                    .is_none_or(|(found, _)| *found != version)
            {
                point.reduced = Some((version, projection.projection.reduced(features)));
            }
            if !wanted {
                point.features = None;
            }
        }
        points
    });
    Ok(reducing.await?)
}
