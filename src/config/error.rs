//! What can be wrong with a configuration, and how it is said: everything at once, each with its place and its cure.

use std::fmt;
use std::path::PathBuf;

/// One thing to correct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was said: `job.toml:7`, an environment variable, a flag; or the key itself if it was not said at all.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.message)
    }
}

/// Why there is no configuration. No message repeats a value of `kafka.properties`, nor a line of the file: either may
/// hold a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {} (`eigenflow config example` prints one to start from)", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{place}: not valid TOML: {message}")]
    Syntax {
        /// File and line.
        place: String,
        /// The parser's reason.
        message: String,
    },
    /// The file is TOML, but does not describe a job.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
}

fn list(problems: &[Problem]) -> String {
    match problems {
        [problem] => format!("configuration: {problem}"),
        _ => {
            let lines: Vec<String> = problems.iter().map(|p| format!("\n  {p}")).collect();
            format!(
                "configuration: {} problems{}",
                problems.len(),
                lines.concat()
            )
        }
    }
}
