//! Partitions that are added to the topic while the job runs.
//!
//! The brokers are asked now and then, away from the worker's thread: when they are gone, so is the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::kafka;
use crate::config::Kafka;

/// How often, unless librdkafka's property says otherwise.
const INTERVAL: Duration = Duration::from_secs(30);
const INTERVAL_PROPERTY: &str = "topic.metadata.refresh.interval.ms";
/// The process can't end while a question is open.
const PATIENCE: Duration = Duration::from_secs(5);

/// One consumer's look at the topic.
pub struct Discovery {
    interval: Option<Duration>,
    asked: Instant,
    open: Option<JoinHandle<anyhow::Result<Vec<i32>>>>,
}

impl Discovery {
    /// As often as configured.
    pub fn new(config: &Kafka) -> Self {
        Discovery {
            interval: match config.properties.0.get(INTERVAL_PROPERTY) {
                Some(said) => said.parse().ok().map(Duration::from_millis),
                None => Some(INTERVAL),
            },
            asked: Instant::now(),
            open: None,
        }
    }

    /// The topic's partitions, when there is an answer. Never blocks.
    pub fn poll(
        &mut self,
        runtime: &Handle,
        consumer: &Arc<kafka::Consumer>,
        topic: &str,
    ) -> Vec<i32> {
        if let Some(answer) = self.open.as_mut().and_then(FutureExt::now_or_never) {
            self.open = None;
            self.asked = Instant::now();
            return match answer {
                Ok(Ok(partitions)) => partitions,
                // The next time, then: that brokers are away, reading notices by itself.
                _ => Vec::new(),
            };
        }
        if self.open.is_none()
            && self
                .interval
                .is_some_and(|interval| self.asked.elapsed() >= interval)
        {
            let (consumer, topic) = (consumer.clone(), topic.to_owned());
            self.open = Some(
                runtime.spawn_blocking(move || kafka::partitions(&consumer, &topic, PATIENCE)),
            );
        }
        Vec::new()
    }
}
