//! The Kafka clients of the job: how they are configured, and what their answers mean.

use std::ffi::CStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow, bail};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::producer::FutureProducer;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::{Kafka, LostOffsets, Start};
use crate::job::{Contradiction, Stop};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a partition's leader is asked at once: in between it is seen whether the job is to stop.
const LEADER_PATIENCE: Duration = Duration::from_secs(5);
/// The first question to the brokers waits this long, each further one twice as long as the one before.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);
/// How long librdkafka is listened to between two questions, and the pause before a question is repeated.
const HEARING: Duration = Duration::from_millis(200);
/// What librdkafka may fetch ahead, a consumer: the backlog stays in the broker.
const FETCH_AHEAD_KBYTES: &str = "16384";

/// What to do when a certificate of TLS is not believed: ours, of which the brokers send an alert, or theirs.
fn cure(reason: &str) -> Option<&'static str> {
    let of_certificates = ["CERTIFICATE", "UNKNOWN_CA"].map(|word| reason.contains(word));
    if reason.contains("_ALERT_") && of_certificates.contains(&true) {
        return Some(
            "the brokers want a certificate that they know and that is valid today, by ssl.keystore.location or ssl.certificate.location in kafka.properties",
        );
    }
    reason.contains("CERTIFICATE_VERIFY_FAILED").then_some(
        "ssl.ca.location in kafka.properties must name the authority of the brokers' certificates, which must be for the hosts that are asked and valid today",
    )
}

/// Why librdkafka can't do what it is asked for.
#[derive(Debug, Default)]
struct Trouble {
    last: Option<String>,
    /// What does not pass by waiting: it is said once, and other errors may follow.
    refusal: Option<String>,
}

/// Listens to what librdkafka says of itself. It recovers from most of it alone and says all of it often, so the log has
/// it as detail; the last reason is kept for whoever has to say why nothing comes.
#[derive(Debug, Default)]
pub struct Reporter {
    trouble: Mutex<Trouble>,
}

impl Reporter {
    /// Why librdkafka can't do what it is asked for, in its own words, if it gave a reason yet.
    pub fn reason(&self) -> Option<String> {
        self.trouble().last.clone()
    }

