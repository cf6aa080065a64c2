//! One world a test: a broker, a store, and the job as a process among them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use eigenflow::embedded::{EmbeddedKafka, EmbeddedS3};
use eigenflow::event::{Change, Dialect, ObjectEvent, Version, render};
use eigenflow::job::{self, Tables, Verdict, Verification, open_tables};
use eigenflow::storage::{Credentials, S3Config, S3Uploads, UploadMeta, Uploads};
use eigenflow::table::{DataFile, DataFiles, Record, Reject, Row};
use futures::StreamExt;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::process::{LIMIT, Process, outcome, succeed, wait_until};
use crate::proxy::Proxy;

pub const BUCKET: &str = "landing";
/// Where the table lies in its bucket, and what belongs to it beside it. Forks have folders of their own.
pub const FIRST: &str = "first";

/// Broker and store with an empty table-to-be. Everything ends with it.
pub struct World {
    dir: TempDir,
    runtime: Runtime,
    uploads: Arc<dyn Uploads>,
    /// Where broker and store are.
    pub servers: Servers,
    /// For the events; it knows the partitions that the topic had when it was made.
    pub producer: FutureProducer,
}

/// Where a world's broker and store are.
#[derive(Clone)]
pub struct Servers {
    /// librdkafka's properties of a client, the brokers among them.
    pub kafka: BTreeMap<&'static str, String>,
    /// A topic of the world's own.
    pub topic: String,
    /// The store's address and credentials.
    pub s3: S3Config,
    /// A bucket of the world's own for the images.
    pub bucket: String,
    /// The table as the job's configuration names it.
    pub uri: String,
    /// The table as the tests read it.
    pub table: String,
    /// The servers themselves, where they are in this process; they end with the world and its forks.
    pub embedded: Option<Arc<Embedded>>,
}

/// Servers in this process.
pub struct Embedded {
    _store: EmbeddedS3,
    kafka: EmbeddedKafka,
    /// The store's objects as files.
    _folder: TempDir,
}

impl Servers {
    /// In this process.
    fn embedded(partitions: usize) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let dir = folder.path();
        for bucket in [BUCKET, "eigenflow"] {
            std::fs::create_dir_all(dir.join(bucket)).expect("a bucket");
        }
        let credentials = Credentials {
            access_key: "test".into(),
            secret_key: "test-secret".into(),
        };
        let topic = "uploads";
        let s3 = EmbeddedS3::start(dir, &credentials).expect("a store");
        let kafka = EmbeddedKafka::start(topic, partitions).expect("a broker");
        let table = dir.join(format!("eigenflow/{FIRST}/table"));
        Servers {
            kafka: [("bootstrap.servers", kafka.brokers().to_owned())].into(),
            topic: topic.to_owned(),
            s3: S3Config {
                endpoint: Some(s3.endpoint().to_owned()),
                region: Some("us-east-1".to_owned()),
                credentials: Some(credentials),
                ..S3Config::default()
            },
            bucket: BUCKET.to_owned(),
            uri: format!("s3://eigenflow/{FIRST}/table"),
            table: table.to_str().expect("a path in Unicode").to_owned(),
            embedded: Some(Arc::new(Embedded {
                _store: s3,
                kafka,
                _folder: folder,
            })),
        }
    }

    /// A producer of events.
    pub fn producer(&self) -> FutureProducer {
        let mut client = self.client();
        client.set("linger.ms", "1").create().expect("a producer")
    }

    /// The configuration of a Kafka client.
    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        for (property, value) in &self.kafka {
            client.set(*property, value);
        }
        client
    }

    /// Where the brokers are.
    pub fn brokers(&self) -> &str {
        &self.kafka["bootstrap.servers"]
    }

    fn endpoint(&self) -> &str {
        self.s3.endpoint.as_deref().expect("the store's address")
    }

    /// The folder of the table, and of what belongs to it, in its bucket.
    fn folder(&self) -> &str {
        self.uri.split('/').nth(3).expect("a folder")
    }

    /// Copies the table's folder within its bucket.
    async fn copy_table(&self, to: &str) {
        let client = self.s3.client().await.expect("a client");
        let bucket = self.uri.split('/').nth(2).expect("a bucket");
        let from = format!("{}/", self.folder());
        let pages = client.list_objects_v2().bucket(bucket).prefix(&from);
        let mut pages = pages.into_paginator().send();
        while let Some(page) = pages.next().await {
            for object in page.expect("a list").contents() {
                let key = object.key().expect("a key");
                let copy = client.copy_object().bucket(bucket);
                let copy = copy.key(format!("{to}/{}", &key[from.len()..]));
                let copied = copy.copy_source(format!("{bucket}/{key}")).send();
                copied.await.expect("a copy");
            }
        }
    }
}

