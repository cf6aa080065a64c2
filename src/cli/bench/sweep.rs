//! `eigenflow bench sweep`: processes x workers x batch, tried on a sample of the user's own images.
//!
//! The batch is what the job shares out before it must wait for the slowest process: `limits.rounds_in_flight` rounds of events. It
//! is not the network's: its kernels take up to four images side by side where these wait, and are no faster with more (`bench extract
//! --serve` takes batches, and shows it).

use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, anyhow};
use clap::Args;
use serde::Deserialize;

use crate::cli::{Failure, USAGE};

/// Arguments of `bench sweep`.
#[derive(Debug, Args)]
pub struct Sweep {
    /// The job's file: its network, columns, selection; without it ResNet-50
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A folder of images; without it rendered pictures
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Images of the sample; few say nothing of the batch, as all are under way at once
    #[arg(long, default_value_t = 1000, value_name = "N")]
    limit: usize,
    /// Workers of all processes at most; without it as many as there are cores
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// Batches to try: limits.rounds_in_flight
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "4,8,16",
        value_name = "N,..."
    )]
    in_flight: Vec<u64>,
    /// How often each setting is tried, in turn with the others; the median counts
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

/// What is tried, and how fast it was.
struct Setting {
    processes: usize,
    workers: usize,
    in_flight: u64,
    rates: Vec<f64>,
}

/// A setting that is slower by less than this share is as good: one run differs from the next by more.
const AS_GOOD: f64 = 0.02;

impl Sweep {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let here = std::thread::available_parallelism().map_or(1, usize::from);
        let mut settings = settings(self.cores.unwrap_or(here).max(1), &self.in_flight);
        for round in 0..self.rounds.max(1) {
            for setting in &mut settings {
                let rate = self.measure(setting)?;
                setting.rates.push(rate);
                let Setting {
                    processes,
                    workers,
                    in_flight,
                    ..
                } = setting;
                eprintln!(
                    "round {round}: -n {processes} -w {workers}, {in_flight} rounds in flight: {rate:.1} images/s"
                );
            }
        }
        print!("{}", self.told(&settings));
        Ok(ExitCode::SUCCESS)
    }

    /// Images a second of the whole job, start-up included.
    fn measure(&self, setting: &Setting) -> Result<f64, Failure> {
        let out = tempfile::tempdir().context("no place for a table")?;
        let here = std::env::current_exe().context("this program")?;
        let mut demo = Command::new(here);
        demo.args(["demo", "--json", "--out"]).arg(out.path());
        demo.args(["--limit", &self.limit.to_string()]);
        demo.args(["--processes", &setting.processes.to_string()]);
        demo.args(["--workers", &setting.workers.to_string()]);
        demo.args(["--rounds-in-flight", &setting.in_flight.to_string()]);
        for (flag, path) in [("--config", &self.config), ("--images", &self.images)] {
            if let Some(path) = path {
                demo.arg(flag).arg(path);
            }
        }
        let output = demo.args(&self.demo).output().context("the demo")?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(failed(output.status, &errors));
        }
        let last = said.lines().last().unwrap_or_default();
        let outcome: Outcome = serde_json::from_str(last).context("what the demo said")?;
        Ok(outcome.images_per_second)
    }

    /// The table, and what to put where.
    fn told(&self, settings: &[Setting]) -> String {
        let one = settings.first().map_or(f64::NAN, median);
        let mut told = "processes  workers  rounds in flight  images/s  to one worker\n".to_owned();
        for setting in settings {
            let rate = median(setting);
            told += &format!(
                "{:>9}  {:>7}  {:>16}  {rate:>8.1}  {:>13.2}\n",
                setting.processes,
                setting.workers,
                setting.in_flight,
                rate / one
            );
        }
        if let Some(best) = best(settings) {
            let file = self.config.clone().unwrap_or("job.toml".into());
            let file = file.display();
            told += &format!(
                "\nBest here: eigenflow run --config {file} -n {} -w {}\nwith this in {file}:\n\n[limits]\nrounds_in_flight = {}\n",
                best.processes, best.workers, best.in_flight
            );
        }
        told
    }
}

/// What a demo that failed says, as this command's own failure.
fn failed(status: ExitStatus, errors: &str) -> Failure {
    let errors = errors.trim();
    let error = match errors.strip_prefix("eigenflow: ").unwrap_or(errors) {
        "" => anyhow!("the demo ended with {status}"),
        errors => anyhow!("{errors}"),
    };
    match status.code() == Some(i32::from(USAGE)) {
        true => Failure::Usage(error),
        false => Failure::Work(error),
    }
}

