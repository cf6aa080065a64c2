//! Stopped, killed, resumed: nothing lost, nothing twice.

use std::process::Command;
use std::time::Duration;

use eigenflow::table::Row;

use crate::caller::get;
use crate::world::{Layout, SMALL_EPOCHS, World, finish, picture};

pub fn signal(child: &std::process::Child, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .expect("kill");
    assert!(sent.success());
}

#[test]
fn a_job_resumes_with_another_number_of_workers() {
    let world = World::new(3);
    for i in 0..30 {
        world.upload(i % 3, 1, &format!("a/{i}.png"), picture(i as u64));
    }
    world.run(Layout::TWO, SMALL_EPOCHS);
    let state = world.inspect();
    for i in 20..40 {
        world.upload(i % 3, 2, &format!("a/{i}.png"), picture(100 + i as u64));
    }
    world.run(Layout::PROCESSES, SMALL_EPOCHS);
    assert_eq!(world.rows().len(), 40);
    assert_ne!(world.inspect()["moments_sha256"], state["moments_sha256"]);

    let other = World::new(1);
    for i in 0..40 {
        other.upload(
            0,
            3,
            &format!("a/{i}.png"),
            picture(if i < 20 { i } else { 100 + i }),
        );
    }
    other.run(Layout::ONE, "");
    for digest in ["moments_sha256", "projection_sha256"] {
        assert_eq!(world.inspect()[digest], other.inspect()[digest]);
    }
}

#[test]
fn other_projection_options_hold_from_the_next_epoch_on() {
    let world = World::new(1);
    for i in 0..10 {
        world.upload(0, 1, &format!("a/{i}.png"), picture(i));
    }
    world.run(Layout::ONE, "[projection]\ncomponents = 3\n");
    // The same bytes once more: an epoch that changes no sum.
    world.upload(0, 2, "a/0.png", picture(0));
    world.run(Layout::ONE, "[projection]\ncomponents = 2\nddof = 0\n");
    assert_eq!(world.inspect()["components"], 2);
    let reduced = |row: &Row| row.reduced_features.as_ref().map(Vec::len);
    assert!(world.rows().values().all(|row| reduced(row) == Some(2)));
    assert_eq!(world.verify(1).tally.differences, []);
}

