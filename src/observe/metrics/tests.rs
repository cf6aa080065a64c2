//! The exposition, read line by line as the OpenMetrics specification has it (and `promtool check metrics`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::*;

/// A process that has done a bit of everything.
fn busy() -> Metrics {
    let metrics = Metrics::default();
    metrics.heard("aws", Outcome::Created, 3);
    metrics.refuse("truncated", "s3://b/k");
    metrics.retries.of(["store"]).inc();
    for lag in [(0, Some(1)), (11, None)] {
        let (next, read_ms) = (5, lag.1);
        metrics.lags.set(
            lag.0,
            Lag {
                next,
                high: 9,
                read_ms,
            },
        );
    }
    for stage in [&metrics.fetched, &metrics.decoded, &metrics.committed] {
        for ms in [0, 3, 40_000, 90_000] {
            stage.record(Duration::from_millis(ms));
        }
    }
    let worker = metrics.worker(2);
    worker.images.inc_by(7);
    worker.cpu.inc_by(0.25);
    worker.keys.set(1e7);
    metrics.frontier_age.set(Some(Instant::now()));
    metrics.published.drift.set(1e-9);
    metrics
}

/// A sample: its name, its labels, its value.
type Sample = (String, BTreeMap<String, String>, f64);

fn sample(line: &str) -> Sample {
    let (head, value) = line.rsplit_once(' ').expect("a value");
    let value = match value {
        "+Inf" => f64::INFINITY,
        value => value
            .parse()
            .unwrap_or_else(|_| panic!("{line}: no number")),
    };
    let (name, labels) = match head.split_once('{') {
        None => (head, BTreeMap::new()),
        Some((name, labels)) => {
            let labels = labels.strip_suffix('}').expect("a closing brace");
            let pair = |pair: &str| {
                let (label, value) = pair.split_once('=').expect("a label");
                let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                (label.to_owned(), value.expect("quotes").to_owned())
            };
            (name, labels.split(',').map(pair).collect())
        }
    };
    (name.to_owned(), labels, value)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// What is wrong with an exposition.
fn lint(text: &str) -> Result<usize, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("no EOF at the end")?;
    let mut families: BTreeMap<String, [Option<String>; 3]> = BTreeMap::new();
    let mut current = String::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut buckets: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let mut next = || {
                words
                    .next()
                    .map(str::to_owned)
                    .ok_or(format!("{line}: cut short"))
            };
            let (what, name, said) = (next()?, next()?, next()?);
            let place = ["HELP", "TYPE", "UNIT"]
                .iter()
                .position(|known| *known == what);
            let place = place.ok_or(format!("{line}: unknown comment"))?;
            if !is_name(&name) || !name.starts_with("eigenflow_") {
                return Err(format!("{name}: no name of ours"));
            }
            if name != current && families.contains_key(&name) {
                return Err(format!("{name}: its lines are not together"));
            }
            let family = families.entry(name.clone()).or_default();
            if family[place].replace(said.clone()).is_some() {
                return Err(format!("{line}: said twice"));
            }
            if what == "UNIT" && !name.ends_with(&format!("_{said}")) {
                return Err(format!("{name}: the unit {said} is not its suffix"));
            }
            if what == "TYPE" && said == "counter" && name.ends_with("_total") {
                return Err(format!(
                    "{name}: the family of a counter is named without _total"
                ));
            }
            current = name;
            continue;
        }
        let (name, labels, value) = sample(line);
        let kind = families[&current][1]
            .clone()
            .ok_or(format!("{current}: no type"))?;
        let suffix = name
            .strip_prefix(&current)
            .ok_or(format!("{name}: in {current}"))?;
        let fits = match kind.as_str() {
            "counter" => suffix == "_total",
            "gauge" => suffix.is_empty(),
            "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
            _ => false,
        };
        if !fits {
            return Err(format!("{name}: no sample of a {kind}"));
        }
        if !labels.keys().all(|label| is_name(label)) || value.is_nan() {
            return Err(format!("{line}: a label or value that can't be"));
        }
        if kind != "gauge" && value < 0.0 {
            return Err(format!("{line}: less than nothing"));
        }
        if suffix == "_bucket" {
            let bound = match labels["le"].as_str() {
                "+Inf" => f64::INFINITY,
                bound => bound.parse().map_err(|_| format!("{line}: no bound"))?,
            };
            if let Some((below, count)) = buckets.insert(current.clone(), (bound, value))
                && (bound <= below || value < count)
            {
                return Err(format!("{line}: buckets must rise"));
            }
        }
        if !seen.insert(line.rsplit_once(' ').unwrap_or_default().0.to_owned()) {
            return Err(format!("{line}: a sample twice"));
        }
    }
    for (name, (bound, count)) in &buckets {
        let whole = format!("{name}_count {count}");
        if bound.is_finite() || !body.lines().any(|line| line == whole) {
            return Err(format!("{name}: the last bucket is not its count"));
        }
    }
    for (name, said) in &families {
        if said[0].as_deref().is_none_or(|help| help.len() < 10) || said[1].is_none() {
            return Err(format!("{name}: no help, or no type"));
        }
        let unit = ["_seconds", "_bytes"]
            .iter()
            .any(|unit| name.ends_with(unit));
        if unit && said[2].is_none() {
            return Err(format!("{name}: its unit is not told"));
        }
    }
    Ok(families.len())
}

#[test]
fn the_exposition_is_as_the_specification_has_it() {
    let idle = lint(&Metrics::default().expose().unwrap()).unwrap();
    let text = busy().expose().unwrap();
    let busy = lint(&text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"));
    assert!(idle < busy, "what is not known is not told");
}

#[test]
fn the_lint_finds_what_is_wrong() {
    let text = busy().expose().unwrap();
    for (right, wrong) in [
        ("# EOF\n", ""),
        ("images_total{", "images{"),
        ("# UNIT eigenflow_fetched_bytes bytes\n", ""),
        ("{worker=\"2\"} 7", "{worker=\"2\"} x"),
        ("le=\"+Inf\"} 4", "le=\"+Inf\"} 3"),
        (
            "# TYPE eigenflow_rejects counter",
            "# TYPE eigenflow_rejects gauge",
        ),
    ] {
        assert!(text.contains(right), "{right}\n{text}");
        let wrong = text.replacen(right, wrong, 1);
        assert!(
            std::panic::catch_unwind(|| lint(&wrong)).is_err_and(|_| true) || lint(&wrong).is_err(),
            "{right}"
        );
    }
}

#[test]
fn every_metric_is_documented_as_it_is_named() {
    let docs = Metrics::docs();
    let written = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md"));
    assert!(
        written.unwrap().ends_with(&docs),
        "docs/METRICS.md is not what `eigenflow metrics` prints: write it anew"
    );
    for line in busy()
        .expose()
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let (name, labels, _) = sample(line);
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .fold(name.as_str(), |name, suffix| {
                name.strip_suffix(suffix).unwrap_or(name)
            });
        let row = docs
            .lines()
            .find(|row| row.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{name} is not documented"));
        for label in labels.keys().filter(|label| *label != "le") {
            assert!(row.contains(&format!("`{label}`")), "{row}: {label}");
        }
    }
}