/// Settings that cut many epochs.
pub const SMALL_EPOCHS: &str = "[publish]\nrows = 5\ninterval_ms = 200\n";

/// How many workers in how many processes.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub workers: usize,
    pub processes: usize,
}

impl Layout {
    pub const ONE: Self = Layout::new(1, 1);
    pub const TWO: Self = Layout::new(2, 1);
    pub const PROCESSES: Self = Layout::new(1, 2);

    pub const fn new(workers: usize, processes: usize) -> Self {
        Layout { workers, processes }
    }
}

impl World {
    /// On embedded servers.
    pub fn new(partitions: usize) -> Self {
        World::on(Servers::embedded(partitions))
    }

    /// A world with the images and the events of this one, and a table of its own that holds what this one's holds.
    pub fn fork(&self) -> Self {
        static FORKS: AtomicUsize = AtomicUsize::new(0);
        let fork = format!("fork-{}", FORKS.fetch_add(1, Ordering::Relaxed));
        let from = self.servers.folder();
        let mut servers = self.servers.clone();
        for name in [&mut servers.uri, &mut servers.table] {
            *name = name.replace(&format!("/{from}/table"), &format!("/{fork}/table"));
        }
        self.runtime.block_on(self.servers.copy_table(&fork));
        World::on(servers)
    }

