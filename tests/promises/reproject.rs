//! `reproject`: all rows under the newest projection, by one commit that changes nothing else.

use std::process::Output;
use std::sync::Arc;

use eigenflow::job::{self, Asked, Reprojection};
use eigenflow::operators::Load;
use eigenflow::table::{CommitError, Row};

use crate::backend::{Backend, keep_on_all_servers};
use crate::process::{Process, outcome, succeed};
use crate::world::{Layout, Published, World, picture};

keep_on_all_servers!(
    a_live_table_becomes_what_a_bounded_run_leaves,
    rows_too_few_for_a_projection_are_under_none,
    small_files_are_merged_up_to_the_size_that_is_said,
    a_reprojection_that_loses_to_a_job_changes_nothing,
    a_job_that_is_overtaken_says_so_and_goes_on_when_started_again,
);

/// Several epochs, and so several projections, a run.
const LIVE: &str = "[publish]\nrows = 5\ninterval_ms = 200\nreproject_at_end = false\n[projection]\ncomponents = 3\n";
const BOUNDED: &str = "[publish]\nrows = 5\ninterval_ms = 200\n[projection]\ncomponents = 3\n";
const FILE_MAX: Load = Load {
    count: 10_000,
    bytes: 1 << 27,
};

fn arrive(world: &World) {
    for i in 0..20 {
        let key = format!("class {}/{i}.png", i % 3);
        world.upload(i % 2, 1, &key, picture(i as u64));
    }
}

fn change(world: &World) {
    world.remove(0, 2, "class 0/0.png");
    world.upload(1, 2, "class 1/1.png", picture(100));
    world.upload(0, 2, "class 2/20.png", picture(20));
    world.upload(0, 2, "class 0/no.png", "no picture");
}

fn reproject(world: &World, arguments: &[&str]) -> Output {
    let mut command = world.command();
    let command = command.args(["reproject", &world.servers.uri, "--endpoint"]);
    succeed(command.arg(world.endpoint()).args(arguments))
}

fn said(output: &Output) -> &str {
    str::from_utf8(&output.stdout).expect("text")
}

/// The rows' reduced features, by path, bit for bit.
fn bits(world: &World) -> Vec<(String, Option<Vec<u32>>)> {
    let bits = |row: Row| {
        let reduced = row.reduced_features;
        reduced.map(|reduced| reduced.iter().map(|x| x.to_bits()).collect())
    };
    let rows = world.rows().into_iter();
    rows.map(|(path, row)| (path, bits(row))).collect()
}

fn versions(world: &World) -> Vec<Option<i64>> {
    let rows = world.rows().into_values();
    let mut versions: Vec<_> = rows.map(|row| row.projection_version).collect();
    versions.sort_unstable();
    versions.dedup();
    versions
}

fn a_live_table_becomes_what_a_bounded_run_leaves(servers: Backend) {
    let live = servers.world(2);
    // The same images and events.
    let bounded = live.fork();
    let both = [(&live, LIVE), (&bounded, BOUNDED)];
    arrive(&live);
    for (world, settings) in both {
        world.run(Layout::TWO, settings);
    }
    change(&live);
    for (world, settings) in both {
        world.run(Layout::ONE, settings);
    }
    let before = live.inspect();
    assert!(versions(&live).len() > 1, "several projections");
    assert!(before["files"].as_u64() > Some(1), "several files");

    let done = reproject(&live, &["-w", "2"]);
    assert!(said(&done).contains("files became 1;"), "{}", said(&done));
    assert_eq!(Published::of(&live), Published::of(&bounded));
    assert_eq!(bits(&live), bits(&bounded));
    let after = live.inspect();
    assert_eq!(versions(&live), [after["projection_version"].as_i64()]);
    let commit = before["commit"].as_u64().expect("a commit") + 1;
    let mut expected = before;
    (expected["commit"], expected["files"]) = (commit.into(), 1.into());
    assert_eq!(after, expected, "all else stays");

    let again = reproject(&live, &[]);
    assert!(said(&again).contains("nothing to do"), "{}", said(&again));
    assert_eq!(live.inspect(), after, "no second commit");

    let verdict = live.verify(2);
    assert_eq!(verdict.tally.differences, []);
    assert_eq!(verdict.tally.reduced_checked, 20);

    live.upload(1, 3, "class 1/21.png", picture(21));
    live.remove(1, 3, "class 2/2.png");
    for (world, _) in both {
        world.run(Layout::TWO, BOUNDED);
    }
    assert_eq!(Published::of(&live), Published::of(&bounded));
    let again = reproject(&live, &["-w", "2"]);
    assert!(said(&again).contains("nothing to do"), "{}", said(&again));
}

