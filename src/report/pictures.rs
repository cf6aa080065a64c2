//! The thumbnails of the sampled rows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::image::{self, Limits};
use crate::job::View;
use crate::job::uploads::folders;
use crate::storage::{S3Config, S3Uploads, Uploads, object_of};
use crate::table::{DataFile, Row};

/// The longer side, in pixels.
const SIDE_MAX: u32 = 96;
const QUALITY: u8 = 70;
const FETCHES_IN_FLIGHT: usize = 8;
/// Each with all its images in memory.
const FILES_IN_FLIGHT: usize = 2;
/// Of all thumbnails together, as text: the file stays one that can be sent by mail and opened.
const TEXT_BYTES_MAX: usize = 13 << 20;

/// Where images are that the table does not show.
#[derive(Clone, Debug)]
pub enum Images {
    /// In folders of this one, which stand for buckets.
    Folders(PathBuf),
    /// In this store.
    Store(S3Config),
}

impl Images {
    /// The buckets of these paths.
    async fn open<'a>(&self, paths: impl Iterator<Item = &'a str>) -> Result<Arc<dyn Uploads>> {
        let folder = match self {
            Images::Store(store) => return Ok(Arc::new(S3Uploads::new(store.client().await?))),
            Images::Folders(folder) => folder,
        };
        let buckets: BTreeSet<String> = paths
            .filter_map(|path| Some(object_of(path)?.0.to_owned()))
            .collect();
        let buckets: Vec<String> = buckets.into_iter().collect();
        folders(folder, &buckets)
    }
}

/// What became of the thumbnails.
#[derive(Debug, Default)]
pub struct Thumbnails {
    /// JPEGs as base64, by path.
    pub by_path: BTreeMap<String, String>,
    /// Images that could not be had, and the first reason.
    pub missing: (u64, Option<String>),
}

/// The thumbnails of the rows with these paths, in the order in which they matter; `done` is told of each.
///
/// # Errors
/// Files of the table that can't be read. Images that can't are missing.
pub async fn thumbnails(
    view: &View,
    paths: &[(String, DataFile)],
    images: &Images,
    done: impl Fn(),
) -> Result<Thumbnails> {
    let mut thumbnails = Thumbnails::default();
    let mut drawn = match view.tables.rows.form().shows::<Row>("content") {
        true => of_the_table(view, paths, &done).await?,
        false => BTreeMap::new(),
    };
    let shown: BTreeSet<String> = drawn.keys().cloned().collect();
    let others = paths.iter().map(|(path, _)| path.as_str());
    let others: Vec<&str> = others.filter(|path| !shown.contains(*path)).collect();
    if !others.is_empty() {
        match images.open(others.iter().copied()).await {
            Err(error) => thumbnails.missing.1 = Some(format!("{error:#}")),
            Ok(source) => {
                let fetching = stream::iter(others);
                let fetching = fetching.map(|path| fetch(source.clone(), path.to_owned()));
                let mut fetching = fetching.buffered(FETCHES_IN_FLIGHT);
                while let Some((path, picture)) = fetching.next().await {
                    done();
                    match picture {
                        Ok(picture) => drop(drawn.insert(path, picture)),
                        Err(error) => {
                            let why = || format!("{path}: {error:#}");
                            thumbnails.missing.1.get_or_insert_with(why);
                        }
                    }
                }
            }
        }
    }
    let mut text_bytes = 0;
    for (path, _) in paths {
        match drawn.remove(path).map(|picture| base64(&picture)) {
            Some(text) if text_bytes + text.len() <= TEXT_BYTES_MAX => {
                text_bytes += text.len();
                thumbnails.by_path.insert(path.clone(), text);
            }
            _ => thumbnails.missing.0 += 1,
        }
    }
    Ok(thumbnails)
}

async fn of_the_table(
    view: &View,
    paths: &[(String, DataFile)],
    done: &impl Fn(),
) -> Result<BTreeMap<String, Vec<u8>>> {
    let wanted: BTreeSet<&str> = paths.iter().map(|(path, _)| path.as_str()).collect();
    let files: BTreeMap<&str, &DataFile> = paths
        .iter()
        .map(|(_, file)| (file.name.as_str(), file))
        .collect();
    let mut drawn = BTreeMap::new();
    let reading = stream::iter(files.into_values());
    let reading = reading.map(|file| view.tables.rows.read_contents(file));
    let mut reading = reading.buffered(FILES_IN_FLIGHT);
    while let Some(contents) = reading.try_next().await? {
        for (path, content) in contents {
            let Some(content) = content.filter(|_| wanted.contains(path.as_str())) else {
                continue;
            };
            done();
            if let Some(picture) = draw(content).await {
                drawn.insert(path, picture);
            }
        }
    }
    Ok(drawn)
}

async fn fetch(source: Arc<dyn Uploads>, path: String) -> (String, Result<Vec<u8>>) {
    let fetched = async {
        let (bucket, key) =
            object_of(&path).ok_or_else(|| anyhow::anyhow!("it names no object"))?;
        let upload = source.get(bucket, key, Limits::default().bytes).await?;
        let picture = draw(upload.bytes).await;
        picture.ok_or_else(|| anyhow::anyhow!("the object is no image any more"))
    };
    let fetched = fetched.await;
    (path, fetched)
}

async fn draw(bytes: Bytes) -> Option<Vec<u8>> {
    let drawing = tokio::task::spawn_blocking(move || {
        image::thumbnail(&bytes, &Limits::default(), SIDE_MAX, QUALITY)
    });
    drawing.await.ok().flatten()
}

/// RFC 4648, with padding.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = word(0) << 16 | word(1) << 8 | word(2);
        for digit in 0..4 {
            match digit <= chunk.len() {
                true => text.push(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63] as char),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    /// The test vectors of RFC 4648.
    #[test]
    fn bytes_become_text_as_the_standard_has_it() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xFF, 0xEF]), "/+8=");
    }
}
