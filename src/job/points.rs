//! The rows of a table in one reduced space, read from several files at a time.

use std::sync::Arc;

use anyhow::Result;
use futures::{Stream, StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::statistics::{Kind, all_under};
use crate::projection::Stored;
use crate::table::{DataFile, DataFiles, Point, Row};

/// A store answers a request after some ten milliseconds, and many at once as fast as one.
pub const FILES_IN_FLIGHT: usize = 16;
/// What the files that are being read, or wait for their turn, may take of memory; a larger one is read alone.
const ROOM_KIB: usize = 256 << 10;
/// Of a row without its numbers: path, label, times.
const ROW_BYTES: u64 = 512;

/// Reads rows under one projection. Cheap to clone; clones share the room.
#[derive(Clone)]
pub struct Points {
    files: DataFiles<Row>,
    projection: Arc<Stored>,
    room: Arc<Semaphore>,
}

impl Points {
    /// Of a table's `files`, seen under `projection`.
    pub fn new(files: DataFiles<Row>, projection: Stored) -> Self {
        Points {
            files,
            projection: Arc::new(projection),
            room: Arc::new(Semaphore::new(ROOM_KIB)),
        }
    }

    /// The rows of a file, as soon as there is room for them: those that are under the projection as they are stored, the others reduced
    /// from their features. Where all are under it, the features are read only if they are `wanted`.
    ///
    /// # Errors
    /// A file or statistics that can't be read.
    pub async fn of(&self, file: DataFile, wanted: bool) -> Result<Vec<Point>> {
        let task = self.clone().enter(file, wanted).await?;
        Ok(task.read().await?.0)
    }

    /// The rows of each of `files`, in their order, with their features where they are wanted. To be taken on a runtime.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn all(
        &self,
        files: Vec<(DataFile, bool)>,
    ) -> impl Stream<Item = Result<Vec<Point>>> + use<> {
        let points = self.clone();
        // Room is given in the files' order: who comes first never waits for a later one.
        stream::iter(files)
            .then(move |(file, wanted)| points.clone().enter(file, wanted))
            .map(|task| async { tokio::spawn(task?.read()).await? })
            .buffered(FILES_IN_FLIGHT)
            .map(|read| read.map(|(points, _room)| points))
    }

    async fn enter(self, file: DataFile, wanted: bool) -> Result<Task> {
        let version = self.projection.version;
        let under = all_under(&file.stats, Kind::Projection, Some(version))?;
        let projection = &self.projection.projection;
        let floats = match wanted || !under {
            // Once as they are stored, and once as they are read.
            true => projection.n_components() + 2 * projection.width(),
            false => projection.n_components(),
        };
        let kib = file.rows.saturating_mul(ROW_BYTES + 4 * floats as u64) / 1024;
        let kib = kib.min(ROOM_KIB as u64) as u32;
        let room = self.room.clone().acquire_many_owned(kib).await?;
        Ok(Task {
            points: self,
            file,
            wanted,
            under,
            room,
        })
    }
}

/// A file for which there is room.
struct Task {
    points: Points,
    file: DataFile,
    wanted: bool,
    under: bool,
    room: OwnedSemaphorePermit,
}

impl Task {
    async fn read(self) -> Result<(Vec<Point>, OwnedSemaphorePermit)> {
        let Points {
            files, projection, ..
        } = self.points;
        let features = self.wanted || !self.under;
        let points = files.read_points(&self.file, features).await?;
        if self.under {
            return Ok((points, self.room));
        }
        let wanted = self.wanted;
        let reducing = tokio::task::spawn_blocking(move || reduced(points, &projection, wanted));
        Ok((reducing.await?, self.room))
    }
}

fn reduced(mut points: Vec<Point>, projection: &Stored, wanted: bool) -> Vec<Point> {
    let (version, projection) = (projection.version, &projection.projection);
    for point in &mut points {
        let found = point.reduced.as_ref().map(|(found, _)| *found);
        if let Some(features) = &point.features
            && found != Some(version)
        {
            point.reduced = Some((version, projection.reduced(features)));
        }
        if !wanted {
            point.features = None;
        }
    }
    points
}
