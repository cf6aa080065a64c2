//! The classifier: what it publishes, what it says of rows before it learns them, and what it answers.

use std::io::Cursor;

use eigenflow::job::state::FileList;
use eigenflow::table::Author;
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::Value;

use crate::backend::{Backend, keep_on_all_servers};
use crate::process::{outcome, succeed};
use crate::world::{Layout, Published, World, picture};

keep_on_all_servers!(
    a_label_is_predicted_before_it_is_learnt_and_again_by_reproject,
    a_deleted_class_was_never_there_in_any_layout,
    a_changed_prediction_is_found,
    files_are_told_by_the_classifier_of_the_table_and_its_own_network,
);

const NAMED: &str = "[columns]\npredicted_label = \"guess\"\nconfidence = \"confidence\"\n[projection]\ncomponents = 3\n";
const LIVE: &str = "[publish]\nreproject_at_end = false\n";
pub const LABELS: [&str; 3] = ["apple", "banana", "cherry"];

/// A small picture in the colour of a label, with some noise.
pub fn fruit(label: usize, seed: u64) -> Vec<u8> {
    let noise = image::load_from_memory(&picture(seed)).expect("a picture");
    let noise = noise.into_rgb8();
    let picture = RgbImage::from_fn(16, 16, |x, y| {
        let mut levels = noise.get_pixel(x, y).0.map(|level| level / 4);
        levels[label % 3] += 120;
        Rgb(levels)
    });
    let mut bytes = Cursor::new(Vec::new());
    let written = picture.write_to(&mut bytes, ImageFormat::Png);
    written.expect("a picture");
    bytes.into_inner()
}

pub fn arrive(world: &World, labels: &[&str], numbers: std::ops::Range<u64>) {
    for (i, label) in labels.iter().enumerate() {
        for number in numbers.clone() {
            let bytes = fruit(i, 100 * i as u64 + number);
            world.upload(i as i32 % 2, 1, &format!("{label}/{number}.png"), bytes);
        }
    }
}

fn count(state: &Value, key: &str) -> u64 {
    state[key].as_u64().expect("a number")
}

/// How many predictions were right, of how many.
fn tested(state: &Value) -> (f64, u64) {
    let tested = count(state, "predictions_tested");
    let accuracy = state["prequential_accuracy"].as_f64().unwrap_or(0.0);
    ((accuracy * tested as f64).round(), tested)
}

fn a_label_is_predicted_before_it_is_learnt_and_again_by_reproject(servers: Backend) {
    let world = servers.world(2);
    let live = format!("{NAMED}{LIVE}");
    arrive(&world, &LABELS, 0..8);
    world.run(Layout::TWO, &live);
    let first = world.inspect();
    assert_eq!(count(&first, "labels"), 3);
    arrive(&world, &LABELS, 8..12);
    world.upload(0, 1, "date/0.png", fruit(1, 999));
    world.run(Layout::TWO, &live);
    let second = world.inspect();
    assert_eq!(count(&second, "labels"), 4);

    let rows = world.rows();
    assert_eq!(rows.len(), 37);
    for row in rows.values() {
        let early = row.classifier_version < row.projection_version;
        assert!(early, "{}: by a classifier that had learnt it", row.path);
    }
    let of = |path: &str| &rows[&world.path_of(path)];
    assert_eq!(
        of("cherry/9.png").predicted_label.as_deref(),
        Some("cherry")
    );
    assert!(of("cherry/9.png").confidence > Some(0.9));
    assert_eq!(
        of("cherry/9.png").classifier_version,
        first["classifier_version"].as_i64()
    );
    // No classifier tells a label that it has not met: one test is lost, and it is counted.
    assert_eq!(of("date/0.png").predicted_label.as_deref(), Some("banana"));
    let ((right_before, before), (right, all)) = (tested(&first), tested(&second));
    assert_eq!((right - right_before, all - before), (12.0, 13));
    // The first 24 came before there was a classifier, and name none.
    let clean = world.verify(2).tally;
    assert_eq!((clean.differences, clean.predicted_checked), (vec![], 13));

    let mut reproject = world.command();
    succeed(reproject.args(["reproject", world.table()]));
    for row in world.rows().into_values() {
        assert_eq!(
            row.classifier_version,
            second["classifier_version"].as_i64()
        );
        assert_eq!(row.predicted_label, row.label, "{}", row.path);
    }
    let after = world.inspect();
    assert_eq!(tested(&after), (right, all), "what is learnt is no test");
    assert_eq!(after["classifier_sha256"], second["classifier_sha256"]);
    let clean = world.verify(1).tally;
    assert_eq!((clean.differences, clean.predicted_checked), (vec![], 37));
    let again = succeed(world.command().args(["reproject", world.table()]));
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing to do"));

    let mut vacuum = world.command();
    succeed(vacuum.args(["vacuum", world.table(), "--older-than", "0s"]));
    let left = world.objects_beside("classifiers");
    assert_eq!(left, 1, "the one that the last commit names");
    assert!(world.verify(1).tally.differences.is_empty());
}

