//! What a table answers: clusters, neighbours, the report; at any of its versions.

use std::collections::BTreeSet;

use eigenflow::table::Row;
use serde_json::Value;

use crate::backend::{Backend, keep_on_all_servers};
use crate::classes::{LABELS, arrive, fruit};
use crate::process::{outcome, succeed};
use crate::world::{Layout, Published, World};

keep_on_all_servers!(
    rows_have_clusters_once_all_are_under_one_projection,
    a_table_without_labels_has_the_clusters_that_it_is_asked_for,
    neighbours_are_the_nearest_rows,
    a_report_tells_what_the_table_holds,
    older_versions_answer_as_they_did,
);

const CLUSTERED: &str = "[columns]\ncluster = \"fruit_cluster\"\n[projection]\ncomponents = 3\n";
const SMALL: &str = "[projection]\ncomponents = 3\n";
const LIVE: &str = "[publish]\nreproject_at_end = false\n";

fn ask(world: &World, arguments: &[&str]) -> String {
    let output = succeed(world.command().args(arguments));
    String::from_utf8(output.stdout).expect("text")
}

fn json(world: &World, arguments: &[&str]) -> Value {
    serde_json::from_str(&ask(world, arguments)).expect("JSON")
}

/// How many of the rows are in a cluster, and whether each cluster is one label.
fn clusters(world: &World) -> (usize, bool) {
    let rows: Vec<Row> = world.rows().into_values().collect();
    let pairs = rows
        .iter()
        .filter_map(|row| Some((row.cluster?, &row.label)));
    let pairs: Vec<_> = pairs.collect();
    let distinct: BTreeSet<_> = pairs.iter().collect();
    (pairs.len(), distinct.len() == LABELS.len())
}

fn rows_have_clusters_once_all_are_under_one_projection(servers: Backend) {
    let world = servers.world(2);
    arrive(&world, &LABELS, 0..8);
    world.run(Layout::TWO, &format!("{CLUSTERED}{LIVE}"));
    assert_eq!(clusters(&world).0, 0, "a live job knows no clusters");
    assert_eq!(world.inspect()["clusters"], Value::Null);

    let said = ask(&world, &["reproject", world.table(), "-w", "2"]);
    assert!(said.contains("3 clusters: silhouette 0."), "{said}");
    assert!(said.contains("adjusted Rand index of 1.0000"), "{said}");
    assert_eq!(clusters(&world), (24, true));
    let first = world.inspect();
    assert_eq!(
        (&first["clusters"], &first["clustering_version"]),
        (&3.into(), &1.into())
    );
    assert_eq!(first["adjusted_rand_index"], 1.0);
    assert_eq!(first["normalised_mutual_information"], 1.0);
    assert!(first["silhouette"].as_f64() > Some(0.2), "{first}");
    let told = json(&world, &["cluster", world.table(), "--json", "-w", "2"]);
    assert_eq!(told["clustering_sha256"], first["clustering_sha256"]);
    let again = ask(&world, &["reproject", world.table()]);
    assert!(again.contains("nothing to do"), "{again}");

    // Rows that come later have none, until all have new ones.
    arrive(&world, &LABELS, 8..10);
    world.run(Layout::ONE, &format!("{CLUSTERED}{LIVE}"));
    assert_eq!(clusters(&world), (24, true));
    assert_eq!(
        world.inspect()["clustering_sha256"],
        first["clustering_sha256"]
    );
    assert!(world.verify(2).tally.differences.is_empty());
    ask(&world, &["reproject", world.table()]);
    assert_eq!(clusters(&world), (30, true));
    let clean = world.verify(1).tally;
    assert_eq!((clean.differences, clean.clusters_checked), (vec![], 30));

    // Other clusters of the same rows are asked for once, and then kept.
    ask(
        &world,
        &["reproject", world.table(), "-k", "5", "--seed", "7"],
    );
    let five = world.inspect();
    assert_eq!(
        (&five["clusters"], &five["clustering_version"]),
        (&5.into(), &3.into())
    );
    let again = ask(&world, &["reproject", world.table()]);
    assert!(again.contains("nothing to do"), "{again}");
    assert!(world.verify(1).tally.differences.is_empty());

    ask(&world, &["vacuum", world.table(), "--older-than", "0s"]);
    let left = world.objects_beside("clusters");
    assert_eq!(left, 1, "the one that the last commit names");
    assert!(world.verify(1).tally.differences.is_empty());
}

