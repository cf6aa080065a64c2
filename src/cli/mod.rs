//! The command line: what can be asked, and how answers end.
//!
//! Exit codes: 0 for success, 1 for a failure while at work (or a difference that `verify` found), 2 for what was asked
//! wrongly: arguments, a configuration that is wrong or contradicts the table, and a network that can't be had as asked (its
//! input, weights, or this CPU); 3 for a job that another job fenced
//! out of its table, and for a `reproject` or `rebuild` that lost to a job. A supervisor may start again what ended with 1, or by a
//! signal, and nothing else.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::backbone::BackboneError;
use crate::backbone::weights::WeightsError;
use crate::config::{Config, ConfigError, environment, has_scheme};
use crate::job::{self, Contradiction};
use crate::observe::Metrics;
use crate::operators::kafka;
use crate::storage::{Location, LocationError, S3Config};
use crate::table::CommitError;

mod bench;
mod classify;
mod cluster;
mod demo;
mod events;
mod export;
mod eye;
mod inspect;
mod listen;
mod log;
mod rebuild;
mod reconcile;
mod replacing;
mod replay;
mod report;
mod reproject;
mod run;
mod signals;
mod similar;
mod supervise;
mod vacuum;
mod verify;
mod view;
mod weights;

/// Images in an object store, as an always up-to-date, exact table of PCA-reduced CNN features.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true, after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Start with `eigenflow demo`: it brings its own Kafka, S3 and pictures.
For your own: `eigenflow config example > job.toml`, edit it, then `eigenflow run --config job.toml`.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the whole job on this machine: embedded Kafka and S3, pictures, events, table
    Demo(demo::Demo),
    /// Runs the job: events in, table out
    Run(run::Run),
    /// Sends an event for every object of a bucket, so that old images join the stream
    Replay(replay::Replay),
    /// Finds what the events missed: compares a bucket with the table, and sends an event for every difference
    Reconcile(reconcile::Reconcile),
    /// Says what the last commit of a table holds
    Inspect(inspect::Inspect),
    /// Computes moments and projection of a table again from its features, and compares bit for bit
    Verify(verify::Verify),
    /// Brings all rows of a table under its newest projection, in one commit, and merges small files
    Reproject(reproject::Reproject),
    /// Has all images of a table extracted again, by the network that the job's configuration names now
    Rebuild(rebuild::Rebuild),
    /// Tells the labels of image files by a table's classifier
    Classify(classify::Classify),
    /// Finds clusters of a table's images by k-means, and how far they are its labels
    Cluster(cluster::Cluster),
    /// Finds the images of a table that are most like an image
    Similar(similar::Similar),
    /// Writes a table as one HTML file to look at: maps with thumbnails, clusters, classifier, drift, rejects
    Report(report::ReportCommand),
    /// Writes the table's rows, or its rejects, to a file of another format
    Export(export::Export),
    /// Deletes what no recent version of a table names
    Vacuum(vacuum::Vacuum),
    /// Brings, lists and checks pretrained weights
    #[command(subcommand)]
    Weights(weights::Command),
    /// Measures how fast this machine extracts features, and plans for more machines
    #[command(subcommand)]
    Bench(bench::Command),
    /// Explains and checks configurations
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Prints every metric that `run --listen` shows, as a markdown table
    Metrics,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Checks a configuration and lists all that is wrong with it
    Check {
        /// The TOML file
        file: PathBuf,
    },
    /// Prints an annotated configuration to start from
    Example,
    /// Prints every key as a markdown table
    Docs,
}

/// Where the store is, for commands on a table without a job's configuration.
#[derive(Debug, Args)]
struct StoreArguments {
    /// Address of an S3-compatible store; without it AWS_ENDPOINT_URL, then AWS itself
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    endpoint: Option<String>,
    /// Region of the store; without it the standard AWS chain decides
    #[arg(long)]
    region: Option<String>,
}

fn endpoint(text: &str) -> Result<String, &'static str> {
    match has_scheme(text, &["http://", "https://"]) {
        true => Ok(text.to_owned()),
        false => Err("write http://host:port or https://host"),
    }
}

impl StoreArguments {
    fn config(&self) -> S3Config {
        S3Config {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            ..S3Config::default()
        }
    }
}

/// Exit code of what was asked wrongly.
const USAGE: u8 = 2;
/// Exit code of who was fenced out of the table.
const FENCED: u8 = 3;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// It was asked wrongly.
    Usage(anyhow::Error),
    /// It failed while at work.
    Work(anyhow::Error),
    /// Another job owns the table.
    Fenced(anyhow::Error),
}

impl Failure {
    /// The process's exit code.
    pub fn code(&self) -> ExitCode {
        match self {
            Failure::Work(_) => ExitCode::from(1),
            Failure::Usage(_) => ExitCode::from(USAGE),
            Failure::Fenced(_) => ExitCode::from(FENCED),
        }
    }
}

impl fmt::Display for Failure {
    /// One line: the error and its causes.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Usage(error) | Failure::Work(error) | Failure::Fenced(error)) = self;
        write!(out, "{error:#}")
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let network = |error: &BackboneError| error.stands();
        let weights = |error: &WeightsError| error.stands();
        if error.chain().any(|cause| {
            cause.is::<Contradiction>()
                || cause.is::<LocationError>()
                || cause.downcast_ref().is_some_and(network)
                || cause.downcast_ref().is_some_and(weights)
        }) {
            Failure::Usage(error)
        } else if CommitError::fenced(&error) {
            Failure::Fenced(error)
        } else {
            Failure::Work(error)
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::Usage(error.into())
    }
}

