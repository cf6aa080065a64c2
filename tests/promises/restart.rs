//! Stopped, killed, resumed: nothing lost, nothing twice.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use eigenflow::table::Row;

use crate::backend::{Backend, keep_on_all_servers};
use crate::caller::{Listening, get};
use crate::process::{LIMIT, Process, outcome, signal_to, wait_until};
use crate::world::{Layout, SMALL_EPOCHS, World, picture};

keep_on_all_servers!(
    a_job_resumes_with_another_number_of_workers,
    other_projection_options_hold_from_the_next_epoch_on,
    a_signal_publishes_what_is_in_flight,
    a_killed_job_goes_on_from_its_last_commit,
    what_is_news_from_now_on_is_so_after_a_kill,
    a_lost_process_ends_the_others_within_seconds,
    a_process_that_fails_by_an_error_ends_the_others_within_seconds,
    a_supervised_job_goes_on_after_a_kill,
    a_supervisor_gives_up_where_a_restart_cures_nothing,
    of_two_jobs_on_one_table_one_is_fenced_out,
    a_process_tells_whether_it_moves_and_whether_it_is_ready,
);

/// What the processes of a job may take to notice that one of them is gone.
const WITHIN: Duration = Duration::from_secs(60);

fn a_job_resumes_with_another_number_of_workers(servers: Backend) {
    let world = servers.world(3);
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

fn other_projection_options_hold_from_the_next_epoch_on(servers: Backend) {
    let world = servers.world(1);
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

fn a_signal_publishes_what_is_in_flight(servers: Backend) {
    for layout in [Layout::TWO, Layout::PROCESSES] {
        let world = servers.world(3);
        let settings = "[publish]\ninterval_ms = 3600000\nrows = 12\n";
        let commands = world.processes(layout, settings, &[]).into_iter();
        let job: Vec<Listening> = commands.map(Listening::start).collect();
        for i in 0..20 {
            world.upload(i % 3, 1, &format!("a/{i}.png"), picture(i as u64));
        }
        // The first epoch by rows; what follows waits for an hour, or the signal.
        world.wait_for(|state| state["rows"].as_u64() >= Some(12));
        job[0].until("/api/state", |answer| {
            answer.status == 200 && answer.json()["totals"]["images"] == 20
        });
        job[job.len() - 1].process.signal(libc::SIGTERM);
        for listening in job {
            let output = listening.process.wait();
            let log = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{log}");
        }
        assert_eq!(world.rows().len(), 20, "{layout:?}");
    }
}

fn a_killed_job_goes_on_from_its_last_commit(servers: Backend) {
    let world = servers.world(3);
    let mut before = 0;
    for round in 0..6 {
        for i in round * 33..(round + 1) * 33 {
            world.upload(i % 3, 1, &format!("a/{i}.png"), picture(i as u64));
        }
        let layout = [Layout::ONE, Layout::TWO, Layout::PROCESSES][round as usize % 3];
        let processes = world.start(layout, SMALL_EPOCHS, &[]);
        // Of its own commits the first is made, and others may be under way.
        world.wait_for(|state| state["epoch"].as_i64() > Some(before));
        for process in processes {
            process.signal(libc::SIGKILL);
            process.wait();
        }
        before = world.inspect()["epoch"].as_i64().expect("an epoch");
    }
    for i in 198..200 {
        world.upload(i % 3, 1, &format!("a/{i}.png"), picture(i as u64));
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

fn what_is_news_from_now_on_is_so_after_a_kill(servers: Backend) {
    let world = servers.world(3);
    world.upload(0, 1, "a/before.png", picture(1));
    let start = |layout, arguments: &[&str]| {
        // No other reason for a commit comes up before the kill.
        let mut commands = world.processes(layout, "[publish]\ninterval_ms = 3600000\n", arguments);
        let latest = |command: &mut Command| {
            Process::start(command.env("EIGENFLOW__KAFKA__START", "latest"))
        };
        commands.iter_mut().map(latest).collect::<Vec<_>>()
    };
    let processes = start(Layout::PROCESSES, &[]);
    world.wait_for(|state| {
        state["offsets"]
            .as_object()
            .is_some_and(|offsets| offsets.len() == 3)
    });
    for i in 0..3 {
        world.upload(i, 2, &format!("a/{i}.png"), picture(2 + i as u64));
    }
    for process in processes {
        process.signal(libc::SIGKILL);
        process.wait();
    }
    for process in start(Layout::TWO, &["--until-end"]) {
        assert!(process.wait().status.success());
    }
    let expected = [0, 1, 2].map(|i| world.path_of(&format!("a/{i}.png")));
    assert!(world.rows().into_keys().eq(expected));
}

fn a_lost_process_ends_the_others_within_seconds(servers: Backend) {
    let world = servers.world(2);
    world.upload(0, 1, "a/1.png", picture(1));
    let mut job = world.start(Layout::PROCESSES, SMALL_EPOCHS, &[]);
    world.wait_for(|state| state["rows"] == 1);
    let victim = job.pop().expect("two processes");
    victim.signal(libc::SIGKILL);
    victim.wait();
    let output = job.pop().expect("two processes").wait_within(WITHIN);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
}

fn a_process_that_fails_by_an_error_ends_the_others_within_seconds(servers: Backend) {
    let world = servers.world(2);
    world.upload(0, 1, "a/1.png", picture(1));
    let mut processes = world.processes(Layout::PROCESSES, SMALL_EPOCHS, &[]);
    // Labels of two rules must not meet in one table, so the second process refuses.
    processes[1].env("EIGENFLOW__LABEL__RULE", "none");
    let job: Vec<_> = processes.iter_mut().map(Process::start).collect();
    let ended = job.into_iter().map(|process| process.wait_within(WITHIN));
    let codes: Vec<_> = ended.map(|output| output.status.code()).collect();
    assert_eq!(codes, [Some(1), Some(2)]);
}

/// The processes that a supervisor has started.
fn children(supervisor: &Process) -> Vec<u32> {
    let id = supervisor.id();
    let listed = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let listed = listed.expect("Linux tells a process's children");
    listed
        .split_whitespace()
        .map(|child| child.parse().expect("an id"))
        .collect()
}

fn a_supervised_job_goes_on_after_a_kill(servers: Backend) {
    for layout in [Layout::TWO, Layout::PROCESSES] {
        let world = servers.world(2);
        world.upload(0, 1, "a/1.png", picture(1));
        let workers = layout.workers.to_string();
        let processes = layout.processes.to_string();
        let mut command = world.command();
        command.args(["run", "--restart", "-w", &workers, "-n", &processes]);
        command.arg("--config").arg(world.config(SMALL_EPOCHS));
        let supervisor = Process::start(&mut command);
        world.wait_for(|state| state["rows"] == 1);
        let first = children(&supervisor);
        assert_eq!(first.len(), layout.processes);
        signal_to(first[first.len() - 1], libc::SIGKILL);
        world.upload(1, 2, "a/2.png", picture(2));
        world.wait_for(|state| state["rows"] == 2);
        let second = children(&supervisor);
        assert!(second.iter().all(|child| !first.contains(child)));
        supervisor.signal(libc::SIGTERM);
        let output = supervisor.wait();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        assert!(log.contains("started again"), "{log}");
        for child in second {
            assert!(!Path::new(&format!("/proc/{child}")).exists());
        }
    }
}

fn a_supervisor_gives_up_where_a_restart_cures_nothing(servers: Backend) {
    let world = servers.world(1);
    world.upload(0, 1, "a/1.png", picture(1));
    world.run(Layout::ONE, "");
    let config = world.config("[limits]\nretry_ms = 1000\n");
    let mut command = world.command();
    command.args(["run", "--restart", "-n", "2", "--config"]);
    command
        .arg(config)
        .env("EIGENFLOW__KAFKA__TOPIC", "another");
    let output = outcome(&mut command);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{log}");
    let cause = format!("the table's offsets are of topic {}", world.servers.topic);
    assert!(log.contains(&cause), "{log}");
}

fn of_two_jobs_on_one_table_one_is_fenced_out(servers: Backend) {
    let world = servers.world(1);
    let slow = "[publish]\ninterval_ms = 1500\nrows = 1000\n";
    let start = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        drop(listener);
        let job = world.start(Layout::ONE, slow, &["--listen", &address]);
        wait_until("a job that is ready", LIMIT, || {
            get(&address, "/readyz", "").is_some_and(|answer| answer.status == 200)
        });
        job.into_iter().next().expect("a process")
    };
    // Both begin with the same version.
    let mut jobs = [start(), start()];
    world.upload(0, 1, "a/1.png", picture(1));
    world.wait_for(|state| state["rows"] == 1);
    std::thread::sleep(Duration::from_millis(1000));
    world.upload(0, 2, "a/2.png", picture(2));
    world.wait_for(|state| state["rows"] == 2);
    let mut ended = [false; 2];
    wait_until("one of the two ends", WITHIN, || {
        ended = jobs.each_mut().map(Process::has_ended);
        ended.contains(&true)
    });
    assert_ne!(ended, [true; 2], "one of the two goes on");
    for (job, ended) in jobs.into_iter().zip(ended) {
        if !ended {
            job.signal(libc::SIGTERM);
        }
        let output = job.wait();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(if ended { 3 } else { 0 }),
            "{log}"
        );
        assert_eq!(log.contains("two jobs run on one table"), ended, "{log}");
    }
}

fn a_process_tells_whether_it_moves_and_whether_it_is_ready(servers: Backend) {
    let world = servers.world(1);
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = port.local_addr().expect("its address").to_string();
    drop(port);
    let mut processes = world.processes(Layout::PROCESSES, SMALL_EPOCHS, &[]);
    let mut second = processes.pop().expect("two processes");
    let mut first = processes.pop().expect("two processes");
    let first = Process::start(first.args(["--listen", &address]));
    let until = |path: &str, status: u16| {
        let mut said = None;
        wait_until(path, LIMIT, || {
            let answer = get(&address, path, "").filter(|answer| answer.status == status);
            said = answer.map(|answer| answer.text());
            said.is_some()
        });
        said.expect("an answer")
    };
    // Alone it can't work, but a restart would cure nothing.
    assert!(until("/readyz", 503).contains("waiting for the other processes"));
    assert_eq!(until("/livez", 200), "ok\n");
    let second = Process::start(&mut second);
    assert_eq!(until("/readyz", 200), "ok\n");
    assert_eq!(until("/livez", 200), "ok\n");
    until("/elsewhere", 404);
    first.signal(libc::SIGTERM);
    for process in [first, second] {
        assert!(process.wait().status.success());
    }
}
