//! Store and broker that stumble: late, torn, refused or absent answers change nothing of what is published.
//!
//! `EIGENFLOW_OUTAGE` says how many seconds a server is away, 5 unless said.

use std::collections::HashMap;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::backend::{Backend, keep_on_all_servers};
use crate::crash::{Dice, seed};
use crate::doors::{Doors, Server};
use crate::process::{Process, succeed};
use crate::proxy::{Call, Fate, Moment};
use crate::world::{Layout, Published, World, picture};

keep_on_all_servers!(
    a_store_that_stumbles_changes_nothing,
    a_broker_that_stumbles_changes_nothing,
    a_burst_of_refusals_is_waited_out,
    a_clock_that_is_wrong_for_a_while_is_waited_out_and_said,
    what_the_store_refuses_to_all_is_no_objects_fault,
    an_object_that_the_store_gives_nobody_is_a_reject,
    what_a_run_meets_first_may_be_what_nobody_gets,
    an_outage_of_the_store_is_waited_out,
    an_outage_of_the_broker_is_waited_out,
);

const SETTINGS: &str = "[publish]\nrows = 8\ninterval_ms = 200\n[projection]\ncomponents = 3\n[log]\nformat = \"human\"\n";
const DENIED: Fate = Fate::Refused(403, "AccessDenied");
const UNAVAILABLE: Fate = Fate::Refused(503, "SlowDown");
/// Longer than a client that is told to be impatient waits for an answer.
const SILENCE: Fate = Fate::Delay(Duration::from_secs(3600));
/// The only broker's id.
const BROKER: i32 = 1;
/// How often the S3 client asks before it gives up.
const CLIENT_TRIES: u32 = 3;
/// One call in so many goes wrong.
const RARITY: u64 = 6;
/// One in so many is not answered, which costs the client two seconds and all that it has asked on that connection. More of them
/// are a broker that does not answer for half a minute, and a job that starts gives up on that, as it should.
const RARITY_OF_SILENCE: u64 = 40;

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

fn outage() -> Duration {
    let said = std::env::var("EIGENFLOW_OUTAGE").unwrap_or_else(|_| "5".into());
    Duration::from_secs(said.parse().expect("EIGENFLOW_OUTAGE is in seconds"))
}

/// Images and events of the history, and what is published of them.
struct History {
    world: World,
    undisturbed: Published,
}

impl History {
    fn on(servers: Backend) -> Self {
        let world = servers.world(2);
        history(&world);
        let undisturbed = undisturbed(&world.fork());
        History { world, undisturbed }
    }

    /// Runs it with a server whose calls meet `fate`, and compares; what the job said.
    fn survive(
        &self,
        what: &str,
        server: Server,
        mut fate: impl FnMut(&Call, Moment) -> Fate + Send + 'static,
    ) -> String {
        let mut world = self.world.fork();
        // For the broker that is silent, or hangs up again and again; the defaults are a minute and ten seconds.
        let impatient = [
            ("socket.timeout.ms", "2000"),
            ("reconnect.backoff.max.ms", "500"),
        ];
        let impatient = impatient.map(|(name, value)| (name, value.to_owned()));
        world.servers.kafka.extend(impatient);
        let doors = Doors::before(&mut world);
        let met = Arc::new(AtomicBool::new(false));
        let seen = met.clone();
        doors.of(server).watch(move |call, moment| {
            let fate = fate(call, moment);
            seen.fetch_or(!matches!(fate, Fate::Pass), Relaxed);
            fate
        });
        let job = world.start(Layout::TWO, SETTINGS, &["--until-end"]).pop();
        let log = end(job.expect("a process"));
        // The table is then read by the same way.
        doors.of(server).watch(|_, _| Fate::Pass);
        assert!(met.load(Relaxed), "{what}: no call met it");
        assert_eq!(Published::of(&world), self.undisturbed, "{what}");
        log
    }
}

/// What a run publishes that nothing disturbs.
fn undisturbed(world: &World) -> Published {
    world.run(Layout::TWO, SETTINGS);
    Published::of(world)
}

/// Waits for a job's good end; what it said.
fn end(job: Process) -> String {
    let output = job.wait();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    log
}

