//! `eigenflow reconcile`: what the events missed.
//!
//! Event feeds lose events: on a restart of the store, with a full queue, or because nobody had switched them on. Here
//! the bucket is listed and compared with the table, and an event is sent for every difference, and for what was rejected, whose cause
//! may have passed; the job then looks at those objects and does the rest. An event too many does no harm, so neither side needs to stand still meanwhile: the
//! table is read first, and what changes after that has an event of its own.
//!
//! Memory: 56 to 112 bytes for each row and reject below the prefix (49 an entry of a hash table that is filled to
//! between 7/16 and 7/8), and a page of the listing. Keys are compared by digest, so that the order in which a store
//! lists them does not matter. What is gone is found by reading the table's key columns a second time.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, value_parser};
use futures::StreamExt;

use super::events::{self, Objects, RATE_MAX, Sender};
use super::{Failure, runtime};
use crate::config::{Config, environment};
use crate::event::Change;
use crate::job::{self, Found, Sample, Tables, uploads};
use crate::operators::Which;
use crate::storage::{Key, UploadMeta, digest, key_of, path_of};
use crate::table;

/// Arguments of `reconcile`.
#[derive(Debug, Args)]
pub struct Reconcile {
    /// What to compare: s3://bucket/prefix, or a folder inside the one that s3.endpoint names as file://…
    source: String,
    /// The configuration of the job whose table it is
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Events a second at most
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=RATE_MAX))]
    rate: Option<u32>,
    /// Only count
    #[arg(long)]
    dry_run: bool,
}

/// What the comparison came to, in objects.
#[derive(Debug, Default)]
struct Differences {
    missing: u64,
    changed: u64,
    gone: u64,
    rejected: u64,
    same: u64,
    unreadable: u64,
}

impl Reconcile {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let config = Config::load(&self.config, environment())?;
        let objects = Objects::parse(&self.source, &config).map_err(Failure::Usage)?;
        let found = runtime()?.block_on(self.compare(&config, &objects))?;
        let Differences {
            missing,
            changed,
            gone,
            rejected,
            same,
            unreadable,
        } = found;
        println!(
            "{missing} missing, {changed} changed, {gone} gone, {rejected} rejected, {same} as they should be"
        );
        if unreadable > 0 {
            println!("{unreadable} keys can't be read (see the warnings)");
        }
        let (sent, topic) = (missing + changed + gone + rejected, &config.kafka.topic);
        if self.dry_run {
            println!("{sent} events to send to topic {topic}; none was sent (--dry-run)");
        } else {
            println!("{sent} events sent to topic {topic}");
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn compare(&self, config: &Config, objects: &Objects) -> Result<Differences> {
        let s3 = uploads::s3_config(config, None);
        let mut tables = job::open_tables(&config.table.uri, &s3).await?;
        let table = tables.open_existing().await?;
        let mut known = Known::read(&tables, &table, objects).await?;
        let mut sender = match self.dry_run {
            true => None,
            false => Some(Sender::new(config, self.rate).await?),
        };
        let mut differences = Differences::default();
        let mut sample = Sample::new(config);

        let Objects { bucket, prefix } = objects;
        let uploads = uploads::open(config, None).await?;
        let mut listed = uploads.list(bucket, prefix, None);
        while let Some(object) = listed.next().await {
            let Some(object) = events::readable(object)? else {
                differences.unreadable += 1;
                continue;
            };
            if !sample.selects(&object.key) {
                continue;
            }
            let taken = sample.takes(&object.key);
            match known.judge(bucket, &object) {
                Judgement::Missing if !taken => continue,
                Judgement::Same => {
                    differences.same += 1;
                    continue;
                }
                Judgement::Missing => differences.missing += 1,
                Judgement::Changed => differences.changed += 1,
                Judgement::Rejected => differences.rejected += 1,
            }
            if let Some(sender) = &mut sender {
                sender.send(events::created(bucket, object)).await?;
            }
        }

        for file in files(&table) {
            for row in tables.read_keys(file.0, file.1).await? {
                let Some(object) = known.gone(objects, &row) else {
                    continue;
                };
                differences.gone += 1;
                if let Some(sender) = &mut sender {
                    let gone = events::of_row(Change::Removed, bucket, object, &row);
                    sender.send(gone).await?;
                }
            }
        }
        if let Some(sender) = &mut sender {
            sender.finish().await?;
        }
        Ok(differences)
    }
}

/// What the table knows of the objects below a prefix, by key.
struct Known(HashMap<Key, Content>);

/// What vouches for a row or reject.
enum Content {
    /// The digest of an etag.
    Etag(u128),
    /// A reject: its cause may have passed, as limits, permissions and archives do.
    Rejected,
    /// It was listed.
    Seen,
}

enum Judgement {
    Same,
    Changed,
    Rejected,
    Missing,
}

impl Known {
    async fn read(tables: &Tables, table: &Found, objects: &Objects) -> Result<Self> {
        let mut known = HashMap::new();
        for (which, file) in files(table) {
            for row in tables.read_keys(which, file).await? {
                if object(objects, &row.path).is_some() {
                    let content = match (which, &row.etag) {
                        (Which::Main, Some(etag)) => Content::Etag(digest(etag.as_bytes())),
                        _ => Content::Rejected,
                    };
                    known.insert(key_of(&row.path), content);
                }
            }
        }
        Ok(Known(known))
    }

    fn judge(&mut self, bucket: &str, object: &UploadMeta) -> Judgement {
        let key = key_of(&path_of(bucket, &object.key));
        let Some(content) = self.0.get_mut(&key) else {
            return Judgement::Missing;
        };
        match std::mem::replace(content, Content::Seen) {
            Content::Etag(etag) if etag != digest(object.etag.as_bytes()) => Judgement::Changed,
            Content::Rejected => Judgement::Rejected,
            Content::Etag(_) | Content::Seen => Judgement::Same,
        }
    }

    /// The object of a row that was not listed.
    fn gone<'a>(&self, objects: &Objects, row: &'a table::KeyRow) -> Option<&'a str> {
        let object = object(objects, &row.path)?;
        let seen = matches!(self.0.get(&key_of(&row.path)), Some(Content::Seen));
        (!seen).then_some(object)
    }
}

/// The object's key in a path, if it is one of `objects`.
fn object<'a>(objects: &Objects, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(&path_of(&objects.bucket, ""))
        .filter(|key| key.starts_with(&objects.prefix))
}

fn files(table: &Found) -> impl Iterator<Item = (Which, &table::DataFile)> {
    let rows = table.rows.iter().map(|file| (Which::Main, file));
    rows.chain(table.rejects.iter().map(|file| (Which::Rejects, file)))
}
