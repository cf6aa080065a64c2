//! A place of our own in an object store: a prefix under which we choose the names.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use url::Url;

use super::error::StorageError;
use super::location::Location;
use super::patience::Patience;
use super::s3::S3Config;
use super::s3_store::S3Store;

/// A prefix of a store. Cheap to clone. Reads and writes wait out transient faults as long as its
/// [`Patience`] lasts; writes replace, so a repeated one does no harm.
#[derive(Clone, Debug)]
pub struct Place {
    store: Arc<dyn ObjectStore>,
    url: Url,
    prefix: Path,
    patience: Patience,
}

impl Place {
    /// Opens a location. Nothing is created or asked for yet; a local folder appears with its first object.
    ///
    /// # Errors
    /// [`StorageError::Denied`] without S3 credentials, [`StorageError::Refused`] for a location that
    /// can't be written as URL.
    pub async fn open(
        location: &Location,
        s3: &S3Config,
        patience: Patience,
    ) -> Result<Self, StorageError> {
        let refused = |reason: String| StorageError::Refused {
            object: location.to_string(),
            reason,
        };
        let (store, url): (Arc<dyn ObjectStore>, Url) = match location {
            Location::S3 { bucket, prefix } => {
                let mut url = Url::parse(&format!("s3://{bucket}/"))
                    .map_err(|error| refused(error.to_string()))?;
                if let Ok(mut segments) = url.path_segments_mut() {
                    segments
                        .pop_if_empty()
                        .extend(prefix.split('/').filter(|s| !s.is_empty()))
                        .push("");
                }
                let client = s3.client().await?;
                (Arc::new(S3Store::new(client, bucket)), url)
            }
            Location::Folder(path) => {
                let url = Url::from_directory_path(path)
                    .map_err(|()| refused("not an absolute path".into()))?;
                // A commit that was acknowledged survives a power cut.
                let store = LocalFileSystem::new().with_fsync(true);
                (Arc::new(store), url)
            }
        };
        Self::new(store, url, patience)
    }

