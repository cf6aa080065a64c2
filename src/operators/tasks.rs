//! Work outside the operators: futures on the runtime whose results come back to the operator that started them.
//!
//! An operator must never wait. It spawns, keeps the capability for the time of the work, and returns; the finished
//! task puts its result into a channel and wakes the worker through a `SyncActivator`.

use std::future::Future;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};

use timely::scheduling::SyncActivator;
use timely::worker::Worker;
use tokio::runtime::Handle;

/// The results of one operator's tasks.
pub struct Tasks<T> {
    runtime: Handle,
    activator: SyncActivator,
    sender: Sender<T>,
    receiver: Receiver<T>,
    running: usize,
}

impl<T: Send + 'static> Tasks<T> {
    /// For the operator at `address`.
    pub fn new(worker: &Worker, address: &Rc<[usize]>, runtime: Handle) -> Self {
        let (sender, receiver) = channel();
        Self {
            runtime,
            activator: worker.sync_activator_for(address.to_vec()),
            sender,
            receiver,
            running: 0,
        }
    }

    /// Starts `work`; its result is handed out by [`Tasks::finished`].
    pub fn spawn(&mut self, work: impl Future<Output = T> + Send + 'static) {
        let (sender, activator) = (self.sender.clone(), self.activator.clone());
        self.running += 1;
        self.runtime.spawn(async move {
            let result = work.await;
            // Either fails only when the worker is gone, and then nobody waits for the result.
            if sender.send(result).is_ok() {
                let _ = activator.activate();
            }
        });
    }

    /// The result of a task that has ended, if there is one.
    pub fn finished(&mut self) -> Option<T> {
        let result = self.receiver.try_recv().ok()?;
        self.running -= 1;
        Some(result)
    }

    /// Tasks whose results were not handed out yet.
    pub fn running(&self) -> usize {
        self.running
    }
}
