//! The Kafka clients of the job: how they are configured, and what their answers mean.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureProducer;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::{Kafka, LostOffsets, Start};
use crate::job::Contradiction;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// What librdkafka may fetch ahead, a consumer: the backlog stays in the broker.
const FETCH_AHEAD_KBYTES: &str = "16384";

/// Hands what librdkafka says of itself to the log. It recovers from most of it alone, so none of it is an error here.
#[derive(Clone, Copy, Debug)]
pub struct Reporter;

impl ClientContext for Reporter {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::trace!(facility, "{message}")
            }
            RDKafkaLogLevel::Notice => tracing::debug!(facility, "{message}"),
            _ => tracing::warn!(facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is news, no trouble.
        if !reason.contains("end of partition") {
            tracing::warn!(%error, reason, "librdkafka");
        }
    }
}

impl ConsumerContext for Reporter {}

/// A consumer that reports to the log.
pub type Consumer = BaseConsumer<Reporter>;

/// A producer that reports to the log.
pub type Producer = FutureProducer<Reporter>;

fn create<C: FromClientConfigAndContext<Reporter>>(
    client: &ClientConfig,
    config: &Kafka,
) -> Result<C> {
    client
        .create_with_context(Reporter)
        .with_context(|| format!("Kafka client for {}", config.brokers))
}

fn client(config: &Kafka) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", "eigenflow");
    for (property, value) in &config.properties.0 {
        client.set(property, value);
    }
    client
}

/// A consumer for `assign()`: it takes part in no group; the group's name serves to publish offsets.
pub fn consumer(config: &Kafka) -> Result<Consumer> {
    let mut client = client(config);
    client
        .set("group.id", &config.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set(
            "auto.offset.reset",
            if config.on_lost_offsets == LostOffsets::Earliest {
                "earliest"
            } else {
                "error"
            },
        )
        .set("queued.max.messages.kbytes", FETCH_AHEAD_KBYTES);
    create(&client, config)
}

/// A producer of object events.
pub fn producer(config: &Kafka) -> Result<Producer> {
    let mut client = client(config);
    client
        .set("enable.idempotence", "true")
        .set("linger.ms", "5");
    create(&client, config)
}

/// The topic's partitions.
pub fn partitions(consumer: &Consumer, topic: &str) -> Result<Vec<i32>> {
    let metadata = consumer
        .fetch_metadata(Some(topic), ANSWER_TIMEOUT)
        .context(
            "no Kafka broker answers; check kafka.brokers and, with TLS or SASL, kafka.properties",
        )?;
    let partitions: Vec<i32> = metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions().iter().map(|partition| partition.id()))
        .collect();
    if partitions.is_empty() {
        bail!("topic {topic} does not exist; create it, or correct kafka.topic");
    }
    Ok(partitions)
}

/// The first offset that is there and the one behind the last.
pub fn watermarks(consumer: &Consumer, topic: &str, partition: i32) -> Result<(i64, i64)> {
    consumer
        .fetch_watermarks(topic, partition, ANSWER_TIMEOUT)
        .with_context(|| format!("watermarks of {topic}/{partition}"))
}

/// Where to begin: at the committed offset if there is one, else as configured.
pub fn first_offset(
    config: &Kafka,
    partition: i32,
    committed: Option<i64>,
    low: i64,
    high: i64,
) -> Result<i64> {
    match (committed, config.start) {
        (Some(next), _) if next < low || next > high => match config.on_lost_offsets {
            LostOffsets::Earliest => {
                tracing::warn!(
                    partition,
                    next,
                    low,
                    high,
                    "the wanted offset is gone: going on from the earliest"
                );
                Ok(low)
            }
            LostOffsets::Fail => bail!(Contradiction(format!(
                "partition {partition}: the table's next offset is {next}, but the topic holds {low} to {high}: events \
                 were dropped unread. Set kafka.on_lost_offsets = \"earliest\" to go on, then `eigenflow reconcile` the \
                 bucket to send what was lost"
            ))),
        },
        (Some(next), _) => Ok(next),
        (None, Start::Earliest) => Ok(low),
        (None, Start::Latest) => Ok(high),
    }
}

/// The error for offsets that vanished while the job ran.
pub fn lost(error: &KafkaError) -> anyhow::Error {
    anyhow!(Contradiction(format!(
        "{error}: the topic dropped events before they were read. Set kafka.on_lost_offsets = \"earliest\" to go on, then \
         `eigenflow reconcile` the bucket to send what was lost"
    )))
}

/// Reads the given partitions from the given offsets on.
pub fn assign(
    consumer: &Consumer,
    topic: &str,
    places: impl Iterator<Item = (i32, i64)>,
) -> Result<()> {
    Ok(consumer.assign(&list(topic, places)?)?)
}

/// Tells the group how far the job is, for the ordinary lag tools. Nothing depends on it.
pub fn publish_offsets(consumer: &Consumer, topic: &str, offsets: &[(i32, i64)]) -> Result<()> {
    Ok(consumer.commit(&list(topic, offsets.iter().copied())?, CommitMode::Async)?)
}

fn list(topic: &str, places: impl Iterator<Item = (i32, i64)>) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in places {
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    Ok(list)
}
