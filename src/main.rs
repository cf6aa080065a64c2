//! The binary: parse, call, exit code.

use std::process::ExitCode;

use clap::Parser;
use eigenflow::cli::{self, Arguments};

fn main() -> ExitCode {
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
