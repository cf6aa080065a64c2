//! Servers inside the process, for `demo` and for tests: the job speaks to them over TCP, as it would to real ones.
//!
//! - [`EmbeddedS3`]: an S3 server over a folder. A sub-folder is a bucket, a file is an object, byte for byte and under
//!   its own name, so what is written through it can be read from disk by anything else.
//! - [`EmbeddedKafka`]: librdkafka's mock cluster.
//!
//! Neither is made to keep data that matters: no fsync, no versioning, no replication.

mod folder;
mod kafka;
mod s3;
#[cfg(test)]
mod tests;

pub use kafka::EmbeddedKafka;
pub use s3::EmbeddedS3;

use std::path::PathBuf;

/// Why an embedded server did not start.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The folder cannot be made or opened.
    #[error("the folder {} cannot hold the embedded store: {reason}; choose another with --out", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// No port of 127.0.0.1 can be had, or no thread to serve it.
    #[error("the embedded store cannot serve on 127.0.0.1: {0}")]
    Serve(#[source] std::io::Error),
    /// The mock cluster refused.
    #[error("the embedded Kafka cannot start: {0}")]
    Kafka(String),
}
