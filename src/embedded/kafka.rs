//! A Kafka cluster of one broker in this process: librdkafka's mock.
//!
//! It speaks the protocol on a port of 127.0.0.1, so that consumers and producers of other processes reach it as well.
//! Where it differs from Kafka:
//! - a partition keeps its last [`EmbeddedKafka::PARTITION_BYTES`] and [`EmbeddedKafka::PARTITION_MESSAGES`] only; what is
//!   older vanishes silently. Choose the number of partitions accordingly: [`EmbeddedKafka::partitions_for`];
//! - nothing survives the process;
//! - no lookup of offsets by time, no admin requests to create topics;
//! - the first join of a consumer group takes 3 s (`assign` needs none).

use std::sync::mpsc;
use std::thread::JoinHandle;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::EmbeddedError;

/// librdkafka's mock, as [`EmbeddedKafka::disturb`] hands it out.
pub type Cluster = MockCluster<'static, DefaultProducerContext>;

type Change = Box<dyn FnOnce(&Cluster) + Send>;

/// A running cluster; it ends when this is dropped.
pub struct EmbeddedKafka {
    brokers: String,
    /// What is to be done to the cluster. Dropping it is the signal to stop.
    changes: Option<mpsc::Sender<Change>>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedKafka {
    /// Bytes of messages, with their headers, that a partition keeps.
    pub const PARTITION_BYTES: usize = 5 * 1024 * 1024;
    /// Messages that a partition keeps.
    pub const PARTITION_MESSAGES: usize = 100_000;

    /// Starts a cluster with one topic.
    ///
    /// # Errors
    /// [`EmbeddedError::Kafka`] if librdkafka refuses, as it does a topic without partitions.
    pub fn start(topic: &str, partitions: usize) -> Result<Self, EmbeddedError> {
        let topic = topic.to_owned();
        let (started, outcome) = mpsc::channel();
        let (changes, due) = mpsc::channel::<Change>();
        // The cluster's handle must stay on one thread; ours may be moved.
        let thread = std::thread::Builder::new()
            .name("embedded-kafka".into())
            .spawn(move || match start_cluster(&topic, partitions) {
                Ok(cluster) => {
                    let _ = started.send(Ok(cluster.bootstrap_servers()));
                    for change in due {
                        change(&cluster);
                    }
                }
                Err(reason) => {
                    let _ = started.send(Err(reason));
                }
            })
            .map_err(|error| EmbeddedError::Kafka(error.to_string()))?;
        let brokers = outcome
            .recv()
            .unwrap_or_else(|_| Err("its thread died".into()))
            .map_err(EmbeddedError::Kafka)?;
        Ok(EmbeddedKafka {
            brokers,
            changes: Some(changes),
            thread: Some(thread),
        })
    }

    /// `127.0.0.1:port`, for `bootstrap.servers`.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Lets `change` act on the cluster: outages, delays and errors, for tests. It runs on the cluster's own thread, after
    /// those before.
    pub fn disturb(&self, change: impl FnOnce(&Cluster) + Send + 'static) {
        if let Some(changes) = &self.changes {
            // Fails only if the thread is gone, and with it the cluster.
            let _ = changes.send(Box::new(change));
        }
    }

    /// The partitions that evenly spread messages need at least, with a quarter to spare for uneven ones.
    pub fn partitions_for(messages: usize, bytes_in_all: usize) -> usize {
        let quarters = |amount: usize, room: usize| amount.div_ceil(room / 4 * 3);
        quarters(messages, Self::PARTITION_MESSAGES)
            .max(quarters(bytes_in_all, Self::PARTITION_BYTES))
            .max(1)
    }
}

impl Drop for EmbeddedKafka {
    fn drop(&mut self) {
        self.changes.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn start_cluster(topic: &str, partitions: usize) -> Result<Cluster, String> {
    let partitions = i32::try_from(partitions)
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| format!("a topic cannot have {partitions} partitions"))?;
    let cluster = MockCluster::new(1).map_err(|error| error.to_string())?;
    cluster
        .create_topic(topic, partitions, 1)
        .map_err(|error| format!("topic {topic:?}: {error}"))?;
    Ok(cluster)
}
