//! Other people's objects: images under keys that we did not choose.
//!
//! Keys are kept verbatim. `object_store::path::Path` normalises them (`a//b`, `100%25`, a leading
//! slash), which would fetch another object than the event named; hence a door of its own.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

/// What is known of an object without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadMeta {
    /// The key, verbatim.
    pub key: String,
    /// Entity tag without quotes: equal tags, equal bytes.
    pub etag: String,
    /// The version in a versioned bucket.
    pub version_id: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// When it was written, in ms since 1970 UTC.
    pub last_modified_ms: i64,
}

/// An object, read at one moment: bytes and tag belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// All bytes.
    pub bytes: Bytes,
    /// What the store said of them.
    pub meta: UploadMeta,
}

/// Why an object could not be had. `object` is `s3://bucket/key` throughout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It isn't there (any more).
    #[error("{object} does not exist")]
    NotFound {
        /// Which.
        object: String,
    },
    /// It is larger than allowed. Judged from the announced length before the body is read, and while reading.
    #[error("{object} has {bytes} bytes or more; the limit is {limit} (limits.image_bytes)")]
    TooLarge {
        /// Which.
        object: String,
        /// Its announced size, or how much had come when the limit was passed.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Access refused, or the bucket is not there: a person must act. It says nothing about the object. (HEAD has
    /// no room for the difference, and small servers call a missing bucket a missing key: there it is `NotFound`.)
    #[error(
        "{object}: access denied ({reason}); check credentials, bucket policy, endpoint and region"
    )]
    Denied {
        /// Which.
        object: String,
        /// The store's words.
        reason: String,
    },
    /// The store failed, throttled, timed out or broke off the body. Worth trying again.
    #[error("{object}: {reason}")]
    Transient {
        /// Which.
        object: String,
        /// The store's words.
        reason: String,
    },
    /// The store will never give this object for this request.
    #[error("{object} can't be read: {reason}")]
    Invalid {
        /// Which.
        object: String,
        /// Why not.
        reason: String,
    },
}

impl FetchError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }
}

/// Buckets of uploads.
#[async_trait]
pub trait Uploads: Send + Sync {
    /// The newest version of an object. The caller compares its tag with the one that the row has: what the event
    /// said of it may be stale.
    ///
    /// # Errors
    /// Any [`FetchError`]; memory is bounded by `limit_bytes` whatever the store sends.
    async fn get(&self, bucket: &str, key: &str, limit_bytes: u64) -> Result<Upload, FetchError>;

    /// What is known of an object, `None` if it isn't there.
    ///
    /// # Errors
    /// Any [`FetchError`] but `NotFound` and `TooLarge`.
    async fn head(&self, bucket: &str, key: &str) -> Result<Option<UploadMeta>, FetchError>;

    /// The objects whose keys start with `prefix`; with `after`, those that a listing gives behind that key, so that
    /// it can be resumed. The order is the store's and the same each time: the byte order of the keys in AWS and in
    /// folders, folder by folder in SeaweedFS. Memory stays bounded by a page.
    ///
    /// An item may be [`FetchError::Invalid`], which concerns that object alone; after any other error the
    /// stream ends.
    fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> BoxStream<'static, Result<UploadMeta, FetchError>>;

    /// Writes an object, or replaces it.
    ///
    /// # Errors
    /// Any [`FetchError`] but `TooLarge`.
    async fn put(&self, bucket: &str, key: &str, bytes: Bytes) -> Result<UploadMeta, FetchError>;

    /// Removes an object; it is no error if it isn't there.
    ///
    /// # Errors
    /// Any [`FetchError`] but `NotFound` and `TooLarge`.
    async fn delete(&self, bucket: &str, key: &str) -> Result<(), FetchError>;
}
