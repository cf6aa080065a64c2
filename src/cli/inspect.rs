//! `eigenflow inspect`: what the last commit of a table holds.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use super::{Failure, StoreArguments, runtime};
use crate::job;

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// s3://bucket/prefix/table or a folder
    table: String,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArguments,
}

impl Inspect {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let report = runtime()?.block_on(self.report())?;
        if self.json {
            println!("{report:#}");
        } else if let Value::Object(fields) = report {
            let width = fields.keys().map(String::len).max().unwrap_or(0);
            for (name, value) in fields {
                println!("{name:width$}  {}", human(&value));
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn report(&self) -> Result<Value> {
        let mut tables =
            job::open_tables(&self.table, &self.store.config(), job::PATIENCE_MS).await?;
        let found = tables.open_existing().await?;
        let state = found
            .state
            .context("the table is there, but no job has committed to it yet")?;
        let projection = state.projection.as_ref();
        let clustering = state.clustering.as_ref();
        let agreement = clustering.and_then(|clustering| clustering.agreement);
        Ok(json!({
            "commit": found.version,
            "epoch": state.epoch,
            "rows": found.rows.iter().map(|file| file.rows).sum::<u64>(),
            "rejects": found.rejects.iter().map(|file| file.rows).sum::<u64>(),
            "files": found.rows.len(),
            "backbone": state.backbone,
            "features": state.features,
            "topic": state.topic,
            "offsets": state.offsets,
            "projection_version": projection.map(|projection| projection.version),
            "components": projection.map(|projection| projection.components),
            "explained_variance_ratio": projection.map(|projection| &projection.explained_variance_ratio),
            "drift_rad": projection.and_then(|projection| projection.drift_rad),
            "classifier_version": state.classifier.as_ref().map(|classifier| classifier.version),
            "labels": state.classifier.as_ref().map(|classifier| classifier.labels),
            "clustering_version": clustering.map(|clustering| clustering.version),
            "clusters": clustering.map(|clustering| clustering.clusters),
            "silhouette": clustering.and_then(|clustering| clustering.silhouette),
            "adjusted_rand_index": agreement.map(|agreement| agreement.adjusted_rand_index),
            "normalised_mutual_information": agreement.map(|agreement| agreement.normalised_mutual_information),
            "predictions_tested": state.prequential.tested,
            "prequential_accuracy": state.prequential.accuracy(),
            "moments_sha256": state.moments.as_ref().map(|moments| &moments.sha256),
            "projection_sha256": projection.map(|projection| &projection.sha256),
            "classifier_sha256": state.classifier.as_ref().map(|classifier| &classifier.sha256),
            "clustering_sha256": clustering.map(|clustering| &clustering.sha256),
            "moments_object": state.moments.as_ref().map(|moments| &moments.object),
            "projection_object": projection.map(|projection| &projection.object),
            "classifier_object": state.classifier.as_ref().map(|classifier| &classifier.object),
            "clustering_object": clustering.map(|clustering| &clustering.object),
        }))
    }
}

/// A value in a line; a long list by its beginning.
fn human(value: &Value) -> String {
    const SHOWN: usize = 6;
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none yet".to_owned(),
        Value::Array(items) => {
            let shown: Vec<String> = items
                .iter()
                .take(SHOWN)
                .map(|item| {
                    item.as_f64()
                        .map_or_else(|| item.to_string(), |number| format!("{number:.4}"))
                })
                .collect();
            let more = items.len().saturating_sub(SHOWN);
            if more == 0 {
                shown.join(" ")
            } else {
                format!("{} … and {more} more", shown.join(" "))
            }
        }
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name}:{value}"))
            .collect::<Vec<_>>()
            .join(" "),
        other => other.to_string(),
    }
}
