//! promtool's opinion of a running job's metrics.

use std::io::Write;
use std::process::{Command, Stdio};

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
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        eprintln!("SKIPPED: promtool is not there to check the metrics");
        return None;
    };
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(text.as_bytes()).expect("its input");
    drop(stdin);
    let output = child.wait_with_output().expect("its end");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (!output.status.success() || !said.is_empty()).then_some(said)
}
