//! What brokers refuse is said at once, with the cure and without a secret.

use std::path::{Path, PathBuf};

use super::cluster::cluster;
use super::kafka::{ELSEWHERE, MUTUAL, PASSWORD, PLAINTEXT, SSL, WAYS, Way};
use crate::process::{outcome, succeed};
use crate::world::{World, picture};

/// What `run` and `replay` say, which must fail, with `from` in the configuration replaced by `to`.
fn said(world: &World, from: &str, to: &str) -> [String; 2] {
    ended(1, world, from, to)
}

/// The same of commands that must end with `code`.
fn ended(code: i32, world: &World, from: &str, to: &str) -> [String; 2] {
    let config = changed(world, from, to);
    let bucket = format!("s3://{}/", world.servers.bucket);
    [vec!["run", "--until-end"], vec!["replay", &bucket]]
        .map(|command| failure(code, world, &command, &config))
}

/// The world's configuration with `from` replaced by `to`.
fn changed(world: &World, from: &str, to: &str) -> PathBuf {
    let config = world.config("");
    let text = std::fs::read_to_string(&config).expect("the configuration");
    assert!(text.contains(from), "{text}");
    std::fs::write(&config, text.replace(from, to)).expect("a configuration");
    config
}

fn failure(code: i32, world: &World, command: &[&str], config: &Path) -> String {
    let mut asked = world.command();
    let output = outcome(asked.args(command).arg("--config").arg(config));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{log}");
    log
}

fn sasl(mechanism: &str) -> Way {
    let found = WAYS
        .into_iter()
        .find(|way| way.mechanism == Some(mechanism));
    found.expect("a way in")
}

#[test]
fn a_wrong_password_is_said_and_not_repeated() {
    let Some(cluster) = cluster() else { return };
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let world = cluster.world(sasl(mechanism), 1);
        world.put("a/1.png", picture(1));
        for log in said(&world, PASSWORD, "open-barley") {
            assert!(log.contains("Authentication failed"), "{log}");
            assert!(
                log.contains("check kafka.brokers and, with TLS or SASL, kafka.properties"),
                "{log}"
            );
            assert!(!log.contains("open-barley"), "{log}");
        }
    }
}

#[test]
fn an_unknown_authority_is_said() {
    let Some(cluster) = cluster() else { return };
    let world = cluster.world(SSL, 1);
    world.put("a/1.png", picture(1));
    for log in said(&world, "ssl.ca.location", "ssl.certificate.location") {
        unverified(&log);
    }
}

#[test]
fn a_certificate_of_another_host_is_said() {
    let Some(cluster) = cluster() else { return };
    let world = cluster.world(ELSEWHERE, 1);
    world.put("a/1.png", picture(1));
    let address = &world.servers.kafka["bootstrap.servers"];
    for host in ["127.0.0.1", "localhost"] {
        for log in said(&world, address, &address.replace("127.0.0.1", host)) {
            unverified(&log);
        }
    }
}

#[test]
fn a_broker_is_known_by_its_name_too() {
    let Some(cluster) = cluster() else { return };
    let world = cluster.world(SSL, 1);
    world.upload(0, 1, "a/1.png", picture(1));
    let address = &world.servers.kafka["bootstrap.servers"];
    let config = changed(&world, address, &address.replace("127.0.0.1", "localhost"));
    let mut asked = world.command();
    succeed(asked.args(["run", "--until-end", "--config"]).arg(&config));
    assert_eq!(world.inspect()["rows"], 1);
}

fn unverified(log: &str) {
    assert!(log.contains("CERTIFICATE_VERIFY_FAILED"), "{log}");
    assert!(
        log.contains("ssl.ca.location in kafka.properties must name the authority"),
        "{log}"
    );
}

#[test]
fn a_certificate_of_ones_own_that_is_missing_is_said() {
    let Some(cluster) = cluster() else { return };
    let world = cluster.world(MUTUAL, 1);
    world.put("a/1.png", picture(1));
    for log in said(&world, "ssl.keystore.location", "client.rack") {
        assert!(
            log.contains("the brokers want a certificate that they know"),
            "{log}"
        );
        assert!(log.contains("ssl.keystore.location"), "{log}");
    }
}

#[test]
fn a_misspelt_property_is_said_without_its_value() {
    let Some(cluster) = cluster() else { return };
    let world = cluster.world(sasl("PLAIN"), 1);
    for log in ended(2, &world, "sasl.password", "sasl.pasword") {
        assert!(log.contains("\"sasl.pasword\""), "{log}");
        assert!(!log.contains(PASSWORD), "{log}");
    }
}

#[test]
fn a_topic_that_is_not_there_is_said() {
    let Some(cluster) = cluster() else { return };
    let world = cluster.world(PLAINTEXT, 1);
    let topic = format!("topic = \"{}\"", world.servers.topic);
    for log in said(&world, &topic, "topic = \"elsewhere\"") {
        assert!(log.contains("topic elsewhere does not exist"), "{log}");
    }
}
