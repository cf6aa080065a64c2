//! Events of producers that write in transactions.

use std::time::Duration;

use eigenflow::event::{Change, ObjectEvent, render};
use rdkafka::Offset;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::cluster::cluster;
use super::kafka::PLAINTEXT;
use super::streams::{PATIENCE, drop_below, progress, stop};
use crate::world::{Layout, SMALL_EPOCHS, World, event, picture};

/// Sends to partition 0 in a transaction, which stays open.
fn send(world: &World, payload: &[u8]) -> BaseProducer {
    let topic = &world.servers.topic;
    let mut client = world.servers.client();
    let producer: BaseProducer = client
        .set("transactional.id", topic)
        .create()
        .expect("a producer");
    producer.init_transactions(PATIENCE).expect("a coordinator");
    producer.begin_transaction().expect("a transaction");
    let record = BaseRecord::<(), _>::to(topic).partition(0);
    let sent = producer.send(record.payload(payload));
    sent.expect("room");
    producer.flush(PATIENCE).expect("a broker that takes it");
    producer
}

#[test]
fn what_a_transaction_withdrew_is_not_read_and_its_marker_is_no_lag() {
    let Some(cluster) = cluster() else { return };
    let world = cluster.world(PLAINTEXT, 1);
    world.upload(0, 1, "a/1.png", picture(1));
    let transaction = send(&world, b"no event");
    transaction.abort_transaction(PATIENCE).expect("an answer");
    world.run(Layout::TWO, "");
    assert_eq!((world.rows().len(), world.rejects().len()), (1, 0));
    assert_eq!(progress(&world), (Offset::Offset(3), 3));
    // All was read, so nothing is lost.
    drop_below(&cluster.kafka, &world, Offset::End);
    world.run(Layout::TWO, "");
}

#[test]
fn what_a_transaction_says_is_read_once_it_has_committed() {
    let Some(cluster) = cluster() else { return };
    let world = cluster.world(PLAINTEXT, 1);
    let job = world.start(Layout::TWO, SMALL_EPOCHS, &[]).remove(0);
    world.upload(0, 1, "a/1.png", picture(1));
    world.wait_for(|state| state["rows"] == 1);
    let etag = world.put("a/2.png", picture(2)).etag;
    let said = ObjectEvent {
        bucket: world.servers.bucket.clone(),
        ..event(Change::Created, "a/2.png", Some(etag), 1)
    };
    let transaction = send(&world, &render(&said));
    // What comes after it waits with it.
    world.upload(0, 1, "a/3.png", picture(3));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(world.inspect()["rows"], 1);
    transaction.commit_transaction(PATIENCE).expect("an answer");
    world.wait_for(|state| state["rows"] == 3 && state["offsets"]["0"] == 4);
    stop(job);
    assert_eq!(progress(&world), (Offset::Offset(4), 4));
    // A marker that nothing follows is read, too.
    let job = world.start(Layout::TWO, SMALL_EPOCHS, &[]).remove(0);
    let transaction = send(&world, b"no event");
    transaction.abort_transaction(PATIENCE).expect("an answer");
    world.wait_for(|state| state["offsets"]["0"] == 6);
    stop(job);
    assert_eq!(progress(&world), (Offset::Offset(6), 6));
}
