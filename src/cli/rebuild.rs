//! `eigenflow rebuild`: a table's images by another network.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Args, value_parser};
use futures::TryStreamExt;

use super::events::{self, RATE_MAX, Sender};
use super::{Failure, runtime};
use crate::backbone::weights;
use crate::config::{Config, environment};
use crate::event::{Change, ObjectEvent};
use crate::job::{self, Contradiction, Extraction, Rebuilding, Rebuilt};
use crate::storage::object_of;
use crate::table::KeyRow;

/// Arguments of `rebuild`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Rebuild {
    /// The configuration of the table's job, with the new network
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Events a second at most
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=RATE_MAX))]
    rate: Option<u32>,
}

const AFTER_HELP: &str = "A job refuses a table whose rows another network made, or the same one with other weights, precision, kernels, pooling, \
preprocessing or head: their features can't be summed together. This command tells such a table to be rebuilt. It sends an event \
for every row to the job's topic, and then takes all rows away in one commit that names the new network. The next `run` meets the \
events, extracts what the images are by then, and publishes them as any others. Images that were rejected stay so.

Stop the job first: if one commits meanwhile, nothing is changed, exit code 3. Until the next job has published, the table is \
empty for whoever reads its newest version; the one before has the old rows until `eigenflow vacuum`. Where nobody may see \
that, leave the table alone: choose another table.uri, start the job, and `eigenflow replay` the bucket.";

impl Rebuild {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let config = Config::load(&self.config, environment())?;
        let cache = weights::cache_dir().map_err(anyhow::Error::from)?;
        let extraction = Extraction::load(&config.backbone, &config.head, &cache)?;
        let uri = &config.table.uri;
        match runtime()?.block_on(self.rebuild(&config, &extraction))? {
            None => println!("{uri} is of this network already; nothing to do"),
            Some((
                Rebuilt {
                    before,
                    rows,
                    backbone,
                },
                events,
            )) => println!(
                "{events} events sent to topic {}; version {} of {uri} is empty, version {before} has the {rows} rows of {backbone}.\n\
                 Start the job: eigenflow run --config {}",
                config.kafka.topic,
                before + 1,
                self.config.display()
            ),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What it came to, and how many events were sent.
    async fn rebuild(
        &self,
        config: &Config,
        extraction: &Extraction,
    ) -> Result<Option<(Rebuilt, u64)>> {
        let s3 = job::uploads::s3_config(config, None);
        let tables = job::open_tables(&config.table.uri, &s3).await?;
        let rebuilding =
            Rebuilding::open(tables, extraction, &config.label, &config.kafka.topic).await?;
        let Some(rebuilding) = rebuilding else {
            return Ok(None);
        };
        let mut sender = Sender::new(config, self.rate).await?;
        {
            let mut keys = std::pin::pin!(rebuilding.keys());
            while let Some(keys) = keys.try_next().await? {
                for key in keys {
                    sender.send(event(config, &key)?).await?;
                }
            }
        }
        // Before the commit: only then is no row lost, whatever happens between.
        let events = sender.finish().await?;
        Ok(Some((rebuilding.empty(extraction).await?, events)))
    }
}

/// The event of a row's image, as the job that made the row knew it.
fn event(config: &Config, row: &KeyRow) -> Result<ObjectEvent> {
    let object = object_of(&row.path).with_context(|| format!("{} is no path", row.path))?;
    let (bucket, key) = object;
    ensure!(
        config.s3.buckets.iter().any(|known| known == bucket),
        Contradiction(format!(
            "{} is of a bucket that is not among s3.buckets ({}): the job would reject it. Add the bucket",
            row.path,
            config.s3.buckets.join(", ")
        ))
    );
    Ok(events::of_row(Change::Created, bucket, key, row))
}
