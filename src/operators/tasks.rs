//! Work outside the operators: futures on the runtime whose results come back to the operator that started them.
//!
//! An operator must never wait. It spawns, keeps the capability for the time of the work, and returns; the finished
//! task puts its result into a channel and wakes the worker through a `SyncActivator`.
//!
//! A task that fails ends the job. From then on nothing is handed out, so the capabilities held for it are never
//! released: to the workers that have not heard of the failure yet, what failed does not look complete.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::Result;
use timely::scheduling::SyncActivator;
use timely::worker::Worker;
use tokio::runtime::Handle;

use crate::job::state::JobState;
use crate::job::{Failure, Summary, Tables};

/// What tasks need of whom they work for.
pub trait Host: Send + Sync + 'static {
    /// Where they run.
    fn runtime(&self) -> &Handle;
    /// What one that fails ends.
    fn failure(&self) -> &Failure;
    /// What they read and write.
    fn tables(&self) -> &Tables;
    /// A commit was made; for those who tell of it.
    fn committed(&self, _state: &JobState, _summary: &Summary) {}
}

/// The results of one operator's tasks.
pub struct Tasks<T> {
    host: Arc<dyn Host>,
    activator: SyncActivator,
    sender: Sender<Result<T>>,
    receiver: Receiver<Result<T>>,
    running: usize,
}

impl<T: Send + 'static> Tasks<T> {
    /// For the operator at `address`.
    pub fn new<H: Host>(worker: &Worker, address: &Rc<[usize]>, host: &Arc<H>) -> Self {
        let (sender, receiver) = channel();
        Self {
            host: host.clone(),
            activator: worker.sync_activator_for(address.to_vec()),
            sender,
            receiver,
            running: 0,
        }
    }

    /// Starts `work`; its result is handed out by [`Tasks::finished`].
    pub fn spawn(&mut self, work: impl Future<Output = Result<T>> + Send + 'static) {
        let (sender, activator) = (self.sender.clone(), self.activator.clone());
        self.running += 1;
        self.host.runtime().spawn(async move {
            let result = work.await;
            // Either fails only when the worker is gone, and then nobody waits for the result.
            if sender.send(result).is_ok() {
                let _ = activator.activate();
            }
        });
    }

    /// The result of a task that has succeeded, if there is one and the job has not failed.
    pub fn finished(&mut self) -> Option<T> {
        if self.host.failure().is_set() {
            return None;
        }
        match self.receiver.try_recv().ok()? {
            Ok(result) => {
                self.running -= 1;
                Some(result)
            }
            Err(error) => {
                self.host.failure().set(error);
                None
            }
        }
    }

    /// Tasks whose results were not handed out yet.
    pub fn running(&self) -> usize {
        self.running
    }
}
