//! What computes the features is part of the table: its options can't change under it, and it can't be wider than the sums.

use std::process::Output;

use crate::process::{Process, outcome};
use crate::world::{Layout, World, picture};

/// A small network of random weights.
const RESNET: [(&str, &str); 2] = [("NAME", "resnet18"), ("WEIGHTS", "random:1")];

fn world() -> World {
    let world = World::new(1);
    for i in 0..6 {
        world.upload(0, 1, &format!("a/{i}.png"), picture(i));
    }
    world
}

/// A bounded run with these keys of [backbone] and [head] besides.
fn run(world: &World, backbone: &[(&str, &str)], head: &[(&str, &str)]) -> Output {
    let config = world.config("[projection]\ncomponents = 2\n");
    let mut command = world.command();
    command.args(["run", "--until-end", "--config"]).arg(config);
    for (section, keys) in [("BACKBONE", backbone), ("HEAD", head)] {
        for (key, value) in keys {
            command.env(format!("EIGENFLOW__{section}__{key}"), value);
        }
    }
    outcome(&mut command)
}

fn refused(output: &Output) -> String {
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    message
}

#[test]
fn a_table_keeps_to_the_options_of_its_network() {
    let world = world();
    let small = [RESNET.as_slice(), &[("INPUT_SIDE", "32")]].concat();
    assert_eq!(run(&world, &small, &[]).status.code(), Some(0));
    let epoch = world.inspect()["epoch"].clone();
    for other in [
        ("PREPROCESSING", "tf"),
        ("POOLING", "max"),
        ("FIT", "center-crop"),
        ("PRECISION", "int8"),
    ] {
        let keys = [small.as_slice(), &[other]].concat();
        let message = refused(&run(&world, &keys, &[]));
        let cure =
            "Go back to the old backbone, or tell the table to be rebuilt: `eigenflow rebuild";
        assert!(message.contains(cure), "{other:?}: {message}");
    }
    let head = [("KIND", "random-projection"), ("FEATURES", "64")];
    refused(&run(&world, &small, &head));
    assert_eq!(world.inspect()["epoch"], epoch, "nothing was committed");
    assert_eq!(run(&world, &small, &[]).status.code(), Some(0));
}

#[test]
fn a_table_in_int8_is_gone_on_with_in_int8_alone() {
    let world = world();
    let bytes = [
        RESNET.as_slice(),
        &[("INPUT_SIDE", "32"), ("PRECISION", "int8")],
    ]
    .concat();
    assert_eq!(run(&world, &bytes, &[]).status.code(), Some(0));
    assert_eq!(run(&world, &bytes, &[]).status.code(), Some(0));
    refused(&run(&world, &bytes[..3], &[]));
    let mobilenet = [("NAME", "mobilenet_v2"), ("PRECISION", "int8")];
    let message = refused(&run(&world, &mobilenet, &[]));
    assert!(
        message.contains("can't be int8 for mobilenet_v2"),
        "{message}"
    );
}

#[test]
fn features_too_wide_are_refused_with_both_ways_out_and_taken_with_a_head() {
    let world = world();
    // 3 x 3 pixels of 512 channels.
    let wide = [
        RESNET.as_slice(),
        &[("INPUT_SIDE", "96"), ("POOLING", "flatten")],
    ]
    .concat();
    let message = refused(&run(&world, &wide, &[]));
    for part in [
        "4608 features",
        "4096",
        "head.kind = \"random-projection\"",
        "head.kind = \"dense\"",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let head = [("KIND", "random-projection"), ("FEATURES", "64")];
    let output = run(&world, &wide, &head);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(world.inspect()["features"], 64);
    assert_eq!(world.rows().len(), 6);
    assert!(world.rows().values().all(|row| row.features.len() == 64));
    // Another seed is another network.
    refused(&run(
        &world,
        &wide,
        &[head.as_slice(), &[("SEED", "2")]].concat(),
    ));
}

#[test]
fn workers_and_processes_of_a_cnn_make_one_table_bit_for_bit() {
    let small = [RESNET.as_slice(), &[("INPUT_SIDE", "32")]].concat();
    make_one_table(|world, layout| {
        let few = "[projection]\ncomponents = 2\n";
        let commands = world.processes(layout, few, &["--until-end"]);
        let jobs = commands.into_iter().map(|mut command| {
            let keys = small.iter();
            command.envs(keys.map(|(key, value)| (format!("EIGENFLOW__BACKBONE__{key}"), value)));
            Process::start(&mut command)
        });
        for job in jobs.collect::<Vec<_>>() {
            let output = job.wait();
            let log = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{layout:?}: {log}");
        }
    });
}

#[test]
fn workers_with_heads_make_one_table_bit_for_bit() {
    let head =
        "[projection]\ncomponents = 2\n[head]\nkind = \"random-projection\"\nfeatures = 100\n";
    make_one_table(|world, layout| world.run(layout, head));
}

/// That in every layout `run` makes a table of the same digests.
fn make_one_table(run: impl Fn(&World, Layout)) {
    let digests = [Layout::ONE, Layout::TWO, Layout::PROCESSES].map(|layout| {
        let world = world();
        run(&world, layout);
        let inspected = world.inspect();
        ["moments_sha256", "projection_sha256"].map(|digest| inspected[digest].clone())
    });
    assert!(digests[0][0].is_string());
    assert!(
        digests.iter().all(|other| *other == digests[0]),
        "{digests:?}"
    );
}
