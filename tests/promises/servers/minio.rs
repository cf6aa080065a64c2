//! The whole tutorial of `docker-compose.yml`, without its containers: MinIO announces what is uploaded, Apache Kafka carries
//! it, a job of two processes reads it. No event here is of this test's making.

use std::collections::BTreeMap;
use std::path::Path;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{Event, NotificationConfiguration, QueueConfiguration};
use eigenflow::storage::{Credentials, S3Config};
use rdkafka::admin::{NewTopic, TopicReplication};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::cluster::cluster;
use super::kafka::PLAINTEXT;
use super::leash::{Leash, brought, free_ports};
use crate::shared::loud;
use crate::world::{FIRST, Layout, SMALL_EPOCHS, Servers, World, picture};

/// In the folder of `fetch.sh`, where there is Go.
const MINIO: &str = "minio/minio";
const TOPIC: &str = "uploads-of-minio";

/// A store that sends every upload and removal of a bucket to a topic.
struct MinIo {
    s3: S3Config,
    client: Client,
    _process: Leash,
}

impl MinIo {
    fn start(servers: &Path, brokers: &str, runtime: &Runtime) -> Self {
        let folder = TempDir::new().expect("a temporary folder").keep();
        let [port] = free_ports::<1>();
        let command = [
            servers.join(MINIO).display().to_string(),
            "server".to_owned(),
            folder.join("objects").display().to_string(),
            "--quiet".to_owned(),
            "--address".to_owned(),
            format!("127.0.0.1:{port}"),
        ];
        let credentials = Credentials {
            access_key: "test".into(),
            secret_key: "test-secret".into(),
        };
        let queue = folder.join("events").display().to_string();
        let settings = [
            ("MINIO_ROOT_USER", credentials.access_key.as_str()),
            ("MINIO_ROOT_PASSWORD", credentials.secret_key.as_str()),
            ("MINIO_BROWSER", "off"),
            // Nobody beyond this machine is asked for anything.
            ("MINIO_UPDATE", "off"),
            ("MINIO_CALLHOME_ENABLE", "off"),
            ("MINIO_NOTIFY_KAFKA_ENABLE_uploads", "on"),
            ("MINIO_NOTIFY_KAFKA_BROKERS_uploads", brokers),
            ("MINIO_NOTIFY_KAFKA_TOPIC_uploads", TOPIC),
            ("MINIO_NOTIFY_KAFKA_QUEUE_DIR_uploads", &queue),
        ];
        let process = Leash::start(folder, &command, &settings);
        let s3 = S3Config {
            endpoint: Some(format!("http://127.0.0.1:{port}")),
            region: Some("us-east-1".to_owned()),
            credentials: Some(credentials.clone()),
            ..S3Config::default()
        };
        let client = runtime.block_on(s3.client()).expect("a client");
        process.wait_for(|| runtime.block_on(client.list_buckets().send()).is_ok());
        MinIo {
            s3,
            client,
            _process: process,
        }
    }

    /// A bucket, whose uploads and removals are announced.
    async fn announced(&self, bucket: &str) {
        self.bucket(bucket).await;
        let queue = QueueConfiguration::builder()
            .queue_arn("arn:minio:sqs::uploads:kafka")
            .events(Event::from("s3:ObjectCreated:*"))
            .events(Event::from("s3:ObjectRemoved:*"))
            .build();
        let queues = NotificationConfiguration::builder()
            .queue_configurations(queue.expect("a queue's configuration"))
            .build();
        let asked = self
            .client
            .put_bucket_notification_configuration()
            .bucket(bucket)
            .notification_configuration(queues);
        asked.send().await.expect("a bucket that announces");
    }

    async fn bucket(&self, bucket: &str) {
        let made = self.client.create_bucket().bucket(bucket).send().await;
        made.expect("a bucket");
    }
}

#[test]
fn what_minio_announces_is_in_the_table() {
    let (Some(cluster), Some(servers)) = (cluster(), brought()) else {
        return;
    };
    if !servers.join(MINIO).exists() {
        return loud(
            "SKIPPED: no MinIO; tests/promises/servers/fetch.sh builds it where there is Go",
        );
    }
    let kafka = &cluster.kafka;
    kafka.create(&NewTopic::new(TOPIC, 3, TopicReplication::Fixed(1)));
    let properties = kafka.properties(PLAINTEXT);
    let runtime = Runtime::new().expect("a runtime");
    let minio = MinIo::start(&servers, &properties["bootstrap.servers"], &runtime);
    runtime.block_on(minio.announced("photographs"));
    runtime.block_on(minio.bucket("warehouse"));
    let table = format!("s3://warehouse/{FIRST}/table");
    let world = World::on(Servers {
        kafka: properties,
        topic: TOPIC.to_owned(),
        s3: minio.s3.clone(),
        bucket: "photographs".to_owned(),
        uri: table.clone(),
        table,
        embedded: None,
    });
    let job = world.start(Layout::PROCESSES, SMALL_EPOCHS, &[]);
    let mut announced = 0;
    let mut etags = BTreeMap::new();
    let mut put = |key: &str, seed: u64| {
        announced += 1;
        etags.insert(world.path_of(key), world.put(key, picture(seed)).etag);
    };
    for (seed, key) in (0..).zip(["ä b+c%20/ü.png", "x=1&y=2/ .png", "a/1.png", "a/2.png"]) {
        put(key, seed);
    }
    world.put("notes.txt", "no image");
    world.wait_for(|state| state["rows"] == 4 && state["rejects"] == 1);
    put("a/1.png", 100);
    put("a/3.png", 3);
    for key in ["a/2.png", "notes.txt"] {
        world.delete(key);
    }
    etags.remove(&world.path_of("a/2.png"));
    // The text, and two removals.
    announced += 3;
    world.wait_for(|state| read(&state["offsets"]) == announced);
    for process in &job {
        process.signal(libc::SIGTERM);
    }
    for process in job {
        assert!(process.wait().status.success());
    }
    let rows = world.rows().into_iter();
    assert_eq!(
        rows.map(|(path, row)| (path, row.etag))
            .collect::<BTreeMap<_, _>>(),
        etags
    );
    assert!(world.rejects().is_empty());
}

/// How many messages of a topic that was empty at first the table has taken in.
fn read(offsets: &Value) -> u64 {
    let offsets = offsets.as_object().expect("offsets by partition");
    offsets.values().filter_map(Value::as_u64).sum()
}