/// Carries out a command.
///
/// # Errors
/// [`Failure`], which knows its exit code.
pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Demo(demo) => demo.run(),
        Command::Run(run) => run.run(),
        Command::Replay(replay) => replay.run(),
        Command::Reconcile(reconcile) => reconcile.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Verify(verify) => verify.run(),
        Command::Reproject(reproject) => reproject.run(),
        Command::Rebuild(rebuild) => rebuild.run(),
        Command::Classify(classify) => classify.run(),
        Command::Cluster(cluster) => cluster.run(),
        Command::Similar(similar) => similar.run(),
        Command::Report(report) => report.run(),
        Command::Export(export) => export.run(),
        Command::Vacuum(vacuum) => vacuum.run(),
        Command::Weights(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Config(command) => command.run(),
        Command::Metrics => {
            print!("{}", Metrics::docs());
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl ConfigCommand {
    fn run(self) -> Result<ExitCode, Failure> {
        match self {
            ConfigCommand::Check { file } => {
                let config = Config::load(&file, environment())?;
                Location::parse(&config.table.uri).map_err(anyhow::Error::from)?;
                job::form(&config.columns).map_err(anyhow::Error::from)?;
                kafka::check(&config.kafka)?;
                println!("{}: fine", file.display());
            }
            ConfigCommand::Example => print!("{}", Config::example()),
            ConfigCommand::Docs => print!("{}", Config::docs()),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Addresses of this machine that were free a moment ago, no two the same.
fn free_addresses(n: usize) -> std::io::Result<Vec<SocketAddr>> {
    // All are bound before one is let go.
    let listeners = (0..n).map(|_| TcpListener::bind("127.0.0.1:0"));
    let listeners: Vec<TcpListener> = listeners.collect::<Result<_, _>>()?;
    listeners.iter().map(TcpListener::local_addr).collect()
}

/// The runtime of a command. Operators do the work; its threads wait for stores and do what must not hold operators up.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    built.map_err(|error| {
        Failure::Work(anyhow::anyhow!(
            "the runtime can't start its threads: {error}"
        ))
    })
}

/// Timely is fail-stop: a worker or a connection that panics takes the process with it, so that a supervisor, or the
/// other processes of the job, notice. Decoders contain their panics and never come here.
pub fn end_with_the_process_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or_default();
        if message.starts_with("timely communication error") {
            eprintln!(
                "eigenflow: another process of the job is gone ({message}); this one ends, too"
            );
        } else if message.starts_with("failed printing to stdout: Broken pipe") {
            // `| head` has read enough; as the shell numbers the signal for it.
            std::process::exit(141);
        } else {
            report(panic);
        }
        std::process::exit(1);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_network_that_cannot_be_had_is_no_matter_of_another_start() {
        let wrapped = |error: BackboneError| {
            let error = Err::<(), _>(error).context("head.weights ./head.safetensors");
            Failure::from(error.expect_err("an error"))
        };
        let (inputs, outputs) = (512, 600);
        for standing in [
            BackboneError::Side(31),
            BackboneError::HeadWidth { inputs, outputs },
            BackboneError::NotFinite("dense.0.bias".into()),
        ] {
            assert!(matches!(wrapped(standing), Failure::Usage(_)));
        }
        let outside = BackboneError::Bench(std::io::Error::other("gone"));
        assert!(matches!(wrapped(outside), Failure::Work(_)));
    }

    /// How the command ends.
    fn failure(arguments: &[&str]) -> Failure {
        let arguments = [&["eigenflow"], arguments].concat();
        run(Arguments::parse_from(arguments)).expect_err("asked wrongly")
    }

    #[test]
    fn what_no_restart_cures_is_usage() {
        for (arguments, part) in [
            (&["inspect", "gs://x/y"][..], "gs:// is not supported"),
            (&["inspect", "s3://"], "is no bucket name"),
            (&["weights", "get", "nope"], "no weights are called `nope`"),
            (&["cluster", "/nowhere", "-k", "0"], "-k must be at least 1"),
            (
                &["reproject", "/nowhere", "-k", "0"],
                "-k must be at least 1",
            ),
        ] {
            let failure = failure(arguments);
            assert!(matches!(failure, Failure::Usage(_)), "{failure}");
            assert!(failure.to_string().contains(part), "{failure}");
        }
        let not_here = failure(&["inspect", "/nowhere/table"]);
        assert!(matches!(not_here, Failure::Work(_)), "{not_here}");
    }

    #[test]
    fn a_check_finds_properties_that_no_client_can_be_made_with() {
        for (properties, part) in [
            ("sasl.passwrd = \"hunter2\"", "sasl.passwrd"),
            ("security.protocol = \"foo\"", "security.protocol"),
            (
                "security.protocol = \"SASL_SSL\", sasl.mechanism = \"FOO\", sasl.password = \"hunter2\"",
                "FOO",
            ),
            (
                "security.protocol = \"SSL\", ssl.cipher.suites = \"nope\"",
                "ssl.cipher.suites",
            ),
        ] {
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            let said = format!("[kafka]\nproperties = {{ {properties} }}");
            let text = Config::example().replace("\n[kafka]", &format!("\n{said}"));
            std::io::Write::write_all(&mut file, text.as_bytes()).expect("written");
            let path = file.path().to_str().expect("a path");
            let failure = failure(&["config", "check", path]);
            assert!(matches!(failure, Failure::Usage(_)), "{failure}");
            let said = failure.to_string();
            assert!(
                said.contains("kafka.properties") && said.contains(part),
                "{said}"
            );
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
