//! `eigenflow bench plan`: what so many machines would do, by a simulation of the job from the costs of its parts.
//!
//! Costs are those of one machine, as `cargo bench` and `bench extract` measure them. The simulation lets the dataflow's own
//! rules loose on them: rounds, quotas, bounds in flight, epochs. docs/SCALING.md tells how far to trust it.

use std::process::ExitCode;

use clap::Args;

use self::simulation::{Outcome, simulate};
use crate::cli::Failure;

mod random;
mod simulation;

/// Arguments of `bench plan`: what there is, what it costs, what bounds it. Costs are by default those of ResNet-50 in f32 on
/// the EPYC of 116 GFLOP/s in benches/README.md.
#[derive(Clone, Debug, Args)]
pub struct Plan {
    /// Machines to try
    #[arg(long, value_delimiter = ',', default_value = "1,2,10,100", value_parser = at_least_one, value_name = "N,N")]
    machines: Vec<usize>,
    /// Cores of each
    #[arg(long, default_value_t = 16, value_parser = at_least_one, value_name = "N")]
    cores: usize,
    /// Workers of each; without it as many as cores
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    workers: Option<usize>,
    /// Partitions of the topic
    #[arg(long, default_value_t = 64, value_parser = at_least_one, value_name = "N")]
    partitions: usize,
    /// A worker's time for an image: decoding, scaling, the network
    #[arg(long, default_value_t = 51.7, value_parser = positive, value_name = "MS")]
    image_ms: f64,
    /// What other threads take for an image: its GET, its row's Parquet
    #[arg(long, default_value_t = 0.5, value_name = "MS")]
    beside_ms: f64,
    /// A worker's time for an event: reading, parsing, the register of its key
    #[arg(long, default_value_t = 8.0, value_name = "US")]
    event_us: f64,
    /// Features of an image
    #[arg(long, default_value_t = 2048, value_name = "N")]
    features: usize,
    /// A worker's time for a row's moments
    #[arg(long, default_value_t = 0.125, value_name = "MS")]
    sum_ms: f64,
    /// A worker's time to give away an epoch's sums, and to merge its share of all workers'
    #[arg(long, default_value_t = 46.0, value_name = "MS")]
    drain_ms: f64,
    /// Fitting the models of an epoch, on a thread of the first process
    #[arg(long, default_value_t = 200.0, value_name = "MS")]
    fit_ms: f64,
    /// Encoding and hashing the moments of an epoch, on a thread of the first process while rows are written
    #[arg(long, default_value_t = 350.0, value_name = "MS")]
    store_ms: f64,
    /// A Delta commit, without the store's part
    #[arg(long, default_value_t = 20.0, value_name = "MS")]
    commit_ms: f64,
    /// A GET of an image
    #[arg(long, default_value_t = 30.0, value_name = "MS")]
    get_ms: f64,
    /// GETs that the store answers in a second: AWS promises 5,500 a prefix
    #[arg(long, default_value_t = 5500.0, value_parser = positive, value_name = "N")]
    gets_per_second: f64,
    /// A PUT
    #[arg(long, default_value_t = 60.0, value_name = "MS")]
    put_ms: f64,
    /// Network of a machine
    #[arg(long, default_value_t = 10.0, value_parser = positive, value_name = "N")]
    gbit_per_second: f64,
    /// Rows of an epoch: publish.rows, or what publish.bytes leaves of it
    #[arg(long, default_value_t = 16_000, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    epoch_rows: u64,
    /// publish.interval_ms
    #[arg(long, default_value_t = 30.0, value_name = "S")]
    interval_s: f64,
    /// limits.rounds_in_flight
    #[arg(long, default_value_t = 8, value_parser = at_least_one, value_name = "N")]
    rounds_in_flight: usize,
    /// limits.events_per_round
    #[arg(long, default_value_t = 4096, value_parser = at_least_one, value_name = "N")]
    events_per_round: usize,
    /// limits.fetches_in_flight
    #[arg(long, default_value_t = 16, value_parser = at_least_one, value_name = "N")]
    fetches_in_flight: usize,
    /// How much work is waiting: so much that all workers at their best would need this long
    #[arg(long, default_value_t = 120.0, value_parser = positive, value_name = "S")]
    backlog_s: f64,
}

fn positive(text: &str) -> Result<f64, &'static str> {
    let number = text.parse().ok();
    number
        .filter(|number: &f64| number.is_finite() && *number > 0.0)
        .ok_or("write a number above 0")
}

fn at_least_one(text: &str) -> Result<usize, &'static str> {
    let number = text.parse().ok();
    number
        .filter(|number| *number > 0)
        .ok_or("write a whole number above 0")
}

impl Plan {
    pub fn run(self) -> Result<ExitCode, Failure> {
        println!(
            "machines  workers  images/s  of ideal  workers busy  GETs/s  cut to commit  bound by"
        );
        for &machines in &self.machines {
            let outcome = simulate(&self, machines);
            self.print(machines, &outcome);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, machines: usize, outcome: &Outcome) {
        let workers = machines * self.workers();
        let ideal = workers as f64 * 1e3 / self.image_ms;
        println!(
            "{machines:>8}  {workers:>7}  {:>8.1}  {:>7.0}%  {:>11.0}%  {:>6.0}  {:>12.2}s  {}",
            outcome.images_per_s,
            100.0 * outcome.images_per_s / ideal,
            100.0 * outcome.workers_busy,
            outcome.gets_per_s,
            outcome.publishing_s,
            outcome.bound_by(self)
        );
    }

    /// Of a machine.
    fn workers(&self) -> usize {
        self.workers.unwrap_or(self.cores)
    }

    /// Of an epoch's Σx and Σxxᵀ at one worker, in 128-bit integers of a packed triangle.
    fn sums_bytes(&self) -> f64 {
        let d = self.features as f64;
        (d * (d + 1.0) / 2.0 + d) * 16.0
    }
}
