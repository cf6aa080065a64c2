//! `eigenflow reproject`: all rows of a table under its newest projection.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use clap::Args;

use super::{Failure, StoreArguments, runtime};
use crate::config::keys;
use crate::job::{self, Asked, Contradiction, Reprojected, Reprojection};
use crate::operators::{Host, Load};
use crate::table::Row;

/// Arguments of `reproject`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Reproject {
    /// s3://bucket/prefix/table or a folder
    table: String,
    /// Worker threads; one uses one core
    #[arg(short, long, default_value_t = 1, value_name = "N")]
    workers: usize,
    /// Files that together have at most so many rows become one: table.rows_per_file of the job
    #[arg(long, value_name = "N", default_value = of_the_job("rows_per_file"))]
    rows_per_file: u64,
    /// Files that together have at most so many bytes become one: table.file_bytes of the job
    #[arg(long, value_name = "BYTES", default_value = of_the_job("file_bytes"), value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    file_bytes: u64,
    /// How many clusters a table with `columns.cluster` gets; without it as many as the last time, at first as many as there are labels
    #[arg(short = 'k', long, value_name = "K")]
    clusters: Option<usize>,
    /// Of all that is left to chance in them; without it as the last time
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    #[command(flatten)]
    store: StoreArguments,
}

const AFTER_HELP: &str = "While a job runs, rows keep the reduction that they were published with, and projections follow one another: rows of \
different ages are in different coordinates. This command computes reduced_features of every row again, under the projection \
that the last commit names, and swaps the files in one commit: readers see all of it or none. Features, moments, projection \
and Kafka offsets stay as they are. It needs the table and nothing else: no configuration, no Kafka, no images. \
`run --until-end` does the same at its end.

A table with `columns.cluster` gets its clusters by it: k-means of the rows it has then. Rows that come later have none until the next time.

Where nothing is to do it says so and commits nothing. `eigenflow verify` checks the result; \
`eigenflow vacuum` deletes the files that were replaced, once no recent version needs them.

At best no job runs meanwhile. If one commits first, nothing is changed here, exit code 3. If this command is first, the job \
ends with exit code 1 at its next commit, of which nothing is published, and has to be started again, as `run --restart` and the \
units in deploy/ do by themselves; it goes on from this commit, and nothing is lost.";

/// The default of the job's key.
fn of_the_job(name: &str) -> &'static str {
    let key = keys::find("table", name);
    key.map_or("", |key| key.unsaid.sample())
}

impl Reproject {
    pub fn run(self) -> Result<ExitCode, Failure> {
        for (flag, number) in [
            ("workers", self.workers as u64),
            ("rows-per-file", self.rows_per_file),
            ("file-bytes", self.file_bytes),
        ] {
            if number == 0 {
                return Err(Failure::Usage(anyhow!("--{flag} must be at least 1")));
            }
        }
        if self.clusters == Some(0) {
            return Err(Failure::Usage(anyhow!("-k must be at least 1")));
        }
        let start = Instant::now();
        let runtime = runtime()?;
        let store = self.store.config();
        let tables = job::open_tables(&self.table, &store);
        let file_max = Load {
            count: self.rows_per_file,
            bytes: self.file_bytes,
        };
        let opened = async { Reprojection::open(tables.await?, file_max, self.asked()).await };
        let reprojection = runtime.block_on(opened)?;
        self.check(&reprojection)?;
        let done = job::reproject(&Arc::new(reprojection), self.workers)?;
        print(&done, start.elapsed().as_secs_f64());
        Ok(ExitCode::SUCCESS)
    }
}

impl Reproject {
    /// The clusters that are asked for, if any are.
    fn asked(&self) -> Asked {
        Asked {
            clusters: self.clusters,
            seed: self.seed,
        }
    }

    /// Refuses to look for clusters that the table does not show.
    fn check(&self, opened: &Reprojection) -> Result<()> {
        let tables = opened.tables();
        let asked = self.clusters.is_some() || self.seed.is_some();
        ensure!(
            !asked || tables.rows.form().shows::<Row>("cluster"),
            Contradiction(format!(
                "{} shows no clusters, so -k and --seed mean nothing for it: leave them out; or run a job with columns.cluster, \
                 another table.uri and what `eigenflow replay` brings in; `eigenflow cluster` tells the clusters of any table",
                tables.place()
            ))
        );
        Ok(())
    }
}

fn print(done: &Reprojected, seconds: f64) {
    let Reprojected { commit, rows, .. } = done;
    let under = match done.projection {
        Some(version) => format!("{rows} rows under projection {version}"),
        None => format!("{rows} rows, too few for a projection"),
    };
    if done.files_before == 0 {
        println!("commit {commit}: {under}; nothing to do");
    } else {
        println!(
            "commit {commit}: {under}; {} files became {}; {seconds:.2} s",
            done.files_before, done.files
        );
    }
    if let Some(clustering) = &done.clustering {
        let with = |number: Option<f64>| number.map_or("none".to_owned(), |x| format!("{x:.4}"));
        let agreement = clustering.agreement;
        println!(
            "{} clusters: silhouette {}, with the labels an adjusted Rand index of {} and a normalised mutual information of {}",
            clustering.clusters,
            with(clustering.silhouette),
            with(agreement.map(|with| with.adjusted_rand_index)),
            with(agreement.map(|with| with.normalised_mutual_information)),
        );
    }
}
