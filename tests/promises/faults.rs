//! Store and broker that stumble: late, torn, refused or absent answers change nothing of what is published.

use std::collections::HashMap;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::crash::{Dice, seed};
use crate::proxy::{Call, Fate, Moment, Proxy};
use crate::world::{Layout, Published, World, picture};

const TWO: Layout = Layout::new(2, 1);
const SETTINGS: &str = "[publish]\nrows = 8\ninterval_ms = 200\n[projection]\ncomponents = 3\n[log]\nformat = \"human\"\n";
const UNAVAILABLE: Fate = Fate::Refused(503, "SlowDown");
/// The only broker's id.
const BROKER: i32 = 1;
/// How often the S3 client asks before it gives up.
const CLIENT_TRIES: u32 = 3;
/// One call in so many goes wrong.
const RARITY: u64 = 6;

fn history(world: &World) {
    for i in 0..24 {
        let key = format!("class {}/{i}.png", i % 3);
        world.upload(i % 2, 1, &key, picture(i as u64));
    }
    for i in 0..4 {
        let key = format!("class {}/{i}.png", i % 3);
        world.upload(i % 2, 2, &key, picture(100 + i as u64));
    }
    world.remove(0, 2, "class 1/4.png");
}

fn undisturbed() -> Published {
    let world = World::new(2);
    history(&world);
    world.run(TWO, SETTINGS);
    Published::of(&world)
}

/// Runs the history with a proxy whose calls meet `fate`, and compares; what the job said.
fn survive(
    what: &str,
    expected: &Published,
    mut fate: impl FnMut(&Call, Moment) -> Fate + Send + 'static,
) -> String {
    let mut world = World::new(2);
    history(&world);
    let proxy = Proxy::start(world.endpoint());
    world.hide_behind(&proxy);
    let met = Arc::new(AtomicBool::new(false));
    let seen = met.clone();
    proxy.watch(move |call, moment| {
        let fate = fate(call, moment);
        seen.fetch_or(!matches!(fate, Fate::Pass), Relaxed);
        fate
    });
    let job = world.start(TWO, SETTINGS, &["--until-end"]).pop();
    let output = job.expect("a process").wait();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{what}: {log}");
    assert!(met.load(Relaxed), "{what}: no call met it");
    assert_eq!(&Published::of(&world), expected, "{what}");
    log
}

#[test]
fn a_store_that_stumbles_changes_nothing() {
    let expected = undisturbed();
    let faults = [
        (
            "latency",
            Moment::Before,
            Fate::Delay(Duration::from_millis(300)),
        ),
        ("refused", Moment::Before, UNAVAILABLE),
        ("cut before", Moment::Before, Fate::Cut),
        ("cut after: the answer is lost", Moment::After, Fate::Cut),
        ("half an answer", Moment::After, Fate::Half),
    ];
    for (what, when, fate) in faults {
        let mut dice = Dice(seed());
        survive(what, &expected, move |_, moment| {
            if moment == when && dice.roll(RARITY) == 0 {
                fate
            } else {
                Fate::Pass
            }
        });
    }
}

/// All calls from the 20th on meet `fate`, until one object was asked for more often than the client itself tries.
fn a_burst(fate: Fate) -> impl FnMut(&Call, Moment) -> Fate + Send + 'static {
    let mut asked = HashMap::<String, u32>::new();
    move |call, moment| {
        let over = asked.values().any(|times| *times > CLIENT_TRIES);
        if over || call.number < 20 || moment == Moment::After {
            return Fate::Pass;
        }
        *asked.entry(call.path.clone()).or_default() += 1;
        fate
    }
}

#[test]
fn a_burst_of_refusals_is_waited_out() {
    let log = survive("burst", &undisturbed(), a_burst(UNAVAILABLE));
    // However many images and files wait for the store, it is told once.
    assert_eq!(log.matches("the store is unwell").count(), 1, "{log}");
}

#[test]
fn a_clock_that_is_wrong_for_a_while_is_waited_out_and_said() {
    let skewed = Fate::Refused(403, "RequestTimeTooSkewed");
    let log = survive("skew", &undisturbed(), a_burst(skewed));
    let cause = "the clocks of this machine and of the store differ";
    assert!(log.contains(cause), "{log}");
}