/// One worker; all cores as workers of one process, as processes of one worker, and between. Each with each batch, the least first.
fn settings(cores: usize, in_flight: &[u64]) -> Vec<Setting> {
    let mut layouts = vec![(1, 1)];
    let mut processes = 1;
    while processes <= cores {
        layouts.push((processes, cores / processes));
        processes *= 2;
    }
    if !cores.is_power_of_two() {
        layouts.push((cores, 1));
    }
    layouts.dedup();
    let mut in_flight = in_flight.to_vec();
    in_flight.sort_unstable();
    in_flight.dedup();
    let each = |(processes, workers)| {
        let setting = move |in_flight| Setting {
            processes,
            workers,
            in_flight,
            rates: Vec::new(),
        };
        in_flight.clone().into_iter().map(setting)
    };
    layouts.into_iter().flat_map(each).collect()
}

/// The first that is as good as the fastest: what comes first has fewer processes, and less under way when it is stopped.
fn best(settings: &[Setting]) -> Option<&Setting> {
    let fastest = settings.iter().map(median).fold(f64::NAN, f64::max);
    settings
        .iter()
        .find(|setting| median(setting) >= fastest * (1.0 - AS_GOOD))
}

fn median(setting: &Setting) -> f64 {
    let mut rates = setting.rates.clone();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Asked {
        #[command(flatten)]
        sweep: Sweep,
    }

    #[test]
    fn settings_use_all_cores_and_no_more() {
        let pairs = |cores| -> Vec<_> {
            let settings = settings(cores, &[8]).into_iter();
            settings.map(|s| (s.processes, s.workers)).collect()
        };
        assert_eq!(pairs(1), [(1, 1)]);
        assert_eq!(pairs(2), [(1, 1), (1, 2), (2, 1)]);
        assert_eq!(pairs(6), [(1, 1), (1, 6), (2, 3), (4, 1), (6, 1)]);
        assert_eq!(pairs(8), [(1, 1), (1, 8), (2, 4), (4, 2), (8, 1)]);
    }

    #[test]
    fn a_demo_that_was_asked_wrongly_is_a_sweep_that_was() {
        let ended = |code: i32, errors| failed(ExitStatus::from_raw(code << 8), errors);
        let wrong = ended(2, "eigenflow: --images /nope: no such folder\n");
        assert!(matches!(wrong, Failure::Usage(_)));
        assert_eq!(wrong.to_string(), "--images /nope: no such folder");
        assert!(matches!(ended(1, "eigenflow: x"), Failure::Work(_)));
        let killed = failed(ExitStatus::from_raw(9), "");
        assert!(killed.to_string().contains("signal"), "{killed}");
    }

    #[test]
    fn each_layout_is_tried_with_each_batch() {
        let tried = settings(2, &[16, 4, 16]).into_iter();
        let tried: Vec<_> = tried
            .map(|s| (s.processes, s.workers, s.in_flight))
            .collect();
        assert_eq!(tried[..3], [(1, 1, 4), (1, 1, 16), (1, 2, 4)]);
        assert_eq!(tried.len(), 6);
    }

    /// What is told for rates of (1, 1, 4), (1, 1, 8), (1, 2, 4), …
    fn told(rates: [f64; 6]) -> String {
        let mut settings = settings(2, &[4, 8]);
        for (setting, rate) in settings.iter_mut().zip(rates) {
            setting.rates = vec![rate, rate * 0.5, rate * 1.5];
        }
        let asked = Asked::parse_from(["sweep", "--config", "fruit.toml"]);
        asked.sweep.told(&settings)
    }

    #[test]
    fn the_best_is_told_as_what_a_job_is_started_with() {
        let fastest = told([20.0, 20.0, 30.0, 36.0, 30.0, 31.0]);
        assert!(
            fastest.contains("eigenflow run --config fruit.toml -n 1 -w 2")
                && fastest.ends_with("[limits]\nrounds_in_flight = 8\n"),
            "{fastest}"
        );
        let settings = settings(2, &[4, 8]);
        assert_eq!(fastest.lines().count(), 1 + settings.len() + 6);
        // Two processes and more under way must be worth it.
        let alike = told([20.0, 20.0, 35.5, 35.9, 34.0, 36.0]);
        assert!(
            alike.contains("-n 1 -w 2") && alike.ends_with("rounds_in_flight = 4\n"),
            "{alike}"
        );
        assert!(alike.contains("        1        2                 4      35.5           1.77"));
    }
}