    /// On these servers.
    pub fn on(servers: Servers) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let client = runtime.block_on(servers.s3.client()).expect("a client");
        World {
            dir: TempDir::new().expect("a temporary folder"),
            runtime,
            uploads: Arc::new(S3Uploads::new(client)),
            producer: servers.producer(),
            servers,
        }
    }

    /// Uploads an object; what the store says of it.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) -> UploadMeta {
        self.runtime
            .block_on(self.uploads.put(&self.servers.bucket, key, bytes.into()))
            .expect("an upload")
    }

    /// The bytes of the object that a row is of.
    pub fn object(&self, path: &str) -> Bytes {
        let (bucket, key) = (&self.servers.bucket, self.key_of(path));
        let upload = self.uploads.get(bucket, key, 1 << 20);
        self.runtime.block_on(upload).expect("an object").bytes
    }

    /// What the table calls an object.
    pub fn path_of(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.servers.bucket)
    }

    /// The object that the table calls so.
    pub fn key_of<'a>(&self, path: &'a str) -> &'a str {
        let key = path.strip_prefix(&self.path_of(""));
        key.expect("an object of this world's bucket")
    }

    pub fn delete(&self, key: &str) {
        self.runtime
            .block_on(self.uploads.delete(&self.servers.bucket, key))
            .expect("a removal");
    }

    /// Sends a payload to a partition.
    pub fn send(&self, partition: i32, payload: &[u8]) {
        let record = FutureRecord::<(), _>::to(&self.servers.topic)
            .partition(partition)
            .payload(payload);
        self.runtime
            .block_on(self.producer.send(record, LIMIT))
            .expect("a broker that takes events");
    }

    /// Uploads an object and sends its event.
    pub fn upload(&self, partition: i32, time_ms: i64, key: &str, bytes: impl Into<Bytes>) {
        let etag = self.put(key, bytes).etag;
        self.tell(partition, event(Change::Created, key, Some(etag), time_ms));
    }

    /// Removes an object and sends its event.
    pub fn remove(&self, partition: i32, time_ms: i64, key: &str) {
        self.delete(key);
        self.tell(partition, event(Change::Removed, key, None, time_ms));
    }

    /// Sends an event of this world's bucket.
    pub fn tell(&self, partition: i32, event: ObjectEvent) {
        let bucket = self.servers.bucket.clone();
        self.send(partition, &render(&ObjectEvent { bucket, ..event }));
    }

    /// The table, as it is read.
    pub fn table(&self) -> &str {
        &self.servers.table
    }

    /// How many objects a folder beside the table holds.
    pub fn objects_beside(&self, folder: &str) -> usize {
        let bucket = self.servers.uri.split('/').nth(2).expect("a bucket");
        let prefix = format!("{}/{folder}/", self.servers.folder());
        let listed = self.uploads.list(bucket, &prefix, None).count();
        self.runtime.block_on(listed)
    }

    /// Where the store listens.
    pub fn endpoint(&self) -> &str {
        self.servers.endpoint()
    }

    /// From now on the job finds the store behind `proxy`.
    pub fn hide_behind(&mut self, proxy: &Proxy) {
        self.servers.s3.endpoint = Some(format!("http://{}", proxy.address()));
    }

    /// From now on the job finds the broker behind `proxy`.
    pub fn hide_broker_behind(&mut self, proxy: &Proxy) {
        let address = proxy.address().to_string();
        self.servers.kafka.insert("bootstrap.servers", address);
    }

    /// The embedded broker.
    pub fn kafka(&self) -> &EmbeddedKafka {
        let embedded = self.servers.embedded.as_ref();
        &embedded.expect("embedded servers").kafka
    }

    /// A configuration file for the `pixels` backbone with `more` sections.
    pub fn config(&self, more: &str) -> PathBuf {
        let servers = &self.servers;
        let (brokers, properties): (Vec<_>, Vec<_>) = servers
            .kafka
            .iter()
            .partition(|(name, _)| **name == "bootstrap.servers");
        let properties: Vec<String> = properties
            .iter()
            .map(|(name, value)| format!("\"{name}\" = \"{value}\""))
            .collect();
        let text = format!(
            "[kafka]\nbrokers = \"{}\"\ntopic = \"{topic}\"\ngroup = \"{topic}\"\nproperties = {{ {} }}\n[s3]\n\
             endpoint = \"{}\"\nregion = \"us-east-1\"\nbuckets = [\"{}\"]\n[table]\nuri = \"{}\"\n[backbone]\n\
             name = \"pixels\"\n{more}",
            brokers[0].1,
            properties.join(", "),
            servers.endpoint(),
            servers.bucket,
            servers.uri,
            topic = servers.topic,
        );
        let file = self.dir.path().join("job.toml");
        std::fs::write(&file, text).expect("a configuration");
        file
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A configuration file with another store of the images, and the table in this world's folder.
    pub fn config_on(&self, endpoint: &str) -> PathBuf {
        let file = self.config("");
        let text = std::fs::read_to_string(&file).expect("a configuration");
        let text = text.replace(self.servers.endpoint(), endpoint);
        let text = text.replace(&self.servers.uri, self.table());
        std::fs::write(&file, text).expect("a configuration");
        file
    }

    /// The binary with this world's credentials.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eigenflow"));
        let credentials = self.servers.s3.credentials.as_ref().expect("credentials");
        command
            .env("AWS_ACCESS_KEY_ID", &credentials.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &credentials.secret_key)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", self.servers.endpoint());
        command
    }

    /// Starts the job's processes.
    pub fn start(&self, layout: Layout, more: &str, arguments: &[&str]) -> Vec<Process> {
        let mut commands = self.processes(layout, more, arguments);
        commands.iter_mut().map(Process::start).collect()
    }

    /// The command of each of the job's processes.
    pub fn processes(&self, layout: Layout, more: &str, arguments: &[&str]) -> Vec<Command> {
        let listeners: Vec<_> = (0..layout.processes)
            .map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"))
            .collect();
        let addresses: Vec<String> = listeners
            .iter()
            .map(|listener| listener.local_addr().expect("its address").to_string())
            .collect();
        drop(listeners);
        self.members(&addresses, layout.workers, more, arguments)
    }

    /// The commands of a job's processes that listen at these addresses.
    pub fn members(
        &self,
        addresses: &[String],
        workers: usize,
        more: &str,
        arguments: &[&str],
    ) -> Vec<Command> {
        let config = self.config(more);
        let hosts = self.dir.path().join("hosts");
        std::fs::write(&hosts, addresses.join("\n")).expect("a host file");
        let (workers, processes) = (workers.to_string(), addresses.len().to_string());
        (0..addresses.len())
            .map(|process| {
                let mut command = self.command();
                command.args(["run", "--config"]).arg(&config);
                command
                    .args(arguments)
                    .args(["-w", &workers, "-n", &processes]);
                command.args(["-p", &process.to_string(), "--hostfile"]);
                command.arg(&hosts);
                command
            })
            .collect()
    }

    /// Runs the job until the end of the topic.
    pub fn run(&self, layout: Layout, more: &str) {
        for process in self.start(layout, more, &["--until-end"]) {
            let output = process.wait();
            let log = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "{layout:?}: {}\n{log}",
                output.status
            );
        }
    }

    fn inspection(&self) -> Command {
        let mut command = self.command();
        command.args(["inspect", "--json"]).arg(self.table());
        command
    }

    /// `inspect --json` of the table.
    pub fn inspect(&self) -> Value {
        serde_json::from_slice(&succeed(&mut self.inspection()).stdout).expect("JSON")
    }

    /// All rows of the main table by path; a path twice is a failure.
    pub fn rows(&self) -> BTreeMap<String, Row> {
        let mut tables = self.tables();
        let found = self.runtime.block_on(tables.open_existing());
        let listed = found.expect("tables").rows;
        self.read(&tables.rows, &listed, |row| row.path.clone())
    }

    /// All rows of the rejects table by path; a path twice is a failure.
    pub fn rejects(&self) -> BTreeMap<String, Reject> {
        let mut tables = self.tables();
        let found = self.runtime.block_on(tables.open_existing());
        let listed = found.expect("tables").rejects;
        self.read(&tables.rejects, &listed, |reject| reject.path.clone())
    }

    /// What `verify` says of the table, in this process.
    pub fn verify(&self, workers: usize) -> Verdict {
        let opened = self.block_on(Verification::open(self.tables()));
        let verification = Arc::new(opened.expect("a table"));
        job::verify(&verification, workers).expect("a verdict")
    }

    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub fn tables(&self) -> Tables {
        let opened = open_tables(self.table(), &self.servers.s3);
        self.runtime.block_on(opened).expect("tables")
    }

    fn read<R: Record>(
        &self,
        files: &DataFiles<R>,
        listed: &[DataFile],
        path: impl Fn(&R) -> String,
    ) -> BTreeMap<String, R> {
        let mut by_path = BTreeMap::new();
        for file in listed {
            let records = self.runtime.block_on(files.read(file)).expect("a file");
            for record in records {
                let twice = by_path.insert(path(&record), record);
                assert!(twice.is_none(), "an object has two rows");
            }
        }
        by_path
    }

    /// Waits until the table's commit satisfies `what`.
    pub fn wait_for(&self, what: impl Fn(&Value) -> bool) {
        wait_until("what the table's commit says", LIMIT, || {
            let output = outcome(&mut self.inspection());
            output.status.success()
                && serde_json::from_slice(&output.stdout).is_ok_and(|state| what(&state))
        });
    }
}

