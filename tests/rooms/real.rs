//! The real S3 server that stores and tables are tried on, beside the one in this process.

use std::sync::OnceLock;

use aws_sdk_s3::Client;
use eigenflow::storage::S3Config;

#[path = "../promises/servers/leash.rs"]
#[expect(dead_code, reason = "no server is crashed here")]
mod leash;
#[path = "../promises/servers/store.rs"]
#[expect(dead_code, reason = "a bucket is made by the client that is tried")]
mod store;

/// A server with a fresh bucket: what `EIGENFLOW_TEST_S3` names (credentials by the standard chain), or SeaweedFS.
pub async fn real_s3() -> Option<(Client, String)> {
    let config = match std::env::var("EIGENFLOW_TEST_S3") {
        Ok(endpoint) => S3Config {
            endpoint: Some(endpoint),
            ..Default::default()
        },
        // It starts on a runtime of its own.
        Err(_) => tokio::task::spawn_blocking(seaweed).await.unwrap()?,
    };
    let client = config.client().await.unwrap();
    let bucket = format!("eigenflow-test-{}", uuid::Uuid::new_v4().simple());
    client.create_bucket().bucket(&bucket).send().await.unwrap();
    Some((client, bucket))
}

/// One for all tests of the binary.
fn seaweed() -> Option<S3Config> {
    static STORE: OnceLock<Option<store::Store>> = OnceLock::new();
    let started = || Some(store::Store::start(&leash::brought()?));
    STORE
        .get_or_init(started)
        .as_ref()
        .map(|store| store.s3.clone())
}
