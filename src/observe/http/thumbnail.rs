//! `/api/thumbnail`: a small picture of a row's object.
//!
//! Only of rows that are on the map, which come from the table: no other path is looked at, wherever it may lead. The object
//! is fetched and decoded within the limits that the job has for images and within its fetch budget, a few at a time. A turn
//! and its share of the budget end with the work, not with the caller, who may leave while a picture is drawn.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::map::Map;
use super::{Site, unavailable};
use crate::image;
use crate::job::Job;
use crate::storage::{FetchError, Upload};

/// The longer side, in pixels.
const SIDE_MAX: u32 = 128;
const QUALITY: u8 = 80;
/// Pictures that are made at once.
const MAKING_MAX: usize = 2;
/// Pictures that are kept, some kB each.
const KEPT_MAX: usize = 1024;
/// What is first set aside for an object, whose size the map does not know.
const SET_ASIDE_BYTES: u64 = 1 << 20;
/// The store may take so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pictures that were asked for lately.
pub struct Thumbnails {
    making: Arc<Semaphore>,
    kept: Mutex<Kept>,
}

impl Default for Thumbnails {
    fn default() -> Self {
        Thumbnails {
            making: Arc::new(Semaphore::new(MAKING_MAX)),
            kept: Mutex::default(),
        }
    }
}

/// By the number of the row, which changes with it; the least lately used goes first.
#[derive(Default)]
struct Kept {
    pictures: HashMap<u64, Bytes>,
    order: VecDeque<u64>,
}

impl Kept {
    fn get(&mut self, row: u64) -> Option<Bytes> {
        let picture = self.pictures.get(&row)?.clone();
        self.order.retain(|kept| *kept != row);
        self.order.push_back(row);
        Some(picture)
    }

    fn put(&mut self, row: u64, picture: Bytes) {
        if self.pictures.insert(row, picture).is_none() {
            self.order.push_back(row);
        }
        while self.order.len() > KEPT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.pictures.remove(&oldest);
        }
    }
}

/// The picture of the row with this `path`.
pub async fn answer(State(site): State<Arc<Site>>, RawQuery(query): RawQuery) -> Response {
    let job = match site.job() {
        Ok((job, _)) => job,
        Err(refusal) => return refusal.into_response(),
    };
    let query = query.unwrap_or_default();
    let path = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "path");
    let path = path.map(|(_, path)| path.into_owned()).unwrap_or_default();
    let Some((row, path)) = find(site.map.clone(), path).await else {
        return (StatusCode::NOT_FOUND, "no such row\n").into_response();
    };
    if let Some(picture) = site.thumbnails.kept().get(row) {
        return jpeg(picture);
    }
    let made = async {
        let Ok(turn) = site.thumbnails.making.clone().acquire_owned().await else {
            unreachable!("it is never closed")
        };
        make(job, &path, turn).await
    };
    match tokio::time::timeout(PATIENCE, made).await {
        Ok(Ok(picture)) => {
            site.thumbnails.kept().put(row, picture.clone());
            jpeg(picture)
        }
        Ok(Err(refusal)) => refusal,
        Err(_) => unavailable("the store takes too long"),
    }
}

impl Thumbnails {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn jpeg(picture: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "image/jpeg"),
        (header::CACHE_CONTROL, "private, max-age=60"),
    ];
    (headers, picture).into_response()
}

/// The path with the number of its row, if it has one. The map may be taking in a commit, which nobody else need wait for.
async fn find(map: Arc<Map>, path: String) -> Option<(u64, String)> {
    let found = tokio::task::spawn_blocking(move || Some((map.row(&path)?, path)));
    found.await.ok().flatten()
}

async fn make(job: &Arc<Job>, path: &str, turn: OwnedSemaphorePermit) -> Result<Bytes, Response> {
    let gone = || (StatusCode::NOT_FOUND, "the object is gone\n").into_response();
    let place = path
        .strip_prefix("s3://")
        .and_then(|path| path.split_once('/'));
    let (bucket, key) = place.ok_or_else(gone)?;
    let (upload, budget) = match fetch(job, bucket, key).await {
        Ok(fetched) => fetched,
        Err(FetchError::NotFound { .. }) => return Err(gone()),
        Err(_) => return Err(unavailable("the store does not give the object")),
    };
    let limits = job.image_limits;
    let made = holding((turn, budget), move || {
        image::thumbnail(&upload.bytes, &limits, SIDE_MAX, QUALITY)
    });
    // The row was readable; the object may have been replaced since by one that is not.
    let made = made.await.flatten();
    made.map(Bytes::from)
        .ok_or_else(|| unavailable("the object is no image any more"))
}

/// The object, with its share of the fetch budget.
async fn fetch(
    job: &Arc<Job>,
    bucket: &str,
    key: &str,
) -> Result<(Upload, OwnedSemaphorePermit), FetchError> {
    let limit_bytes = job.image_limits.bytes;
    let mut set_aside_bytes = SET_ASIDE_BYTES.min(limit_bytes);
    loop {
        let budget = job.fetch_budget(set_aside_bytes).await;
        match job.uploads.get(bucket, key, set_aside_bytes).await {
            Ok(upload) => return Ok((upload, budget)),
            Err(FetchError::TooLarge { bytes, .. })
                if bytes <= limit_bytes && set_aside_bytes < limit_bytes =>
            {
                set_aside_bytes = bytes.max(2 * set_aside_bytes).min(limit_bytes);
            }
            Err(error) => return Err(error),
        }
    }
}

/// What `work` makes beside the runtime; `held` is held until it has ended, whether or not anybody waits for it.
async fn holding<T: Send + 'static>(
    held: impl Send + 'static,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let worked = tokio::task::spawn_blocking(move || {
        let made = work();
        drop(held);
        made
    });
    worked.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_lasts_as_long_as_its_work_although_the_caller_left() {
        let turns = Arc::new(Semaphore::new(1));
        let turn = turns.clone().acquire_owned().await.unwrap();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (end, ends) = std::sync::mpsc::channel();
        let making = holding(turn, move || {
            begun.send(()).unwrap();
            ends.recv().unwrap();
        });
        tokio::select! {
            _ = making => unreachable!("it waits to be ended"),
            begun = begins => begun.unwrap(),
        }
        assert_eq!(turns.available_permits(), 0);
        end.send(()).unwrap();
        drop(turns.acquire().await.unwrap());
    }

    #[test]
    fn the_least_lately_used_goes_first() {
        let mut kept = Kept::default();
        for row in 0..KEPT_MAX as u64 {
            kept.put(row, Bytes::new());
        }
        assert!(kept.get(0).is_some());
        kept.put(u64::MAX, Bytes::new());
        assert!(kept.get(1).is_none() && kept.get(0).is_some());
        assert_eq!(
            (kept.pictures.len(), kept.order.len()),
            (KEPT_MAX, KEPT_MAX)
        );
    }
}
