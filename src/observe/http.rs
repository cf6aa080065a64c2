//! Where others ask a process how it is: HTTP, for probes and people.
//!
//! | path | |
//! |---|---|
//! | `/livez` | 200 while the process moves, else 503 |
//! | `/readyz` | 200 while it takes part in the job, else 503 and the reasons, one a line |

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};

use super::Health;

/// How long a caller may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failed `accept` (too many open files, as a rule) the next try waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers at `address` as long as the runtime lives; the address that it has then (port 0 becomes one that is free).
///
/// # Errors
/// An address that can't be had.
pub async fn serve(address: SocketAddr, health: Arc<Health>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((socket, _)) => drop(tokio::spawn(converse(socket, health.clone()))),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    });
    Ok(address)
}

async fn converse(socket: TcpStream, health: Arc<Health>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&health, request.uri().path());
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE);
    // A broken connection is its caller's to notice.
    let _ = http.serve_connection(TokioIo::new(socket), service).await;
}

fn answer(health: &Health, path: &str) -> Response<String> {
    let (status, text) = match path {
        "/livez" => verdict(health.stalls()),
        "/readyz" => verdict(health.obstacles()),
        _ => (
            StatusCode::NOT_FOUND,
            "ask for /livez or /readyz".to_owned(),
        ),
    };
    let mut response = Response::new(text + "\n");
    *response.status_mut() = status;
    response
}

fn verdict(reasons: Vec<String>) -> (StatusCode, String) {
    if reasons.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n"))
    }
}
