//! What the demo says at its end.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::runtime::Handle;

use crate::job::Job;
use crate::observe::Stage;

/// Components whose share is told.
const SHOWN: usize = 5;

/// From the last commit and this process's counters.
#[derive(Debug, Serialize)]
pub struct Summary {
    images: u64,
    seconds: f64,
    images_per_second: f64,
    rows: u64,
    rejects: u64,
    /// What one worker does a second while it is at it.
    decoded_per_second: Option<f64>,
    extracted_per_second: Option<f64>,
    /// Rows that one pass of the network made, in this process.
    images_per_pass: Option<f64>,
    get_ms: Option<f64>,
    commit_ms: Option<f64>,
    explained_variance_ratio: Vec<f64>,
    table: PathBuf,
}

impl Summary {
    /// Of a job that has published `images` in `elapsed`.
    pub fn new(
        runtime: &Handle,
        job: &Arc<Job>,
        out: &Path,
        images: u64,
        elapsed: Duration,
    ) -> Result<Self> {
        let (state, _) = runtime
            .block_on(job.tables.committed())?
            .context("nothing was committed")?;
        let published = runtime.block_on(job.tables.summary())?;
        let seconds = elapsed.as_secs_f64();
        let metrics = &job.metrics;
        let workers = metrics.workers();
        let extracted: u64 = workers.iter().map(|worker| worker.images.get()).sum();
        let passes: u64 = workers.iter().map(|worker| worker.passes.get()).sum();
        let ms = |stage: &Stage| stage.per_second().map(|rate| 1e3 / rate);
        Ok(Summary {
            images,
            seconds,
            images_per_second: images as f64 / seconds,
            rows: published.rows,
            rejects: published.rejects,
            decoded_per_second: metrics.decoded.per_second(),
            extracted_per_second: metrics.extracted.per_second(),
            images_per_pass: (passes > 0).then(|| extracted as f64 / passes as f64),
            get_ms: ms(&metrics.fetched),
            commit_ms: ms(&metrics.committed),
            explained_variance_ratio: state
                .projection
                .map_or_else(Vec::new, |projection| projection.explained_variance_ratio),
            table: out.join("eigenflow").join("table"),
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
        writeln!(
            f,
            "\n{} images in {:.1} s, start-up included: {:.1} images/s",
            self.images, self.seconds, self.images_per_second
        )?;
        writeln!(f, "  rows      {}", self.rows)?;
        writeln!(f, "  rejects   {}", self.rejects)?;
        writeln!(
            f,
            "  one worker, by stage: decode {} images/s, extract {} images/s, {} at a time; a GET takes {} ms, a commit {} ms",
            number(self.decoded_per_second),
            number(self.extracted_per_second),
            number(self.images_per_pass),
            number(self.get_ms),
            number(self.commit_ms)
        )?;
        let ratios = &self.explained_variance_ratio;
        if ratios.is_empty() {
            writeln!(f, "  no projection: it needs at least two images")?;
        } else {
            let percent = |share: &f64| format!("{:.1} %", share * 100.0);
            let first: Vec<String> = ratios.iter().take(SHOWN).map(percent).collect();
            writeln!(
                f,
                "  {} components explain {} of the variance; the first: {}",
                ratios.len(),
                percent(&ratios.iter().sum()),
                first.join(", ")
            )?;
        }
        let table = self.table.display();
        writeln!(f, "\nThe table is {table}. To read it:")?;
        writeln!(f, "  Python   polars.read_delta(\"{table}\")")?;
        writeln!(
            f,
            "  pandas   deltalake.DeltaTable(\"{table}\").to_pandas()"
        )?;
        writeln!(
            f,
            "  Spark    spark.read.format(\"delta\").load(\"{table}\")"
        )?;
        let images = self.table.ancestors().nth(2).unwrap_or(&self.table);
        let [table, images] = [&self.table, images].map(word);
        writeln!(f, "What it holds: eigenflow inspect {table}")?;
        write!(
            f,
            "To look at it: eigenflow report {table} --images {images} -o report.html"
        )
    }
}

/// A path as a shell's word.
fn word(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@".contains(c);
    match path.chars().all(plain) {
        true => path,
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}
