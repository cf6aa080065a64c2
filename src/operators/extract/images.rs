//! The images that the workers of a process share.
//!
//! Keys fall on workers by chance, and some images are larger than others. Would each worker compute its own keys' images
//! only, those that have had luck would wait for the others, as all of them work on the same few rounds. So what a look has
//! fetched waits here for any worker of the process that has nothing else to do. The row is the same, bit for bit, whoever
//! computes it, and goes back to the operator that looks and holds the capability.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use anyhow::{Context, Result};
use tokio::sync::oneshot::{Sender, channel};

use super::featurise::Featured;
use super::look::Fetched;
use crate::event::Version;
use crate::operators::Hint;

/// What has been fetched and not yet computed. The bound is that of the fetches: their bytes count until they are rows.
#[derive(Default)]
pub struct Images(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    images: VecDeque<Image>,
    /// Workers that found nothing to compute when they looked last.
    idle: Vec<Thread>,
}

/// An object that is to become a row.
pub struct Image {
    /// The event that led to it.
    pub hint: Hint,
    /// The version of its row.
    pub version: Version,
    /// Its bytes.
    pub fetched: Fetched,
    /// Where the row is waited for.
    pub answer: Sender<Featured>,
}

impl Images {
    /// What an image comes to, once a worker of this process has computed it.
    ///
    /// # Errors
    /// The workers have ended without it.
    pub async fn featurise(
        &self,
        hint: Hint,
        version: Version,
        fetched: Fetched,
    ) -> Result<Featured> {
        let (answer, featured) = channel();
        let image = Image {
            hint,
            version,
            fetched,
            answer,
        };
        let idle = {
            let mut waiting = self.lock();
            waiting.images.push_back(image);
            waiting.idle.pop()
        };
        if let Some(worker) = idle {
            worker.unpark();
        }
        featured
            .await
            .context("the workers ended before an image was computed")
    }

    /// The images that have waited longest: `most` of them, but no more than the share of one of `workers`. If there is none, the
    /// calling thread, a worker's, is unparked for the next.
    pub fn next(&self, most: usize, workers: usize) -> Vec<Image> {
        let me = thread::current();
        let mut waiting = self.lock();
        waiting.idle.retain(|idle| idle.id() != me.id());
        let share = waiting.images.len().div_ceil(workers.max(1));
        let images: Vec<_> = waiting.images.drain(..share.min(most)).collect();
        if images.is_empty() {
            waiting.idle.push(me);
        }
        images
    }

    /// Drops what waits when the workers have ended: those who wait for it hold the job, which holds it.
    pub fn clear(&self) {
        *self.lock() = Waiting::default();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::Arc;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use tokio::runtime::Builder;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::operators::Change;
    use crate::operators::extract::tally::Work;
    use crate::operators::latest::{Content, Latest};
    use crate::storage::{Upload, UploadMeta};

    const VERSION: Version = Version {
        time_ms: 5,
        sequencer: 0,
    };

    fn hint() -> Hint {
        Hint {
            key: 7,
            bucket: String::new(),
            object: String::new(),
            size_bytes: None,
            latest: Latest {
                version: VERSION,
                content: Content::Present(1),
            },
        }
    }

    fn fetched(budget: &Arc<Semaphore>) -> Fetched {
        let meta = UploadMeta {
            key: String::new(),
            etag: String::new(),
            version_id: None,
            size: 0,
            last_modified_ms: 0,
        };
        Fetched {
            upload: Upload {
                bytes: Default::default(),
                meta,
            },
            took: Duration::ZERO,
            _budget: budget.clone().try_acquire_owned().expect("a permit"),
        }
    }

    #[test]
    fn an_idle_worker_is_woken_for_an_image_and_its_owner_gets_the_answer() {
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let (images, budget) = (Arc::new(Images::default()), Arc::new(Semaphore::new(1)));
        let (shared, idle) = (images.clone(), Arc::new(std::sync::Barrier::new(2)));
        let asleep = idle.clone();
        let worker = thread::spawn(move || {
            assert!(shared.next(2, 1).is_empty());
            asleep.wait();
            thread::park();
            let mut images = shared.next(2, 1);
            assert!(shared.next(2, 1).is_empty());
            let image = images.pop().expect("what it was woken for");
            let featured = Featured {
                etag: 3,
                change: Change::Touch(image.version),
                work: Work::default(),
            };
            assert!(image.answer.send(featured).is_ok());
        });
        idle.wait();
        let answer = images.featurise(hint(), VERSION, fetched(&budget));
        let featured = runtime.block_on(answer).expect("an answer");
        assert_eq!(featured.etag, 3);
        assert!(matches!(featured.change, Change::Touch(VERSION)));
        worker.join().expect("the worker");
        assert_eq!(budget.available_permits(), 1);
    }

    #[test]
    fn a_worker_takes_what_others_leave_it() {
        let budget = Arc::new(Semaphore::new(7));
        for (waiting, taken) in [(5, [2, 2, 1, 0]), (2, [1, 1, 0, 0])] {
            let images = Images::default();
            let wait = |_| Box::pin(images.featurise(hint(), VERSION, fetched(&budget)));
            let mut waits: Vec<_> = (0..waiting).map(wait).collect();
            for wait in &mut waits {
                assert!(
                    wait.as_mut()
                        .poll(&mut Context::from_waker(Waker::noop()))
                        .is_pending()
                );
            }
            assert_eq!([2; 4].map(|most| images.next(most, 2).len()), taken);
        }
    }

    #[test]
    fn those_that_wait_are_told_when_the_workers_have_ended() {
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let (images, budget) = (Arc::new(Images::default()), Arc::new(Semaphore::new(1)));
        let waits = images.featurise(hint(), VERSION, fetched(&budget));
        let ends = async { images.clear() };
        let (answer, ()) = runtime.block_on(async { tokio::join!(waits, ends) });
        assert!(answer.is_err());
        assert_eq!(budget.available_permits(), 1);
    }
}
