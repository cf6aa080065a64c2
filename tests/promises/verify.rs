//! `verify` finds whatever is not as it was published.

use std::path::{Path, PathBuf};

use eigenflow::job::state::FileList;
use eigenflow::job::{Tables, Verdict};
use eigenflow::table::Author;

use crate::process::outcome;
use crate::world::{Layout, World, picture};

const FLIPS: usize = 200;

/// A small table with everything that a commit can name: several files, a reject, a removal, two projections, a classifier, clusters.
fn world() -> World {
    let world = World::new(2);
    for i in 0..24 {
        world.upload(i % 2, 1, &format!("c {}/{i}.png", i % 3), picture(i as u64));
    }
    world.upload(0, 1, "c 0/no.png", "no picture");
    let config = "[columns]\ncluster = \"cluster\"\n[projection]\ncomponents = 3\n";
    world.run(Layout::TWO, config);
    let config = format!("{config}[publish]\nreproject_at_end = false\n");
    world.remove(0, 2, "c 0/0.png");
    world.upload(1, 2, "c 1/1.png", picture(100));
    world.run(Layout::TWO, &config);
    world
}

/// Every object that the last commit names, in the folder of the world's table.
fn named(world: &World) -> Vec<(String, PathBuf)> {
    let found = world
        .block_on(world.tables().open_existing())
        .expect("tables");
    let state = found.state.expect("a commit");
    let table = Path::new(world.table());
    let beside = |folder: &Path, name: String| (name.clone(), folder.join(name));
    let parent = table.parent().expect("a folder");
    let objects = [
        state.moments.expect("moments").object,
        state.projection.expect("a projection").object,
        state.classifier.expect("a classifier").object,
        state.clustering.expect("clusters").object,
        state.tombstones.expect("a removal"),
    ];
    let rows = found.rows.into_iter().map(|file| beside(table, file.name));
    let rejects = found
        .rejects
        .into_iter()
        .map(|file| beside(&parent.join("rejects"), file.name));
    let objects = objects.into_iter().map(|name| beside(parent, name));
    rows.chain(rejects).chain(objects).collect()
}

fn objects_that_differ(verdict: &Verdict) -> Vec<&str> {
    let differences = verdict.tally.differences.iter();
    differences.map(|difference| &*difference.object).collect()
}

#[test]
fn every_flipped_bit_is_found() {
    let world = world();
    let clean = world.verify(2);
    assert_eq!(objects_that_differ(&clean), [""; 0]);
    assert_eq!((clean.tally.rows, clean.tally.rejects), (23, 1));
    assert_eq!(clean.tally.tombstones, 1);
    assert_eq!(clean.tally.reduced_checked, 23);
    assert_eq!(clean.tally.reduced_unchecked, 0);
    // The one that came last is in none yet.
    assert_eq!(clean.tally.clusters_checked, 22);
    assert_eq!(clean.tally.clusters_unchecked, 0);
    let state = world.inspect();
    assert_eq!(
        clean.digests.moments_sha256.as_deref(),
        state["moments_sha256"].as_str()
    );
    assert_eq!(
        clean.digests.projection_sha256.as_deref(),
        state["projection_sha256"].as_str()
    );

    let objects = named(&world);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for flip in 0..FLIPS {
        let (name, path) = &objects[flip % objects.len()];
        let whole = std::fs::read(path).expect("an object");
        let bit = random(whole.len() * 8);
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(path, damaged).expect("a damaged object");
        let verdict = world.verify(1 + flip % 2);
        let found = objects_that_differ(&verdict);
        assert!(found.contains(&&**name), "bit {bit} of {name}: {found:?}");
        std::fs::write(path, whole).expect("a whole object");
    }
    assert_eq!(world.verify(1).tally, clean.tally);
}

