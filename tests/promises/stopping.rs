//! Asked to stop at any moment, also before anything is connected: a command ends, soon, and says where it was.

use std::time::Duration;

use crate::process::{Process, succeed};
use crate::world::{Layout, SMALL_EPOCHS, World, picture};

/// Where nobody listens.
const NOWHERE: &str = "127.0.0.1:1";
/// What a command that waits for nothing may take to end on a slow machine.
const SOON: Duration = Duration::from_secs(20);

/// Lets the job wait for a server for a while, then asks it to stop.
fn stop_while_it_waits(world: &World) {
    for process in world.start(Layout::TWO, SMALL_EPOCHS, &[]) {
        std::thread::sleep(Duration::from_secs(3));
        process.signal(libc::SIGTERM);
        let output = process.wait_within(SOON);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
    }
}

#[test]
fn a_job_whose_broker_is_away_ends_when_it_is_asked_to() {
    let mut world = World::new(3);
    let kafka = &mut world.servers.kafka;
    kafka.insert("bootstrap.servers", NOWHERE.to_owned());
    stop_while_it_waits(&world);
}

#[test]
fn a_job_whose_store_is_away_ends_when_it_is_asked_to() {
    let mut world = World::new(1);
    world.servers.s3.endpoint = Some(format!("http://{NOWHERE}"));
    stop_while_it_waits(&world);
}

#[test]
fn a_replay_that_is_stopped_tells_where_to_resume() {
    let world = World::new(2);
    for i in 0..60 {
        world.put(&format!("a/{i:02}.png"), picture(i));
    }
    let replay = |more: &[&str]| {
        let mut command = world.command();
        command.arg("replay").arg(world.path_of(""));
        command.arg("--config").arg(world.config("")).args(more);
        command
    };
    let slow = Process::start(&mut replay(&["--rate", "5"]));
    std::thread::sleep(Duration::from_secs(5));
    slow.signal(libc::SIGINT);
    let output = slow.wait_within(SOON);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, key) = said.split_once("resume with --after \"").expect(&said);
    let (key, _) = key.split_once('"').expect("a key");
    succeed(&mut replay(&["--after", key]));
    world.run(Layout::TWO, "");
    assert_eq!(world.rows().len(), 60);
}
