use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    plan: Plan,
}

fn plan(arguments: &str) -> Plan {
    let line = ["plan"].into_iter().chain(arguments.split_whitespace());
    Line::parse_from(line).plan
}

fn rate(arguments: &str, machines: usize) -> f64 {
    simulate(&plan(arguments), machines).images_per_s
}

#[test]
fn nothing_is_planned_of_no_machine_core_or_round() {
    for none in ["--machines 1,0", "--cores 0", "--rounds-in-flight 0"] {
        let line = ["plan"].into_iter().chain(none.split_whitespace());
        let refused = Line::try_parse_from(line)
            .err()
            .map(|error| error.to_string());
        assert!(refused.is_some_and(|why| why.contains("above 0")), "{none}");
    }
    assert_eq!(plan("").machines, [1, 2, 10, 100]);
}

#[test]
fn a_worker_with_nothing_to_wait_for_does_what_its_images_let_it() {
    let one = rate("--cores 2 --workers 1 --backlog-s 600", 1);
    let ideal = 1e3 / (51.7 + 0.125);
    assert!((0.97 * ideal..ideal).contains(&one), "{one} of {ideal}");
    let crowded = rate("--cores 1 --workers 1 --beside-ms 10 --backlog-s 600", 1);
    let ideal = 1e3 / (61.7 + 0.125);
    assert!(
        (0.96 * ideal..ideal).contains(&crowded),
        "{crowded} of {ideal}"
    );
}

#[test]
fn all_images_are_committed_and_none_twice() {
    let plan = plan("--cores 4 --backlog-s 100");
    let mut simulation = Simulation::new(&plan, 2);
    let backlog = simulation.waiting;
    simulation.run();
    let committed: u64 = simulation.commits.iter().sum();
    assert_eq!((committed, simulation.gets), (backlog, backlog));
    assert_eq!(simulation.uncommitted, 0);
}

#[test]
fn a_store_that_answers_less_is_what_bounds() {
    let plan = plan("--gets-per-second 100 --epoch-rows 1000");
    let outcome = simulate(&plan, 1);
    assert!(
        (90.0..=101.0).contains(&outcome.images_per_s),
        "{outcome:?}"
    );
    assert!(outcome.bound_by(&plan).contains("GETs"), "{outcome:?}");
}

#[test]
fn epochs_that_are_too_small_bound_and_larger_ones_do_not() {
    let small = plan("--epoch-rows 100 --events-per-round 4 --gets-per-second 1e6");
    let outcome = simulate(&small, 4);
    assert!(outcome.bound_by(&small).contains("epochs"), "{outcome:?}");
    let large = rate(
        "--epoch-rows 10000 --events-per-round 4 --gets-per-second 1e6",
        4,
    );
    assert!(large > 1.5 * outcome.images_per_s, "{large}: {outcome:?}");
}
