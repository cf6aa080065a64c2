//! What the table looks like: names of columns, what is shown, and which objects are rows.

use std::process::Command;

use eigenflow::table::Row;
use serde_json::Value;

use crate::backend::{Backend, keep_on_all_servers};
use crate::process::succeed;
use crate::world::{Layout, SMALL_EPOCHS, World, picture};

keep_on_all_servers!(
    columns_have_the_names_they_are_given_and_the_rows_are_the_same,
    a_table_keeps_its_columns,
    two_tables_do_not_lie_side_by_side,
    only_what_is_selected_is_a_row_and_reconcile_follows_a_new_selection,
);

const NAMED: &str = "[columns]\nlabel = \"category\"\nfeatures = \"raw\"\nscaled_features = \"scaledFeatures\"\n\
                     reduced_features = \"pcaFeatures\"\n\
                     content = \"content\"\n[projection]\ncomponents = 3\n";

fn arrive(world: &World) {
    for i in 0..24 {
        let key = format!("fruit {}/{i}.png", i % 3);
        world.upload(i % 2, 1, &key, picture(i as u64));
    }
}

fn run_of(world: &World, more: &str) -> (Option<i32>, String) {
    let job = world.start(Layout::ONE, more, &["--until-end"]).pop();
    let output = job.expect("a process").wait();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

fn export(world: &World, columns: &str) -> String {
    let mut command: Command = world.command();
    command.args(["export", &world.servers.uri, "--columns", columns]);
    String::from_utf8(succeed(&mut command).stdout).expect("text")
}

fn columns_have_the_names_they_are_given_and_the_rows_are_the_same(servers: Backend) {
    let (plain, named) = (servers.world(2), servers.world(2));
    let small = format!("{NAMED}{SMALL_EPOCHS}");
    for world in [&plain, &named] {
        arrive(world);
    }
    plain.run(Layout::TWO, "[projection]\ncomponents = 3\n");
    named.run(Layout::TWO, &small);
    // Rows are edited, retracted and restored by their given names, too.
    for world in [&plain, &named] {
        world.remove(0, 2, "fruit 0/0.png");
        world.upload(1, 2, "fruit 1/1.png", picture(99));
    }
    plain.run(Layout::ONE, "[projection]\ncomponents = 3\n");
    named.run(Layout::PROCESSES, &small);
    let digests = |world: &World| {
        let found = world.inspect();
        (
            found["moments_sha256"].clone(),
            found["projection_sha256"].clone(),
        )
    };
    assert_eq!(digests(&plain), digests(&named));

    let rows = |world: &World| -> Vec<Row> {
        let unshown = |row: Row| Row {
            path: world.key_of(&row.path).to_owned(),
            scaled_features: None,
            content: None,
            projection_version: None,
            classifier_version: None,
            ..row
        };
        world.rows().into_values().map(unshown).collect()
    };
    assert!(rows(&plain) == rows(&named), "the rows differ");
    for row in named.rows().into_values() {
        let content = row.content.expect("the image");
        assert_eq!(content, named.object(&row.path));
        let scaled = row.scaled_features.expect("scaled features");
        assert_eq!(scaled.len(), row.features.len());
        assert!(scaled.iter().any(|x| *x != 0.0));
    }
    assert!(named.verify(2).tally.differences.is_empty());
    let schema = &named.inspect()["columns"];
    let shown = |column: &str| schema.as_array().expect("columns").contains(&column.into());
    for column in [
        "path string",
        "category string",
        "raw array<float>[768]",
        "scaledFeatures array<float>[768]",
        "pcaFeatures array<float>[3]",
        "content binary",
    ] {
        assert!(shown(column), "no {column} in {schema}");
    }
    assert!(!shown("label string") && !shown("cluster integer"));

    let csv = export(&named, "label,features,reduced-features");
    let header: Vec<_> = csv.lines().next().expect("a header").split(',').collect();
    assert_eq!(
        (header[0], header[1], header.len()),
        ("category", "feat_0", 1 + 768 + 3)
    );
    assert_eq!(csv.lines().count(), 1 + 23);
}

fn a_table_keeps_its_columns(servers: Backend) {
    let world = servers.world(2);
    arrive(&world);
    world.run(Layout::ONE, NAMED);
    let (code, said) = run_of(&world, "[projection]\ncomponents = 3\n");
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("category") && said.contains("[columns]"),
        "{said}"
    );
    assert!(said.contains("label = \"category\""), "{said}");
    let nothing = "[columns]\npredicted_label = false\nconfidence = false\n";
    let (code, said) = run_of(&world, &NAMED.replacen("[columns]\n", nothing, 1));
    assert_eq!(code, Some(2), "{said}");
    let cure = "say there predicted_label = \"predicted_label\", confidence = \"confidence\", or";
    assert!(said.contains(cure), "{said}");
    let (code, said) = run_of(&world, "[columns]\nlabel = \"path\"\n");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("two columns"), "{said}");
}

fn two_tables_do_not_lie_side_by_side(servers: Backend) {
    let mut world = servers.world(1);
    world.upload(0, 1, "a/1.png", picture(1));
    world.upload(0, 1, "a/broken.png", "no picture");
    world.run(Layout::ONE, "");
    let rejects = world.rejects();
    assert_eq!(rejects.len(), 1);
    // Its rejects and its state would be those of the first.
    let first = world.servers.uri.clone();
    world.servers.uri = format!("{first}-too");
    let (code, said) = run_of(&world, "");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("a folder of its own"), "{said}");
    world.servers.uri = format!("{first}-too/table");
    let (code, said) = run_of(&world, "");
    assert_eq!(code, Some(0), "{said}");
    world.servers.uri = first;
    assert_eq!(world.rejects(), rejects);
    assert!(world.verify(1).tally.differences.is_empty());
}

fn only_what_is_selected_is_a_row_and_reconcile_follows_a_new_selection(servers: Backend) {
    let world = servers.world(2);
    arrive(&world);
    let select = |globs: &str| format!("[select]\n{globs}\n[projection]\ncomponents = 3\n");
    world.run(Layout::TWO, &select("exclude = [\"fruit 2/*\"]"));
    let labels = |world: &World| -> Vec<Option<String>> {
        let mut labels: Vec<_> = world.rows().into_values().map(|row| row.label).collect();
        labels.dedup();
        labels
    };
    let named = |names: &[&str]| -> Vec<Option<String>> {
        names.iter().map(|name| Some((*name).to_owned())).collect()
    };
    assert_eq!(labels(&world), named(&["fruit 0", "fruit 1"]));
    assert_eq!(world.rows().len(), 16);

    // What was taken and is no longer goes with the next event, though its bytes are the same.
    let narrower = select("exclude = [\"fruit 2/*\", \"fruit 0/3.png\"]");
    world.upload(1, 9, "fruit 0/3.png", picture(3));
    world.run(Layout::ONE, &narrower);
    assert_eq!(world.rows().len(), 15);

    let other = select("include = [\"fruit 1/*\", \"fruit 2/*\"]\nper_label = 5");
    let config = world.config(&other);
    let mut reconcile = world.command();
    reconcile
        .args(["reconcile", &world.path_of(""), "--config"])
        .arg(&config);
    let told = succeed(&mut reconcile);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.starts_with("5 missing, 0 changed, 7 gone, 0 rejected, 8 as"),
        "{told}"
    );
    world.run(Layout::ONE, &other);
    assert_eq!(labels(&world), named(&["fruit 1", "fruit 2"]));
    let inspected: Value = world.inspect();
    assert_eq!(
        (world.rows().len(), inspected["rejects"].as_u64()),
        (13, Some(0))
    );
}
