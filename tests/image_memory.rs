//! No hostile input makes the process large. Alone in its binary, because the kernel counts memory by process.
#![cfg(target_os = "linux")]

use std::path::PathBuf;

use eigenflow::image::{Limits, decode};

/// The folder of hostile inputs, or `None` with a loud word when it isn't there.
fn bad_inputs() -> Option<PathBuf> {
    let root = std::env::var_os("EIGENFLOW_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")),
        PathBuf::from,
    );
    let folder = root.join("data/bad-inputs");
    if folder.exists() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no shared/data/bad-inputs; set EIGENFLOW_SHARED to the shared folder");
    None
}

/// The largest resident memory of this process so far, in KiB.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("VmHWM");
    peak.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

#[test]
fn hostile_inputs_cost_little_memory() {
    let Some(folder) = bad_inputs() else { return };
    let before = peak_memory_kib();
    for entry in std::fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        let _ = decode(&std::fs::read(path).expect("file"), &Limits::default());
    }
    let grown = peak_memory_kib() - before;
    eprintln!("peak memory grew by {grown} KiB");
    assert!(
        grown < 32 << 10,
        "{grown} KiB; the largest bomb would take 2,700,000"
    );
}
