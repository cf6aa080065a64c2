//! `eigenflow verify`: whether a table is, bit for bit, what its features say.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;
use clap::Args;

use super::{Failure, StoreArguments, runtime};
use crate::job::{self, Verdict, Verification};

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// s3://bucket/prefix/table or a folder
    table: String,
    /// Worker threads; one uses one core
    #[arg(short, long, default_value_t = 1, value_name = "N")]
    workers: usize,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArguments,
}

impl Verify {
    pub fn run(self) -> Result<ExitCode, Failure> {
        if self.workers == 0 {
            return Err(Failure::Usage(anyhow!("--workers must be at least 1")));
        }
        let start = Instant::now();
        let runtime = runtime()?;
        let store = self.store.config();
        let tables = job::open_tables(&self.table, &store);
        let verification = runtime.block_on(async { Verification::open(tables.await?).await })?;
        let verdict = job::verify(&Arc::new(verification), self.workers)?;
        if self.json {
            let json = serde_json::to_string_pretty(&verdict);
            println!("{}", json.map_err(anyhow::Error::from)?);
        } else {
            print(&verdict, start.elapsed().as_secs_f64());
        }
        match verdict.tally.differences.len() {
            0 => Ok(ExitCode::SUCCESS),
            count => Err(Failure::Work(anyhow!(
                "{}: {count} differences; restore what is damaged from a copy, or go back to an older version",
                self.table
            ))),
        }
    }
}

fn print(verdict: &Verdict, seconds: f64) {
    let tally = &verdict.tally;
    println!(
        "commit {}, epoch {}: {} files with {} rows and {} rejects, {} removals; {seconds:.2} s",
        verdict.commit, verdict.epoch, tally.files, tally.rows, tally.rejects, tally.tombstones
    );
    let recomputed =
        |sha256: &Option<String>| sha256.clone().unwrap_or("not recomputed".to_owned());
    println!(
        "moments     {}",
        recomputed(&verdict.digests.moments_sha256)
    );
    println!(
        "projection  {}",
        recomputed(&verdict.digests.projection_sha256)
    );
    println!(
        "classifier  {}",
        recomputed(&verdict.digests.classifier_sha256)
    );
    let by_a_model = [
        (
            "reduced features",
            tally.reduced_checked,
            tally.reduced_unchecked,
            "projection",
        ),
        (
            "predicted labels",
            tally.predicted_checked,
            tally.predicted_unchecked,
            "classifier",
        ),
        (
            "clusters",
            tally.clusters_checked,
            tally.clusters_unchecked,
            "clustering",
        ),
    ];
    for (what, checked, unchecked, model) in by_a_model {
        if (checked, unchecked) != (0, 0) {
            println!(
                "{what} of {checked} rows recomputed, of {unchecked} not, whose {model} is gone"
            );
        }
    }
    for difference in &tally.differences {
        println!("different: {}", difference.what);
    }
}
