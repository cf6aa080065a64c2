//! `eigenflow inspect`: what the last commit of a table holds.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::{Failure, StoreArguments, runtime};
use crate::job::{self, state::JobState};
use crate::table::{Form, Row};

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
        let mut tables = job::open_tables(&self.table, &self.store.config()).await?;
        let found = tables.open_existing().await?;
        let state = JobState::committed(found.state)?;
        let projection = state.projection.as_ref();
        let clustering = state.clustering.as_ref();
        let agreement = clustering.and_then(|clustering| clustering.agreement);
        Ok(json!({
            "commit": found.version,
            "epoch": state.epoch,
            "rows": found.rows.iter().map(|file| file.rows).sum::<u64>(),
            "rejects": found.rejects.iter().map(|file| file.rows).sum::<u64>(),
            "files": found.rows.len(),
            "columns": columns(tables.rows.form(), state.features, projection.map_or(0, |projection| projection.components)),
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

/// The table's schema in the order of its columns: `name type`, and of what length the vectors are.
fn columns(form: &Form, features: usize, components: usize) -> Vec<String> {
    let columns = form.columns::<Row>().into_iter();
    columns
        .map(|[own, name, kind]| match own.as_str() {
            "features" | "scaled_features" => format!("{name} {kind}[{features}]"),
            "reduced_features" => format!("{name} {kind}[{components}]"),
            _ => format!("{name} {kind}"),
        })
        .collect()
}

/// A value in a line; a long list of numbers by its beginning.
fn human(value: &Value) -> String {
    const SHOWN: usize = 6;
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none yet".to_owned(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let texts: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            texts.join(", ")
        }
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
