//! `eigenflow replay`: a bucket of old images as a stream.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::{Args, value_parser};
use futures::StreamExt;

use super::events::{self, Objects, RATE_MAX, Sender};
use super::signals::on_signal;
use super::{Failure, runtime};
use crate::config::{Config, environment};
use crate::job::{Sample, Stop, uploads};

/// How long an interrupted replay waits for what it has sent.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// What to replay: s3://bucket/prefix, or a folder inside the one that s3.endpoint names as file://…
    source: String,
    /// The configuration of the job that reads the topic
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Events a second at most
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=RATE_MAX))]
    rate: Option<u32>,
    /// Begin behind this key: what an interrupted replay said
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
}

/// What a replay came to.
struct Sent {
    sent: u64,
    /// Objects that `[select]` does not take.
    left_out: u64,
}

impl Replay {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let config = Config::load(&self.config, environment())?;
        let objects = Objects::parse(&self.source, &config).map_err(Failure::Usage)?;
        let (runtime, stop) = (runtime()?, Stop::default());
        let asked = stop.clone();
        on_signal(&runtime, move || {
            asked.ask();
        })?;
        let Sent { sent, left_out } = runtime.block_on(self.send(&config, &objects, &stop))?;
        println!("{sent} events sent to topic {}", config.kafka.topic);
        match (sent, left_out) {
            (0, 0) if self.after.is_none() => println!("there is no object at {}", self.source),
            (_, 0) => {}
            (0, _) => println!(
                "[select] takes none of the {left_out} objects at {}; in a glob, * ends at a folder: **/*.jpg goes below",
                self.source
            ),
            (_, _) => println!("{left_out} objects were left out by [select]"),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Sends all; one that a signal interrupts has not done what it was asked for, so that is a failure, too.
    async fn send(&self, config: &Config, objects: &Objects, stop: &Stop) -> Result<Sent> {
        let mut sender = tokio::select! {
            sender = Sender::new(config, self.rate) => sender?,
            () = stop.asked() => bail!("interrupted; nothing was sent"),
        };
        let sent = tokio::select! {
            sent = self.send_all(config, objects, &mut sender) => sent,
            () = stop.asked() => Err(anyhow!("asked to stop")),
        };
        if sent.is_err() {
            // What is on its way need not be sent again.
            let _ = tokio::time::timeout(LAST_WORDS, sender.finish()).await;
        }
        sent.map_err(|error| match sender.acknowledged() {
            Some(key) => error.context(format!("interrupted; resume with --after {key:?}")),
            None => error,
        })
    }

    async fn send_all(
        &self,
        config: &Config,
        objects: &Objects,
        sender: &mut Sender,
    ) -> Result<Sent> {
        let Objects { bucket, prefix } = objects;
        let uploads = uploads::open(config, None).await?;
        let (mut sample, mut left_out) = (Sample::new(config), 0);
        let after = self.after.as_deref();
        // What comes before counts, too, where a label has only so many.
        let from = after.filter(|_| config.select.per_label == 0);
        let mut listed = uploads.list(bucket, prefix, from);
        while let Some(object) = listed.next().await {
            let Some(object) = events::readable(object)? else {
                continue;
            };
            let taken = sample.takes(&object.key);
            if after.is_some_and(|after| *object.key <= *after) {
                continue;
            }
            match taken {
                true => sender.send(events::created(bucket, object)).await?,
                false => left_out += 1,
            }
        }
        let sent = sender.finish().await?;
        Ok(Sent { sent, left_out })
    }
}
