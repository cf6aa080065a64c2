//! What the demo says at its end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Handle;

use crate::job::{Job, Summary};
use crate::observe::Stage;

/// Components whose share is told.
const SHOWN: usize = 5;

/// Prints it, from the last commit and this process's counters.
pub fn print(
    runtime: &Handle,
    job: &Arc<Job>,
    out: &Path,
    images: u64,
    elapsed: Duration,
) -> Result<()> {
    let (state, _) = runtime
        .block_on(job.tables.committed())?
        .context("nothing was committed")?;
    let Summary { rows, rejects, .. } = runtime.block_on(job.tables.summary())?;
    let seconds = elapsed.as_secs_f64();
    println!(
        "\n{images} images in {seconds:.1} s, start-up included: {:.1} images/s",
        images as f64 / seconds
    );
    println!("  rows      {rows}");
    println!("  rejects   {rejects}");
    let metrics = &job.metrics;
    println!(
        "  one worker, by stage: decode {}, extract {}; a GET takes {}, a commit {}",
        rate(&metrics.decoded),
        rate(&metrics.extracted),
        mean(&metrics.fetched),
        mean(&metrics.committed)
    );
    match &state.projection {
        Some(projection) => {
            let shares: Vec<String> = projection
                .explained_variance_ratio
                .iter()
                .take(SHOWN)
                .map(|share| format!("{:.1} %", share * 100.0))
                .collect();
            println!(
                "  {} components explain {:.1} % of the variance; the first: {}",
                projection.components,
                projection.explained() * 100.0,
                shares.join(", ")
            );
        }
        None => println!("  no projection: it needs at least two images"),
    }
    let table = out.join("eigenflow").join("table");
    let table = table.display();
    println!("\nThe table is {table}. To read it:");
    println!(
        "  Python   polars.read_delta(\"{table}\").select(\"path\", \"label\", \"reduced_features\")"
    );
    println!("  pandas   deltalake.DeltaTable(\"{table}\").to_pandas()");
    println!("  Spark    spark.read.format(\"delta\").load(\"{table}\")");
    println!("What it holds: eigenflow inspect {table}");
    Ok(())
}

fn rate(stage: &Stage) -> String {
    stage
        .per_second()
        .map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1} images/s"))
}

fn mean(stage: &Stage) -> String {
    stage
        .per_second()
        .map_or_else(|| "-".to_owned(), |rate| format!("{:.1} ms", 1000.0 / rate))
}