/// All that must not depend on how it came about.
#[derive(Debug, Default, PartialEq)]
pub struct Published {
    pub moments: Value,
    pub projection: Value,
    pub classifier: Value,
    pub clustering: Value,
    pub rows: Vec<Row>,
    pub rejects: Vec<Reject>,
}

impl Published {
    pub fn of(world: &World) -> Self {
        let state = world.inspect();
        // Buckets are each world's own; the number of the epoch that made the projection counts cuts, which are free.
        let bucket = world.path_of("");
        let key = |path: String| {
            path.strip_prefix(&bucket)
                .map_or(path.clone(), str::to_owned)
        };
        let rows = world.rows().into_values().map(|row| Row {
            path: key(row.path),
            projection_version: None,
            classifier_version: None,
            clustering_version: None,
            ..row
        });
        let rejects = world.rejects().into_values().map(|reject| Reject {
            path: key(reject.path),
            ..reject
        });
        Published {
            moments: state["moments_sha256"].clone(),
            projection: state["projection_sha256"].clone(),
            classifier: state["classifier_sha256"].clone(),
            clustering: state["clustering_sha256"].clone(),
            rows: rows.collect(),
            rejects: rejects.collect(),
        }
    }
}

/// An object event of this world's bucket.
pub fn event(change: Change, key: &str, etag: Option<String>, time_ms: i64) -> ObjectEvent {
    ObjectEvent {
        change,
        bucket: BUCKET.to_owned(),
        key: key.to_owned(),
        etag,
        version_id: None,
        size: None,
        version: Version {
            time_ms,
            sequencer: 0,
        },
        dialect: Dialect::Aws,
    }
}

/// A small PNG of pseudo-random colours: `seed` decides all of it.
pub fn picture(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let picture = image::RgbImage::from_fn(16, 16, |_, _| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        image::Rgb([state as u8, (state >> 8) as u8, (state >> 16) as u8])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("a picture");
    bytes.into_inner()
}
