//! `eigenflow classify`: the labels of image files, by a table's classifier.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use super::{Failure, StoreArguments, runtime};
use crate::backbone::{Architecture, Backbone, weights};
use crate::classifier::{Classifier, Prediction};
use crate::config::{self, Said, keys};
use crate::image::{self, Limits, Resizer};
use crate::job::{self, Contradiction, Extraction};

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
    store: StoreArguments,
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
        let extraction = self.extraction(&identity)?;
        if extraction.identity != identity {
            return Err(Failure::Usage(anyhow::anyhow!(
                "the table was made with the backbone {identity}, here it would be {}: their features can't be compared. Give the \
                 job's file by --config, or ask on a machine like the job's",
                extraction.identity
            )));
        }
        let mut eye = Eye {
            backbone: extraction.model.worker(),
            resizer: Resizer::default(),
            extraction,
        };
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

    /// The identity of the table's network, and its newest classifier.
    async fn classifier(&self) -> Result<(String, Classifier)> {
        let mut tables =
            job::open_tables(&self.table, &self.store.config(), job::PATIENCE_MS).await?;
        let found = tables.open_existing().await?;
        let state = found
            .state
            .context("the table is there, but no job has committed to it yet")?;
        let stored = job::read_classifier(&tables, &state).await?;
        let stored = stored.context(
            "the table has no classifier: it needs classifier.enabled = true and images of at least two labels, and comes with the next \
             commit of its job that changes them",
        )?;
        Ok((state.backbone, stored.classifier))
    }

    /// The network of the job's file, or else the one that an identity begins with.
    fn extraction(&self, identity: &str) -> Result<Extraction, Failure> {
        let mut said = match &self.config {
            Some(file) => Said::load(file, config::environment())?,
            None => Said::parse("", config::environment())?,
        };
        if self.config.is_none() {
            said.set("backbone.name", network_of(identity)?, "the table");
            for precision in ["bf16", "int8"] {
                if identity.contains(&format!("; {precision}; ")) {
                    said.set("backbone.precision", precision, "the table");
                }
            }
        }
        let (backbone, head) = said.resolve_network()?;
        Ok(Extraction::load(
            &backbone,
            &head,
            &weights::cache_dir().map_err(anyhow::Error::from)?,
        )?)
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

/// The configuration's name of the network that an identity begins with.
fn network_of(identity: &str) -> Result<&'static str> {
    let words = match keys::find("backbone", "name").map(|key| key.kind) {
        Some(keys::Kind::Choice(words)) => words,
        _ => &[],
    };
    let network = identity.split(';').next().unwrap_or_default();
    let names = |word: &&&str| match Architecture::variants(word) {
        Ok(variants) => variants
            .iter()
            .any(|variant| variant.to_string() == network),
        Err(_) => network.starts_with(**word),
    };
    let word = words.iter().find(names).copied();
    word.ok_or_else(|| {
        Contradiction(format!(
            "the table was made with the backbone {identity}, which is none of this release: give the job's file by --config"
        ))
        .into()
    })
}

/// From a file to features, as the job goes about it.
struct Eye {
    extraction: Extraction,
    backbone: Box<dyn Backbone>,
    resizer: Resizer,
}

impl Eye {
    fn features(&mut self, path: &Path) -> Result<Vec<f32>> {
        let bytes = std::fs::read(path)?;
        let picture = image::decode(&bytes, &Limits::default())?;
        let mut pixels = Vec::new();
        self.resizer
            .apply(&picture, &self.extraction.preprocess, &mut pixels)?;
        let mut features = vec![0.0; self.backbone.spec().features];
        self.backbone.extract(&pixels, &mut features)?;
        Ok(features)
    }
}