#[test]
fn clusters_are_those_of_the_live_rows_in_any_layout() {
    let (changed, clean) = (World::new(2), World::new(2));
    arrive(&changed, &LABELS, 0..6);
    changed.run(Layout::TWO, &format!("{CLUSTERED}{LIVE}"));
    changed.remove(1, 2, "cherry/5.png");
    changed.upload(0, 2, "apple/0.png", fruit(0, 77));
    changed.run(Layout::PROCESSES, CLUSTERED);

    arrive(&clean, &LABELS[..2], 1..6);
    clean.upload(0, 2, "apple/0.png", fruit(0, 77));
    clean.upload(1, 1, "banana/0.png", fruit(1, 100));
    for number in 0..5 {
        clean.upload(
            0,
            1,
            &format!("cherry/{number}.png"),
            fruit(2, 200 + number),
        );
    }
    clean.run(Layout::ONE, CLUSTERED);
    let (changed, clean) = (Published::of(&changed), Published::of(&clean));
    assert!(clean.clustering.is_string());
    assert_eq!(changed, clean);
}

fn a_table_without_labels_has_the_clusters_that_it_is_asked_for(servers: Backend) {
    let world = servers.world(2);
    arrive(&world, &LABELS, 0..4);
    let unlabelled = format!("{CLUSTERED}[label]\nrule = \"none\"\n");
    world.run(Layout::ONE, &unlabelled);
    assert_eq!(clusters(&world).0, 0);
    let again = ask(&world, &["reproject", world.table()]);
    assert!(again.contains("nothing to do"), "{again}");
    let mut command = world.command();
    let output = outcome(command.args(["cluster", world.table()]));
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("give their number"), "{error}");
    let said = ask(&world, &["cluster", world.table(), "-k", "3"]);
    assert!(said.contains("12 rows under projection"), "{said}");
    ask(&world, &["reproject", world.table(), "-k", "3"]);
    assert_eq!(clusters(&world).0, 12);
    assert_eq!(world.inspect()["adjusted_rand_index"], Value::Null);
}