#[test]
fn the_command_answers_by_its_exit_code() {
    let world = world();
    let verify = |arguments: &[&str]| {
        let mut command = world.command();
        let command = command.arg("verify").arg(world.table()).args(arguments);
        let output = outcome(command);
        let said = String::from_utf8(output.stdout).expect("text");
        (output.status.code(), said)
    };
    let (code, said) = verify(&["-w", "2"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("23 rows and 1 rejects, 1 removals"), "{said}");

    let (name, path) = &named(&world)[0];
    let mut bytes = std::fs::read(path).expect("a file");
    bytes[17] ^= 1;
    std::fs::write(path, bytes).expect("a file");
    let (code, said) = verify(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(name) && said.contains("not recomputed"),
        "{said}"
    );
    let (code, said) = verify(&["--json"]);
    assert_eq!(code, Some(1), "{said}");
    let json: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(json["differences"][0]["object"], **name);

    assert_eq!(verify(&["-w", "0"]).0, Some(2));
}

/// Publishes a commit that no job would make: `files` changed, and all else as it was.
fn forge(world: &World, change: impl AsyncFnOnce(&Tables) -> FileList) {
    let mut tables = world.tables();
    world.block_on(async {
        let found = tables.open_to_rewrite(Author::Reproject).await;
        let mut state = found.expect("tables").state.expect("a commit");
        let files = change(&tables).await;
        state.epoch += 1;
        tables.commit(&state, files).await.expect("a commit");
    });
}

#[test]
fn moments_and_projection_of_other_rows_are_found() {
    let world = world();
    forge(&world, async |tables| {
        let (_, files) = tables.committed().await.expect("a log").expect("a commit");
        // Of what is left there is still a projection.
        let least = files.iter().min_by_key(|file| file.rows);
        FileList {
            adds: Vec::new(),
            removes: vec![least.expect("a file").name.clone()],
        }
    });
    let verdict = world.verify(2);
    let found = objects_that_differ(&verdict);
    let state = world.inspect();
    for object in ["moments_object", "projection_object"] {
        assert!(
            found.contains(&state[object].as_str().expect("an object")),
            "{found:?}"
        );
    }
    assert_ne!(
        verdict.digests.moments_sha256.as_deref(),
        state["moments_sha256"].as_str()
    );
}

#[test]
fn reduced_features_of_another_projection_are_found() {
    let world = world();
    forge(&world, async |tables| {
        let (_, files) = tables.committed().await.expect("a log").expect("a commit");
        let mut rows = tables.rows.read(&files[0]).await.expect("a file");
        let reduced = rows[0].reduced_features.as_mut().expect("a projection");
        reduced[0] = f32::from_bits(reduced[0].to_bits() ^ 1);
        FileList {
            adds: vec![tables.rows.write(rows).await.expect("a file")],
            removes: vec![files[0].name.clone()],
        }
    });
    let verdict = world.verify(1);
    let differences = &verdict.tally.differences;
    assert_eq!(differences.len(), 1, "{differences:?}");
    assert!(
        differences[0].what.contains("reduced_features of 1 rows"),
        "{differences:?}"
    );
}

#[test]
fn a_changed_cluster_is_found() {
    let world = world();
    forge(&world, async |tables| {
        let (_, files) = tables.committed().await.expect("a log").expect("a commit");
        let whose = async |file| {
            let rows = tables.rows.read(file).await.expect("a file");
            rows.iter().any(|row| row.cluster.is_some()).then_some(rows)
        };
        for file in &files {
            if let Some(mut rows) = whose(file).await {
                let row = rows.iter_mut().find(|row| row.cluster.is_some());
                row.expect("one in a cluster").cluster = Some(99);
                return FileList {
                    adds: vec![tables.rows.write(rows).await.expect("a file")],
                    removes: vec![file.name.clone()],
                };
            }
        }
        panic!("no row is in a cluster");
    });
    let differences = world.verify(1).tally.differences;
    assert_eq!(differences.len(), 1, "{differences:?}");
    let what = &differences[0].what;
    assert!(what.contains("clusters of 1 rows"), "{what}");
}
