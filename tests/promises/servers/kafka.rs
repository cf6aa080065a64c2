//! A broker of Apache Kafka with a listener for every way in. Its certificate is its own authority.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic};
use rdkafka::client::DefaultClientContext;
use rdkafka::metadata::Metadata;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::leash::{Leash, brought, free_ports};
use crate::process::succeed;

const USER: &str = "alice";
pub const PASSWORD: &str = "open-sesame";

/// A way into the broker.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub protocol: &'static str,
    pub mechanism: Option<&'static str>,
    /// The broker's listener.
    listener: &'static str,
}

pub const PLAINTEXT: Way = way("PLAINTEXT", None);
pub const SSL: Way = way("SSL", None);
/// The client shows a certificate, too.
pub const MUTUAL: Way = Way {
    listener: "MUTUAL",
    ..SSL
};
/// The broker shows a certificate for other hosts.
pub const ELSEWHERE: Way = Way {
    listener: "ELSEWHERE",
    ..SSL
};
pub const WAYS: [Way; 8] = [
    PLAINTEXT,
    SSL,
    way("SASL_SSL", Some("PLAIN")),
    way("SASL_SSL", Some("SCRAM-SHA-256")),
    way("SASL_SSL", Some("SCRAM-SHA-512")),
    way("SASL_PLAINTEXT", Some("SCRAM-SHA-256")),
    way("SASL_PLAINTEXT", Some("SCRAM-SHA-512")),
    MUTUAL,
];

const fn way(protocol: &'static str, mechanism: Option<&'static str>) -> Way {
    Way {
        protocol,
        mechanism,
        listener: protocol,
    }
}

/// A broker: the first of its cluster, which is the controller, too, or another one.
pub struct Kafka {
    node: i32,
    folder: PathBuf,
    ports: BTreeMap<&'static str, u16>,
    process: Option<Leash>,
}

impl Kafka {
    /// A new broker that answers.
    pub fn start() -> Self {
        Self::start_as(1, None)
    }

    /// A second broker of this one's cluster.
    pub fn joined(&self) -> Self {
        Self::start_as(2, Some(self.ports["CONTROLLER"]))
    }

