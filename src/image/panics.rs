//! A decoder's panic becomes an error of one image.
//!
//! Decoders are large and their input is hostile; a panic in one must neither end the worker nor fill the log with
//! backtraces that no reader can act on. Needs unwinding, Rust's default: with `panic = "abort"` nothing is contained.

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic in it is not printed, and its message is the error.
pub(super) fn contain<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    mute_contained_panics();
    let outer = QUIET.replace(true);
    // What `work` leaves half done is dropped with it: it owns its buffers and borrows only bytes.
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(outer);
    result.map_err(|payload| message(&*payload))
}

/// Puts a filter before the process's panic hook, once; panics outside of [`contain`] pass it unchanged.
fn mute_contained_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_panic_is_contained_and_the_next_one_too() {
        for _ in 0..2 {
            assert_eq!(
                contain(|| panic!("row {}", 7)),
                Err::<(), _>("row 7".to_owned())
            );
        }
        assert_eq!(contain(|| 5), Ok(5));
    }

    #[test]
    fn only_contained_panics_are_silent() {
        const CHILD: &str = "EIGENFLOW_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            let _ = contain(|| panic!("whispered"));
            panic!("cried aloud");
        }
        let this = std::env::current_exe().expect("the test binary");
        let child = Command::new(this)
            .args(["only_contained_panics_are_silent", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("the test binary runs");
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(
            said.contains("cried aloud") && !said.contains("whispered"),
            "{said}"
        );
    }
}
