//! What the mock can't show: ways in, killed brokers, partitions that come, retention.

use std::sync::mpsc;
use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::cluster::cluster;
use super::kafka::{Kafka, PLAINTEXT, WAYS};
use crate::process::{Process, succeed};
use crate::proxy::{Fate, Moment, Proxy};
use crate::world::{Layout, SMALL_EPOCHS, World, picture};

pub const PATIENCE: Duration = Duration::from_secs(120);
/// What a job may take to end in good order.
const ENDING: Duration = Duration::from_secs(15);

/// Uploads, overwrites and a removal over 3 partitions.
pub fn history(world: &World) {
    spread(world, 3);
}

/// The same over as many partitions as the world has.
pub fn spread(world: &World, partitions: i32) {
    for i in 0..24 {
        let key = format!("a/{i}.png");
        world.upload(i % partitions, 1, &key, picture(i as u64));
    }
    for i in 0..6 {
        let key = format!("a/{i}.png");
        world.upload(i % partitions, 2, &key, picture(100 + i as u64));
    }
    world.remove(0, 3, "a/23.png");
}

/// What must not depend on the servers.
pub fn published(world: &World) -> [Value; 3] {
    let state = world.inspect();
    ["rows", "moments_sha256", "projection_sha256"].map(|name| state[name].clone())
}

/// What the embedded servers give for `history`.
pub fn expected(history: impl Fn(&World)) -> [Value; 3] {
    let world = World::new(3);
    history(&world);
    world.run(Layout::TWO, "");
    published(&world)
}

/// What the removal took comes back.
pub fn longer_history(world: &World) {
    history(world);
    world.upload(0, 4, "a/23.png", picture(23));
}

/// Starts the job; `what` happens in the middle of its second epoch, whose images wait for it behind the door.
fn start_and(world: &mut World, what: impl FnOnce()) -> (Proxy, Process) {
    let store = Proxy::start(world.endpoint());
    world.hide_behind(&store);
    let (reached, middle) = mpsc::channel();
    let (happened, goes_on) = mpsc::channel::<()>();
    let mut images = 0;
    store.watch(move |call, moment| {
        if moment == Moment::Before && call.path.starts_with("/landing-") {
            images += 1;
            if images == 8 {
                // The other ends are there until the test has failed.
                let _ = reached.send(());
                let _ = goes_on.recv();
            }
        }
        Fate::Pass
    });
    let job = world.start(Layout::TWO, SMALL_EPOCHS, &[]).pop();
    middle.recv_timeout(PATIENCE).expect("the second epoch");
    what();
    happened.send(()).expect("the store's door");
    (store, job.expect("one process"))
}

/// Ends a job in good order.
pub fn stop(job: Process) {
    job.signal(libc::SIGTERM);
    let output = job.wait_within(ENDING);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{log}", output.status);
}

/// Of partition 0: the offset that the group shows, and the end.
pub fn progress(world: &World) -> (Offset, i64) {
    let topic = &world.servers.topic;
    let group: BaseConsumer = world
        .servers
        .client()
        .set("group.id", topic)
        .create()
        .expect("a consumer");
    let mut places = TopicPartitionList::new();
    places.add_partition(topic, 0);
    let committed = group.committed_offsets(places, PATIENCE).expect("offsets");
    let (_, end) = group
        .fetch_watermarks(topic, 0, PATIENCE)
        .expect("watermarks");
    (committed.elements()[0].offset(), end)
}

/// Lets retention drop all of partition 0 below `offset`.
pub fn drop_below(kafka: &Kafka, world: &World, offset: Offset) {
    let mut places = TopicPartitionList::new();
    let place = places.add_partition_offset(&world.servers.topic, 0, offset);
    place.expect("an offset");
    let dropped = kafka.admin();
    let dropped = dropped.delete_records(&places, &AdminOptions::new());
    Runtime::new()
        .expect("a runtime")
        .block_on(dropped)
        .expect("an answer");
}

#[test]
fn every_way_into_the_broker_gives_the_same_table() {
    let Some(cluster) = cluster() else { return };
    let expected = expected(history);
    for (way, layout) in WAYS
        .into_iter()
        .zip([Layout::TWO, Layout::PROCESSES].into_iter().cycle())
    {
        let world = cluster.world(way, 3);
        history(&world);
        world.run(layout, SMALL_EPOCHS);
        assert_eq!(published(&world), expected, "{way:?}");
        let (shown, end) = progress(&world);
        assert_eq!(shown, Offset::Offset(end), "{way:?}");
    }
}

