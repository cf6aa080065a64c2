//! promtool's opinion of a running job's metrics.

use std::io::{Seek, Write};
use std::process::Command;

use crate::process::{outcome, there};
use crate::shared::loud;

/// What promtool finds wrong with an exposition; nothing to say where there is no promtool. It reads Prometheus' older text, where a
/// counter's family is named as its samples are, and a unit is not told.
pub fn complaint(exposition: &str) -> Option<String> {
    let mut text = String::new();
    let counter = |name: &str| exposition.contains(&format!("# TYPE {name} counter\n"));
    for line in exposition.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "UNIT", ..] | ["#", "EOF"] => continue,
            ["#", what, name, said] if counter(name) => {
                text += &format!("# {what} {name}_total {said}\n");
            }
            _ => text += &format!("{line}\n"),
        }
    }
    if !there("promtool") {
        loud("SKIPPED: promtool is not there to check the metrics");
        return None;
    }
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(text.as_bytes()).expect("its input");
    file.rewind().expect("its beginning");
    let output = outcome(
        Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(file),
    );
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (!output.status.success() || !said.is_empty()).then_some(said)
}
