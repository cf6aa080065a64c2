//! How far the job is, as the ordinary lag tools see it: its offsets under the name of a consumer group.
//!
//! Nothing depends on it, so nothing waits for it for long: librdkafka lets go of a consumer only when the coordinator of its
//! group has answered, and where that is gone the job would never end.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rdkafka::consumer::{CommitMode, Consumer as _};

use super::kafka::{self, Consumer};
use crate::config::Kafka;

/// Unheard errors of the client would pile up; an outage brings some between two commits.
const EVENTS_PER_COMMIT: usize = 16;
/// How long the group may take over its last answer before the job ends without it.
const LAST_PATIENCE: Duration = Duration::from_secs(3);

/// Tells the group how far the job is. Dropping it takes at most some seconds.
pub struct Progress {
    topic: String,
    /// Gone only while this is dropped.
    consumer: Option<Consumer>,
}

impl Progress {
    /// For the configured topic and group.
    ///
    /// # Errors
    /// Properties that no Kafka client can be made with.
    pub fn new(config: &Kafka) -> Result<Self> {
        Ok(Progress {
            topic: config.topic.clone(),
            consumer: Some(kafka::consumer(config)?),
        })
    }

    /// Tells the next offset of some partitions, without waiting for an answer.
    ///
    /// # Errors
    /// What librdkafka refuses to send.
    pub fn publish(&self, offsets: &[(i32, i64)]) -> Result<()> {
        let Some(consumer) = &self.consumer else {
            return Ok(());
        };
        let offsets = kafka::list(&self.topic, offsets.iter().copied())?;
        consumer.commit(&offsets, CommitMode::Async)?;
        for _ in 0..EVENTS_PER_COMMIT {
            consumer.poll(Duration::ZERO);
        }
        Ok(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let consumer = self.consumer.take();
        let (closed, closes) = channel();
        // Nobody joins it: it ends with the process where the group never answers.
        thread::spawn(move || {
            drop(consumer);
            // Nobody listens any more when it took too long.
            let _ = closed.send(());
        });
        if closes.recv_timeout(LAST_PATIENCE).is_err() {
            tracing::warn!(
                "kafka.group does not answer, and may show less than the job has read; the table's commit tells"
            );
        }
    }
}
