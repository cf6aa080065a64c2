//! What SIGTERM and SIGINT do.

use anyhow::anyhow;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use crate::job::Options;

/// SIGTERM and SIGINT finish what is in flight, publish it, and end the job; a second one ends the process at once.
pub fn stop_on_signal(runtime: &Runtime, of: &Options) -> Result<(), Failure> {
    let (health, stop) = (of.health.clone(), of.stop.clone());
    on_signal(runtime, move || {
        health.stop();
        if stop.ask() {
            eprintln!("eigenflow: stopped at once; the table is as of its last commit");
            std::process::exit(1);
        }
        if !stop.is_working() {
            tracing::info!("stopped before anything was begun");
            std::process::exit(0);
        }
        tracing::info!(
            "stopping: what is in flight is finished and published; a second signal stops at once"
        );
    })
}

/// Calls `act` at every SIGTERM and SIGINT.
pub fn on_signal(runtime: &Runtime, mut act: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    let _inside = runtime.enter();
    let receive = |kind| {
        signal(kind).map_err(|error| Failure::Work(anyhow!("signals can't be received: {error}")))
    };
    let mut terminate = receive(SignalKind::terminate())?;
    let mut interrupt = receive(SignalKind::interrupt())?;
    runtime.spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            act();
        }
    });
    Ok(())
}