/// One call in `rarity`, and the third, meet `fate` at one moment.
fn now_and_then(
    when: Moment,
    fate: Fate,
    rarity: u64,
) -> impl FnMut(&Call, Moment) -> Fate + Send + 'static {
    let mut dice = Dice(seed());
    move |call, moment| {
        if moment == when && (call.number == 3 || dice.roll(rarity) == 0) {
            fate
        } else {
            Fate::Pass
        }
    }
}

const LATENCY: (&str, Moment, Fate) = (
    "latency",
    Moment::Before,
    Fate::Delay(Duration::from_millis(300)),
);
const CUT_BEFORE: (&str, Moment, Fate) = ("cut before", Moment::Before, Fate::Cut);
const CUT_AFTER: (&str, Moment, Fate) = ("cut after: the answer is lost", Moment::After, Fate::Cut);
const HALF: (&str, Moment, Fate) = ("half an answer", Moment::After, Fate::Half);

fn a_store_that_stumbles_changes_nothing(servers: Backend) {
    let history = History::on(servers);
    let refused = ("refused", Moment::Before, UNAVAILABLE);
    for (what, when, fate) in [LATENCY, refused, CUT_BEFORE, CUT_AFTER, HALF] {
        history.survive(what, Server::Store, now_and_then(when, fate, RARITY));
    }
}

