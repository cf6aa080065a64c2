//! The command line: exit codes, messages, and the commands around the job.

use std::path::Path;
use std::process::{Command, Output};

use crate::backend::{Backend, keep_on_all_servers};
use crate::process::{outcome, succeed};
use crate::world::{Layout, World, picture};

keep_on_all_servers!(
    a_replayed_bucket_equals_the_live_stream,
    an_export_has_a_line_a_row,
    what_an_export_leaves_out_is_listed_with_its_reason,
    reconcile_finds_what_the_events_missed,
);

fn eigenflow(arguments: &[&str]) -> Output {
    outcome(Command::new(env!("CARGO_BIN_EXE_eigenflow")).args(arguments))
}

#[test]
fn the_example_configuration_is_fine() {
    let example = eigenflow(&["config", "example"]);
    assert_eq!(example.status.code(), Some(0));
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("job.toml");
    std::fs::write(&file, &example.stdout).expect("a file");
    let file = file.to_str().expect("a path");
    assert_eq!(eigenflow(&["config", "check", file]).status.code(), Some(0));
}

#[test]
fn a_reader_that_has_read_enough_is_no_failure_to_tell_of() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_eigenflow"));
    let output = command.args(["config", "docs"]).stdout(writer).output();
    let output = output.expect("a process");
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_misspelt_key_is_told_with_the_nearest_known_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("job.toml");
    std::fs::write(&file, "[kafka]\nbroker = \"a:1\"\n").expect("a file");
    let output = eigenflow(&["run", "--config", file.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        message.contains("brokers") && message.contains("job.toml:2"),
        "{message}"
    );
}

#[test]
fn a_table_that_is_not_there_is_one_clear_line() {
    let output = eigenflow(&["inspect", "/nowhere/table"]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        message.contains("/nowhere/table") && message.lines().count() == 1,
        "{message}"
    );
}

fn a_replayed_bucket_equals_the_live_stream(servers: Backend) {
    let (live, replayed) = (servers.world(2), servers.world(3));
    for i in 0..25 {
        let key = format!("b {}/{i}.png", i % 2);
        live.upload(i % 2, 5, &key, picture(i as u64));
        replayed.put(&key, picture(i as u64));
    }
    live.run(Layout::TWO, "");
    let config = replayed.config("");
    let output = succeed(
        replayed
            .command()
            .arg("replay")
            .arg(replayed.path_of(""))
            .arg("--config")
            .arg(&config),
    );
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("25 events"));
    replayed.run(Layout::TWO, "");
    for digest in ["moments_sha256", "projection_sha256", "rows"] {
        assert_eq!(live.inspect()[digest], replayed.inspect()[digest]);
    }
}

fn an_export_has_a_line_a_row(servers: Backend) {
    let world = servers.world(1);
    for i in 0..5 {
        world.upload(0, 1, &format!("a,b/{i}.png"), picture(i));
    }
    world.run(Layout::ONE, "[projection]\ncomponents = 2\n");
    let mut export = world.command();
    export.arg("export").arg(world.table());
    let output = outcome(export.args(["--format", "csv"]));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "path,label,etag,event_time_ms,width,height,reduced_0,reduced_1"
    );
    assert_eq!(lines.len(), 6);
    let first = format!("\"{}\",\"a,b\",", world.path_of("a,b/0.png"));
    assert!(lines[1].starts_with(&first), "{}", lines[1]);
}

/// As `dataflows/jobs/vgg16-csv.toml`: `Label, feat_0 …` of what could be read, and a list of what could not.
fn what_an_export_leaves_out_is_listed_with_its_reason(servers: Backend) {
    let world = servers.world(1);
    for i in 0..3 {
        world.upload(0, 1, &format!("a/{i}.png"), picture(i));
    }
    world.upload(0, 1, "a/broken, or not.png", &b"no image"[..]);
    world.run(Layout::ONE, "[columns]\nlabel = \"Label\"\n");
    let export = |arguments: &[&str]| {
        let mut export = world.command();
        let output = succeed(export.args(["export", world.table()]).args(arguments));
        [output.stdout, output.stderr].map(|said| String::from_utf8(said).expect("text"))
    };
    let [rows, said] = export(&["--columns", "label,features"]);
    assert!(rows.starts_with("Label,feat_0,feat_1,"), "{rows}");
    assert_eq!(rows.lines().count(), 1 + 3);
    assert!(
        said.contains("rejects left out: 1;") && said.contains("--rejects"),
        "{said}"
    );
    let [rejects, said] = export(&["--rejects"]);
    let lines: Vec<_> = rejects.lines().collect();
    assert_eq!(
        lines[0],
        "path,reason,detail,etag,event_time_ms,version,event"
    );
    let broken = world.path_of("a/broken, or not.png");
    let start = format!("\"{broken}\",unsupported-format,");
    assert!(lines[1].starts_with(&start), "{}", lines[1]);
    assert_eq!((lines.len(), said.as_str()), (2, ""));
}

#[test]
fn a_folder_is_replayed_where_the_job_reads_folders() {
    let world = World::new(1);
    for i in 0..6 {
        let folder = world.path("landing/Kiwi é");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(format!("{i}.png")), picture(i)).expect("a picture");
    }
    let config = world.config_on(&format!("file://{}", world.path("").display()));
    let folder = world.path("landing");
    for arguments in [
        vec!["replay", folder.to_str().expect("a path")],
        vec!["run", "--until-end"],
    ] {
        succeed(world.command().args(arguments).arg("--config").arg(&config));
    }
    let rows = world.rows();
    assert_eq!(rows.len(), 6);
    assert!(
        rows.values()
            .all(|row| row.label.as_deref() == Some("Kiwi é"))
    );
}

