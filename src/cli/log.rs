//! Where log lines go, and for whom.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, registry};

use crate::config::{Log, LogFormat};

/// Starts logging to standard error as configured.
pub fn start(log: &Log) {
    let terminal = std::io::stderr().is_terminal();
    let human = match log.format {
        LogFormat::Auto => terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let lines = fmt::layer::<Registry>()
        .with_writer(std::io::stderr)
        .with_ansi(terminal);
    let lines = match human {
        true => lines.with_target(false).boxed(),
        false => lines.json().boxed(),
    };
    let subscriber = registry().with(lines).with(log.filter.clone());
    // A second start in one process (the demo's) keeps the first one's settings.
    let _ = subscriber.try_init();
}
