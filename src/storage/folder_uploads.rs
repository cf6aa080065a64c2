//! A local folder as if it were a bucket: a file's key is its path relative to the folder, with `/`.
//!
//! - **The entity tag is a hash of the content** (the first 128 bits of SHA-256, in hex), not size and
//!   time: a copied or re-extracted folder is then the same set of objects, so the table made from it is
//!   the same, and an overwrite within one tick of the clock is still seen. Listing reads every file for it,
//!   which is little beside the decoding that follows.
//! - **It never escapes.** A key with an empty, `.` or `..` part names nothing; symbolic links are no
//!   objects, whether they lead out of the folder or round in circles.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::name::path_of;
use super::uploads::{FetchError, Upload, UploadMeta, Uploads};

/// Listed objects that wait for a slow reader.
const LISTED_AHEAD: usize = 64;

/// One folder under one bucket name. Every other bucket is denied.
#[derive(Clone, Debug)]
pub struct FolderUploads {
    bucket: String,
    root: PathBuf,
    /// What `root` lies on: another one is there once that is no longer mounted.
    device: u64,
}

impl FolderUploads {
    /// The folder `root` as the bucket `bucket`.
    ///
    /// # Errors
    /// What the file system says of `root`: it must exist.
    pub fn new(bucket: impl Into<String>, root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        Ok(Self {
            bucket: bucket.into(),
            device: fs::metadata(&root)?.dev(),
            root,
        })
    }

    fn own(&self, bucket: &str, key: &str) -> Result<(), FetchError> {
        if bucket == self.bucket {
            return Ok(());
        }
        Err(FetchError::Denied {
            object: path_of(bucket, key),
            reason: format!("the only bucket here is {}", self.bucket),
        })
    }

    /// The path of a key inside the folder, whether or not there is a file.
    fn path(&self, bucket: &str, key: &str) -> Result<PathBuf, FetchError> {
        self.own(bucket, key)?;
        let plain = |part: &str| {
            !matches!(part, "" | "." | "..")
                && !part.contains('\0')
                && !part.contains(std::path::is_separator)
        };
        if !key.split('/').all(plain) {
            return Err(FetchError::Invalid {
                object: path_of(bucket, key),
                reason: "a file can't have this name".into(),
            });
        }
        Ok(key
            .split('/')
            .fold(self.root.clone(), |path, part| path.join(part)))
    }

    /// The keys of all files, none of which is read.
    pub fn keys(&self) -> BoxStream<'static, Result<String, FetchError>> {
        self.walk("", None, |key, _| Ok(key))
    }

    fn walk<T: Send + 'static>(
        &self,
        prefix: &str,
        after: Option<&str>,
        of: fn(String, &Path) -> io::Result<T>,
    ) -> BoxStream<'static, Result<T, FetchError>> {
        let (sender, mut receiver) = mpsc::channel(LISTED_AHEAD);
        let walk = Walk {
            bucket: self.bucket.clone(),
            prefix: prefix.into(),
            after: after.map(Into::into),
            of,
            sender,
        };
        let root = self.root.clone();
        tokio::task::spawn_blocking(move || walk.folder(&root, ""));
        stream::poll_fn(move |context| receiver.poll_recv(context)).boxed()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        bucket: &str,
        key: &str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, FetchError> {
        let path = self.path(bucket, key)?;
        let object = path_of(bucket, key);
        let (root, device) = (self.root.clone(), self.device);
        let work = move || {
            let result = work(&path);
            // Then nothing can be said of the files that it held.
            let lost = || fs::metadata(&root).map_or(true, |found| found.dev() != device);
            match result {
                Err(error) if error.kind() == io::ErrorKind::NotFound && lost() => {
                    let reason = format!("{} is gone, or no longer mounted", root.display());
                    Err(FetchError::Denied { object, reason })
                }
                result => result.map_err(|error| sort(object, &error)),
            }
        };
        let object = path_of(bucket, key);
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(FetchError::Transient {
                object,
                reason: error.to_string(),
            }),
        }
    }
}

#[async_trait]
impl Uploads for FolderUploads {
    async fn get(&self, bucket: &str, key: &str, limit_bytes: u64) -> Result<Upload, FetchError> {
        let (root, owned_key) = (self.root.clone(), key.to_string());
        let read = self
            .blocking(bucket, key, move |path| {
                let (file, metadata) = open_within(&root, path)?;
                let mut bytes = Vec::new();
                // One byte past the limit tells «at the limit» from «over it» should the file be growing.
                if metadata.len() <= limit_bytes {
                    file.take(limit_bytes.saturating_add(1))
                        .read_to_end(&mut bytes)?;
                }
                if metadata.len().max(bytes.len() as u64) > limit_bytes {
                    return Ok(Err(metadata.len().max(bytes.len() as u64)));
                }
                let meta = meta(owned_key, &bytes[..], &metadata)?;
                Ok(Ok(Upload {
                    bytes: bytes.into(),
                    meta,
                }))
            })
            .await?;
        read.map_err(|bytes| FetchError::TooLarge {
            object: path_of(bucket, key),
            bytes,
            limit: limit_bytes,
        })
    }