#[test]
fn vacuum_deletes_what_nothing_needs_and_nothing_else() {
    let world = World::new(1);
    let history: [&[(&str, Option<u64>)]; 3] = [
        &[("a/0.png", Some(0)), ("a/1.png", Some(1))],
        &[("a/2.png", Some(2)), ("a/3.png", Some(3))],
        &[("a/0.png", None), ("a/1.png", None)],
    ];
    for (epoch, changes) in (1..).zip(history) {
        for (key, seed) in changes {
            match seed {
                Some(seed) => world.upload(0, epoch, key, picture(*seed)),
                None => world.remove(0, epoch, key),
            }
        }
        world.run(Layout::ONE, "[publish]\nreproject_at_end = false\n");
    }
    let table = Path::new(world.table());
    let orphan = table.join("never-committed.parquet");
    std::fs::write(&orphan, "by an epoch that was killed").expect("a file");
    let projections = || {
        let listed = std::fs::read_dir(table.with_file_name("projections"));
        let names = listed.expect("projections").map(|file| {
            let name = file.expect("a file").file_name().into_string();
            name.expect("text")[..10].parse::<i64>().expect("a version")
        });
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let vacuum = |arguments: &[&str]| {
        let output = succeed(
            world
                .command()
                .args(["vacuum", &world.servers.uri, "--endpoint"])
                .arg(world.endpoint())
                .args(arguments),
        );
        String::from_utf8(output.stdout).expect("text")
    };
    let before = (world.rows(), world.inspect());
    let rows_by: Vec<_> = before
        .0
        .values()
        .map(|row| row.projection_version)
        .collect();
    assert_eq!(rows_by, [Some(2), Some(2)]);
    assert_eq!(projections(), [1, 2, 3].into());

    // Young as all of it is.
    assert!(vacuum(&[]).starts_with("0 objects"));
    let told = vacuum(&["--dry-run", "--older-than", "0s"]);
    assert!(told.contains("never-committed.parquet") && told.contains("would be deleted"));
    assert!(orphan.exists());
    let done = vacuum(&["--older-than", "0s"]);
    assert_eq!(told.lines().count(), done.lines().count());
    assert!(!orphan.exists());
    // Rows are reduced by the second, the last commit names the third; nothing needs the first.
    assert_eq!(projections(), [2, 3].into());
    assert!(vacuum(&["--older-than", "0s"]).starts_with("0 objects"));

    assert_eq!((world.rows(), world.inspect()), before);
    world.upload(0, 4, "a/4.png", picture(4));
    world.run(Layout::ONE, "");
    assert_eq!(world.rows().len(), 3);
}

fn reconcile_finds_what_the_events_missed(servers: Backend) {
    let (told, silent) = (servers.world(2), servers.world(2));
    for world in [&told, &silent] {
        for i in 0..6 {
            world.upload(i % 2, 1, &format!("a/{i}.png"), picture(i as u64));
        }
        world.upload(0, 1, "a/broken.png", &b"no image"[..]);
        world.run(Layout::ONE, "");
    }
    // One of the worlds hears nothing of what comes now.
    for (key, seed) in [("a/0.png", 10), ("a/new.png", 11), ("b/new.png", 12)] {
        told.upload(0, 2, key, picture(seed));
        silent.put(key, picture(seed));
    }
    told.upload(1, 2, "a/new-broken.png", &b"no image either"[..]);
    silent.put("a/new-broken.png", &b"no image either"[..]);
    for key in ["a/1.png", "a/broken.png"] {
        told.remove(1, 2, key);
        silent.delete(key);
    }
    told.run(Layout::TWO, "");

    let config = silent.config("");
    let reconcile = |prefix: &str, arguments: &[&str]| {
        let mut command = silent.command();
        command.arg("reconcile").arg(silent.path_of(prefix));
        command.arg("--config").arg(&config);
        let output = succeed(command.args(arguments));
        String::from_utf8(output.stdout).expect("text")
    };
    let found = "3 missing, 1 changed, 2 gone, 0 rejected, 4 as they should be";
    let dry = reconcile("", &["--dry-run"]);
    assert!(
        dry.starts_with(found) && dry.contains("none was sent"),
        "{dry}"
    );
    let part = reconcile("b", &["--dry-run"]);
    assert!(
        part.starts_with("1 missing, 0 changed, 0 gone, 0 rejected, 0 as"),
        "{part}"
    );
    let sent = reconcile("", &["--rate", "1000"]);
    assert!(
        sent.starts_with(found) && sent.contains("6 events sent"),
        "{sent}"
    );
    silent.run(Layout::TWO, "");

    for digest in ["moments_sha256", "projection_sha256", "rows", "rejects"] {
        assert_eq!(silent.inspect()[digest], told.inspect()[digest]);
    }
    let keys = |world: &World| -> Vec<String> {
        let paths = world.rows().into_keys().chain(world.rejects().into_keys());
        paths.map(|path| world.key_of(&path).to_owned()).collect()
    };
    assert_eq!(keys(&silent), keys(&told));
    let again = reconcile("", &[]);
    assert!(
        again.starts_with("0 missing, 0 changed, 0 gone, 1 rejected, 7 as"),
        "{again}"
    );
}
