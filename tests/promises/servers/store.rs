//! SeaweedFS: an S3 server with atomic conditional writes.

use std::path::Path;

use eigenflow::storage::{Credentials, S3Config};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::leash::{Leash, WEED, free_ports};

/// SeaweedFS, all of it in one process.
pub struct Store {
    pub s3: S3Config,
    process: Leash,
}

impl Store {
    /// A new store that answers, of the servers in this folder.
    pub fn start(servers: &Path) -> Self {
        let folder = TempDir::new().expect("a temporary folder").keep();
        let names = ["master", "volume", "filer", "admin", "s3"];
        let ports = free_ports::<10>();
        let mut arguments = vec![
            servers.join(WEED).display().to_string(),
            "mini".to_owned(),
            format!("-dir={}", folder.display()),
        ];
        for (name, ports) in names.iter().zip(ports.chunks(2)) {
            arguments.push(format!("-{name}.port={}", ports[0]));
            arguments.push(format!("-{name}.port.grpc={}", ports[1]));
        }
        let fixed = [
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-webdav=false",
            "-admin.ui=false",
        ];
        arguments.extend(fixed.map(str::to_owned));
        arguments.extend(["-s3.port.iceberg=0", "-s3.port.lance=0"].map(str::to_owned));
        // Every bucket takes some, and every test has buckets of its own.
        arguments.push("-volume.max=1000".to_owned());
        let keys = [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test-secret"),
        ];
        let store = Store {
            s3: S3Config {
                endpoint: Some(format!("http://127.0.0.1:{}", ports[8])),
                region: Some("us-east-1".to_owned()),
                credentials: Some(Credentials {
                    access_key: keys[0].1.to_owned(),
                    secret_key: keys[1].1.to_owned(),
                }),
                ..S3Config::default()
            },
            process: Leash::start(folder, &arguments, &keys),
        };
        let runtime = Runtime::new().expect("a runtime");
        store
            .process
            .wait_for(|| runtime.block_on(store.try_create("ready")));
        store
    }

    /// Makes a bucket.
    pub async fn create(&self, bucket: &str) {
        assert!(self.try_create(bucket).await, "no bucket {bucket}");
    }

    async fn try_create(&self, bucket: &str) -> bool {
        let client = self.s3.client().await.expect("a client");
        client.create_bucket().bucket(bucket).send().await.is_ok()
    }
}