#[test]
fn a_broker_that_crashes_and_comes_back_loses_nothing() {
    let Some(cluster) = cluster() else { return };
    let mut kafka = Kafka::start();
    let mut world = cluster.world_on(&kafka, WAYS[4], 3);
    spread(&world, 3);
    let (_door, job) = start_and(&mut world, || kafka.kill());
    kafka.resume();
    world.upload(0, 4, "a/23.png", picture(23));
    world.wait_for(|state| state["rows"] == 24 && state["offsets"]["0"] == 12);
    stop(job);
    // All rows under the newest projection.
    world.run(Layout::TWO, SMALL_EPOCHS);
    assert_eq!(published(&world), expected(longer_history));
}

#[test]
fn another_leader_in_mid_epoch_changes_nothing() {
    let Some(cluster) = cluster() else { return };
    let kafka = Kafka::start();
    let mut second = kafka.joined();
    // The group's coordinator dies with the second broker, for good: the group is no part of what is published.
    let group = NewTopic::new("__consumer_offsets", 1, TopicReplication::Variable(&[&[2]]));
    kafka.create(&group.set("cleanup.policy", "compact"));
    let replicas: [&[i32]; 3] = [&[2, 1]; 3];
    let replication = TopicReplication::Variable(&replicas);
    let mut world = cluster.world_as(&kafka, PLAINTEXT, 3, replication);
    let brokers =
        [&kafka, &second].map(|kafka| kafka.properties(PLAINTEXT)["bootstrap.servers"].clone());
    world
        .servers
        .kafka
        .insert("bootstrap.servers", brokers.join(","));
    world.producer = world.servers.producer();
    spread(&world, 3);
    let (_door, job) = start_and(&mut world, || second.kill());
    // The first broker takes it as soon as it leads.
    world.upload(0, 4, "a/23.png", picture(23));
    world.wait_for(|state| state["rows"] == 24 && state["offsets"]["0"] == 12);
    stop(job);
    world.run(Layout::TWO, SMALL_EPOCHS);
    assert_eq!(published(&world), expected(longer_history));
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    let Some(cluster) = cluster() else { return };
    let mut world = cluster.world(PLAINTEXT, 1);
    let often = ("topic.metadata.refresh.interval.ms", "200".to_owned());
    world.servers.kafka.extend([often]);
    let job = world.start(Layout::TWO, SMALL_EPOCHS, &[]).pop();
    world.upload(0, 1, "a/0.png", picture(0));
    world.wait_for(|state| state["rows"] == 1);
    let admin = cluster.kafka.admin();
    let topics = [NewPartitions::new(&world.servers.topic, 3)];
    let options = AdminOptions::new();
    let added = admin.create_partitions(&topics, &options);
    let added = Runtime::new().expect("a runtime").block_on(added);
    assert!(added.expect("an answer").iter().all(Result::is_ok));
    world.producer = world.servers.producer();
    for partition in 0..3 {
        let key = format!("b/{partition}.png");
        world.upload(partition, 1, &key, picture(10 + partition as u64));
    }
    world.wait_for(|state| state["rows"] == 4 && state["offsets"]["2"] == 1);
    stop(job.expect("one process"));
}

#[test]
fn what_retention_dropped_unread_is_said_with_the_cure() {
    let Some(cluster) = cluster() else { return };
    let world = cluster.world(PLAINTEXT, 1);
    world.upload(0, 1, "a/0.png", picture(0));
    world.run(Layout::TWO, "");
    for i in 1..4 {
        world.upload(0, 1, &format!("a/{i}.png"), picture(i));
    }
    drop_below(&cluster.kafka, &world, Offset::Offset(3));
    let job = world.start(Layout::TWO, "", &["--until-end"]).pop();
    let output = job.expect("one process").wait();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{log}");
    assert!(
        log.contains("kafka.on_lost_offsets = \"earliest\""),
        "{log}"
    );
    assert!(log.contains("eigenflow reconcile"), "{log}");
    // The cure, followed.
    let config = world.config("");
    let text = std::fs::read_to_string(&config).expect("the configuration");
    let text = text.replace("[kafka]", "[kafka]\non_lost_offsets = \"earliest\"");
    std::fs::write(&config, text).expect("a configuration");
    let bucket = format!("s3://{}/", world.servers.bucket);
    for command in [vec!["reconcile", &bucket], vec!["run", "--until-end"]] {
        succeed(world.command().args(command).arg("--config").arg(&config));
    }
    assert_eq!(world.rows().len(), 4);
}
