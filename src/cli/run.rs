//! `eigenflow run`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use clap::Args;

use super::listen::Listen;
use super::supervise::supervise;
use super::{Failure, log, runtime};
use crate::config::{Config, environment, is_host_and_port};
use crate::job::{Layout, Options};

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The job's configuration; `eigenflow config example` prints one
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Worker threads of each process; one uses one core
    #[arg(short, long, default_value_t = 1, value_name = "N")]
    workers: usize,
    /// Processes of the job: started here, unless -p says which of them this is
    #[arg(short = 'n', long, default_value_t = 1, value_name = "N")]
    processes: usize,
    /// Which of the processes this is, from 0, where each is started by itself with the same other arguments
    #[arg(short, long, value_name = "I")]
    process: Option<usize>,
    /// A file of `host:port` lines, one a process; without it localhost from port 2101 on
    #[arg(long, value_name = "FILE", requires = "process")]
    hostfile: Option<PathBuf>,
    /// Stop when everything is published that the topic held at the start
    #[arg(long)]
    until_end: bool,
    #[command(flatten)]
    listen: Listen,
    /// Start again what dies, after a pause that grows to a minute; not what was asked wrongly, nor what another job has
    /// fenced out
    #[arg(long)]
    restart: bool,
}

/// The first port of a job on one host without a host file, as timely has it.
const FIRST_PORT: usize = 2101;

impl Run {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let config = Config::load(&self.config, environment())?;
        let layout = self.layout().map_err(Failure::Usage)?;
        log::start(&config.log);
        if self.restart || (self.processes > 1 && self.process.is_none()) {
            return supervise(&self.here(), self.restart, |process, hosts| {
                self.process(process, hosts)
            });
        }
        let runtime = runtime()?;
        let options = Options {
            until_end: self.until_end,
            ..Options::default()
        };
        let listening = self
            .listen
            .start(&runtime, &config.observe, layout.process, options)?;
        if let Some(address) = listening.address() {
            tracing::info!("answering at http://{address}/");
        }
        listening.run(config, &layout)?;
        Ok(ExitCode::SUCCESS)
    }

    fn layout(&self) -> anyhow::Result<Layout> {
        ensure!(self.workers > 0, "--workers must be at least 1");
        ensure!(self.processes > 0, "--processes (-n) must be at least 1");
        let process = self.process.unwrap_or(0);
        ensure!(
            process < self.processes,
            "--process {process} is not among the {} processes, which are numbered from 0",
            self.processes
        );
        if self.processes == 1 {
            return Ok(Layout::single(self.workers));
        }
        let addresses = match &self.hostfile {
            Some(file) => hosts(file)?,
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
            process,
            addresses: addresses.into_iter().take(self.processes).collect(),
        })
    }
}

/// The addresses in a host file. Whether a name can be found is seen when the processes meet: it may come later.
fn hosts(file: &Path) -> anyhow::Result<Vec<String>> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("host file {shown}"))?;
    let mut addresses = Vec::new();
    for (line, address) in (1..).zip(text.lines().map(str::trim)) {
        if address.is_empty() {
            continue;
        }
        ensure!(
            is_host_and_port(address),
            "{shown}:{line}: {address:?} is not host:port, and a host file has nothing else"
        );
        addresses.push(address.to_owned());
    }
    Ok(addresses)
}

impl Run {
    /// The numbers of the processes that are to run here.
    fn here(&self) -> Vec<usize> {
        match self.process {
            Some(process) => vec![process],
            None => (0..self.processes).collect(),
        }
    }

    /// The command line of one of the processes, unsupervised; `hosts` where the processes have addresses.
    fn process(&self, process: usize, hosts: Option<&Path>) -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", "--config"]).arg(&self.config);
        command.args(["--workers", &self.workers.to_string()]);
        command.args(["--processes", &self.processes.to_string()]);
        command.args(["--process", &process.to_string()]);
        if let Some(hosts) = hosts.or(self.hostfile.as_deref()) {
            command.arg("--hostfile").arg(hosts);
        }
        if let Some(mut address) = self.listen.address {
            let place = match self.process {
                None if address.port() != 0 => process as u16,
                _ => 0,
            };
            address.set_port(address.port().saturating_add(place));
            command.args(["--listen", &address.to_string()]);
        }
        if self.until_end {
            command.arg("--until-end");
        }
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Asked {
        #[command(flatten)]
        run: Run,
    }

    fn layout(arguments: &[&str]) -> anyhow::Result<Layout> {
        let arguments = [&["run", "--config", "job.toml"], arguments].concat();
        Asked::parse_from(arguments).run.layout()
    }

    #[test]
    fn a_job_has_at_least_one_process() {
        let error = layout(&["-n", "0"]).expect_err("no process").to_string();
        assert!(error.contains("(-n) must be at least 1"), "{error}");
    }

    #[test]
    fn a_host_file_has_addresses_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("hosts");
        let path = file.to_str().expect("a path");
        let arguments = ["-n", "2", "-p", "0", "--hostfile", path];
        for (wrong, line) in [
            ("a:1\nb\n", 2),
            ("# ours\na:1\nb:1\n", 1),
            ("\na:1\n#b:1\n", 3),
            ("a:1\nb:1 # the second\n", 2),
            ("a:1\ntcp://b:1\n", 2),
            ("a:0\nb:1\n", 1),
        ] {
            std::fs::write(&file, wrong).expect("written");
            let error = layout(&arguments).expect_err(wrong).to_string();
            assert!(error.starts_with(&format!("{path}:{line}: ")), "{error}");
        }
        // Whoever can't be found yet is waited for.
        std::fs::write(&file, "a.invalid:1\n\n [::1]:2 \n").expect("written");
        let found = layout(&arguments).expect("a layout");
        assert_eq!(found.addresses, ["a.invalid:1", "[::1]:2"]);
    }
}
