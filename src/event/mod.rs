//! Object events: what a store says happened to an object, in whichever dialect it says it.
//!
//! Stores announce uploads and removals as JSON: AWS S3 (directly, through SNS, or through EventBridge), MinIO and Ceph
//! RGW. [`parse()`] turns one message into [`ObjectEvent`]s that no longer know the dialect's quirks: the key is decoded
//! and verbatim, the etag is bare, and the [`Version`] orders all events of one key.
//!
//! ```text
//! message ──parse──> Message { set_up, unchanged, records: [ObjectEvent | EventError] }
//! ObjectEvent ──render──> message        (what replay, demo and reconcile send)
//! ```
//!
//! Events are claims: they are lost, repeated, late and sometimes wrong. Nothing here decides what is true; the store
//! does, when the object is fetched. A message that can't be understood is an [`EventError`] whose
//! [`reason`](EventError::reason) goes into the rejects table.

mod error;
mod key;
mod limits;
mod parse;
mod render;
mod version;

#[cfg(test)]
mod tests;

pub use error::EventError;
pub use limits::{KEY_BYTES_MAX, MESSAGE_BYTES_MAX, NESTING_MAX, RECORDS_MAX};
pub use parse::{Message, parse};
pub use render::{TIME_MS_RANGE, render};
pub use version::{ParseVersionError, Version};

/// What happened to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The key has content now: first upload, overwrite, copy, restore by replication.
    Created,
    /// The key has no content any more: deleted, covered by a delete marker, or expired.
    Removed,
}

/// Who speaks: decides how a key is encoded and which fields exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// AWS S3 notifications, 2.x.
    Aws,
    /// An SNS envelope. Only a [`Message`] has this dialect; its records have that of the document inside.
    Sns,
    /// MinIO bucket notifications.
    MinIo,
    /// Ceph RGW bucket notifications.
    Ceph,
    /// AWS EventBridge.
    EventBridge,
}

impl Dialect {
    /// A stable word for the metrics.
    pub fn word(self) -> &'static str {
        match self {
            Dialect::Aws => "aws",
            Dialect::Sns => "sns",
            Dialect::MinIo => "minio",
            Dialect::Ceph => "ceph",
            Dialect::EventBridge => "eventbridge",
        }
    }
}

/// One change of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEvent {
    /// Created or removed.
    pub change: Change,
    /// Bucket name, as the store spells it.
    pub bucket: String,
    /// Object key, decoded and otherwise verbatim (spaces, `%`, `+`, control characters and all).
    pub key: String,
    /// Entity tag without quotes; a multipart upload's ends in `-N`. Removals rarely have one.
    pub etag: Option<String>,
    /// The object version of a versioned bucket.
    pub version_id: Option<String>,
    /// Size of the object in bytes, where the store tells it. Advice only: limits are judged at the fetch.
    pub size: Option<u64>,
    /// Orders the events of one key.
    pub version: Version,
    /// The producer of this record.
    pub dialect: Dialect,
}
