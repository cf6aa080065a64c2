//! `eigenflow run`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, load, log, runtime};
use crate::job::{self, Job, Layout, Options};

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The job's configuration; `eigenflow config example` prints one
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Worker threads of each process; one uses one core
    #[arg(short, long, default_value_t = 1, value_name = "N")]
    workers: usize,
    /// Processes of the job; each is started by itself with the same arguments but its own -p
    #[arg(short = 'n', long, default_value_t = 1, value_name = "N")]
    processes: usize,
    /// Which of the processes this is, from 0
    #[arg(short, long, default_value_t = 0, value_name = "I")]
    process: usize,
    /// A file of `host:port` lines, one a process; without it localhost from port 2101 on
    #[arg(long, value_name = "FILE")]
    hostfile: Option<PathBuf>,
    /// Stop when everything is published that the topic held at the start
    #[arg(long)]
    until_end: bool,
}

/// The first port of a job on one host without a host file, as timely has it.
const FIRST_PORT: usize = 2101;

impl Run {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let config = load(&self.config, &[])?;
        let layout = self.layout().map_err(Failure::Usage)?;
        log::start(&config.log)?;
        let runtime = runtime()?;
        let options = Options {
            until_end: self.until_end,
            ..Options::default()
        };
        let job = runtime.block_on(job::open(config, options))?;
        stop_on_signal(&runtime, &job)?;
        job::run(&job, &layout)?;
        Ok(ExitCode::SUCCESS)
    }

    fn layout(&self) -> anyhow::Result<Layout> {
        ensure!(self.workers > 0, "--workers must be at least 1");
        ensure!(
            self.process < self.processes,
            "--process {} is not among the {} processes, which are numbered from 0",
            self.process,
            self.processes
        );
        if self.processes == 1 {
            return Ok(Layout::single(self.workers));
        }
        let addresses = match &self.hostfile {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("host file {}", file.display()))?;
                text.lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty())
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            }
            None => (0..self.processes)
                .map(|process| format!("localhost:{}", FIRST_PORT + process))
                .collect(),
        };
        ensure!(
            addresses.len() >= self.processes,
            "the host file names {} processes, --processes says {}",
            addresses.len(),
            self.processes
        );
        Ok(Layout {
            workers: self.workers,
            process: self.process,
            addresses: addresses.into_iter().take(self.processes).collect(),
        })
    }
}

/// SIGTERM and SIGINT finish what is in flight, publish it, and end the job; a second one ends the process at once.
pub fn stop_on_signal(runtime: &tokio::runtime::Runtime, job: &Arc<Job>) -> Result<(), Failure> {
    let _inside = runtime.enter();
    let mut signals = [SignalKind::terminate(), SignalKind::interrupt()]
        .into_iter()
        .map(signal)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::Work(anyhow!("signals can't be received: {error}")))?;
    let (Some(mut interrupt), Some(mut terminate)) = (signals.pop(), signals.pop()) else {
        return Ok(());
    };
    let job = job.clone();
    runtime.spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if job.stop.swap(true, Relaxed) {
                eprintln!("eigenflow: stopped at once; the table is as of its last commit");
                std::process::exit(1);
            }
            tracing::info!("stopping: what is in flight is finished and published; a second signal stops at once");
        }
    });
    Ok(())
}
