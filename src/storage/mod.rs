//! Objects: where they lie, how they are read and written, and what can go wrong.
//!
//! Two needs, two doors, one S3 client behind both:
//!
//! - **Uploads** ([`Uploads`]) are other people's objects. Their keys are kept verbatim, every read is
//!   limited before its body is fetched, and a failure says whether waiting will help ([`FetchError`]).
//!   [`S3Uploads`] reads a bucket, [`FolderUploads`] a local folder as if it were one.
//! - **Our own objects** (a table, its state) live in a [`Place`]: a prefix of an `object_store`
//!   backend, [`S3Store`] or the local file system. Names are ours, so they are tame; what matters is
//!   the conditional write that makes a commit atomic, and patience with a store that stumbles.
//!
//! ```text
//!   Location ──> Place::open ──> S3Store | LocalFileSystem     (table, state, projections)
//!   S3Config ──> client ─┤
//!                        └─────> S3Uploads;  FolderUploads     (images)
//! ```
//!
//! `tests/rooms/storage.rs` holds every backend of either kind to one suite.

mod error;
mod folder_uploads;
mod location;
mod name;
mod patience;
mod place;
mod s3;
mod s3_error;
mod s3_multipart;
mod s3_store;
mod s3_uploads;
mod uploads;
mod witnesses;

pub use error::StorageError;
pub use folder_uploads::FolderUploads;
pub use location::{Location, LocationError};
pub use name::{Key, digest, key_of, object_of, path_of};
pub use patience::{Backoff, Patience};
pub use place::Place;
pub use s3::{Credentials, S3Config};
pub use s3_store::S3Store;
pub use s3_uploads::S3Uploads;
pub use uploads::{FetchError, Upload, UploadMeta, Uploads};
pub use witnesses::Witnesses;
