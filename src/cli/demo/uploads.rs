//! The demo's images: uploads, and their events.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::BUCKET;
use crate::cli::events;
use crate::config::Config;
use crate::job::{self, Sample};
use crate::operators::kafka;
use crate::pictures;
use crate::storage::{Credentials, FolderUploads, Uploads};

/// Pictures that the demo renders where it is given none.
const RENDERED: usize = 400;
const SEED: u64 = 20_261_101;
const UPLOADS_IN_FLIGHT: usize = 16;
/// No image the job would take is larger.
const IMAGE_BYTES_MAX: u64 = 32 << 20;

/// Where the images come from.
pub enum Pictures {
    /// Files of a folder: their keys.
    Folder(FolderUploads, Vec<String>),
    /// So many rendered ones.
    Rendered(usize),
}

impl Pictures {
    /// The files of `images`, or rendered pictures.
    pub async fn new(images: Option<&Path>) -> Result<Self> {
        let Some(folder) = images else {
            return Ok(Pictures::Rendered(RENDERED));
        };
        let said = format!("--images {}", folder.display());
        let uploads = FolderUploads::new(BUCKET, folder).with_context(|| said.clone())?;
        ensure!(folder.is_dir(), "{said} is no folder");
        let mut listed = Vec::new();
        let mut keys = uploads.keys();
        while let Some(key) = keys.next().await {
            listed.extend(events::readable(key).with_context(|| said.clone())?);
        }
        ensure!(!listed.is_empty(), "{said} holds no files");
        Ok(Pictures::Folder(uploads, listed))
    }

    /// How many they are at most with this limit.
    pub fn most(&self, limit: Option<usize>) -> usize {
        match self {
            Pictures::Folder(_, keys) => limit.unwrap_or(keys.len()).min(keys.len()),
            Pictures::Rendered(count) => limit.unwrap_or(*count),
        }
    }

    /// `limit` of those that the job selects, evenly spread, in no order.
    ///
    /// # Errors
    /// A selection of none.
    pub fn chosen(self, config: &Config, limit: Option<usize>) -> Result<Self> {
        let (folder, mut keys) = match self {
            Pictures::Folder(folder, keys) => (folder, keys),
            rendered => return Ok(Pictures::Rendered(rendered.most(limit))),
        };
        let mut sample = Sample::new(config);
        keys.retain(|key| sample.takes(key));
        ensure!(
            !keys.is_empty(),
            "[select] takes none of the files of --images"
        );
        let wanted = limit.unwrap_or(keys.len()).min(keys.len());
        let mut keys: Vec<_> = (0..wanted)
            .map(|i| keys[i * keys.len() / wanted].clone())
            .collect();
        // As many people's uploads come, not label by label: each image then meets a classifier that knows its label.
        keys.sort_by_cached_key(|key| Sha256::digest(key));
        Ok(Pictures::Folder(folder, keys))
    }

    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Pictures::Folder(_, keys) => keys.len(),
            Pictures::Rendered(count) => *count,
        }
    }

    /// Uploads all and sends their events; how many.
    pub async fn upload(
        &self,
        config: &Config,
        credentials: &Credentials,
        bar: &ProgressBar,
    ) -> Result<u64> {
        let to = job::uploads::open(config, Some(credentials)).await?;
        let producer = kafka::producer(&config.kafka)?;
        let one = |index: usize| {
            let (to, producer) = (to.clone(), producer.clone());
            async move {
                let (key, bytes) = self.picture(index).await?;
                let meta = to.put(BUCKET, &key, bytes).await?;
                announce(&producer, config, meta).await?;
                bar.inc(1);
                anyhow::Ok(())
            }
        };
        stream::iter(0..self.len())
            .map(one)
            .buffer_unordered(UPLOADS_IN_FLIGHT)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        Ok(self.len() as u64)
    }

    async fn picture(&self, index: usize) -> Result<(String, bytes::Bytes)> {
        match self {
            Pictures::Folder(folder, keys) => {
                let key = keys[index].clone();
                let upload = folder.get(BUCKET, &key, IMAGE_BYTES_MAX).await?;
                Ok((key, upload.bytes))
            }
            Pictures::Rendered(_) => {
                let classes = pictures::classes();
                let (class, number) = (index % classes.len(), index / classes.len());
                let rendered = Handle::current()
                    .spawn_blocking(move || pictures::render(SEED, class, number))
                    .await?;
                Ok((
                    format!("{}/{number:04}.jpg", classes[class]),
                    rendered.into(),
                ))
            }
        }
    }
}

async fn announce(
    producer: &kafka::Producer,
    config: &Config,
    meta: crate::storage::UploadMeta,
) -> Result<()> {
    events::send(producer, &config.kafka.topic, events::created(BUCKET, meta)).await
}
