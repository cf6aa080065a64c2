//! `--listen`: a job that can be asked how it is while it runs.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::runtime::Runtime;

use super::Failure;
use super::signals::stop_on_signal;
use crate::config::{Config, Observe};
use crate::job::{self, Job, Layout, Options};
use crate::observe::Board;
use crate::observe::http::Server;

/// Where to answer.
#[derive(Debug, Args)]
pub struct Listen {
    /// Where to show the live page, /metrics, /livez and /readyz: ADDR:PORT, or a port of 127.0.0.1. Of several processes
    /// started here, each has the port behind the one before; the page is the first one's
    #[arg(long = "listen", value_name = "ADDR:PORT", value_parser = address)]
    pub address: Option<SocketAddr>,
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    let port = || Some((Ipv4Addr::LOCALHOST, text.parse().ok()?).into());
    text.parse()
        .ok()
        .or_else(port)
        .ok_or("write an address and a port, such as 0.0.0.0:8080, or a port of 127.0.0.1")
}

/// A job that is about to run, and its server, if it has one.
pub struct Listening<'a> {
    runtime: &'a Runtime,
    server: Option<Server>,
    options: Options,
}

impl Listen {
    /// Starts answering, if that was asked for: as this `process` of a job that will have these `options`.
    pub fn start<'a>(
        &self,
        runtime: &'a Runtime,
        observe: &Observe,
        process: usize,
        options: Options,
    ) -> Result<Listening<'a>, Failure> {
        let Some(address) = self.address else {
            return Ok(Listening {
                runtime,
                server: None,
                options,
            });
        };
        let board = (process == 0).then(Arc::<Board>::default);
        let options = Options { board, ..options };
        let server = runtime.block_on(Server::start(
            address,
            observe.token.as_ref(),
            options.health.clone(),
            options.metrics.clone(),
            options.board.clone(),
        ));
        let server = server.with_context(|| format!("--listen {address}"))?;
        Ok(Listening {
            runtime,
            server: Some(server),
            options,
        })
    }
}

impl Listening<'_> {
    /// Where the process answers.
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(Server::address)
    }

    /// Runs the job to its end; those who watch are told of it.
    pub fn run(self, config: Config, layout: &Layout) -> Result<Arc<Job>, Failure> {
        self.run_beside(config, layout, |_| {})
    }

    /// As [`run`](Self::run), with something that begins when the job does.
    pub fn run_beside(
        self,
        config: Config,
        layout: &Layout,
        begin: impl FnOnce(&Arc<Job>),
    ) -> Result<Arc<Job>, Failure> {
        // From now on: opening loads the network, and may calibrate it.
        stop_on_signal(self.runtime, &self.options)?;
        let job = self.runtime.block_on(job::open(config, self.options))?;
        if let Some(server) = &self.server {
            // The server's own tasks begin on the runtime.
            let _inside = self.runtime.enter();
            server.show(&job);
        }
        begin(&job);
        let ended = job::run(&job, layout);
        if let Some(server) = self.server {
            let reason = match &ended {
                Ok(()) if job.health.is_stopping() => "it was stopped",
                Ok(()) => "everything is published",
                Err(_) => "it failed: its log says why",
            };
            self.runtime.block_on(server.end(reason));
        }
        ended?;
        Ok(job)
    }
}
