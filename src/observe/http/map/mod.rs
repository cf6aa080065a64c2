//! `/api/points`: the published rows on the plane of the first two principal components.
//!
//! What the map shows comes from the table, whatever the number of processes: after every commit the new files' paths, labels
//! and reduced features are read, and nothing else of them, beside the workers' threads. That is done while somebody watches; who
//! comes after a pause waits until the map has caught up.
//!
//! Rows of one table may be reduced by several projections. All are carried into one of them, the map's basis
//! ([`crate::projection::drift()`] says how), and the basis follows the newest only when that has turned visibly: so a commit
//! moves no point that it does not concern.

mod points;
mod written;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use anyhow::Result;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{Notify, watch};

use self::points::{Carry, Change, File, Points, Update};
use self::written::Written;
use super::stream::News;
use super::{Site, cached, unavailable};
use crate::job::state::{JobState, version_of};
use crate::job::{Job, read_projection};
use crate::projection::Stored;
use crate::table::DataFile;
use crate::table::state::PROJECTIONS;

/// Files that are read at once.
const READS_IN_FLIGHT: usize = 4;
/// Older projections that are read for one commit's rows; rows of yet more are left out.
const PROJECTIONS_MAX: usize = 256;
/// When a read that failed is tried again, unless a commit comes before.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a viewer waits for the table to be read.
const PATIENCE: Duration = Duration::from_secs(20);
/// A browser keeps the points, and asks each time whether they are still these.
const KEEP: &str = "private, no-cache";

/// The map of a job.
pub struct Map {
    points: RwLock<Points>,
    written: Mutex<Written>,
    /// Somebody keeps it.
    kept: AtomicBool,
    /// A viewer asked for all points.
    asked: Notify,
    /// The version of the table that the map has caught up with.
    read: watch::Sender<Option<u64>>,
}

impl Default for Map {
    fn default() -> Self {
        Map {
            points: RwLock::default(),
            written: Mutex::default(),
            kept: AtomicBool::new(false),
            asked: Notify::new(),
            read: watch::Sender::new(None),
        }
    }
}

impl Map {
    /// A number for the row of this path that changes with it; `None` if there is no such row. It waits while a commit is taken
    /// in: not for the runtime's threads.
    pub fn row(&self, path: &str) -> Option<u64> {
        self.points().row(path)
    }

    /// As [`row`](Self::row), and `None` where it would have to wait.
    pub fn row_now(&self, path: &str) -> Option<Option<u64>> {
        Some(self.points.try_read().ok()?.row(path))
    }

    fn points(&self) -> RwLockReadGuard<'_, Points> {
        self.points.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// All points, put into words anew only when they have changed.
    fn written(&self) -> serde_json::Result<Written> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let points = self.points();
        if !written.is_of(points.revision()) {
            *written = Written::new(&points)?;
        }
        Ok(written.clone())
    }
}

/// All points.
pub async fn answer(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let board = match site.job() {
        Ok((_, board)) => board,
        Err(refusal) => return refusal.into_response(),
    };
    if !site.map.kept.swap(true, Relaxed) {
        tokio::spawn(keep(site.clone()));
    }
    let commit = board.commits().borrow().as_ref().map(|c| c.what.version);
    site.map.asked.notify_one();
    let mut read = site.map.read.subscribe();
    let reading = read.wait_for(|read| read.is_some() && *read >= commit);
    let caught_up = matches!(tokio::time::timeout(PATIENCE, reading).await, Ok(Ok(_)));
    // A store that is away leaves what was read before.
    if !caught_up && site.map.read.borrow().is_none() {
        return unavailable("the table is still being read: ask again");
    }
    let map = site.map.clone();
    let written = match tokio::task::spawn_blocking(move || map.written()).await {
        Ok(Ok(written)) => written,
        Ok(Err(error)) => return unavailable(&error.to_string()),
        Err(error) => return unavailable(&error.to_string()),
    };
    let etag = cached::etag(site.health.started_ms(), written.revision());
    let content = (!cached::has(&headers, &etag)).then(|| written.answer(&headers));
    cached::answer(&etag, KEEP, content)
}

/// Keeps the map as the commits come, while somebody watches.
async fn keep(site: Arc<Site>) {
    let Ok((job, board)) = site.job() else { return };
    let map = &site.map;
    let mut commits = board.commits();
    let mut failed = false;
    loop {
        if !failed && !site.teller.is_heard() {
            map.asked.notified().await;
        }
        failed = false;
        let commit = commits.borrow_and_update().as_ref().map(|c| c.what.version);
        if commit.is_some() {
            match refresh(job, map).await {
                Ok(change) => {
                    map.read.send_replace(commit);
                    if let Some(news) = change {
                        site.teller.tell(news);
                    }
                }
                Err(error) => {
                    tracing::warn!("the page's map could not be read and will be again: {error:#}");
                    failed = true;
                }
            }
        }
        tokio::select! {
            changed = commits.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep(AGAIN), if failed => {}
        }
    }
}