/// Runs the history while the store refuses calls for images, given their number and path; how it ended and what it said.
/// Then the store gives what it has.
fn refused(world: &mut World, mut which: impl FnMut(u64, &str) -> bool + Send + 'static) -> Output {
    history(world);
    let proxy = Proxy::start(world.endpoint());
    let endpoint = world.servers.s3.endpoint.clone();
    world.hide_behind(&proxy);
    let mut images = 0;
    proxy.watch(move |call, moment| {
        if moment == Moment::After || !call.path.starts_with("/landing/") {
            return Fate::Pass;
        }
        images += 1;
        if which(images, &call.path) {
            Fate::Refused(403, "AccessDenied")
        } else {
            Fate::Pass
        }
    });
    let settings = format!("{SETTINGS}[limits]\nretry_ms = 500\n");
    let job = world.start(TWO, &settings, &["--until-end"]).pop();
    let output = job.expect("a process").wait();
    world.servers.s3.endpoint = endpoint;
    output
}

#[test]
fn what_the_store_refuses_to_all_is_no_objects_fault() {
    let mut world = World::new(2);
    let output = refused(&mut world, |number, _| number > 10);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("access denied"), "{log}");
    assert!(log.contains("check credentials, bucket policy"), "{log}");
    assert!(log.contains("limits.retry_ms"), "{log}");
    // Nothing was taken for unreadable: the next run goes on as if nothing had been.
    world.run(TWO, SETTINGS);
    assert_eq!(Published::of(&world), undisturbed());
}

#[test]
fn an_object_that_the_store_refuses_alone_is_a_reject() {
    let mut world = World::new(2);
    let output = refused(&mut world, |_, path| path.contains("/21.png"));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let rejects = world.rejects();
    let reasons: Vec<_> = rejects
        .iter()
        .map(|(path, r)| (&**path, &*r.reason))
        .collect();
    assert_eq!(reasons, [("s3://landing/class 0/21.png", "access-denied")]);
    // Once it may be read, its event makes it a row.
    world.upload(1, 1, "class 0/21.png", picture(21));
    world.run(TWO, SETTINGS);
    assert_eq!(Published::of(&world), undisturbed());
}

#[test]
fn an_outage_of_the_store_is_waited_out() {
    let expected = undisturbed();
    let said = std::env::var("EIGENFLOW_OUTAGE").unwrap_or_else(|_| "5".into());
    let outage = Duration::from_secs(said.parse().expect("EIGENFLOW_OUTAGE is in seconds"));
    let mut begun: Option<Instant> = None;
    let log = survive("outage", &expected, move |call, moment| match moment {
        Moment::Before if call.number >= 20 => {
            let begun = begun.get_or_insert_with(Instant::now);
            if begun.elapsed() < outage {
                Fate::Cut
            } else {
                Fate::Pass
            }
        }
        _ => Fate::Pass,
    });
    assert_eq!(log.matches("the store is unwell").count(), 1, "{log}");
}

#[test]
fn a_broker_that_stumbles_changes_nothing() {
    use RDKafkaRespErr::*;
    let expected = undisturbed();
    let world = World::new(2);
    history(&world);
    world.kafka().disturb(|cluster| {
        let delayed = cluster.broker_round_trip_time(BROKER, Duration::from_millis(200));
        delayed.expect("a delay");
        let passing = [
            RD_KAFKA_RESP_ERR__TRANSPORT,
            RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        ];
        for api in [
            RDKafkaApiKey::Fetch,
            RDKafkaApiKey::ListOffsets,
            RDKafkaApiKey::Metadata,
        ] {
            cluster.request_errors(api, &passing);
        }
    });
    world.run(TWO, SETTINGS);
    assert_eq!(Published::of(&world), expected);
}

#[test]
fn an_absent_broker_is_waited_for() {
    let expected = undisturbed();
    let world = World::new(2);
    let job = world.start(TWO, SETTINGS, &[]).pop();
    world.upload(0, 1, "first.png", picture(0));
    world.wait_for(|state| state["rows"] == 1);
    world.remove(0, 2, "first.png");
    world.kafka().disturb(|cluster| {
        cluster.broker_down(BROKER).expect("an outage");
        std::thread::sleep(Duration::from_secs(3));
        cluster.broker_up(BROKER).expect("its end");
    });
    history(&world);
    world.wait_for(|state| {
        let offsets = state["offsets"].as_object();
        offsets.is_some_and(|offsets| offsets["0"] == 17 && offsets["1"] == 14)
    });
    let job = job.expect("a process");
    job.signal(libc::SIGTERM);
    let output = job.wait();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(log.contains("Kafka is unwell"), "{log}");
    // All rows under the newest projection.
    world.run(TWO, SETTINGS);
    assert_eq!(Published::of(&world), expected);
}
