//! The wish that a process of a job end: what is in flight is finished and published first.

use tokio::sync::watch;

/// Asked for once, by a signal or by whoever runs the job; everything that waits looks here.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Stop(watch::Sender::new(false))
    }
}

impl Stop {
    /// Asks for it. Whether it was asked for before.
    pub fn ask(&self) -> bool {
        self.0.send_replace(true)
    }

    /// Whether it was asked for.
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is asked for.
    pub async fn asked(&self) {
        // The channel can't close: its sender is here.
        let _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }
}