fn a_broker_that_stumbles_changes_nothing(servers: Backend) {
    let history = History::on(servers);
    for (what, when, fate) in [LATENCY, CUT_BEFORE, CUT_AFTER, HALF] {
        history.survive(what, Server::Broker, now_and_then(when, fate, RARITY));
    }
    let silent = now_and_then(Moment::Before, SILENCE, RARITY_OF_SILENCE);
    history.survive("silence", Server::Broker, silent);
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

fn a_burst_of_refusals_is_waited_out(servers: Backend) {
    let history = History::on(servers);
    let log = history.survive("burst", Server::Store, a_burst(UNAVAILABLE));
    // However many images and files wait for the store, it is told once.
    assert_eq!(log.matches("the store is unwell").count(), 1, "{log}");
}

fn a_clock_that_is_wrong_for_a_while_is_waited_out_and_said(servers: Backend) {
    let skewed = Fate::Refused(403, "RequestTimeTooSkewed");
    let history = History::on(servers);
    let log = history.survive("skew", Server::Store, a_burst(skewed));
    let cause = "the clocks of this machine and of the store differ";
    assert!(log.contains(cause), "{log}");
}

/// Runs the history while the store refuses calls for images, given their number and path; how each process ended and what it said.
fn refused(
    world: &mut World,
    layout: Layout,
    fate: Fate,
    mut which: impl FnMut(u64, &str) -> bool + Send + 'static,
) -> Vec<Output> {
    let found = world.servers.clone();
    let doors = Doors::before(world);
    let images = format!("/{}/", world.servers.bucket);
    let mut number = 0;
    doors.of(Server::Store).watch(move |call, moment| {
        if moment == Moment::After || !call.path.starts_with(&images) {
            return Fate::Pass;
        }
        number += 1;
        if which(number, &call.path) {
            fate
        } else {
            Fate::Pass
        }
    });
    let settings = format!("{SETTINGS}[limits]\nretry_ms = 500\n");
    let job = world.start(layout, &settings, &["--until-end"]);
    let outputs = job.into_iter().map(Process::wait).collect();
    // It gives what it has again.
    world.servers = found;
    outputs
}

fn what_the_store_refuses_to_all_is_no_objects_fault(servers: Backend) {
    let history = History::on(servers);
    // Of two processes one looks at the other's keys, too: who asked must not take a failed look for one that has ended.
    for layout in [Layout::TWO, Layout::PROCESSES] {
        let mut world = history.world.fork();
        let outputs = refused(&mut world, layout, DENIED, |number, _| number > 10);
        let logs = outputs.iter().map(|output| {
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            String::from_utf8_lossy(&output.stderr).into_owned()
        });
        let log: String = logs.collect();
        assert!(log.contains("access denied"), "{log}");
        assert!(log.contains("check credentials, bucket policy"), "{log}");
        assert!(log.contains("limits.retry_ms"), "{log}");
        // Nothing was taken for unreadable: the next run goes on as if nothing had been.
        assert_eq!(undisturbed(&world), history.undisturbed);
    }
}

fn an_object_that_the_store_gives_nobody_is_a_reject(servers: Backend) {
    let history = History::on(servers);
    for (fate, reason) in [(DENIED, "access-denied"), (UNAVAILABLE, "unavailable")] {
        let mut world = history.world.fork();
        let outputs = refused(&mut world, Layout::TWO, fate, |_, path| {
            path.contains("/21.png")
        });
        let path = world.path_of("class 0/21.png");
        assert_eq!(reasons(&world, &outputs), [(path, reason.to_owned())]);
        // Once it may be read, its event makes it a row.
        world.upload(1, 1, "class 0/21.png", picture(21));
        assert_eq!(undisturbed(&world), history.undisturbed);
    }
}

/// The rejects of a job of one process that came to a good end.
fn reasons(world: &World, outputs: &[Output]) -> Vec<(String, String)> {
    let [output] = outputs else {
        panic!("one process: {outputs:?}")
    };
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let rejects = world.rejects().into_iter();
    rejects
        .map(|(path, reject)| (path, reject.reason))
        .collect()
}

/// Nothing was read in this run that could tell it from the store's own fault, but the table has rows.
fn what_a_run_meets_first_may_be_what_nobody_gets(servers: Backend) {
    let mut world = servers.world(1);
    for i in 0..4 {
        world.upload(0, 1, &format!("a/{i}.png"), picture(i));
    }
    world.run(Layout::ONE, SETTINGS);
    world.upload(0, 2, "a/private.png", picture(9));
    let outputs = refused(&mut world, Layout::ONE, DENIED, |_, path| {
        path.contains("private")
    });
    let path = world.path_of("a/private.png");
    let denied = [(path, "access-denied".to_owned())];
    assert_eq!(reasons(&world, &outputs), denied);
    assert_eq!(world.rows().len(), 4);
    // It may be read now, and nobody uploads it again: a listing brings it back.
    let mut reconcile = world.command();
    reconcile
        .arg("reconcile")
        .arg(world.path_of(""))
        .arg("--config");
    let said = succeed(reconcile.arg(world.config(SETTINGS)));
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(said.contains("1 rejected, 4 as they should be"), "{said}");
    world.run(Layout::ONE, SETTINGS);
    assert_eq!((world.rows().len(), world.rejects().len()), (5, 0));
}

fn an_outage_of_the_store_is_waited_out(servers: Backend) {
    let history = History::on(servers);
    let (outage, mut begun) = (outage(), None::<Instant>);
    let log = history.survive("outage", Server::Store, move |call, moment| {
        if moment == Moment::After || call.number < 20 {
            return Fate::Pass;
        }
        let begun = begun.get_or_insert_with(Instant::now);
        if begun.elapsed() < outage {
            Fate::Cut
        } else {
            Fate::Pass
        }
    });
    assert_eq!(log.matches("the store is unwell").count(), 1, "{log}");
}

fn an_outage_of_the_broker_is_waited_out(servers: Backend) {
    let mut world = servers.world(2);
    let untouched = world.fork();
    let doors = Doors::before(&mut world);
    let job = world
        .start(Layout::TWO, SETTINGS, &[])
        .pop()
        .expect("a process");
    world.upload(0, 1, "first.png", picture(0));
    world.wait_for(|state| state["rows"] == 1);
    world.remove(0, 2, "first.png");
    // What the job has asked for already may still come: some of the events, so it is in mid-epoch.
    doors.of(Server::Broker).watch(|_, _| Fate::Cut);
    history(&world);
    std::thread::sleep(outage());
    doors.of(Server::Broker).watch(|_, _| Fate::Pass);
    world.wait_for(|state| {
        let offsets = state["offsets"].as_object();
        offsets.is_some_and(|offsets| offsets["0"] == 17 && offsets["1"] == 14)
    });
    job.signal(libc::SIGTERM);
    let log = end(job);
    assert!(log.contains("Kafka is unwell"), "{log}");
    // All rows under the newest projection.
    assert_eq!(undisturbed(&world), undisturbed(&untouched));
}

#[test]
fn errors_of_the_broker_change_nothing() {
    use RDKafkaRespErr::*;
    let history = History::on(Backend::Embedded);
    let world = history.world.fork();
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
    assert_eq!(undisturbed(&world), history.undisturbed);
}
