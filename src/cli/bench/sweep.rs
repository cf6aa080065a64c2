//! `eigenflow bench sweep`: processes x workers, tried on a sample of the user's own images.
//!
//! There is no batch to sweep: workers extract one image at a time, so that features don't depend on their neighbours, and the
//! kernels are no faster with more.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;

use crate::cli::Failure;

/// Arguments of `bench sweep`.
#[derive(Debug, Args)]
pub struct Sweep {
    /// The job's file: its network, columns, selection; without it ResNet-50
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A folder of images; without it rendered pictures
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Images of the sample
    #[arg(long, default_value_t = 400, value_name = "N")]
    limit: usize,
    /// Workers of all processes at most; without it as many as there are cores
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// How often each layout is tried, in turn with the others; the median counts
    #[arg(long, default_value_t = 1, value_name = "N")]
    rounds: usize,
    /// Anything else that `demo` takes, after --: -- --backbone pixels
    #[arg(last = true, value_name = "ARGUMENTS")]
    demo: Vec<String>,
}

/// The last line of `demo --json`, as far as it is wanted.
#[derive(Deserialize)]
struct Outcome {
    images_per_second: f64,
}

struct Layout {
    processes: usize,
    workers: usize,
    rates: Vec<f64>,
}

impl Sweep {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let here = std::thread::available_parallelism().map_or(1, usize::from);
        let mut layouts = layouts(self.cores.unwrap_or(here).max(1));
        for round in 0..self.rounds.max(1) {
            for layout in &mut layouts {
                let rate = self.measure(layout)?;
                layout.rates.push(rate);
                let Layout {
                    processes, workers, ..
                } = layout;
                eprintln!("round {round}: -n {processes} -w {workers}: {rate:.1} images/s");
            }
        }
        print(&layouts);
        Ok(ExitCode::SUCCESS)
    }

    /// Images a second of the whole job, start-up included.
    fn measure(&self, layout: &Layout) -> Result<f64> {
        let out = tempfile::tempdir().context("no place for a table")?;
        let mut demo = Command::new(std::env::current_exe()?);
        demo.args(["demo", "--json", "--out"]).arg(out.path());
        demo.args(["--limit", &self.limit.to_string()]);
        demo.args(["--processes", &layout.processes.to_string()]);
        demo.args(["--workers", &layout.workers.to_string()]);
        for (flag, path) in [("--config", &self.config), ("--images", &self.images)] {
            if let Some(path) = path {
                demo.arg(flag).arg(path);
            }
        }
        let output = demo.args(&self.demo).output().context("the demo")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}", errors.trim());
        let last = said.lines().last().unwrap_or_default();
        let outcome: Outcome = serde_json::from_str(last).context("what the demo said")?;
        Ok(outcome.images_per_second)
    }
}

/// One worker; all cores as workers of one process, as processes of one worker, and between.
fn layouts(cores: usize) -> Vec<Layout> {
    let mut pairs = vec![(1, 1)];
    let mut processes = 1;
    while processes <= cores {
        pairs.push((processes, cores / processes));
        processes *= 2;
    }
    if !cores.is_power_of_two() {
        pairs.push((cores, 1));
    }
    pairs.dedup();
    let layout = |(processes, workers)| Layout {
        processes,
        workers,
        rates: Vec::new(),
    };
    pairs.into_iter().map(layout).collect()
}

fn print(layouts: &[Layout]) {
    let one = layouts.first().map_or(f64::NAN, median);
    println!("processes  workers  images/s  to one worker");
    for layout in layouts {
        let rate = median(layout);
        let (processes, workers) = (layout.processes, layout.workers);
        println!(
            "{processes:>9}  {workers:>7}  {rate:>8.1}  {:>13.2}",
            rate / one
        );
    }
    let best = layouts
        .iter()
        .max_by(|a, b| median(a).total_cmp(&median(b)));
    if let Some(best) = best {
        println!(
            "\nBest here: eigenflow run --config job.toml -n {} -w {}",
            best.processes, best.workers
        );
    }
}

fn median(layout: &Layout) -> f64 {
    let mut rates = layout.rates.clone();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_use_all_cores_and_no_more() {
        let pairs = |cores| -> Vec<_> {
            let layouts = layouts(cores).into_iter();
            layouts.map(|l| (l.processes, l.workers)).collect()
        };
        assert_eq!(pairs(1), [(1, 1)]);
        assert_eq!(pairs(2), [(1, 1), (1, 2), (2, 1)]);
        assert_eq!(pairs(6), [(1, 1), (1, 6), (2, 3), (4, 1), (6, 1)]);
        assert_eq!(pairs(8), [(1, 1), (1, 8), (2, 4), (4, 2), (8, 1)]);
    }
}
