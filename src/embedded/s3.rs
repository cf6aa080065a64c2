//! The S3 server: HTTP on a port of 127.0.0.1, on a thread of its own.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::sync::oneshot;

use super::EmbeddedError;
use super::folder::Folder;
use crate::storage::Credentials;

/// How long requests in flight may take once the server is told to stop.
const FAREWELL: Duration = Duration::from_secs(10);

/// After a failed `accept` (too many open files, as a rule) the next try waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running S3 server over a folder; see [`EmbeddedS3::start`]. Dropping it shuts it down as well.
pub struct EmbeddedS3 {
    endpoint: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedS3 {
    /// Serves `root`, which is made if it does not exist: `root/bucket/key` is the object `key` of `bucket`. Beside the
    /// buckets the store keeps its own notes (ETags, content types) in hidden files, `root/.bucket-….json`.
    ///
    /// Requests must be path style and signed with `credentials`. Conditional writes are atomic; ETags are the MD5 of
    /// the content, those of multipart uploads as on AWS. Keys that a folder cannot hold under their own name are
    /// refused with a reason (`folder`), never altered.
    ///
    /// # Errors
    /// [`EmbeddedError::Folder`], [`EmbeddedError::Serve`].
    pub fn start(root: &Path, credentials: &Credentials) -> Result<Self, EmbeddedError> {
        let folder = Folder::open(root).map_err(|reason| EmbeddedError::Folder {
            path: root.to_owned(),
            reason,
        })?;
        let mut service = S3ServiceBuilder::new(folder);
        service.set_auth(SimpleAuth::from_single(
            credentials.access_key.clone(),
            credentials.secret_key.clone(),
        ));
        let service = service.build();

        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(EmbeddedError::Serve)?;
        listener
            .set_nonblocking(true)
            .map_err(EmbeddedError::Serve)?;
        let address = listener.local_addr().map_err(EmbeddedError::Serve)?;
        // One thread: a local store must leave the cores to the extraction that it feeds.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(EmbeddedError::Serve)?;
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(EmbeddedError::Serve)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("embedded-s3".into())
            .spawn(move || runtime.block_on(serve(listener, service, stopped)))
            .map_err(EmbeddedError::Serve)?;
        Ok(EmbeddedS3 {
            endpoint: format!("http://{address}"),
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// `http://127.0.0.1:port`, for `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Takes no more connections, lets the requests in flight finish (at most 10 s), and returns.
    ///
    /// # Errors
    /// If the server's thread had panicked.
    pub fn shutdown(mut self) -> io::Result<()> {
        self.stop_and_join()
    }

    fn stop_and_join(&mut self) -> io::Result<()> {
        // Fails only if the server is gone already, which is what we want.
        let _ = self.stop.take().map(|stop| stop.send(()));
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(io::Error::other("the embedded S3 server panicked")),
            _ => Ok(()),
        }
    }
}

impl Drop for EmbeddedS3 {
    fn drop(&mut self) {
        let _ = self.stop_and_join();
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    service: S3Service,
    mut stopped: oneshot::Receiver<()>,
) {
    let http = Builder::new(TokioExecutor::new());
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Without it, small answers wait for the client's delayed acknowledgement.
        let _ = socket.set_nodelay(true);
        let connection = http
            .serve_connection(TokioIo::new(socket), service.clone())
            .into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // A broken connection is its client's to notice.
            let _ = connection.await;
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(FAREWELL, connections.shutdown()).await;
}