/// Brings the map to the last commit; what there is to tell.
async fn refresh(job: &Arc<Job>, map: &Arc<Map>) -> Result<Option<News>> {
    // First the version, then the files: at worst they are newer than it says, and no commit passes for an older one.
    let summary = job.tables.summary().await?;
    let Some((state, files)) = job.tables.committed().await? else {
        return Ok(None);
    };
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let basis = map.points().basis();
    let basis = match basis {
        Some(basis) => Some(basis),
        None => read_projection(&job.tables, &state).await?.map(Arc::new),
    };
    let Some(basis) = basis else { return Ok(None) };
    let sample = points::sample(rows);
    let known = map.points().files(sample);
    let names: HashSet<String> = files.iter().map(|file| file.name.clone()).collect();
    let new = files.into_iter().filter(|file| !known.contains(&file.name));
    let new = read(job, new.collect(), sample).await?;
    let versions = map.points().unknown(&new, &basis);
    let carries = carries(job, &state, versions, &basis).await?;
    let turned = turned(job, &state, &basis).await?;
    let update = Update {
        commit: summary.version,
        rows,
        sample,
        names,
        new,
        carries,
        basis,
        turned,
    };
    let map = map.clone();
    let applied = tokio::task::spawn_blocking(move || {
        let mut points = map.points.write().unwrap_or_else(PoisonError::into_inner);
        points.apply(update)
    });
    Ok(match applied.await? {
        Change::None => None,
        Change::Some(delta) => Some(News::new("points", &delta)?),
        Change::All => Some(News::reload()),
    })
}

/// What the map keeps of `files`.
async fn read(job: &Arc<Job>, files: Vec<DataFile>, sample: u32) -> Result<Vec<File>> {
    let one = |file: DataFile| {
        let job = job.clone();
        async move {
            let rows = job.tables.rows.read_reductions(&file).await?;
            anyhow::Ok(File::new(&file.name, rows, sample))
        }
    };
    let reading = stream::iter(files).map(one).buffered(READS_IN_FLIGHT);
    reading.try_collect().await
}

/// How rows of the projections of these `versions` come into the basis, as far as their files are there.
async fn carries(
    job: &Arc<Job>,
    state: &JobState,
    versions: Vec<i64>,
    basis: &Arc<Stored>,
) -> Result<HashMap<i64, Carry>> {
    let mut carries = HashMap::new();
    if versions.is_empty() {
        return Ok(carries);
    }
    let newest = state.projection.as_ref();
    let mut names = HashMap::new();
    for version in versions.into_iter().take(PROJECTIONS_MAX) {
        let name = match newest.filter(|newest| newest.version == version) {
            Some(newest) => newest.object.clone(),
            None => {
                if names.is_empty() {
                    let listed = job.tables.objects.list(PROJECTIONS).await?;
                    let listed = listed.into_iter();
                    names.extend(listed.filter_map(|name| Some((version_of(&name)?, name))));
                }
                // An epoch that was not committed may have left another of the same version; the digest in a name is of its
                // bytes, not of its commit, so that either is only nearly right.
                let Some(name) = names.get(&version) else {
                    continue;
                };
                name.clone()
            }
        };
        match carry(job, &name, basis.clone()).await {
            Ok(carry) => drop(carries.insert(version, carry)),
            Err(error) => {
                tracing::warn!("rows of projection {version} are not on the page's map: {error:#}")
            }
        }
    }
    Ok(carries)
}

/// How reduced features of the projection `name` come into the basis.
async fn carry(job: &Arc<Job>, name: &str, basis: Arc<Stored>) -> Result<Carry> {
    let bytes = job.tables.objects.get(name).await?;
    let between = move || Carry::between(&Stored::from_safetensors(&bytes)?, &basis);
    tokio::task::spawn_blocking(between).await?
}

/// The newest projection and the way to it, where the basis is far enough from it to be seen.
async fn turned(
    job: &Arc<Job>,
    state: &JobState,
    basis: &Arc<Stored>,
) -> Result<Option<(Arc<Stored>, Carry)>> {
    let named = state.projection.as_ref();
    if named.is_none_or(|named| named.version == basis.version) {
        return Ok(None);
    }
    let Some(newest) = read_projection(&job.tables, state).await? else {
        return Ok(None);
    };
    let (newest, basis) = (Arc::new(newest), basis.clone());
    let between = tokio::task::spawn_blocking(move || {
        let carry = Carry::between(&basis, &newest)?;
        anyhow::Ok(carry.is_seen(&newest).then_some((newest, carry)))
    });
    between.await?
}
