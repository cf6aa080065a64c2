//! `eigenflow bench`: how fast this machine extracts, and what more of them would do.

use std::io::{stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

mod plan;
mod sweep;

use self::plan::Plan;
use self::sweep::Sweep;
use super::Failure;
use crate::backbone::weights;
use crate::backbone::{
    Architecture, BackboneError, Family, Model, Options, Parameters, Precision, bench,
};
use crate::job;

/// What can be measured.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The network alone: layer by layer, or beside other engines
    Extract(Extract),
    /// The whole job in every layout of processes and workers that fits this machine, with several batches, on a sample of images
    Sweep(Sweep),
    /// What so many machines would do: a simulation of the job from the costs of its parts
    Plan(Box<Plan>),
}

/// Arguments of `bench extract`.
#[derive(Debug, Args)]
pub struct Extract {
    /// A .safetensors file; without it random weights of --network, which are as fast
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// The network of random weights
    #[arg(long, default_value = "resnet50", value_name = "NAME")]
    network: String,
    /// Arithmetic: f32, bf16 or int8
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Instructions of the convolutions, as backbone.kernels: amx, avx512, avx2 or portable; without it the fastest of this CPU
    #[arg(long, value_name = "NAME")]
    kernels: Option<Family>,
    /// Side of the square input in pixels
    #[arg(long, default_value_t = 224, value_name = "PIXELS")]
    side: usize,
    /// Answer a benchmark's driver: `ready`, then for each line `b BATCH SECONDS` a line `IMAGES SECONDS`
    #[arg(long)]
    serve: bool,
    /// Independent workers, each a thread, for --serve
    #[arg(long, default_value_t = 1, value_name = "N")]
    threads: usize,
    /// Passes, of as many images side by side as the network takes, of which the table takes each layer's fastest
    #[arg(long, default_value_t = 20, value_name = "N")]
    rounds: usize,
}

impl Command {
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Command::Extract(extract) => extract.run(),
            Command::Sweep(sweep) => sweep.run(),
            Command::Plan(plan) => plan.run(),
        }
    }
}

impl Extract {
    fn run(self) -> Result<ExitCode, Failure> {
        let model = self.load()?;
        if self.serve {
            let served = bench::serve(&model, self.threads.max(1), stdin().lock(), stdout().lock());
            served.context("bench extract --serve")?;
        } else {
            self.table(&model);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn load(&self) -> Result<Model, Failure> {
        let options = Options {
            family: self.kernels,
            precision: self.precision,
            side: self.side,
            ..Options::default()
        };
        let Some(file) = &self.model else {
            let network = Architecture::parse(&self.network).map_err(usage)?;
            return load(network, &Parameters::Random(1), &options);
        };
        let cache = weights::cache_dir().context("no cache folder")?;
        let weights = weights::load(&file.to_string_lossy(), &cache).context("--model")?;
        let options = Options {
            preprocessing: weights.preprocessing,
            ..options
        };
        load(weights.network, &weights.parameters(), &options)
    }

    /// Each layer beside the peak of the micro-kernel on data in the nearest cache.
    fn table(&self, model: &Model) {
        let peak = bench::peak(model).expect("all of these are networks");
        println!("{}", model.spec().identity);
        println!("peak of one core: {:.1} GFLOP/s", peak / 1e9);
        println!(
            "{:32} {:>9} {:>9} {:>7}",
            "layer", "us", "GFLOP/s", "% peak"
        );
        let mut seconds = 0.0;
        for layer in bench::layers(model, self.rounds) {
            seconds += layer.seconds;
            let rate = layer.flops / layer.seconds;
            println!(
                "{:32} {:>9.0} {:>9.1} {:>7.1}",
                layer.name,
                layer.seconds * 1e6,
                rate / 1e9,
                100.0 * rate / peak
            );
        }
        println!("sum {:.2} ms: {:.1} images/s", seconds * 1e3, 1.0 / seconds);
    }
}

/// For int8 calibrated for this once.
fn load(
    network: Architecture,
    parameters: &Parameters,
    options: &Options,
) -> Result<Model, Failure> {
    if options.precision != Precision::Int8 {
        return Model::load(network, parameters, options).map_err(usage);
    }
    let calibration = job::calibrate(network, parameters, options).map_err(Failure::Usage)?;
    Model::int8(network, parameters, &calibration, options).map_err(usage)
}

fn usage(error: BackboneError) -> Failure {
    Failure::Usage(error.into())
}
