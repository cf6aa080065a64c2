//! Events that commands send: which objects they are about, and how they reach the topic.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use indicatif::{ProgressBar, ProgressStyle};
use rdkafka::producer::{FutureRecord, Producer as _};
use tokio::time::Interval;

use crate::config::Config;
use crate::event::{self, Change, Dialect, ObjectEvent, Version};
use crate::job::{Stop, uploads};
use crate::operators::kafka;
use crate::storage::{FetchError, Location, UploadMeta};
use crate::table::KeyRow;

/// More events a second than a topic takes.
pub const RATE_MAX: i64 = 1_000_000;
/// Sent and not yet acknowledged.
const IN_FLIGHT: usize = 1000;

/// The objects of a bucket whose keys begin with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objects {
    /// One of `s3.buckets`.
    pub bucket: String,
    /// Empty for the whole bucket.
    pub prefix: String,
}

impl Objects {
    /// Reads `s3://bucket/prefix`, whose prefix is any beginning of keys, or a folder inside the one that `s3.endpoint` names.
    ///
    /// # Errors
    /// An address that is none, or of objects whose events the job would reject.
    pub fn parse(source: &str, config: &Config) -> Result<Self> {
        let mut schemes = ["s3://", "s3a://"].into_iter();
        let in_s3 = schemes.find_map(|scheme| source.strip_prefix(scheme));
        let (bucket, prefix) = match in_s3.map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
            Some((bucket, prefix)) => (bucket.to_owned(), prefix.to_owned()),
            None => Self::of_folder(source, config)?,
        };
        ensure!(
            config.s3.buckets.contains(&bucket),
            "bucket {bucket:?} is not among s3.buckets ({}): the job would reject its events",
            config.s3.buckets.join(", ")
        );
        Ok(Objects { bucket, prefix })
    }

    fn of_folder(source: &str, config: &Config) -> Result<(String, String)> {
        let root = uploads::root(config).with_context(|| {
            format!(
                "{source} is a folder, which can be read when the job reads folders: write s3://BUCKET/PREFIX, or set s3.endpoint = \
                 \"file:///…\" to the folder that holds the bucket's folder"
            )
        })?;
        let Location::Folder(folder) = Location::parse(source)? else {
            bail!("{source} is no folder");
        };
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
        Ok(match inside.split_once('/') {
            Some((bucket, prefix)) => (bucket.to_owned(), format!("{prefix}/")),
            None => (inside.to_owned(), String::new()),
        })
    }
}

/// What a listing tells of an object; a name that can't be read is said, and passed over.
///
/// # Errors
/// All others: they are not of that object alone.
pub fn readable<T>(listed: Result<T, FetchError>) -> Result<Option<T>, FetchError> {
    match listed {
        Ok(object) => Ok(Some(object)),
        Err(error @ FetchError::Invalid { .. }) => {
            eprintln!("eigenflow: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The event of an object as the listing has it. Its time is the object's own, so that it says nothing new of an object
/// whose upload was heard.
pub fn created(bucket: &str, object: UploadMeta) -> ObjectEvent {
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

/// The event of an object that has a row. It has the row's own version, over which a removal wins.
pub fn of_row(change: Change, bucket: &str, key: &str, row: &KeyRow) -> ObjectEvent {
    let version = row.version.parse().unwrap_or(Version {
        time_ms: row.event_time_ms,
        sequencer: 0,
    });
    ObjectEvent {
        change,
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        etag: None,
        version_id: None,
        size: None,
        version,
        dialect: Dialect::Aws,
    }
}

/// Sends an event; events of one key go to one partition.
///
/// # Errors
/// A broker that did not take it within a minute.
pub async fn send(producer: &kafka::Producer, topic: &str, event: ObjectEvent) -> Result<()> {
    let key = format!("{}/{}", event.bucket, event.key);
    let payload = event::render(&event);
    let record = FutureRecord::to(topic).key(&key).payload(&payload);
    let sent = producer.send(record, Duration::from_secs(60)).await;
    sent.map(drop)
        .map_err(|(error, _)| anyhow!("topic {topic}: {error}"))
}

/// Sends many events at a bounded rate, with so many in flight, and shows how far it is.
pub struct Sender {
    producer: kafka::Producer,
    topic: String,
    pace: Option<Interval>,
    /// In the order of sending, so that all before an acknowledged one are acknowledged.
    waiting: FuturesOrdered<BoxFuture<'static, Result<String>>>,
    acknowledged: Option<String>,
    bar: ProgressBar,
}

impl Sender {
    /// To the topic of `config`, at most `rate` events a second. For a runtime's thread.
    ///
    /// # Errors
    /// Properties that Kafka's client does not take; brokers that refuse us or don't answer, and a topic that isn't there,
    /// which are better heard of now than from each event.
    pub async fn new(config: &Config, rate: Option<u32>) -> Result<Self> {
        let asked = config.kafka.clone();
        let answered = tokio::task::spawn_blocking(move || {
            kafka::connect(&kafka::consumer(&asked)?, &asked, &Stop::default())
        });
        answered.await??;
        Ok(Sender {
            producer: kafka::producer(&config.kafka)?,
            topic: config.kafka.topic.clone(),
            pace: rate.map(|rate| tokio::time::interval(Duration::from_secs(1) / rate)),
            waiting: FuturesOrdered::new(),
            acknowledged: None,
            bar: ProgressBar::new_spinner().with_style(style()),
        })
    }

    /// Sends an event as soon as the rate and those in flight permit.
    ///
    /// # Errors
    /// Of an event sent before, that the broker did not take.
    pub async fn send(&mut self, event: ObjectEvent) -> Result<()> {
        if let Some(pace) = &mut self.pace {
            pace.tick().await;
        }
        self.bar.set_message(event.key.clone());
        let (producer, topic) = (self.producer.clone(), self.topic.clone());
        self.waiting.push_back(Box::pin(async move {
            let key = event.key.clone();
            send(&producer, &topic, event).await.map(|()| key)
        }));
        while self.waiting.len() >= IN_FLIGHT {
            self.acknowledge().await?;
        }
        self.bar.inc(1);
        Ok(())
    }

    /// Waits until the broker has taken all; how many they were.
    ///
    /// # Errors
    /// Of an event that the broker did not take.
    pub async fn finish(&mut self) -> Result<u64> {
        while !self.waiting.is_empty() {
            self.acknowledge().await?;
        }
        self.producer.flush(Duration::from_secs(30))?;
        self.bar.finish_and_clear();
        Ok(self.bar.position())
    }

    /// The key of the last event that the broker has taken with all before it.
    pub fn acknowledged(&self) -> Option<&str> {
        self.acknowledged.as_deref()
    }

    async fn acknowledge(&mut self) -> Result<()> {
        if let Some(taken) = self.waiting.next().await {
            self.acknowledged = Some(taken?);
        }
        Ok(())
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {pos} events, {per_sec}  {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}
