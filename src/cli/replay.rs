//! `eigenflow replay`: a bucket of old images as a stream.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressStyle};
use rdkafka::producer::{FutureRecord, Producer as _};

use super::{Failure, load, runtime};
use crate::config::Config;
use crate::event::{self, Change, Dialect, ObjectEvent, Version};
use crate::job::uploads;
use crate::operators::kafka;
use crate::storage::{Location, UploadMeta};

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// What to replay: s3://bucket/prefix, or a folder inside the one that s3.endpoint names as file://…
    source: String,
    /// The configuration of the job that reads the topic
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Events a second at most
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Begin behind this key: what an interrupted replay said
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
}

/// Sent and not yet acknowledged.
const IN_FLIGHT: usize = 1000;

impl Replay {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let config = load(&self.config, &[])?;
        let (bucket, prefix) = self.bucket(&config).map_err(Failure::Usage)?;
        // What is wrong with the brokers is better heard now than from each event.
        kafka::connect(&kafka::consumer(&config.kafka)?, &config.kafka)?;
        let runtime = runtime()?;
        let sent = runtime.block_on(self.send(&config, &bucket, &prefix))?;
        println!("{sent} events sent to topic {}", config.kafka.topic);
        Ok(ExitCode::SUCCESS)
    }

    fn bucket(&self, config: &Config) -> Result<(String, String)> {
        let (bucket, prefix) = match Location::parse(&self.source)? {
            Location::S3 { bucket, prefix } => (bucket, prefix),
            Location::Folder(folder) => {
                let root = uploads::root(config).context(
                    "a folder can be replayed when the job reads folders: set s3.endpoint = \"file:///…\" to the folder that \
                     holds the bucket's folder",
                )?;
                let inside = folder
                    .strip_prefix(&root)
                    .ok()
                    .and_then(|inside| inside.to_str());
                let inside = inside.with_context(|| {
                    format!(
                        "{} is not inside s3.endpoint, {}",
                        folder.display(),
                        root.display()
                    )
                })?;
                let (bucket, prefix) = inside.split_once('/').unwrap_or((inside, ""));
                (
                    bucket.to_owned(),
                    if prefix.is_empty() {
                        String::new()
                    } else {
                        format!("{prefix}/")
                    },
                )
            }
        };
        ensure!(
            config.s3.buckets.contains(&bucket),
            "bucket {bucket} is not among s3.buckets ({}): the job would reject its events",
            config.s3.buckets.join(", ")
        );
        Ok((bucket, prefix))
    }

    async fn send(&self, config: &Config, bucket: &str, prefix: &str) -> Result<u64> {
        let uploads = uploads::open(config, None).await?;
        let producer = kafka::producer(&config.kafka)?;
        let bar = ProgressBar::new_spinner().with_style(style());
        let mut pace = self
            .rate
            .map(|rate| tokio::time::interval(Duration::from_secs(1) / rate.max(1)));
        let mut objects = uploads.list(bucket, prefix, self.after.as_deref());
        let mut waiting = FuturesUnordered::new();
        let mut done = None;
        while let Some(object) = objects.next().await {
            let resume = |error: anyhow::Error| match &done {
                Some(key) => error.context(format!("interrupted; resume with --after {key:?}")),
                None => error,
            };
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
            let object = object.map_err(|error| resume(error.into()))?;
            let key = object.key.clone();
            waiting.push(send(&producer, &config.kafka.topic, event(bucket, object)));
            while waiting.len() >= IN_FLIGHT {
                acknowledge(waiting.next().await).map_err(resume)?;
            }
            bar.inc(1);
            bar.set_message(key.clone());
            done = Some(key);
        }
        while !waiting.is_empty() {
            acknowledge(waiting.next().await)?;
        }
        producer.flush(Duration::from_secs(30))?;
        bar.finish_and_clear();
        Ok(bar.position())
    }
}

fn acknowledge(answer: Option<Result<()>>) -> Result<()> {
    answer.unwrap_or(Ok(()))
}

/// The event of an object as the listing has it. Its time is the object's own, so that a replay says nothing new of an
/// object whose upload was heard.
pub fn event(bucket: &str, object: UploadMeta) -> ObjectEvent {
    ObjectEvent {
        change: Change::Created,
        bucket: bucket.to_owned(),
        key: object.key,
        etag: Some(object.etag),
        version_id: object.version_id,
        size: Some(object.size),
        version: Version {
            time_ms: object.last_modified_ms,
            sequencer: 0,
        },
        dialect: Dialect::Aws,
    }
}

/// Sends an event; events of one key go to one partition.
pub async fn send(producer: &kafka::Producer, topic: &str, event: ObjectEvent) -> Result<()> {
    let key = format!("{}/{}", event.bucket, event.key);
    let payload = event::render(&event);
    let record = FutureRecord::to(topic).key(&key).payload(&payload);
    let sent = producer.send(record, Duration::from_secs(60)).await;
    sent.map(drop)
        .map_err(|(error, _)| anyhow!("topic {topic}: {error}"))
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {pos} events, {per_sec}  {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}
