//! `eigenflow cluster`: k-means of a table's reduced features, and how far its clusters are its labels.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};

use super::view::ViewArguments;
use super::{Failure, runtime};
use crate::clusters::{Options, Outcome};
use crate::job::{self, Clusterer, View};

/// Arguments of `cluster`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Cluster {
    /// s3://bucket/prefix/table or a folder
    table: String,
    /// How many clusters; without it as many as there are labels
    #[arg(short = 'k', long, value_name = "K")]
    clusters: Option<usize>,
    /// Of all that is left to chance
    #[arg(long, default_value_t = Options::default().seed, value_name = "S")]
    seed: u64,
    /// Worker threads; one uses one core
    #[arg(short, long, default_value_t = 1, value_name = "N")]
    workers: usize,
    /// As JSON, for programs, with the centroids
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    view: ViewArguments,
}

const AFTER_HELP: &str = "All rows are seen under the projection of the version that is looked at. The clusters depend on the rows, K and S, and on \
nothing else. Nothing is written: a table with `columns.cluster` gets its clusters by `reproject`, which takes the same K and S.";

/// So many labels of a cluster are told.
const LABELS_SHOWN: usize = 4;

impl Cluster {
    pub fn run(self) -> Result<ExitCode, Failure> {
        if self.workers == 0 {
            return Err(Failure::Usage(anyhow!("--workers must be at least 1")));
        }
        if self.clusters == Some(0) {
            return Err(Failure::Usage(anyhow!("-k must be at least 1")));
        }
        let start = Instant::now();
        let runtime = runtime()?;
        let options = Options {
            clusters: self.clusters,
            seed: self.seed,
        };
        let open = async { Clusterer::new(self.view.open(&self.table).await?, options) };
        let clusterer = Arc::new(runtime.block_on(open)?);
        let found = job::cluster(&clusterer, self.workers)?;
        if self.json {
            println!("{:#}", self.told(&clusterer.view, &found));
        } else {
            print(&clusterer.view, &found, start.elapsed().as_secs_f64());
        }
        Ok(ExitCode::SUCCESS)
    }

    fn told(&self, view: &View, found: &Outcome) -> Value {
        let centroids = found.clustering.centroids();
        let clusters = centroids.zip(found.clustering.sizes()).zip(0u32..);
        let clusters = clusters.map(|((centroid, rows), cluster)| {
            let labels: Vec<Value> = labels_of(found, cluster)
                .into_iter()
                .map(|(rows, label)| json!({ "label": label, "rows": rows }))
                .collect();
            json!({ "cluster": cluster, "rows": rows, "labels": labels, "centroid": centroid })
        });
        json!({
            "commit": view.version,
            "projection_version": view.projection.version,
            "rows": found.rows,
            "seed": self.seed,
            "iterations": found.iterations,
            "converged": found.converged,
            "inertia": found.inertia,
            "silhouette": found.silhouette,
            "silhouette_rows": found.silhouette_rows,
            "adjusted_rand_index": found.agreement.map(|with| with.adjusted_rand_index),
            "normalised_mutual_information": found.agreement.map(|with| with.normalised_mutual_information),
            "clustering_sha256": found.clustering.sha256(),
            "clusters": clusters.collect::<Vec<_>>(),
        })
    }
}

/// How many rows of each label are in a cluster, the most first.
fn labels_of(found: &Outcome, cluster: u32) -> Vec<(u64, Option<&str>)> {
    let cells = found.table.iter();
    let mine = cells.filter(|((_, of), _)| *of == cluster);
    let mut labels: Vec<_> = mine
        .map(|((label, _), rows)| (*rows, label.as_deref()))
        .collect();
    labels.sort_by_key(|(rows, _)| std::cmp::Reverse(*rows));
    labels
}

fn print(view: &View, found: &Outcome, seconds: f64) {
    let rounds = match found.converged {
        true => format!("{} passes", found.iterations),
        false => format!("stopped after {} passes", found.iterations),
    };
    println!(
        "version {}: {} rows under projection {} in {} clusters; {rounds}, {seconds:.2} s",
        view.version,
        found.rows,
        view.projection.version,
        found.clustering.clusters()
    );
    println!("inertia                        {:.1}", found.inertia);
    if let Some(silhouette) = found.silhouette {
        let of = found.silhouette_rows;
        println!("silhouette                     {silhouette:.4} (of {of} rows)");
    }
    if let Some(with) = found.agreement {
        let (rand, information) = (with.adjusted_rand_index, with.normalised_mutual_information);
        println!("adjusted Rand index            {rand:.4} with the labels");
        println!("normalised mutual information  {information:.4}");
    }
    for (cluster, rows) in (0..).zip(found.clustering.sizes()) {
        let labels = labels_of(found, cluster);
        let shown = labels.iter().take(LABELS_SHOWN);
        let shown = shown.map(|(rows, label)| format!("{} {rows}", label.unwrap_or("(none)")));
        let shown: Vec<String> = shown.collect();
        let more = if labels.len() > LABELS_SHOWN {
            ", …"
        } else {
            ""
        };
        println!("{cluster:>5} {rows:>8}  {}{more}", shown.join(", "));
    }
}