#[test]
fn a_signal_publishes_what_is_in_flight() {
    for layout in [Layout::TWO, Layout::PROCESSES] {
        let world = World::new(3);
        let children = world.start(layout, "[publish]\ninterval_ms = 3600000\nrows = 12\n", &[]);
        for i in 0..20 {
            world.upload(i % 3, 1, &format!("a/{i}.png"), picture(i as u64));
        }
        // The first epoch by rows; what follows waits for an hour, or the signal.
        world.wait_for(|state| state["rows"].as_u64() >= Some(12));
        std::thread::sleep(Duration::from_millis(300));
        signal(&children[children.len() - 1], "-TERM");
        for child in children {
            let output = finish(child);
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        assert_eq!(world.rows().len(), 20, "{layout:?}");
    }
}

#[test]
fn a_killed_job_goes_on_from_its_last_commit() {
    let world = World::new(3);
    for i in 0..200 {
        world.upload(i % 3, 1, &format!("a/{i}.png"), picture(i as u64));
    }
    for round in 0..6 {
        for child in world.start(
            [Layout::ONE, Layout::TWO, Layout::PROCESSES][round % 3],
            SMALL_EPOCHS,
            &[],
        ) {
            std::thread::sleep(Duration::from_millis(150 + 70 * round as u64));
            signal(&child, "-KILL");
            finish(child);
        }
    }
    world.run(Layout::TWO, SMALL_EPOCHS);
    assert_eq!(world.rows().len(), 200);

    let other = World::new(1);
    for i in 0..200 {
        other.upload(0, 1, &format!("a/{i}.png"), picture(i as u64));
    }
    other.run(Layout::ONE, "");
    for digest in ["moments_sha256", "projection_sha256"] {
        assert_eq!(world.inspect()[digest], other.inspect()[digest]);
    }
}

#[test]
fn a_lost_process_ends_the_others_within_seconds() {
    let world = World::new(2);
    world.upload(0, 1, "a/1.png", picture(1));
    let mut children = world.start(Layout::PROCESSES, SMALL_EPOCHS, &[]);
    world.wait_for(|state| state["rows"] == 1);
    let victim = children.pop().expect("two processes");
    signal(&victim, "-KILL");
    finish(victim);
    let start = std::time::Instant::now();
    let output = finish(children.pop().expect("two processes"));
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_process_that_fails_by_an_error_ends_the_others_within_seconds() {
    let world = World::new(2);
    world.upload(0, 1, "a/1.png", picture(1));
    let mut processes = world.processes(Layout::PROCESSES, SMALL_EPOCHS, &[]);
    // Labels of two rules must not meet in one table, so the second process refuses.
    processes[1].env("EIGENFLOW__LABEL__RULE", "none");
    let start = std::time::Instant::now();
    let children: Vec<_> = processes
        .iter_mut()
        .map(|process| process.spawn().expect("the binary"))
        .collect();
    let codes: Vec<_> = children
        .into_iter()
        .map(|child| finish(child).status.code())
        .collect();
    assert_eq!(codes, [Some(1), Some(2)]);
    assert!(start.elapsed() < Duration::from_secs(60));
}

/// The processes that a supervisor has started.
fn children(supervisor: &std::process::Child) -> Vec<u32> {
    let id = supervisor.id();
    let listed = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let listed = listed.expect("Linux tells a process's children");
    listed
        .split_whitespace()
        .map(|child| child.parse().expect("an id"))
        .collect()
}

#[test]
fn a_supervised_job_goes_on_after_a_kill() {
    for layout in [Layout::TWO, Layout::PROCESSES] {
        let world = World::new(2);
        world.upload(0, 1, "a/1.png", picture(1));
        let workers = layout.workers.to_string();
        let processes = layout.processes.to_string();
        let supervisor = world
            .command()
            .args(["run", "--restart", "-w", &workers, "-n", &processes])
            .arg("--config")
            .arg(world.config(SMALL_EPOCHS))
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the binary");
        world.wait_for(|state| state["rows"] == 1);
        let first = children(&supervisor);
        assert_eq!(first.len(), layout.processes);
        let victim = first[first.len() - 1].to_string();
        let killed = Command::new("kill").args(["-KILL", &victim]).status();
        assert!(killed.expect("kill").success());
        world.upload(1, 2, "a/2.png", picture(2));
        world.wait_for(|state| state["rows"] == 2);
        let second = children(&supervisor);
        assert!(second.iter().all(|child| !first.contains(child)));
        signal(&supervisor, "-TERM");
        let output = finish(supervisor);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        assert!(log.contains("started again"), "{log}");
        for child in second {
            assert!(!std::path::Path::new(&format!("/proc/{child}")).exists());
        }
    }
}

#[test]
fn a_supervisor_gives_up_where_a_restart_cures_nothing() {
    let world = World::new(1);
    world.upload(0, 1, "a/1.png", picture(1));
    world.run(Layout::ONE, "");
    let config = world.config("[limits]\nretry_ms = 1000\n");
    let output = world
        .command()
        .args(["run", "--restart", "-n", "2", "--config"])
        .arg(config)
        .env("EIGENFLOW__KAFKA__TOPIC", "another")
        .output()
        .expect("the binary");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{log}");
    assert!(
        log.contains("the table's offsets are of topic uploads"),
        "{log}"
    );
}

#[test]
fn of_two_jobs_on_one_table_one_is_fenced_out() {
    let world = World::new(1);
    world.upload(0, 1, "a/1.png", picture(1));
    let slow = "[publish]\ninterval_ms = 1500\nrows = 1000\n";
    let first = world
        .start(Layout::ONE, slow, &[])
        .pop()
        .expect("a process");
    let second = world
        .start(Layout::ONE, slow, &[])
        .pop()
        .expect("a process");
    world.wait_for(|state| state["rows"] == 1);
    std::thread::sleep(Duration::from_millis(1000));
    world.upload(0, 2, "a/2.png", picture(2));
    world.wait_for(|state| state["rows"] == 2);
    let mut jobs = [first, second];
    let ended: Vec<bool> = jobs
        .iter_mut()
        .map(|job| job.try_wait().expect("its state").is_some())
        .collect();
    assert_eq!(
        ended.iter().filter(|ended| **ended).count(),
        1,
        "one of the two must have ended"
    );
    for (job, ended) in jobs.into_iter().zip(ended) {
        if !ended {
            signal(&job, "-TERM");
        }
        let output = finish(job);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(if ended { 3 } else { 0 }),
            "{log}"
        );
        assert_eq!(log.contains("two jobs run on one table"), ended, "{log}");
    }
}

#[test]
fn a_process_tells_whether_it_moves_and_whether_it_is_ready() {
    let world = World::new(1);
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = port.local_addr().expect("its address").to_string();
    drop(port);
    let mut processes = world.processes(Layout::PROCESSES, SMALL_EPOCHS, &[]);
    let mut second = processes.pop().expect("two processes");
    let mut first = processes.pop().expect("two processes");
    let first = first.args(["--listen", &address]).spawn();
    let until = |path: &str, status: u16| loop {
        match get(&address, path, "") {
            Some(answer) if answer.status == status => break answer.text(),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    // Alone it can't work, but a restart would cure nothing.
    assert!(until("/readyz", 503).contains("waiting for the other processes"));
    assert_eq!(until("/livez", 200), "ok\n");
    let second = second.spawn();
    assert_eq!(until("/readyz", 200), "ok\n");
    assert_eq!(until("/livez", 200), "ok\n");
    until("/elsewhere", 404);
    let children = [first, second].map(|child| child.expect("the binary"));
    signal(&children[0], "-TERM");
    for child in children {
        assert!(finish(child).status.success());
    }
}
