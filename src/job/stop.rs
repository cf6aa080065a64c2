//! The wish that a process of a job end: what is in flight is finished and published first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::watch;

/// Asked for once, by a signal or by whoever runs the job; everything that waits looks here.
#[derive(Clone, Debug)]
pub struct Stop {
    asked: watch::Sender<bool>,
    working: Arc<AtomicBool>,
}

impl Default for Stop {
    fn default() -> Self {
        Stop {
            asked: watch::Sender::new(false),
            working: Arc::default(),
        }
    }
}

impl Stop {
    /// Asks for it. Whether it was asked for before.
    pub fn ask(&self) -> bool {
        self.asked.send_replace(true)
    }

    /// Whether it was asked for.
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits until it is asked for.
    pub async fn asked(&self) {
        // The channel can't close: its sender is here.
        let _ = self.asked.subscribe().wait_for(|asked| *asked).await;
    }

    /// From now on something may be in flight.
    pub fn begin_work(&self) {
        self.working.store(true, Relaxed);
    }

    /// Whether something may be in flight. Before, the process may end at once: a network is loaded and calibrated, or a store
    /// waited for that may be away for as long as `limits.retry_ms`.
    pub fn is_working(&self) -> bool {
        self.working.load(Relaxed)
    }
}