fn a_deleted_class_was_never_there_in_any_layout(servers: Backend) {
    let (deleted, never) = (servers.world(2), servers.world(2));
    arrive(&deleted, &LABELS, 0..5);
    deleted.run(Layout::TWO, &format!("{NAMED}{LIVE}"));
    for number in 0..5 {
        deleted.remove(1, 2, &format!("cherry/{number}.png"));
    }
    deleted.run(Layout::PROCESSES, NAMED);
    arrive(&never, &LABELS[..2], 0..5);
    never.run(Layout::ONE, NAMED);
    let (deleted, never) = (Published::of(&deleted), Published::of(&never));
    assert!(never.classifier.is_string());
    assert_eq!(deleted, never);
}

fn a_changed_prediction_is_found(servers: Backend) {
    let world = servers.world(2);
    arrive(&world, &LABELS, 0..4);
    world.run(Layout::ONE, NAMED);
    let mut tables = world.tables();
    world.block_on(async {
        let found = tables.open_to_rewrite(Author::Reproject).await;
        let mut state = found.expect("tables").state.expect("a commit");
        let (_, files) = tables.committed().await.expect("a log").expect("a commit");
        let mut rows = tables.rows.read(&files[0]).await.expect("a file");
        rows[0].predicted_label = Some("durian".into());
        state.epoch += 1;
        let files = FileList {
            adds: vec![tables.rows.write(rows).await.expect("a file")],
            removes: vec![files[0].name.clone()],
        };
        tables.commit(&state, files).await.expect("a commit");
    });
    let differences = world.verify(1).tally.differences;
    assert_eq!(differences.len(), 1, "{differences:?}");
    let what = &differences[0].what;
    assert!(what.contains("predicted labels of 1 rows"), "{what}");
}

fn files_are_told_by_the_classifier_of_the_table_and_its_own_network(servers: Backend) {
    let world = servers.world(2);
    arrive(&world, &LABELS, 0..4);
    world.run(Layout::ONE, "[projection]\ncomponents = 3\n");
    let (new, broken) = (world.path("new.png"), world.path("broken.png"));
    std::fs::write(&new, fruit(1, 4321)).expect("a file");
    std::fs::write(&broken, "no picture").expect("a file");
    let ask = |files: &[&std::path::Path], arguments: &[&str]| {
        let mut command = world.command();
        command.arg("classify").args(files);
        command.args(["--table", world.table()]).args(arguments);
        let output = outcome(&mut command);
        let [said, error] =
            [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text"));
        (output.status.code(), said, error)
    };
    let (code, said, error) = ask(&[&new], &["--json", "--next", "1"]);
    assert_eq!(code, Some(0), "{error}");
    let answers: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(answers[0]["label"], "banana");
    assert!(answers[0]["confidence"].as_f64() > Some(0.5), "{said}");
    assert_eq!(answers[0]["next"].as_array().map(Vec::len), Some(1));

    let (code, said, error) = ask(&[&broken, &new], &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("new.png  banana"), "{said}");
    assert!(
        error.contains("broken.png") && error.contains("1 of 2 files"),
        "{error}"
    );

    let other = world.path("other.toml");
    let network = "[backbone]\nname = \"resnet18\"\nweights = \"random:1\"\ninput_side = 32\n";
    std::fs::write(&other, network).expect("a file");
    let (code, _, error) = ask(&[&new], &["--config", other.to_str().expect("text")]);
    assert_eq!(code, Some(2));
    assert!(
        error.contains("backbone pixels") && error.contains("--config"),
        "{error}"
    );

    let without = servers.world(2);
    arrive(&without, &LABELS, 0..2);
    without.run(Layout::ONE, "[classifier]\nenabled = false\n");
    let mut command = without.command();
    command
        .arg("classify")
        .arg(&new)
        .args(["--table", without.table()]);
    let output = outcome(&mut command);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("classifier.enabled"), "{error}");
}