    fn start_as(node: i32, controller: Option<u16>) -> Self {
        let names = [
            "PLAINTEXT",
            "SSL",
            "SASL_SSL",
            "SASL_PLAINTEXT",
            "MUTUAL",
            "ELSEWHERE",
            "CONTROLLER",
        ];
        let mut kafka = Kafka {
            node,
            folder: TempDir::new().expect("a temporary folder").keep(),
            ports: names.into_iter().zip(free_ports::<7>()).collect(),
            process: None,
        };
        kafka
            .ports
            .extend(controller.map(|port| ("CONTROLLER", port)));
        kafka.certify("broker", "ip:127.0.0.1,dns:localhost");
        kafka.certify("elsewhere", "ip:127.0.0.2,dns:elsewhere");
        kafka.certify("client", "dns:client");
        std::fs::write(kafka.path("server.properties"), kafka.configuration()).expect("a file");
        std::fs::write(kafka.path("log4j2.properties"), LOGGING).expect("a file");
        let scram = |mechanism| format!("{mechanism}=[name={USER},password={PASSWORD}]");
        let format = kafka.java(&["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]);
        succeed(
            Command::new(&format[0])
                .args(&format[1..])
                .arg(kafka.path("server.properties"))
                .args(["--add-scram", &scram("SCRAM-SHA-256")])
                .args(["--add-scram", &scram("SCRAM-SHA-512")]),
        );
        kafka.resume();
        kafka
    }

    /// Ends the broker as a crash does; its data stays.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts the broker on what it has.
    pub fn resume(&mut self) {
        let configuration = self.path("server.properties");
        let mut command = self.java(&["kafka.Kafka"]);
        command.push(configuration.display().to_string());
        let process = Leash::start(self.folder.clone(), &command, &[]);
        let admin = self.admin();
        process.wait_for(|| {
            let answer = admin.inner().fetch_metadata(None, Duration::from_secs(5));
            let here = |metadata: Metadata| metadata.brokers().iter().any(|b| b.id() == self.node);
            answer.is_ok_and(here)
        });
        self.process = Some(process);
    }

    /// A client's properties for a way in.
    pub fn properties(&self, way: Way) -> BTreeMap<&'static str, String> {
        let address = format!("127.0.0.1:{}", self.ports[way.listener]);
        let mut properties = BTreeMap::from([
            ("bootstrap.servers", address),
            ("security.protocol", way.protocol.to_owned()),
        ]);
        if way.protocol.ends_with("SSL") {
            let authority = match way.listener {
                "ELSEWHERE" => self.path("elsewhere.pem"),
                _ => self.path("broker.pem"),
            };
            let authority = authority.display().to_string();
            properties.insert("ssl.ca.location", authority);
        }
        if way.listener == "MUTUAL" {
            let store = self.path("client.p12").display().to_string();
            properties.extend([
                ("ssl.keystore.location", store),
                ("ssl.keystore.password", PASSWORD.to_owned()),
            ]);
        }
        if let Some(mechanism) = way.mechanism {
            properties.extend([
                ("sasl.mechanism", mechanism.to_owned()),
                ("sasl.username", USER.to_owned()),
                ("sasl.password", PASSWORD.to_owned()),
            ]);
        }
        properties
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        for (property, value) in self.properties(PLAINTEXT) {
            config.set(property, value);
        }
        // It is asked before the broker listens.
        config.set("log_level", "0");
        config.create().expect("an admin client")
    }

    /// Makes a topic.
    pub fn create(&self, topic: &NewTopic<'_>) {
        let (admin, options) = (self.admin(), AdminOptions::new());
        let created = admin.create_topics([topic], &options);
        let created = Runtime::new().expect("a runtime").block_on(created);
        assert!(created.expect("an answer").iter().all(Result::is_ok));
    }

    /// What one of Kafka's own tools says.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> String {
        let address = self.properties(PLAINTEXT)["bootstrap.servers"].clone();
        let mut command = self.java(&[class, "--bootstrap-server", &address]);
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let output = succeed(Command::new(&command[0]).args(&command[1..]));
        String::from_utf8(output.stdout).expect("text")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn java(&self, arguments: &[&str]) -> Vec<String> {
        let logging = self.path("log4j2.properties");
        let jars = brought().expect("servers").join("kafka/*");
        let java = [
            "java".to_owned(),
            "-Xmx512m".to_owned(),
            "-XX:+UseSerialGC".to_owned(),
            "-XX:TieredStopAtLevel=1".to_owned(),
            format!("-Dlog4j2.configurationFile={}", logging.display()),
            "-cp".to_owned(),
            jars.display().to_string(),
        ];
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        java.into_iter().chain(arguments).collect()
    }

    /// A key with a certificate for some hosts that vouches for itself.
    fn certify(&self, name: &str, hosts: &str) {
        let store = self.path(&format!("{name}.p12")).display().to_string();
        let common = ["-keystore", &store, "-storepass", PASSWORD, "-alias", name];
        succeed(
            Command::new("keytool")
                .args(["-genkeypair", "-keyalg", "EC", "-dname"])
                .arg(format!("CN={name}"))
                .args(["-ext", &format!("san={hosts}"), "-ext", "bc:c"])
                .args(common),
        );
        succeed(
            Command::new("keytool")
                .args(["-exportcert", "-rfc", "-file"])
                .arg(self.path(&format!("{name}.pem")))
                .args(common),
        );
    }

    fn configuration(&self) -> String {
        let at = |name: &str| format!("{name}://127.0.0.1:{}", self.ports[name]);
        let ways = [
            "PLAINTEXT",
            "SSL",
            "MUTUAL",
            "ELSEWHERE",
            "SASL_SSL",
            "SASL_PLAINTEXT",
        ]
        .map(at);
        let ways = ways.join(",");
        let (roles, listeners) = match self.node {
            1 => ("broker,controller", format!("{ways},{}", at("CONTROLLER"))),
            _ => ("broker", ways.clone()),
        };
        let mut lines = vec![
            format!("process.roles={roles}"),
            format!("node.id={}", self.node),
            format!("listeners={listeners}"),
            format!("advertised.listeners={ways}"),
            format!(
                "controller.quorum.voters=1@127.0.0.1:{}",
                self.ports["CONTROLLER"]
            ),
            format!(
                "ssl.keystore.location={}",
                self.path("broker.p12").display()
            ),
            format!("ssl.keystore.password={PASSWORD}"),
            format!(
                "listener.name.elsewhere.ssl.keystore.location={}",
                self.path("elsewhere.p12").display()
            ),
            format!(
                "ssl.truststore.location={}",
                self.path("client.pem").display()
            ),
            format!("log.dirs={}", self.path("data").display()),
        ];
        for listener in ["sasl_ssl", "sasl_plaintext"] {
            let jaas = |mechanism: &str, module: &str, users: &str| {
                format!(
                    "listener.name.{listener}.{mechanism}.sasl.jaas.config=\
                     org.apache.kafka.common.security.{module} required{users};"
                )
            };
            let users = format!(" user_{USER}=\"{PASSWORD}\"");
            lines.push(jaas("plain", "plain.PlainLoginModule", &users));
            for mechanism in ["scram-sha-256", "scram-sha-512"] {
                lines.push(jaas(mechanism, "scram.ScramLoginModule", ""));
            }
        }
        format!("{CONFIGURATION}{}\n", lines.join("\n"))
    }
}

/// What does not depend on nodes, ports and folders.
const CONFIGURATION: &str = "\
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,MUTUAL:SSL,ELSEWHERE:SSL,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
ssl.keystore.type=PKCS12
ssl.truststore.type=PEM
listener.name.mutual.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
auto.create.topics.enable=false
log.cleaner.backoff.ms=100
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
";

const LOGGING: &str = "\
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %m%n
";

/// 16 bytes in base64.
const CLUSTER_ID: &str = "ZWlnZW5mbG93LXRlc3RzIQ";
