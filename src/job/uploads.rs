//! Where a job's images are: S3, or folders that stand for buckets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::config::Config;
use crate::storage::{
    Credentials, FetchError, FolderUploads, S3Config, S3Uploads, Upload, UploadMeta, Uploads,
    path_of,
};

/// The store of a configuration.
pub fn s3_config(config: &Config, credentials: Option<&Credentials>) -> S3Config {
    let s3 = &config.s3;
    let endpoint = s3
        .endpoint
        .clone()
        .filter(|endpoint| !endpoint.starts_with("file:"));
    S3Config {
        path_style: endpoint.as_ref().map(|_| s3.path_style),
        endpoint,
        region: s3.region.clone(),
        credentials: credentials.cloned(),
    }
}

/// The folder whose subfolders are the buckets, where `s3.endpoint` is a `file://` URL.
pub fn root(config: &Config) -> Option<PathBuf> {
    let url = url::Url::parse(config.s3.endpoint.as_deref()?).ok()?;
    (url.scheme() == "file")
        .then(|| url.to_file_path().ok())
        .flatten()
}

/// Opens the store of the configuration's buckets.
pub async fn open(config: &Config, credentials: Option<&Credentials>) -> Result<Arc<dyn Uploads>> {
    let Some(root) = root(config) else {
        return Ok(Arc::new(S3Uploads::new(
            s3_config(config, credentials).client().await?,
        )));
    };
    folders(&root, &config.s3.buckets)
}

/// The folders in `root` that stand for these buckets.
///
/// # Errors
/// One that there is not.
pub fn folders(root: &Path, buckets: &[String]) -> Result<Arc<dyn Uploads>> {
    let folders = buckets.iter().map(|bucket| {
        let folder = root.join(bucket);
        let uploads = FolderUploads::new(bucket, &folder).with_context(|| {
            format!(
                "bucket {bucket} of s3.buckets is to be the folder {}",
                folder.display()
            )
        })?;
        Ok((bucket.clone(), uploads))
    });
    Ok(Arc::new(Folders(folders.collect::<Result<_>>()?)))
}

/// One folder a bucket.
struct Folders(BTreeMap<String, FolderUploads>);

impl Folders {
    fn bucket(&self, bucket: &str, key: &str) -> Result<&FolderUploads, FetchError> {
        self.0.get(bucket).ok_or_else(|| FetchError::Denied {
            object: path_of(bucket, key),
            reason: "the bucket is not among s3.buckets".to_owned(),
        })
    }
}

#[async_trait]
impl Uploads for Folders {
    async fn get(&self, bucket: &str, key: &str, limit_bytes: u64) -> Result<Upload, FetchError> {
        self.bucket(bucket, key)?
            .get(bucket, key, limit_bytes)
            .await
    }

    async fn head(&self, bucket: &str, key: &str) -> Result<Option<UploadMeta>, FetchError> {
        self.bucket(bucket, key)?.head(bucket, key).await
    }

    fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> BoxStream<'static, Result<UploadMeta, FetchError>> {
        match self.bucket(bucket, prefix) {
            Ok(folder) => folder.list(bucket, prefix, after),
            Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
        }
    }

    async fn put(&self, bucket: &str, key: &str, bytes: Bytes) -> Result<UploadMeta, FetchError> {
        self.bucket(bucket, key)?.put(bucket, key, bytes).await
    }

    async fn delete(&self, bucket: &str, key: &str) -> Result<(), FetchError> {
        self.bucket(bucket, key)?.delete(bucket, key).await
    }
}
