//! `rebuild`: the images of a table by another network, and no image lost on the way.

use eigenflow::backbone::weights;
use eigenflow::config::{self, Said};
use eigenflow::job::{Extraction, Rebuilding};
use eigenflow::table::CommitError;

use crate::backend::{Backend, keep_on_all_servers};
use crate::process::{Process, outcome, succeed};
use crate::world::{Layout, Published, World, picture};

keep_on_all_servers!(
    a_rebuilt_table_is_the_one_that_the_other_network_makes,
    labels_by_another_rule_are_another_table,
    a_rebuild_that_loses_to_a_job_changes_nothing,
    a_job_that_is_overtaken_by_a_rebuild_does_not_go_on,
);

const OLD: &str = "[publish]\nrows = 5\ninterval_ms = 200\n[projection]\ncomponents = 3\n";
const NEW: &str = "[publish]\nrows = 5\ninterval_ms = 200\n[projection]\ncomponents = 3\n[head]\nkind = \"random-projection\"\nfeatures = 100\n";

fn arrive(world: &World) {
    for i in 0..12 {
        let key = format!("class {}/{i}.png", i % 3);
        world.upload(i % 2, 1, &key, picture(i as u64));
    }
    world.upload(0, 1, "class 0/no.png", "no picture");
    world.remove(1, 2, "class 1/10.png");
}

fn rebuild(world: &World, settings: &str) -> String {
    let mut command = world.command();
    command.args(["rebuild", "--config"]);
    let output = succeed(command.arg(world.config(settings)));
    String::from_utf8(output.stdout).expect("text")
}

fn a_rebuilt_table_is_the_one_that_the_other_network_makes(servers: Backend) {
    let world = servers.world(2);
    // The same images and events, and no table yet.
    let other = world.fork();
    arrive(&world);
    world.run(Layout::TWO, OLD);
    let before = world.inspect();
    let refused = outcome(&mut world.processes(Layout::ONE, NEW, &["--until-end"])[0]);
    let message = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{message}");
    assert!(message.contains("eigenflow rebuild --config"), "{message}");

    // No event tells of these.
    world.delete("class 2/2.png");
    world.put("class 2/5.png", picture(105));
    let said = rebuild(&world, NEW);
    assert!(said.contains("11 events sent"), "{said}");
    let between = world.inspect();
    assert_eq!(world.rows().len(), 0);
    assert_eq!(between["rejects"], 1, "what can't be read stays a reject");
    assert_eq!(between["offsets"], before["offsets"]);
    assert_eq!(world.verify(1).tally.differences, []);
    let said = rebuild(&world, NEW);
    assert!(said.contains("nothing to do"), "{said}");
    assert_eq!(world.inspect(), between);

    world.run(Layout::PROCESSES, NEW);
    other.run(Layout::ONE, NEW);
    assert_eq!(world.rows().len(), 10);
    let [rebuilt, made] = [&world, &other].map(Published::of);
    assert_eq!(rebuilt, made);
    assert_eq!(world.verify(2).tally.differences, []);
}

fn labels_by_another_rule_are_another_table(servers: Backend) {
    let world = servers.world(2);
    let other = world.fork();
    arrive(&world);
    world.run(Layout::TWO, OLD);
    let by_rule = format!("{OLD}[label]\nrule = \"regex\"\npattern = '([0-9]+)[.]png$'\n");
    let refused = outcome(&mut world.processes(Layout::ONE, &by_rule, &["--until-end"])[0]);
    let message = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{message}");
    assert!(message.contains("label.rule = parent"), "{message}");
    let said = rebuild(&world, &by_rule);
    assert!(said.contains("11 events sent"), "{said}");
    for world in [&world, &other] {
        world.run(Layout::TWO, &by_rule);
    }
    let [rebuilt, made] = [&world, &other].map(Published::of);
    assert_eq!(rebuilt, made);
}

/// The network of [`NEW`], and a rebuild by it that is yet to make its commit.
fn begun(world: &World) -> (Extraction, Rebuilding) {
    let said = Said::load(&world.config(NEW), config::environment()).expect("a file");
    let config = said.resolve().expect("a configuration");
    let cache = weights::cache_dir().expect("a folder");
    let extraction = Extraction::load(&config.backbone, &config.head, &cache).expect("a network");
    let opened = Rebuilding::open(
        world.tables(),
        &extraction,
        &config.label,
        &config.kafka.topic,
    );
    let rebuilding = world.block_on(opened).expect("a table");
    (extraction, rebuilding.expect("another network"))
}

fn a_rebuild_that_loses_to_a_job_changes_nothing(servers: Backend) {
    let world = servers.world(2);
    arrive(&world);
    world.run(Layout::ONE, OLD);
    let (extraction, rebuilding) = begun(&world);
    world.upload(0, 3, "class 0/20.png", picture(20));
    world.run(Layout::ONE, OLD);
    let of_the_job = (world.inspect(), world.rows());
    let emptied = world.block_on(rebuilding.empty(&extraction));
    let error = emptied.expect_err("a job was faster");
    assert!(CommitError::fenced(&error), "{error:#}");
    let told = error.to_string();
    assert!(told.contains("the table is as it was"), "{told}");
    assert_eq!((world.inspect(), world.rows()), of_the_job);
}

fn a_job_that_is_overtaken_by_a_rebuild_does_not_go_on(servers: Backend) {
    let world = servers.world(2);
    arrive(&world);
    let (settings, mut command) = (world.config(OLD), world.command());
    command.args(["run", "--restart", "--config"]).arg(settings);
    let supervisor = Process::start(&mut command);
    world.wait_for(|state| state["offsets"]["0"] == 7 && state["offsets"]["1"] == 7);
    let (extraction, rebuilding) = begun(&world);
    // What is started again finds its own configuration.
    world.config(OLD);
    let rebuilt = world.block_on(rebuilding.empty(&extraction));
    assert_eq!(rebuilt.expect("the job is idle").rows, 11);
    world.upload(0, 3, "class 0/20.png", picture(20));
    let output = supervisor.wait();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{log}");
    assert!(log.contains(" rebuild (writer "), "{log}");
    assert!(
        log.contains("features of both can't share a table"),
        "{log}"
    );
    assert_eq!(world.rows().len(), 0);
}
