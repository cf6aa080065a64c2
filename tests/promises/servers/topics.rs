//! Kinds of topics, and what Kafka's own tools see of the job.

use std::time::{Duration, Instant};

use eigenflow::event::{Change, ObjectEvent, render};
use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use rdkafka::{Offset, TopicPartitionList};

use super::cluster::cluster;
use super::kafka::PLAINTEXT;
use super::streams::{PATIENCE, expected, history, longer_history, progress, published, spread};
use crate::world::{Layout, SMALL_EPOCHS, World, event, picture};

#[test]
fn one_partition_or_sixty_four_give_the_same_table() {
    let Some(cluster) = cluster() else { return };
    let expected = expected(history);
    for (partitions, layout) in [(1, Layout::PROCESSES), (64, Layout::TWO)] {
        let world = cluster.world(PLAINTEXT, partitions);
        spread(&world, partitions);
        world.run(layout, SMALL_EPOCHS);
        assert_eq!(published(&world), expected, "{partitions}");
    }
}

/// Sends a message with a key, headers, and perhaps a value.
fn send(world: &World, partition: i32, key: &str, value: Option<&[u8]>) {
    let header = |key, value| Header { key, value };
    let headers = OwnedHeaders::new()
        .insert(header("content-type", Some("application/json")))
        .insert(header("nothing", None::<&str>));
    let mut record = FutureRecord::to(&world.servers.topic)
        .partition(partition)
        .key(key)
        .headers(headers);
    record.payload = value;
    let sent = world.block_on(world.producer.send(record, PATIENCE));
    sent.expect("a broker that takes it");
}

/// Uploads an object, and sends its event with the object's key as the message's.
fn upload(world: &World, partition: i32, time_ms: i64, key: &str, seed: u64) {
    let etag = world.put(key, picture(seed)).etag;
    let said = ObjectEvent {
        bucket: world.servers.bucket.clone(),
        ..event(Change::Created, key, Some(etag), time_ms)
    };
    send(world, partition, key, Some(&render(&said)));
}

/// How many messages the topic holds, of which the last of each partition has this key.
fn held(world: &World, partitions: i32, last: &str) -> usize {
    let reader: BaseConsumer = world
        .servers
        .client()
        .set("group.id", "reader")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let mut places = TopicPartitionList::new();
    for partition in 0..partitions {
        let topic = &world.servers.topic;
        let place = places.add_partition_offset(topic, partition, Offset::Beginning);
        place.expect("an offset");
    }
    reader.assign(&places).expect("its partitions");
    let (mut messages, mut ends) = (0, 0);
    let mut newest = Vec::new();
    while ends < partitions {
        match reader.poll(PATIENCE).expect("an answer") {
            Ok(message) => {
                messages += 1;
                newest = message.key().unwrap_or_default().to_vec();
            }
            Err(KafkaError::PartitionEOF(_)) => {
                assert_eq!(newest, last.as_bytes());
                ends += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    messages
}

#[test]
fn a_compacted_topic_with_keys_headers_and_null_values_gives_the_same_table() {
    let Some(cluster) = cluster() else { return };
    let world = cluster.world(PLAINTEXT, 1);
    let topic = ResourceSpecifier::Topic(&world.servers.topic);
    let compacted = AlterConfig::new(topic)
        .set("cleanup.policy", "compact")
        .set("segment.ms", "100")
        .set("min.cleanable.dirty.ratio", "0.001");
    let admin = cluster.kafka.admin();
    let altered = world.block_on(admin.alter_configs(&[compacted], &AdminOptions::new()));
    assert!(altered.expect("an answer").iter().all(Result::is_ok));
    for i in 0..24 {
        upload(&world, 0, 1, &format!("a/{i}.png"), i);
    }
    for i in 0..6 {
        upload(&world, 0, 2, &format!("a/{i}.png"), 100 + i);
    }
    // What was withdrawn, and its object with it; what never was.
    upload(&world, 0, 1, "a/withdrawn.png", 7);
    world.delete("a/withdrawn.png");
    send(&world, 0, "a/withdrawn.png", None);
    send(&world, 0, "a/never.png", None);
    // The segment of a message is closed by the next one, and compacted when it is closed.
    let begun = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(200));
        send(&world, 0, "a/never.png", None);
        // 24 objects, the withdrawal, and some of what never was.
        let kept = held(&world, 1, "a/never.png");
        if kept < 24 + 6 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{kept} messages are kept");
    }
    for layout in [Layout::PROCESSES, Layout::TWO] {
        world.run(layout, SMALL_EPOCHS);
        let (shown, end) = progress(&world);
        assert_eq!(shown, Offset::Offset(end));
    }
    assert!(world.rejects().is_empty());
    assert_eq!(published(&world), expected(longer_history));
}

#[test]
fn kafkas_own_tool_shows_offsets_and_lag() {
    let Some(cluster) = cluster() else { return };
    let world = cluster.world(PLAINTEXT, 3);
    history(&world);
    world.run(Layout::TWO, SMALL_EPOCHS);
    for i in 0..2 {
        world.upload(1, 4, &format!("b/{i}.png"), picture(50 + i));
    }
    let group = &world.servers.topic;
    let class = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let told = cluster.kafka.tool(class, &["--describe", "--group", group]);
    // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG …
    let mut lines: Vec<Vec<&str>> = told
        .lines()
        .map(|line| line.split_whitespace().collect())
        .filter(|words: &Vec<&str>| words.first() == Some(&group.as_str()))
        .map(|words| words[2..6].to_vec())
        .collect();
    lines.sort_unstable();
    let shown = [
        ["0", "11", "11", "0"],
        ["1", "10", "12", "2"],
        ["2", "10", "10", "0"],
    ];
    assert_eq!(lines, shown, "{told}");
}