    /// A place in any store; the path of `url` is the prefix, and ends with a slash.
    ///
    /// # Errors
    /// [`StorageError::Refused`] where the path isn't fit for a prefix.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        url: Url,
        patience: Patience,
    ) -> Result<Self, StorageError> {
        let prefix = Path::from_url_path(url.path()).map_err(|error| StorageError::Refused {
            object: url.to_string(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            store,
            url,
            prefix,
            patience,
        })
    }

    /// The place `name` inside this one.
    ///
    /// # Errors
    /// [`StorageError::Refused`] for a name that isn't plain.
    pub fn inside(&self, name: &str) -> Result<Self, StorageError> {
        self.relative(&format!("{name}/"))
    }

    /// The place that holds this one.
    ///
    /// # Errors
    /// [`StorageError::Refused`] where this place is the root of its store.
    pub fn parent(&self) -> Result<Self, StorageError> {
        if self.prefix.as_ref().is_empty() {
            return Err(StorageError::Refused {
                object: self.to_string(),
                reason: format!(
                    "nothing can lie beside a whole bucket; use {}table",
                    self.url
                ),
            });
        }
        self.relative("../")
    }

    /// The place `name` beside this one: `…/rejects` beside `…/table`.
    ///
    /// # Errors
    /// As [`parent`](Self::parent) and [`inside`](Self::inside).
    pub fn beside(&self, name: &str) -> Result<Self, StorageError> {
        self.parent()?.inside(name)
    }

    fn relative(&self, path: &str) -> Result<Self, StorageError> {
        let url = self.url.join(path).map_err(|error| StorageError::Refused {
            object: format!("{}{path}", self.url),
            reason: error.to_string(),
        })?;
        Self::new(Arc::clone(&self.store), url, self.patience.clone())
    }

    /// Makes the folder of a place on this machine; object stores have none.
    ///
    /// # Errors
    /// [`StorageError`]: what the file system says.
    pub async fn make_folder(&self) -> Result<(), StorageError> {
        let Ok(folder) = self.url.to_file_path() else {
            return Ok(());
        };
        let made = tokio::fs::create_dir_all(folder).await;
        made.map_err(|error| {
            let source = Box::new(error);
            StorageError::new(
                self.url.as_str(),
                &object_store::Error::Generic {
                    store: "folder",
                    source,
                },
            )
        })
    }

    /// The store behind it.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Its URL, with a slash at the end.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How long it waits for its store.
    #[must_use]
    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Writes an object, or replaces it.
    ///
    /// # Errors
    /// [`StorageError`], the transient ones after patience ended.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<(), StorageError> {
        let path = self.path(name)?;
        self.retry(&path, "write", || async {
            self.store.put(&path, bytes.clone().into()).await
        })
        .await
        .map(drop)
    }

    /// A whole object.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] and the others.
    pub async fn get(&self, name: &str) -> Result<Bytes, StorageError> {
        self.get_range(name, None).await
    }

    /// A part of an object, or all of it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_range(
        &self,
        name: &str,
        range: Option<GetRange>,
    ) -> Result<Bytes, StorageError> {
        let path = self.path(name)?;
        self.retry(&path, "read", || async {
            let options = GetOptions {
                range: range.clone(),
                ..GetOptions::default()
            };
            self.store.get_opts(&path, options).await?.bytes().await
        })
        .await
    }

    /// Removes an object; it is no error if it isn't there.
    ///
    /// # Errors
    /// [`StorageError`], but never `NotFound`.
    pub async fn delete(&self, name: &str) -> Result<(), StorageError> {
        let path = self.path(name)?;
        let deleted = self
            .retry(&path, "delete", || async { self.store.delete(&path).await })
            .await;
        match deleted {
            Err(StorageError::NotFound { .. }) => Ok(()),
            result => result,
        }
    }

    /// Every object in the place, its name relative to it, in no order. Not retried: a caller starts over.
    pub fn list(&self) -> BoxStream<'_, Result<(String, ObjectMeta), StorageError>> {
        self.store
            .list(Some(&self.prefix))
            .map_err(|error| StorageError::new(self.url.as_str(), &error))
            .try_filter_map(move |meta| async move {
                let path = meta.location.to_string();
                let name = path.strip_prefix(self.prefix.as_ref());
                Ok(name.map(|name| (name.trim_start_matches('/').to_string(), meta)))
            })
            .boxed()
    }

    /// Whether there is no object at all.
    ///
    /// # Errors
    /// [`StorageError`], the transient ones after patience ended.
    pub async fn is_empty(&self) -> Result<bool, StorageError> {
        self.retry(&self.prefix, "list", || async {
            let first = self.store.list(Some(&self.prefix)).try_next().await;
            match first {
                Err(object_store::Error::NotFound { .. }) => Ok(true),
                first => Ok(first?.is_none()),
            }
        })
        .await
    }

    fn path(&self, name: &str) -> Result<Path, StorageError> {
        let whole = format!("{}/{name}", self.prefix);
        Path::parse(whole.trim_start_matches('/')).map_err(|error| StorageError::Refused {
            object: format!("{}{name}", self.url),
            reason: error.to_string(),
        })
    }

    async fn retry<T, F>(
        &self,
        path: &Path,
        verb: &str,
        mut request: impl FnMut() -> F,
    ) -> Result<T, StorageError>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let object = match self.url.host_str() {
            Some(bucket) => format!("s3://{bucket}/{path}"),
            None => format!("/{path}"),
        };
        self.patience
            .retry(
                &format!("{verb} of {object}"),
                StorageError::is_transient,
                || {
                    let request = request();
                    let object = &object;
                    async move {
                        request
                            .await
                            .map_err(|error| StorageError::new(object, &error))
                    }
                },
            )
            .await
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str())
    }
}
