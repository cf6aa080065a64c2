//! The command line: exit codes, messages, and the commands around the job.

use std::process::{Command, Output};

use crate::world::{BUCKET, Layout, World, picture, succeed};

fn eigenflow(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_eigenflow"))
        .args(arguments)
        .output()
        .expect("the binary")
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

#[test]
fn a_replayed_bucket_equals_the_live_stream() {
    let (live, replayed) = (World::new(2), World::new(3));
    for i in 0..25 {
        let key = format!("b {}/{i}.png", i % 2);
        live.upload(i % 2, 5, &key, picture(i as u64));
        replayed.put(&key, picture(i as u64));
    }
    let layout = Layout {
        workers: 2,
        processes: 1,
    };
    live.run(layout, "");
    let config = replayed.config("");
    let output = succeed(
        replayed
            .command()
            .arg("replay")
            .arg(format!("s3://{BUCKET}/"))
            .arg("--config")
            .arg(&config),
    );
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("25 events"));
    replayed.run(layout, "");
    for digest in ["moments_sha256", "projection_sha256", "rows"] {
        assert_eq!(live.inspect()[digest], replayed.inspect()[digest]);
    }
}

#[test]
fn an_export_has_a_line_a_row() {
    let world = World::new(1);
    for i in 0..5 {
        world.upload(0, 1, &format!("a,b/{i}.png"), picture(i));
    }
    world.run(
        Layout {
            workers: 1,
            processes: 1,
        },
        "[projection]\ncomponents = 2\n",
    );
    let output = world
        .command()
        .arg("export")
        .arg(world.table())
        .args(["--format", "csv"])
        .output()
        .expect("the binary");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "path,label,etag,event_time_ms,width,height,reduced_0,reduced_1"
    );
    assert_eq!(lines.len(), 6);
    assert!(
        lines[1].starts_with("\"s3://landing/a,b/0.png\",\"a,b\","),
        "{}",
        lines[1]
    );
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
