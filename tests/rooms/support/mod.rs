//! Stores for the tests: an S3 server in this process, with a hook for faults. And a count of memory asked for.

mod allocations;

pub use allocations::allocated_bytes;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s::{Body, HttpResponse};
use s3s_fs::FileSystem;

pub const BUCKET: &str = "landing";
const ACCESS: &str = "test";
const SECRET: &str = "test-secret";

/// What the server does instead of answering; `None` lets the request through.
pub type Fault = Box<dyn FnMut(&str, &str) -> Option<u16> + Send>;

/// An S3 server over a folder. s3s-fs checks a condition and then writes, so all writes pass one lock:
/// without it, several racing conditional PUTs win.
pub struct EmbeddedS3 {
    address: SocketAddr,
    fault: Arc<Mutex<Option<Fault>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl EmbeddedS3 {
    pub async fn start(root: &Path) -> Self {
        std::fs::create_dir_all(root.join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(root).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS, SECRET));
        let service = builder.build();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fault: Arc<Mutex<Option<Fault>>> = Arc::default();
        let writes = Arc::new(tokio::sync::Mutex::new(()));
        let hook = Arc::clone(&fault);
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (service, writes, hook) =
                    (service.clone(), Arc::clone(&writes), Arc::clone(&hook));
                let door = service_fn(move |request: Request<Incoming>| {
                    let (service, writes) = (service.clone(), Arc::clone(&writes));
                    let fault = match hook.lock().unwrap().as_mut() {
                        Some(fault) => fault(request.method().as_str(), request.uri().path()),
                        None => None,
                    };
                    async move {
                        if let Some(status) = fault {
                            let mut answer = HttpResponse::new(Body::empty());
                            *answer.status_mut() = status.try_into().unwrap();
                            return Ok(answer);
                        }
                        let reads = matches!(request.method().as_str(), "GET" | "HEAD");
                        let _alone = if reads {
                            None
                        } else {
                            Some(writes.lock().await)
                        };
                        service.call(request.map(Body::from)).await
                    }
                });
                tokio::spawn(async move {
                    // A client that hangs up is no failure of the server.
                    let _ = Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), door)
                        .await;
                });
            }
        });
        Self {
            address,
            fault,
            accepting,
        }
    }

    /// From now on `fault(method, path)` decides over each request.
    pub fn set_fault(&self, fault: impl FnMut(&str, &str) -> Option<u16> + Send + 'static) {
        *self.fault.lock().unwrap() = Some(Box::new(fault));
    }

    pub fn client(&self) -> Client {
        client(&format!("http://{}", self.address), ACCESS, SECRET)
    }
}

impl Drop for EmbeddedS3 {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A client without retries of its own: what a test injects reaches the code under test.
pub fn client(endpoint: &str, access: &str, secret: &str) -> Client {
    use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(access, secret, None, None, "test"))
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}
