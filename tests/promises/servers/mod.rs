//! The job against Apache Kafka and a real S3 server, by promise. `fetch.sh` brings the servers; without them every test
//! says SKIPPED and does nothing. What must come out is what the embedded servers give.

pub mod cluster;
pub mod kafka;
mod leash;
mod minio;
mod objects;
mod refusals;
mod store;
mod streams;
mod topics;
mod transactions;