    /// Why the brokers, or we, have refused a connection, if for a reason that does not pass by waiting.
    fn refusal(&self) -> Option<String> {
        self.trouble().refusal.clone()
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reporter {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::trace!(facility, "{message}")
            }
            // Failures of connections come as errors, too.
            _ if facility == "FAIL" => tracing::trace!(facility, "{message}"),
            RDKafkaLogLevel::Notice => tracing::debug!(facility, "{message}"),
            _ => tracing::warn!(facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode::{AllBrokersDown, Authentication, PartitionEOF, SSL};
        match error.rdkafka_error_code() {
            // No trouble; and no reason, but what follows from one.
            None | Some(PartitionEOF | AllBrokersDown) => {}
            Some(code) => {
                tracing::debug!(%error, reason, "librdkafka");
                let cure = cure(reason);
                let reason = match cure {
                    Some(cure) => format!("{reason}: {cure}"),
                    None => reason.to_owned(),
                };
                let mut trouble = self.trouble();
                if cure.is_some() || matches!(code, Authentication | SSL) {
                    trouble.refusal = Some(reason.clone());
                }
                trouble.last = Some(reason);
            }
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
        .create_with_context(Reporter::default())
        .map_err(|error| match error {
            // Displayed, it would repeat the value, which may be a secret.
            KafkaError::ClientConfig(_, reason, ..) => {
                Error::new(Contradiction(format!("kafka.properties: {reason}")))
            }
            // A machine that is short of something may have it later.
            KafkaError::ClientCreation(reason) if reason.contains("thread") => {
                anyhow!(
                    "the Kafka client for {} can't be made: {reason}",
                    config.brokers
                )
            }
            error => Error::new(Contradiction(format!(
                "{error}: the Kafka client for {} can't be made; check kafka.properties",
                config.brokers
            ))),
        })
}

/// What is common to all clients: `defaults`, and the user's properties over them.
fn client(config: &Kafka, defaults: &[(&str, &str)]) -> ClientConfig {
    let mut client = ClientConfig::new();
    // The system's authorities, wherever it keeps them.
    client.set("ssl.ca.location", "probe");
    for (property, value) in defaults {
        client.set(*property, *value);
    }
    for (property, value) in &config.properties.0 {
        client.set(property, value);
    }
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", "eigenflow");
    client
}

/// A consumer for `assign()`: it takes part in no group; the group's name serves to publish offsets.
///
/// # Errors
/// A [`Contradiction`] with properties that no client can be made with.
pub fn consumer(config: &Kafka) -> Result<Consumer> {
    create(&consumer_settings(config), config)
}

/// Whether [`consumer`] could be made. No broker is called.
///
/// # Errors
/// As of a consumer.
pub fn check(config: &Kafka) -> Result<()> {
    let mut client = consumer_settings(config);
    client.remove("bootstrap.servers");
    create::<Consumer>(&client, config).map(drop)
}

fn consumer_settings(config: &Kafka) -> ClientConfig {
    let mut client = client(
        config,
        &[("queued.max.messages.kbytes", FETCH_AHEAD_KBYTES)],
    );
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
        );
    client
}

/// A producer of object events.
pub fn producer(config: &Kafka) -> Result<Producer> {
    let mut client = client(config, &[("linger.ms", "5")]);
    client.set("enable.idempotence", "true");
    create(&client, config)
}

/// Waits until the brokers answer, or it is to `stop`; the topic's partitions. For a consumer that reads nothing yet.
///
/// It asks with ever more patience, and hears in between why nobody answers: a refusal does not pass by waiting.
pub fn connect(consumer: &Consumer, config: &Kafka, stop: &Stop) -> Result<Vec<i32>> {
    let mut patience = FIRST_PATIENCE;
    let mut waited = Duration::ZERO;
    loop {
        let error = match consumer.fetch_metadata(Some(&config.topic), patience) {
            Ok(metadata) => return listed(&metadata, &config.topic),
            Err(error) => error,
        };
        hear(consumer);
        let context = consumer.context();
        waited += patience;
        let refusal = context.refusal();
        if refusal.is_some() || waited >= ANSWER_TIMEOUT || stop.is_asked() {
            bail!(
                "no answer from the Kafka brokers {}: {}; check kafka.brokers and, with TLS or SASL, kafka.properties",
                config.brokers,
                (refusal.or(context.reason())).unwrap_or_else(|| error.to_string())
            );
        }
        patience *= 2;
    }
}

/// Lets librdkafka say what it has to say.
fn hear(consumer: &Consumer) {
    let begun = Instant::now();
    while begun.elapsed() < HEARING {
        consumer.poll(HEARING);
    }
}

/// The topic's partitions now, asked for once.
pub fn partitions(consumer: &Consumer, topic: &str, patience: Duration) -> Result<Vec<i32>> {
    listed(&consumer.fetch_metadata(Some(topic), patience)?, topic)
}

fn listed(metadata: &Metadata, topic: &str) -> Result<Vec<i32>> {
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let partitions = found.map_or(&[][..], |found| found.partitions());
    if !partitions.is_empty() {
        return Ok(partitions.iter().map(|partition| partition.id()).collect());
    }
    let error = found.and_then(|found| found.error());
    match error.map(RDKafkaErrorCode::from) {
        None | Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
            bail!("topic {topic} does not exist; create it, or correct kafka.topic")
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => bail!(
            "topic {topic} is not for this Kafka user to see; grant it DESCRIBE and READ, or correct kafka.properties"
        ),
        Some(error) => bail!("topic {topic}: {error}"),
    }
}

/// The first offset that is there and the one behind the last; waits for them, unless it is to `stop`.
pub fn watermarks(
    consumer: &Consumer,
    topic: &str,
    partition: i32,
    stop: &Stop,
) -> Result<(i64, i64)> {
    let begun = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, LEADER_PATIENCE) {
            Ok(watermarks) => return Ok(watermarks),
            // Brokers restart, leaders move, and new partitions have none for a moment.
            Err(error)
                if !stands(&error) && begun.elapsed() < ANSWER_TIMEOUT && !stop.is_asked() =>
            {
                std::thread::sleep(HEARING)
            }
            Err(error) => {
                bail!("partition {partition} of topic {topic} does not say what it holds: {error}")
            }
        }
    }
}

/// Behind the last message of a partition, as the broker said when something was fetched last. Asks nobody.
#[allow(
    unsafe_code,
    reason = "librdkafka has this number, rdkafka no call for it"
)]
pub fn high(consumer: &Consumer, topic: &CStr, partition: i32) -> Option<i64> {
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client outlives the call, the name ends with a zero, and both numbers are there to be written.
    let error = unsafe {
        rdkafka::bindings::rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            partition,
            &mut low,
            &mut high,
        )
    };
    (RDKafkaErrorCode::from(error) == RDKafkaErrorCode::NoError && high >= 0).then_some(high)
}

/// Whether an error is one that does not pass by waiting: a person must act.
pub fn stands(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        Authentication, Fatal, SaslAuthenticationFailed, TopicAuthorizationFailed,
    };
    matches!(
        error.rdkafka_error_code(),
        Some(Authentication | Fatal | SaslAuthenticationFailed | TopicAuthorizationFailed)
    )
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
pub fn lost(topic: &str, reason: &str) -> anyhow::Error {
    anyhow!(Contradiction(format!(
        "topic {topic} dropped events before they were read ({reason}). Set kafka.on_lost_offsets = \"earliest\" to go on, then \
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

/// Behind the last record that `consumer` has had of a partition: of control records, too, which are never delivered.
pub fn position(consumer: &Consumer, topic: &str, partition: i32) -> Option<i64> {
    let positions = consumer.position().ok()?;
    let offset = positions.find_partition(topic, partition)?.offset();
    match offset {
        Offset::Offset(next) => Some(next),
        _ => None,
    }
}

/// Places in a topic as librdkafka has them.
pub(super) fn list(
    topic: &str,
    places: impl Iterator<Item = (i32, i64)>,
) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in places {
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    Ok(list)
}
