//! The binary: parse, call, exit code.

#![deny(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use eigenflow::cli::{self, Arguments};

fn main() -> ExitCode {
    give_large_blocks_back();
    cli::end_with_the_process_on_panic();
    let outcome = cli::run(Arguments::parse());
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("eigenflow: {failure}");
            failure.code()
        }
    }
}

/// An epoch's sums and matrices are dozens of megabytes for a second. glibc learns from the first that is freed to keep such blocks
/// in its heaps, where what was allocated meanwhile pins them (a third of the job's memory); told a size, it asks the system for
/// larger blocks and gives them back.
#[allow(unsafe_code, reason = "the allocator's settings are C's")]
fn give_large_blocks_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const LARGE_BYTES: libc::c_int = 256 << 10;
        // SAFETY: a call without memory, before there is a second thread.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
    }
}
