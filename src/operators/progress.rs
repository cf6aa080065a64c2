//! How far the job is, as the ordinary lag tools see it: its offsets under the name of a consumer group.
//!
//! Nothing depends on it, so nothing waits for it: librdkafka would not let go of a consumer whose group has lost its
//! coordinator, and the job would never end.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};

use super::kafka::{self, Reporter};
use crate::config::Kafka;

/// Unheard events would pile up; an offset that was taken brings one, and an outage some more.
const EVENTS_PER_COMMIT: usize = 16;
/// How long the group may take over its last answer before the job ends without it.
const LAST_PATIENCE: Duration = Duration::from_secs(3);

/// Tells the group how far the job is. Dropping it takes at most some seconds.
pub struct Progress {
    topic: String,
    /// Gone only while this is dropped.
    consumer: Option<BaseConsumer<Answers>>,
}

/// Listens to what the group answers.
#[derive(Default)]
struct Answers {
    reporter: Reporter,
    /// Commits that the group has not answered yet.
    open: AtomicUsize,
    /// Whether it was said that the group refuses, so that a spell of refusals is one line.
    refused: AtomicBool,
}

impl ClientContext for Answers {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reporter.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.error(error, reason);
    }
}

impl ConsumerContext for Answers {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        self.open.fetch_sub(1, Relaxed);
        match result {
            Ok(()) => self.refused.store(false, Relaxed),
            Err(error) if !self.refused.swap(true, Relaxed) => tracing::warn!(
                %error,
                "kafka.group does not show how far the job is; the table's commit does"
            ),
            Err(error) => tracing::debug!(%error, "kafka.group still refuses offsets"),
        }
    }
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
        let open = &consumer.context().open;
        open.fetch_add(1, Relaxed);
        consumer
            .commit(&offsets, CommitMode::Async)
            .inspect_err(|_| {
                open.fetch_sub(1, Relaxed);
            })?;
        for _ in 0..EVENTS_PER_COMMIT {
            consumer.poll(Duration::ZERO);
        }
        Ok(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let Some(consumer) = self.consumer.take() else {
            return;
        };
        let answered = || consumer.context().open.load(Relaxed) == 0;
        let begun = Instant::now();
        while !answered() && begun.elapsed() < LAST_PATIENCE {
            consumer.poll(Duration::from_millis(50));
        }
        if !answered() {
            tracing::warn!(
                "kafka.group does not answer, and may show less than the job has read; the table's commit tells"
            );
            // Its end would wait for the group's coordinator.
            std::mem::forget(consumer);
        }
    }
}