    async fn head(&self, bucket: &str, key: &str) -> Result<Option<UploadMeta>, FetchError> {
        let (root, owned_key) = (self.root.clone(), key.to_string());
        let meta = self.blocking(bucket, key, move |path| {
            let (file, metadata) = open_within(&root, path)?;
            meta(owned_key, file, &metadata)
        });
        match meta.await {
            Ok(meta) => Ok(Some(meta)),
            Err(FetchError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> BoxStream<'static, Result<UploadMeta, FetchError>> {
        if let Err(denied) = self.own(bucket, prefix) {
            return stream::iter([Err(denied)]).boxed();
        }
        self.walk(prefix, after, |key, path| {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            meta(key, file, &metadata)
        })
    }

    async fn put(&self, bucket: &str, key: &str, bytes: Bytes) -> Result<UploadMeta, FetchError> {
        let (root, owned_key) = (self.root.clone(), key.to_string());
        self.blocking(bucket, key, move |path| {
            let folder = path.parent().unwrap_or(&root);
            fs::create_dir_all(folder)?;
            if !folder.canonicalize()?.starts_with(&root) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            // A reader sees the old bytes or the new ones, as in a bucket.
            let new = folder.join(format!(".{}{PARTIAL}", Uuid::new_v4().simple()));
            fs::write(&new, &bytes)?;
            fs::rename(&new, path).inspect_err(|_| drop(fs::remove_file(&new)))?;
            meta(owned_key, &bytes[..], &fs::metadata(path)?)
        })
        .await
    }

    async fn delete(&self, bucket: &str, key: &str) -> Result<(), FetchError> {
        let root = self.root.clone();
        let deleted = self.blocking(bucket, key, move |path| {
            open_within(&root, path)?;
            fs::remove_file(path)
        });
        match deleted.await {
            Err(FetchError::NotFound { .. }) => Ok(()),
            result => result,
        }
    }
}

/// Ends the names of files that are being written; they are no objects yet.
const PARTIAL: &str = ".partial";

struct Walk<T> {
    bucket: String,
    prefix: String,
    after: Option<String>,
    /// What is told of a file, by its key and path.
    of: fn(String, &Path) -> io::Result<T>,
    sender: mpsc::Sender<Result<T, FetchError>>,
}

/// The reader of the listing went away, or was told of an error that ends it.
struct Ended;

impl<T> Walk<T> {
    /// Sends the files below `folder`, whose keys start with `base`, in the order of their keys.
    fn folder(&self, folder: &Path, base: &str) -> Result<(), Ended> {
        let mut entries = Vec::new();
        for entry in self.or_end(base, fs::read_dir(folder))? {
            let entry = self.or_end(base, entry)?;
            let kind = self.or_end(base, entry.file_type())?;
            let Ok(name) = entry.file_name().into_string() else {
                self.send(Err(FetchError::Invalid {
                    object: path_of(
                        &self.bucket,
                        &format!("{base}{}", entry.file_name().display()),
                    ),
                    reason: "its name is not UTF-8".into(),
                }))?;
                continue;
            };
            // With the slash, `a.jpg` comes before `a/b.jpg`, as among keys.
            if kind.is_dir() {
                entries.push(format!("{base}{name}/"));
            } else if kind.is_file() && !name.ends_with(PARTIAL) {
                entries.push(format!("{base}{name}"));
            }
        }
        entries.sort_unstable();
        for key in entries {
            let path = folder.join(key[base.len()..].trim_end_matches('/'));
            if key.ends_with('/') {
                let wanted = key.starts_with(&self.prefix) || self.prefix.starts_with(&key);
                let passed = self
                    .after
                    .as_ref()
                    .is_some_and(|after| after.as_str() > key.as_str() && !after.starts_with(&key));
                if wanted && !passed {
                    self.folder(&path, &key)?;
                }
            } else if key.starts_with(&self.prefix)
                && self.after.as_ref().is_none_or(|after| *after < key)
            {
                match (self.of)(key.clone(), &path) {
                    // Deleted since its folder was read: not there, like any other absent file.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    found => {
                        let found = self.or_end(&key, found)?;
                        self.send(Ok(found))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn send(&self, item: Result<T, FetchError>) -> Result<(), Ended> {
        self.sender.blocking_send(item).map_err(|_| Ended)
    }

    fn or_end<U>(&self, key: &str, result: io::Result<U>) -> Result<U, Ended> {
        result.map_err(|error| {
            // Nobody listens: the walk ends either way.
            let _ = self.send(Err(sort(path_of(&self.bucket, key), &error)));
            Ended
        })
    }
}

/// Opens a file without following any link below `root`.
fn open_within(root: &Path, path: &Path) -> io::Result<(File, fs::Metadata)> {
    let real = path.canonicalize()?;
    if real != path || !real.starts_with(root) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let file = File::open(&real)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok((file, metadata))
}

fn meta(key: String, mut content: impl Read, metadata: &fs::Metadata) -> io::Result<UploadMeta> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        match content.read(&mut buffer)? {
            0 => break,
            n => {
                hasher.update(&buffer[..n]);
                size += n as u64;
            }
        }
    }
    let etag = hex::encode(&hasher.finalize()[..16]);
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
    Ok(UploadMeta {
        key,
        etag,
        version_id: None,
        size,
        last_modified_ms: modified.map_or(0, |time| time.as_millis() as i64),
    })
}

fn sort(object: String, error: &io::Error) -> FetchError {
    use io::ErrorKind as K;
    let reason = error.to_string();
    match error.kind() {
        // Below a file there are no files: `a.jpg/b` is absent, not wrong.
        K::NotFound | K::NotADirectory => FetchError::NotFound { object },
        K::PermissionDenied | K::ReadOnlyFilesystem => FetchError::Denied { object, reason },
        K::InvalidFilename | K::InvalidInput | K::IsADirectory | K::AlreadyExists => {
            FetchError::Invalid { object, reason }
        }
        _ => FetchError::Transient { object, reason },
    }
}
