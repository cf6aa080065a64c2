//! `eigenflow classify`: the labels of image files, by a table's classifier.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use super::eye::Eye;
use super::view::ViewArguments;
use super::{Failure, runtime};
use crate::classifier::{Classifier, Prediction};
use crate::job::{self, state::JobState};

/// Arguments of `classify`.
#[derive(Debug, Args)]
pub struct Classify {
    /// Image files
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// The table whose classifier is asked: s3://bucket/prefix/table or a folder
    #[arg(long, value_name = "TABLE")]
    table: String,
    /// The job's TOML file, for a network that has more options than its name and precision
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many of the next likeliest labels to tell
    #[arg(long, default_value_t = 2, value_name = "N")]
    next: usize,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    view: ViewArguments,
}

/// What is told of an image.
#[derive(Serialize)]
struct Answer {
    image: String,
    #[serde(flatten)]
    best: Likely,
    next: Vec<Likely>,
}

#[derive(Serialize)]
struct Likely {
    label: String,
    confidence: f32,
}

impl From<Prediction<'_>> for Likely {
    fn from(prediction: Prediction<'_>) -> Self {
        Likely {
            label: prediction.label.to_owned(),
            confidence: prediction.confidence,
        }
    }
}

impl Classify {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let (identity, classifier) = runtime()?.block_on(self.classifier())?;
        let mut eye = Eye::new(&identity, self.config.as_deref())?;
        let (mut answers, mut unreadable) = (Vec::new(), 0);
        for path in &self.images {
            match eye.features(path) {
                Ok(features) => {
                    let ranked = classifier.ranked(&features, 1 + self.next);
                    answers.extend(answer(path, ranked));
                }
                Err(error) => {
                    unreadable += 1;
                    eprintln!("eigenflow: {}: {error:#}", path.display());
                }
            }
        }
        self.print(&answers)?;
        match unreadable {
            0 => Ok(ExitCode::SUCCESS),
            count => Err(Failure::Work(anyhow::anyhow!(
                "{count} of {} files are no readable images",
                self.images.len()
            ))),
        }
    }

    /// The identity of the table's network, and its classifier.
    async fn classifier(&self) -> Result<(String, Classifier)> {
        let mut tables = job::open_tables(&self.table, &self.view.store()).await?;
        let found = tables.open_existing_at(self.view.version).await?;
        let state = JobState::committed(found.state)?;
        let stored = job::read_classifier(&tables, &state).await?;
        let stored = stored.context(
            "the table has no classifier: it needs classifier.enabled = true and images of at least two labels, more than one of some and not all \
             alike, and comes with the next commit of its job that changes them",
        )?;
        Ok((state.backbone, stored.classifier))
    }

    fn print(&self, answers: &[Answer]) -> Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(answers)?);
            return Ok(());
        }
        let likely = |likely: &Likely| format!("{} {:.4}", likely.label, likely.confidence);
        for answer in answers {
            let next: Vec<String> = answer.next.iter().map(likely).collect();
            let more = match next.is_empty() {
                true => String::new(),
                false => format!("  (then {})", next.join(", ")),
            };
            println!("{}  {}{more}", answer.image, likely(&answer.best));
        }
        Ok(())
    }
}

fn answer(path: &Path, ranked: Vec<Prediction<'_>>) -> Option<Answer> {
    let mut likely = ranked.into_iter().map(Likely::from);
    Some(Answer {
        image: path.display().to_string(),
        best: likely.next()?,
        next: likely.collect(),
    })
}
