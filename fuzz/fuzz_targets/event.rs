//! Any bytes through the parser of events: no panic, and what can be read survives being rendered and read again.
//!
//! `cargo +nightly fuzz run event fuzz/corpus/event ../shared/events`

#![no_main]

use eigenflow::event::{ObjectEvent, parse, render};
use libfuzzer_sys::fuzz_target;

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
