//! No hostile input makes the process large. Alone in its binary, because the kernel counts memory by process.
#![cfg(target_os = "linux")]

mod shared;

use eigenflow::image::{Limits, decode};
use shared::shared;

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
    let Some(folder) = shared("data/bad-inputs") else {
        return;
    };
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
