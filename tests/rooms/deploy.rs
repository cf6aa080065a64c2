//! What operators are given names what the program has.

use std::collections::BTreeSet;
use std::path::Path;

use eigenflow::observe::Metrics;
use regex::Regex;

fn names(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\beigenflow_[a-z_]+").unwrap();
    let names = name.find_iter(text).map(|found| found.as_str());
    // Samples of a histogram.
    let suffix = Regex::new("_(bucket|sum|count)$").unwrap();
    names
        .map(|name| suffix.replace(name, "").into_owned())
        .collect()
}

#[test]
fn every_metric_of_dashboard_and_alerts_is_defined() {
    let defined = names(&Metrics::docs());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for file in ["grafana-dashboard.json", "alerts.yml", "alerts.test.yml"] {
        let named = names(&std::fs::read_to_string(folder.join(file)).unwrap());
        assert!(!named.is_empty(), "{file} names no metric");
        let unknown: Vec<_> = named.difference(&defined).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn the_dashboard_is_json_with_an_expression_in_every_panel() {
    let text = include_str!("../../deploy/grafana-dashboard.json");
    let dashboard: serde_json::Value = serde_json::from_str(text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(!panels.is_empty());
    for panel in panels {
        let targets = panel["targets"].as_array().unwrap();
        let empty = |target: &serde_json::Value| target["expr"].as_str().unwrap_or("").is_empty();
        assert!(
            !targets.is_empty() && !targets.iter().any(empty),
            "{}",
            panel["title"]
        );
    }
}
