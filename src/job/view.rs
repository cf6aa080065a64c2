//! A version of a table as any reader finds it, and its rows in one reduced space.

use anyhow::{Context, Result};

use super::models::read_projection;
use super::state::JobState;
use super::{Found, Points, Tables};
use crate::projection::Stored;
use crate::table::DataFile;

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
        let state = JobState::committed(state)?;
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

    /// Reads its rows under its projection.
    pub fn points(&self) -> Points {
        Points::new(self.tables.rows.clone(), self.projection.clone())
    }
}
