//! Apache Kafka and SeaweedFS as processes of this machine, one of each for all tests of the binary.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::kafka::{Kafka, Way};
use super::store::Store;
use crate::process::succeed;
use crate::shared::loud;
use crate::world::{Servers, World};

const STARTING: Duration = Duration::from_secs(90);

/// The servers that `fetch.sh` brought, started; or a loud word that the test does nothing.
pub fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER
        .get_or_init(|| {
            let brought = brought();
            let (kafka, weed) = (
                brought.join("kafka/kafka-tools-4.1.1.jar"),
                brought.join("seaweedfs/bin/weed"),
            );
            if !kafka.exists() || !weed.exists() {
                loud(&format!(
                    "SKIPPED: no servers in {}; tests/promises/servers/fetch.sh brings them, EIGENFLOW_SERVERS names another folder",
                    brought.display()
                ));
                return None;
            }
            let version = succeed(Command::new(weed).arg("version")).stdout;
            loud(&format!(
                "real servers: Apache Kafka, {}; SeaweedFS, {}",
                kafka.file_stem().unwrap_or_default().display(),
                String::from_utf8_lossy(&version).trim()
            ));
            Some(Cluster {
                kafka: Kafka::start(),
                store: Store::start(),
            })
        })
        .as_ref()
}

/// The folder of `fetch.sh`.
pub fn brought() -> PathBuf {
    let cache = || {
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
        std::env::var_os("XDG_CACHE_HOME")
            .map_or_else(home, PathBuf::from)
            .join("eigenflow/servers")
    };
    std::env::var_os("EIGENFLOW_SERVERS").map_or_else(cache, PathBuf::from)
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
        let topics = [NewTopic::new(&topic, partitions, replication)];
        let options = AdminOptions::new();
        let created = runtime.block_on(kafka.admin().create_topics(&topics, &options));
        assert!(created.expect("an answer").iter().all(Result::is_ok));
        for bucket in [&bucket, &table_bucket] {
            runtime.block_on(self.store.create(bucket));
        }
        let table = format!("s3://{table_bucket}/table");
        let servers = Servers {
            kafka: kafka.properties(way),
            topic,
            s3: self.store.s3.clone(),
            bucket,
            uri: table.clone(),
            table,
            embedded: None,
        };
        World::on(TempDir::new().expect("a temporary folder"), servers)
    }
}

/// A process that ends when this one ends or drops it, with its folder: its shell waits for the end of a pipe from here.
pub struct Leash {
    shell: Child,
    folder: PathBuf,
}

/// `$1` is the folder; what comes over the pipe before its end is the wish to keep it. A signal to the whole group must
/// not end the shell before it has done this.
const LEASH: &str = r#"
folder=$1; shift
"$@" & trap '' HUP INT TERM
read -r keep
kill -9 $!; wait
[ "$keep" ] || rm -rf "$folder"
"#;

impl Leash {
    /// Starts a command that works in `folder` and is logged there.
    pub fn start(folder: PathBuf, command: &[String], environment: &[(&str, &str)]) -> Self {
        let log = std::fs::File::create(folder.join("log")).expect("a log file");
        let errors = log.try_clone().expect("a log file");
        let shell = Command::new("sh")
            .args(["-c", LEASH, "sh"])
            .arg(&folder)
            .args(command)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("a shell");
        Leash { shell, folder }
    }

    /// Kills the process and keeps its folder.
    pub fn kill(mut self) {
        let mut pipe = self.shell.stdin.take().expect("a pipe");
        pipe.write_all(b"keep\n").expect("the shell");
    }

    /// Asks until the server answers; its log, if it never does.
    pub fn wait_for(&self, mut answers: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !answers() {
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < STARTING, "no server:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Ports that nobody listens on now.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("its address").port())
}
