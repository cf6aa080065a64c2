//! Any bytes through the parser of events: no panic, and what can be read survives being rendered and read again.
//!
//! On the stable toolchain, with a C++ compiler for libFuzzer, in this folder (`fuzz`):
//!
//! ```sh
//! mkdir -p corpus/event
//! RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
//!   -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
//!   -Cllvm-args=-sanitizer-coverage-trace-compares" \
//!   cargo run --release --target x86_64-unknown-linux-gnu --bin event -- \
//!   -max_total_time=300 -max_len=8192 corpus/event ../../shared/events
//! ```
//!
//! `--target` keeps the flags from build scripts, which have no libFuzzer to report to. What fails is kept in a file; its name as
//! the only argument runs it again.

#![no_main]

use libfuzzer_sys::fuzz_target;

/// The parser knows nothing of the other modules, so it is taken without them.
#[allow(dead_code, unused_imports)]
#[path = "../../src/event/mod.rs"]
mod event;

use event::{ObjectEvent, parse, render};

fuzz_target!(|message: &[u8]| {
    let Ok(message) = parse(message) else {
        return;
    };
    for event in message.records.into_iter().flatten() {
        let again = parse(&render(&event)).expect("a rendered event is of a known dialect");
        let [Ok(again)] = &again.records[..] else {
            panic!("a rendered event is one readable record")
        };
        let dialect = event.dialect;
        assert_eq!(ObjectEvent { dialect, ..again.clone() }, event);
    }
});