fn rows_too_few_for_a_projection_are_under_none(servers: Backend) {
    let world = servers.world(1);
    world.upload(0, 1, "a/1.png", picture(1));
    world.upload(0, 1, "a/2.png", picture(2));
    world.run(Layout::ONE, LIVE);
    world.remove(0, 2, "a/1.png");
    world.run(Layout::ONE, LIVE);
    assert_ne!(versions(&world), [None]);
    let done = reproject(&world, &[]);
    assert!(said(&done).contains("too few"), "{}", said(&done));
    assert_eq!(versions(&world), [None]);
    assert_eq!(world.verify(1).tally.differences, []);
    assert!(said(&reproject(&world, &[])).contains("nothing to do"));
}

fn small_files_are_merged_up_to_the_size_that_is_said(servers: Backend) {
    let world = servers.world(2);
    arrive(&world);
    let mut job = world
        .processes(Layout::ONE, LIVE, &["--until-end"])
        .remove(0);
    succeed(job.env("EIGENFLOW__TABLE__ROWS_PER_FILE", "3"));
    reproject(&world, &["--rows-per-file", "10"]);
    let files = world.block_on(world.tables().open_existing());
    let files = files.expect("tables").rows;
    assert!(files.iter().all(|file| file.rows <= 10), "{files:?}");
    let none = reproject(&world, &["--rows-per-file", "10"]);
    assert!(said(&none).contains("nothing to do"), "{}", said(&none));
    let done = reproject(&world, &[]);
    let became = format!("{} files became 1;", files.len());
    assert!(said(&done).contains(&became), "{}", said(&done));
}

fn a_reprojection_that_loses_to_a_job_changes_nothing(servers: Backend) {
    let world = servers.world(2);
    arrive(&world);
    world.run(Layout::TWO, LIVE);
    world.upload(0, 1, "class 0/21.png", picture(21));
    world.run(Layout::TWO, LIVE);
    let opened = world.block_on(Reprojection::open(
        world.tables(),
        FILE_MAX,
        Asked::default(),
    ));
    let reprojection = Arc::new(opened.expect("a table"));
    change(&world);
    world.run(Layout::TWO, LIVE);
    let of_the_job = (world.inspect(), world.rows());
    let error = job::reproject(&reprojection, 2).expect_err("a job was faster");
    assert!(CommitError::fenced(&error), "{error:#}");
    assert!(
        error.to_string().contains("nothing was reprojected"),
        "{error:#}"
    );
    assert_eq!((world.inspect(), world.rows()), of_the_job);
    assert_eq!(world.verify(1).tally.differences, []);
}

fn a_job_that_is_overtaken_says_so_and_goes_on_when_started_again(servers: Backend) {
    let world = servers.world(2);
    arrive(&world);
    let mut command = world.command();
    command.args(["run", "--restart", "--config"]);
    let supervisor = Process::start(command.arg(world.config(LIVE)));
    world.wait_for(|state| state["rows"] == 20);
    world.upload(0, 1, "class 0/21.png", picture(21));
    world.wait_for(|state| state["rows"] == 21);
    let done = reproject(&world, &[]);
    assert!(said(&done).contains("files became 1;"), "{}", said(&done));
    change(&world);
    world.wait_for(|state| state["offsets"]["0"] == 14 && state["offsets"]["1"] == 11);
    supervisor.signal(libc::SIGTERM);
    let output = supervisor.wait();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert_eq!(
        log.matches("the job has died and is started again").count(),
        1,
        "{log}"
    );
    assert!(log.contains("was written by eigenflow/"), "{log}");
    assert!(log.contains(" reproject (writer "), "{log}");
    assert_eq!(world.rows().len(), 21);
    assert_eq!(world.verify(1).tally.differences, []);
}

#[test]
fn clusters_of_a_table_that_shows_none_are_refused() {
    let world = World::new(1);
    for i in 0..4 {
        world.upload(0, 1, &format!("a/{i}.png"), picture(i));
    }
    world.run(Layout::ONE, LIVE);
    let before = world.inspect();
    for asked in ["-k", "--seed"] {
        let mut command = world.command();
        let command = command.args(["reproject", &world.servers.uri, "--endpoint"]);
        let output = outcome(command.arg(world.endpoint()).args([asked, "2"]));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("shows no clusters"), "{said}");
    }
    assert_eq!(world.inspect(), before);
}

#[test]
fn what_is_asked_wrongly_is_told() {
    let world = World::new(1);
    for (arguments, code) in [
        (&["/nowhere/table"][..], 1),
        (&["/nowhere/table", "-w", "0"], 2),
        (&["/nowhere/table", "--rows-per-file", "0"], 2),
    ] {
        let output = outcome(world.command().arg("reproject").args(arguments));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
    }
}
