//! `/api/thumbnail`: a small picture of a row's object.
//!
//! Only of rows that are on the map, which come from the table: no other path is looked at, wherever it may lead. The object
//! is fetched and decoded within the limits that the job has for images and within its fetch budget, a few at a time and some a
//! second: who asks for more is told when to ask again. A picture that many ask for is made once. A turn and
//! its share of the budget end with the work, not with the caller, who may leave while a picture is drawn.

mod kept;
mod pace;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::kept::Kept;
use self::pace::Pace;
use super::map::Map;
use super::{Site, cached, unavailable};
use crate::image;
use crate::job::Job;
use crate::storage::{FetchError, Upload, object_of};

/// The longer side, in pixels.
const SIDE_MAX: u32 = 128;
const QUALITY: u8 = 80;
/// Pictures that are made at once.
const MAKING_MAX: usize = 2;
/// Pictures that are kept, some kB each.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// What is first set aside for an object, whose size the map does not know.
const SET_ASIDE_BYTES: u64 = 1 << 20;
/// The store may take so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// The page asks for another row, which another picture is, at another address.
const KEEP: &str = "private, max-age=600";

/// Pictures that were asked for lately.
pub struct Thumbnails {
    /// A row waits for the turn that its number says: so for a picture that is being made, if it is its own.
    making: [Arc<Semaphore>; MAKING_MAX],
    pace: Pace,
    kept: Arc<Mutex<Kept>>,
}

impl Default for Thumbnails {
    fn default() -> Self {
        Thumbnails {
            making: std::array::from_fn(|_| Arc::new(Semaphore::new(1))),
            pace: Pace::default(),
            kept: Arc::new(Mutex::new(Kept::new(KEPT_BYTES_MAX))),
        }
    }
}

/// The picture of the row with this `path`.
pub async fn answer(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let job = match site.job() {
        Ok((job, _)) => job,
        Err(refusal) => return refusal.into_response(),
    };
    let query = query.unwrap_or_default();
    let path = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "path");
    let path = path.map(|(_, path)| path.into_owned()).unwrap_or_default();
    let Some((row, path)) = find(&site.map, path).await else {
        return (StatusCode::NOT_FOUND, "no such row\n").into_response();
    };
    let etag = cached::etag(site.health.started_ms(), row);
    if cached::has(&headers, &etag) {
        return cached::answer(&etag, KEEP, None);
    }
    let made = tokio::time::timeout(PATIENCE, site.thumbnails.picture(job, row, &path));
    match made.await {
        Ok(Ok(picture)) => {
            let jpeg = ([(header::CONTENT_TYPE, "image/jpeg")], picture).into_response();
            cached::answer(&etag, KEEP, Some(jpeg))
        }
        Ok(Err(refusal)) => refusal,
        Err(_) => unavailable("the store takes too long"),
    }
}

impl Thumbnails {
    /// The picture of a row: kept, or made in its turn.
    async fn picture(&self, job: &Arc<Job>, row: u64, path: &str) -> Result<Bytes, Response> {
        if let Some(picture) = self.kept().get(row) {
            return Ok(picture);
        }
        let turn = &self.making[row as usize % MAKING_MAX];
        let Ok(turn) = turn.clone().acquire_owned().await else {
            unreachable!("it is never closed")
        };
        // Whoever had the turn before may have made it.
        if let Some(picture) = self.kept().get(row) {
            return Ok(picture);
        }
        self.pace.take(Instant::now()).map_err(later)?;
        let (upload, budget) = fetch_row(job, path).await?;
        let (limits, kept) = (job.image_limits, self.kept.clone());
        // It is kept before the turn ends.
        let made = holding((turn, budget), move || {
            let picture = image::thumbnail(&upload.bytes, &limits, SIDE_MAX, QUALITY)?;
            let picture = Bytes::from(picture);
            locked(&kept).put(row, picture.clone());
            Some(picture)
        });
        // The row was readable; the object may have been replaced since by one that is not.
        let made = made.await.flatten();
        made.ok_or_else(|| unavailable("the object is no image any more"))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        locked(&self.kept)
    }
}

fn locked(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who asks is to do so again after this time.
fn later(wait: Duration) -> Response {
    let mut response = unavailable("too many new pictures are asked for: ask again");
    let seconds = wait.as_secs() + 1;
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The path with the number of its row, if it has one. The map may be taking in a commit, for which no thread of the runtime waits.
async fn find(map: &Arc<Map>, path: String) -> Option<(u64, String)> {
    if let Some(row) = map.row_now(&path) {
        return Some((row?, path));
    }
    let map = map.clone();
    let found = tokio::task::spawn_blocking(move || Some((map.row(&path)?, path)));
    found.await.ok().flatten()
}

/// The object of the row with this path, with its share of the fetch budget.
async fn fetch_row(job: &Arc<Job>, path: &str) -> Result<(Upload, OwnedSemaphorePermit), Response> {
    let gone = || (StatusCode::NOT_FOUND, "the object is gone\n").into_response();
    let (bucket, key) = object_of(path).ok_or_else(gone)?;
    fetch(job, bucket, key).await.map_err(|error| match error {
        FetchError::NotFound { .. } => gone(),
        _ => unavailable("the store does not give the object"),
    })
}

/// The object at this key, likewise.
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
}