fn neighbours_are_the_nearest_rows(servers: Backend) {
    let world = servers.world(2);
    arrive(&world, &LABELS, 0..6);
    world.run(Layout::ONE, &format!("{SMALL}{LIVE}"));
    arrive(&world, &LABELS, 6..9);
    world.run(Layout::TWO, &format!("{SMALL}{LIVE}"));
    let table = ["--table", world.table(), "--json"];
    let paths = ["banana/7.png", "nothing.png"].map(|key| world.path_of(key));
    let [seventh, nothing] = paths.each_ref().map(String::as_str);
    let of_row = [&["similar", seventh, "-k", "8"][..], &table].concat();
    let found = json(&world, &of_row);

    // Independently: every row under the newest projection, every distance, all sorted.
    let tables = &mut world.tables();
    let projection = world.block_on(async {
        let found = tables.open_existing().await.expect("tables");
        let state = found.state.expect("a commit");
        let stored = eigenflow::job::read_projection(tables, &state).await;
        stored.expect("an object").expect("a projection").projection
    });
    let rows = world.rows();
    assert!(
        rows.values().any(|row| row.projection_version == Some(1)),
        "two projections"
    );
    let reduced = |path: &str| projection.reduced(&rows[path].features);
    let mine = reduced(seventh);
    let distance = |path: &str| {
        let squares = reduced(path).into_iter().zip(&mine);
        let squares = squares.map(|(a, b)| (f64::from(a) - f64::from(*b)).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let mut all: Vec<(f64, &str)> = rows
        .keys()
        .filter(|path| *path != seventh)
        .map(|path| (distance(path), path.as_str()))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let found = found.as_array().expect("a list");
    assert_eq!(found.len(), 8);
    for (found, (distance, path)) in found.iter().zip(all) {
        assert_eq!(found["path"], path);
        let told = found["distance"].as_f64().expect("a number");
        assert!(
            (told - distance).abs() < 1e-9,
            "{told} instead of {distance}"
        );
        assert_eq!(found["label"], "banana");
    }

    let image = world.path("new.png");
    std::fs::write(&image, fruit(1, 107)).expect("a file");
    let image = image.to_str().expect("text");
    let of_file = json(
        &world,
        &[&["similar", image, "-k", "1"][..], &table].concat(),
    );
    assert_eq!(of_file[0]["path"], seventh);
    assert_eq!(of_file[0]["distance"], 0.0, "the same image");
    // At the version before it came, it is not there.
    let early = [
        &["similar", image, "-k", "30", "--version", "1"][..],
        &table,
    ]
    .concat();
    let early = json(&world, &early);
    assert_eq!(early.as_array().map(Vec::len), Some(18));
    for (missing, word) in [(nothing, "has no image"), ("nothing.png", "nothing.png")] {
        let mut command = world.command();
        command.args(["similar", missing]).args(table);
        let output = outcome(&mut command);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(error.contains(word), "{error}");
    }
}

/// The JSON that a report holds.
fn reported(world: &World, table: &str, arguments: &[&str]) -> Value {
    let file = world.path("report.html");
    let file = file.to_str().expect("text");
    ask(
        world,
        &[&["report", table, "-o", file][..], arguments].concat(),
    );
    let html = std::fs::read_to_string(file).expect("a file");
    let (_, data) = html.split_once("id=\"data\">").expect("the data");
    let (data, _) = data.split_once("</script>").expect("its end");
    serde_json::from_str(data).expect("JSON")
}

/// How many rows are in the classifier's table.
fn told(report: &Value) -> u64 {
    let cells = report["classifier"]["table"]["cells"].as_array();
    let rows = |cell: &Value| cell[2].as_u64().expect("a number");
    cells.expect("cells").iter().map(rows).sum()
}

fn a_report_tells_what_the_table_holds(servers: Backend) {
    let world = servers.world(2);
    arrive(&world, &LABELS, 0..5);
    world.upload(0, 1, "cherry/broken.png", "no picture");
    world.run(Layout::ONE, &format!("{SMALL}{LIVE}"));
    arrive(&world, &LABELS, 5..8);
    world.run(Layout::ONE, &format!("{SMALL}{LIVE}"));

    let now = reported(&world, world.table(), &["-w", "2"]);
    assert_eq!(
        (&now["rows"], &now["labels"], &now["rejected"]),
        (&24.into(), &3.into(), &1.into())
    );
    assert_eq!(now["rejects"][0]["count"], 1);
    assert_eq!(
        now["rejects"][0]["path"],
        world.path_of("cherry/broken.png")
    );
    assert_eq!(
        now["projection"]["history"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(now["clusters"]["count"], 3);
    assert_eq!(now["clusters"]["agreement"]["adjusted_rand_index"], 1.0);
    assert_eq!(now["classifier"]["tested"], 9);
    // The first rows met no classifier, so the newest one tells them.
    assert_eq!((told(&now), &now["classifier"]["unseen"]), (24, &9.into()));
    let sample = &now["sample"];
    for column in ["label", "cluster", "time", "path", "pca", "tsne", "picture"] {
        assert_eq!(
            sample[column].as_array().map(Vec::len),
            Some(24),
            "{column}"
        );
    }
    let pictures = sample["picture"].as_array().expect("pictures");
    assert!(pictures.iter().all(|picture| {
        picture
            .as_str()
            .is_some_and(|text| text.starts_with("/9j/"))
    }));

    let few = reported(&world, world.table(), &["--sample", "10", "--version", "1"]);
    assert_eq!(
        (&few["version"], &few["rows"], &few["rejected"]),
        (&1.into(), &15.into(), &1.into())
    );
    assert_eq!(few["sample"]["path"].as_array().map(Vec::len), Some(10));
    assert_eq!(
        few["projection"]["history"].as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn a_report_shows_the_tables_own_images_when_no_store_answers() {
    let shown = World::new(2);
    arrive(&shown, &LABELS, 0..3);
    shown.run(
        Layout::ONE,
        &format!("[columns]\ncontent = \"image\"\npredicted_label = false\n{SMALL}"),
    );
    let report = reported(&shown, shown.table(), &["--endpoint", "http://127.0.0.1:9"]);
    let pictures = report["sample"]["picture"].as_array().expect("pictures");
    assert!(pictures.len() == 9 && pictures.iter().all(Value::is_string));
    assert_eq!(
        (told(&report), &report["classifier"]["unseen"]),
        (9, &0.into())
    );
}

#[test]
fn a_store_answers_as_its_folder_does() {
    let world = World::new(2);
    for numbers in [0..3, 3..5] {
        arrive(&world, &LABELS, numbers);
        world.run(Layout::ONE, &format!("{SMALL}{LIVE}"));
    }
    let image = world.path("new.png");
    std::fs::write(&image, fruit(1, 4321)).expect("a file");
    let image = image.to_str().expect("text");
    let in_store = world.servers.uri.as_str();
    assert!(in_store.starts_with("s3://"));
    for question in [
        &["cluster", "TABLE", "-w", "2"][..],
        &["similar", "s3://landing/banana/1.png", "--table", "TABLE"],
        &["classify", image, "--table", "TABLE"],
    ] {
        let asked = |table: &str| {
            let words = question.iter().map(|word| word.replace("TABLE", table));
            let words: Vec<String> = words.chain(["--json".to_owned()]).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            json(&world, &words)
        };
        assert_eq!(asked(in_store), asked(world.table()), "{question:?}");
    }
    // But for what the table is called there.
    let told = |table: &str| {
        let mut report = reported(&world, table, &[]);
        report["table"].take();
        report
    };
    assert_eq!(told(in_store), told(world.table()));
}

fn older_versions_answer_as_they_did(servers: Backend) {
    let world = servers.world(2);
    arrive(&world, &LABELS[..2], 0..5);
    world.run(Layout::ONE, &format!("{SMALL}{LIVE}"));
    let version = world.inspect()["commit"].to_string();
    let then = json(&world, &["cluster", world.table(), "--json"]);
    for number in 0..5 {
        world.upload(
            0,
            1,
            &format!("cherry/{number}.png"),
            fruit(2, 200 + number),
        );
    }
    world.upload(0, 1, "cherry/broken.png", "no picture");
    world.run(Layout::ONE, &format!("{SMALL}{LIVE}"));
    assert_eq!(
        json(
            &world,
            &["cluster", world.table(), "--json", "--version", &version]
        ),
        then
    );
    assert_eq!(
        reported(&world, world.table(), &["--version", &version])["rejected"],
        0
    );
    let image = world.path("new.png");
    std::fs::write(&image, fruit(2, 4321)).expect("a file");
    let image = image.to_str().expect("text");
    let classify = ["classify", image, "--table", world.table(), "--json"];
    assert_eq!(json(&world, &classify)[0]["label"], "cherry");
    let early = json(&world, &[&classify[..], &["--version", &version]].concat());
    assert_ne!(early[0]["label"], "cherry");
    let mut command = world.command();
    command.args(["cluster", world.table(), "--version", "999"]);
    let output = outcome(&mut command);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("no version 999"), "{error}");
}
