//! Where log lines go, and for whom.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::Failure;
use crate::config::{Log, LogFormat};

/// Starts logging to standard error as configured.
pub fn start(log: &Log) -> Result<(), Failure> {
    start_with(log, std::io::stderr)
}

/// Starts logging to `writer`.
pub fn start_with<W>(log: &Log, writer: W) -> Result<(), Failure>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|error| Failure::Usage(anyhow::anyhow!("log.filter {:?}: {error}", log.filter)))?;
    let human = match log.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    // A second start in one process (the demo's) keeps the first one's settings.
    let _ = if human {
        subscriber.with_target(false).try_init()
    } else {
        subscriber.json().try_init()
    };
    Ok(())
}
