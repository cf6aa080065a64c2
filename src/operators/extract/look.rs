//! One look at an object: a GET that is repeated until the store has answered.
//!
//! Faults of the store are not the object's: they are retried with jittered back-off while the change waits, and with it
//! the frontier; when they outlast `limits.retry_ms` the job ends, and resumes from its last commit. Only what the store
//! says of the object itself is an answer; a refusal, or a fault that lasts, is that only while another object of the bucket can be read.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::OwnedSemaphorePermit;

use crate::job::Job;
use crate::operators::Hint;
use crate::storage::{Backoff, FetchError, Upload, digest, path_of};

/// What a look found.
pub enum Seen {
    /// An object. The permits return its bytes to the budget when it is dropped.
    Object(Fetched),
    /// What was known.
    Same,
    /// Nothing.
    Gone,
    /// Something that may not be read.
    Unreadable(Unreadable),
}

/// An object's bytes and their share of the budget.
pub struct Fetched {
    /// The object.
    pub upload: Upload,
    /// The GET.
    pub took: Duration,
    /// The bytes' share of the budget, given back when this is dropped.
    pub _budget: OwnedSemaphorePermit,
}

/// Why an object has no row.
pub struct Unreadable {
    /// A word to group by.
    pub reason: &'static str,
    /// A sentence.
    pub detail: String,
}

impl Unreadable {
    /// Because of `error`, which `reason` names for grouping.
    pub fn new(reason: &'static str, error: impl Display) -> Self {
        Unreadable {
            reason,
            detail: error.to_string(),
        }
    }
}

/// What is set aside for an object whose size no event tells.
const UNKNOWN_SIZE_BYTES: u64 = 1 << 20;
/// How long other objects are waited for, to tell the store's fault from an object's.
const WITNESSES_WAIT: Duration = Duration::from_secs(30);

/// Looks at the object that `hint` names. With `known`, an etag's digest, only at its etag as long as that is the same.
pub async fn look(job: &Arc<Job>, hint: &Hint, known: Option<u128>) -> anyhow::Result<Seen> {
    if !job.config.select.takes(&hint.object) {
        return Ok(Seen::Gone);
    }
    if let Some(known) = known
        && let Ok(Some(meta)) = job.uploads.head(&hint.bucket, &hint.object).await
        && digest(meta.etag.as_bytes()) == known
    {
        return Ok(Seen::Same);
    }
    let limit_bytes = job.config.limits.image_bytes;
    let mut set_aside_bytes = hint
        .size_bytes
        .unwrap_or(UNKNOWN_SIZE_BYTES)
        .clamp(1, limit_bytes);
    let (mut failed, mut backoff) = (None, Backoff::default());
    let mut vouched = false;
    loop {
        let budget = job.fetch_budget(set_aside_bytes).await;
        let asked = Instant::now();
        let error = match job
            .uploads
            .get(&hint.bucket, &hint.object, set_aside_bytes)
            .await
        {
            Ok(upload) => {
                let took = asked.elapsed();
                job.metrics.fetched.record(took);
                job.metrics.fetched_bytes.inc_by(upload.bytes.len() as u64);
                job.store.succeeds();
                job.witnesses.read(&hint.bucket, &hint.object);
                return Ok(Seen::Object(Fetched {
                    upload,
                    took,
                    _budget: budget,
                }));
            }
            Err(FetchError::NotFound { .. }) => return Ok(Seen::Gone),
            // The event told less than there is: set aside more, at least twice as much where the store does not tell.
            Err(FetchError::TooLarge { bytes, .. })
                if bytes <= limit_bytes && set_aside_bytes < limit_bytes =>
            {
                set_aside_bytes = bytes.max(2 * set_aside_bytes).min(limit_bytes);
                continue;
            }
            Err(FetchError::TooLarge { object, bytes, .. }) => {
                let limit = limit_bytes;
                let error = FetchError::TooLarge {
                    object,
                    bytes,
                    limit,
                };
                return Ok(Seen::Unreadable(Unreadable::new("too-many-bytes", &error)));
            }
            Err(error @ FetchError::Invalid { .. }) => {
                return Ok(Seen::Unreadable(Unreadable::new("invalid-key", &error)));
            }
            Err(error) => error,
        };
        drop(budget);
        // The wait for the budget is no fault of the store's.
        let failing = failed.get_or_insert(asked).elapsed();
        if failing > Duration::from_millis(job.config.limits.retry_ms) {
            if vouched {
                let reason = match error {
                    FetchError::Denied { .. } => "access-denied",
                    _ => "unavailable",
                };
                return Ok(Seen::Unreadable(Unreadable::new(reason, &error)));
            }
            vouched = is_well(job, hint).await;
            if vouched {
                // It may have recovered a moment ago: once more.
                continue;
            }
            let path = path_of(&hint.bucket, &hint.object);
            let tried = failing.as_secs();
            return Err(error).with_context(|| {
                format!("{path}: gave up after {tried} s of retries (limits.retry_ms)")
            });
        }
        job.store.fails(error);
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Whether the store gives another object of the bucket now. Its bytes are of the budget, too.
async fn is_well(job: &Job, hint: &Hint) -> bool {
    let limit_bytes = job.config.limits.image_bytes;
    let asked = async {
        let _budget = job.fetch_budget(limit_bytes).await;
        let (uploads, others) = (&*job.uploads, &job.witnesses);
        others
            .vouch_for(uploads, &hint.bucket, &hint.object, limit_bytes)
            .await
    };
    tokio::time::timeout(WITNESSES_WAIT, asked)
        .await
        .unwrap_or(false)
}
