//! Apache Kafka and SeaweedFS as processes of this machine, one of each for all tests of the binary.

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rdkafka::admin::{NewTopic, TopicReplication};
use tokio::runtime::Runtime;

use super::kafka::{Kafka, Way};
use super::leash::{KAFKA, WEED, brought};
use super::store::Store;
use crate::process::succeed;
use crate::shared::loud;
use crate::world::{FIRST, Servers, World};

/// The servers that `fetch.sh` brought, started; or a loud word that the test does nothing.
pub fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER
        .get_or_init(|| {
            let servers = brought()?;
            let version = succeed(Command::new(servers.join(WEED)).arg("version"));
            let version = String::from_utf8_lossy(&version.stdout).into_owned();
            loud(&format!(
                "real servers: Apache Kafka {KAFKA}; SeaweedFS {}",
                version.lines().next().unwrap_or_default()
            ));
            Some(Cluster {
                kafka: Kafka::start(),
                store: Store::start(&servers),
            })
        })
        .as_ref()
}

/// What all tests share.
pub struct Cluster {
    pub kafka: Kafka,
    store: Store,
}

impl Cluster {
    /// A world of its own on these servers.
    pub fn world(&self, way: Way, partitions: i32) -> World {
        self.world_on(&self.kafka, way, partitions)
    }

    /// A world with another broker.
    pub fn world_on(&self, kafka: &Kafka, way: Way, partitions: i32) -> World {
        self.world_as(kafka, way, partitions, TopicReplication::Fixed(1))
    }

    /// A world whose topic is kept by the brokers that `replication` says.
    pub fn world_as(
        &self,
        kafka: &Kafka,
        way: Way,
        partitions: i32,
        replication: TopicReplication,
    ) -> World {
        static WORLDS: AtomicUsize = AtomicUsize::new(0);
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let (topic, bucket) = (format!("uploads-{number}"), format!("landing-{number}"));
        let table_bucket = format!("eigenflow-{number}");
        let runtime = Runtime::new().expect("a runtime");
        kafka.create(&NewTopic::new(&topic, partitions, replication));
        for bucket in [&bucket, &table_bucket] {
            runtime.block_on(self.store.create(bucket));
        }
        let table = format!("s3://{table_bucket}/{FIRST}/table");
        let servers = Servers {
            kafka: kafka.properties(way),
            topic,
            s3: self.store.s3.clone(),
            bucket,
            uri: table.clone(),
            table,
            embedded: None,
        };
        World::on(servers)
    }
}
