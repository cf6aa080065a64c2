//! Where others ask a process how it is: HTTP, for probes, Prometheus and people.
//!
//! | path | |
//! |---|---|
//! | `/livez` | 200 while the process moves, else 503 |
//! | `/readyz` | 200 while it takes part in the job, else 503 and the reasons, one a line |
//! | `/metrics` | what it counts, as OpenMetrics text |
//! | `/`, `/assets/…` | process 0: the live page |
//! | `/api/…` | process 0: what the page shows, of all processes |
//!
//! Nobody who asks can hold up the job: requests have no body, connections and their waiting are bounded, and what costs more
//! than looking up a number is done once for all who ask.

mod admission;
mod beats;
mod cached;
mod connection;
mod map;
mod state;
mod stream;
mod thumbnail;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn_with_state, map_response, map_response_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::admission::Admission;
use self::beats::Beats;
use self::connection::{Bounded, Room};
use self::map::Map;
use self::stream::Teller;
use self::thumbnail::Thumbnails;
use super::{Board, Health, Metrics, page};
use crate::config::Token;
use crate::job::Job;

/// How long those who watch may take to hear the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a server shows.
struct Site {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    admission: Admission,
    /// Process 0's.
    board: Option<Arc<Board>>,
    job: OnceLock<Arc<Job>>,
    beats: Beats,
    teller: Teller,
    map: Arc<Map>,
    thumbnails: Thumbnails,
}

impl Site {
    /// The job, once it is open.
    fn job(&self) -> Result<(&Arc<Job>, &Arc<Board>), Refusal> {
        match (&self.board, self.job.get()) {
            (None, _) => Err(Refusal::Elsewhere),
            (Some(board), Some(job)) => Ok((job, board)),
            (Some(_), None) => Err(Refusal::Starting),
        }
    }
}

/// Why there is nothing to show.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    /// Another process has the page.
    Elsewhere,
    /// The job is not open yet.
    Starting,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Refusal::Elsewhere => elsewhere(),
            Refusal::Starting => unavailable("starting: loading the network"),
        }
    }
}

/// A process's server.
pub struct Server {
    address: SocketAddr,
    site: Arc<Site>,
    ending: watch::Sender<bool>,
    serving: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Answers at `address` until it is ended; port 0 becomes one that is free. Whoever wants more than probes must show the
    /// `token`, if there is one. The `board` is process 0's.
    ///
    /// # Errors
    /// An address that can't be had.
    pub async fn start(
        address: SocketAddr,
        token: Option<&Token>,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        board: Option<Arc<Board>>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let room = Room::new();
        let site = Arc::new(Site {
            health,
            metrics,
            admission: Admission::new(token, address),
            board,
            job: OnceLock::new(),
            beats: Beats::default(),
            teller: Teller::new(room.streams_max()),
            map: Arc::default(),
            thumbnails: Thumbnails::default(),
        });
        let (ending, mut ended) = watch::channel(false);
        let end = async move {
            // An error is the end of this server, too.
            let _ = ended.wait_for(|ended| *ended).await;
        };
        let serve = axum::serve(
            Bounded::new(listener, room.clone()),
            router(site.clone(), room),
        );
        let serving = tokio::spawn(serve.with_graceful_shutdown(end).into_future());
        Ok(Server {
            address,
            site,
            ending,
            serving,
        })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the page shows this job: process 0's.
    pub fn show(&self, job: &Arc<Job>) {
        if self.site.board.is_some() && self.site.job.set(job.clone()).is_ok() {
            let telling = stream::tell_each_second(self.site.clone());
            drop(job.runtime.spawn(telling));
            let recalling = job.clone();
            drop(job.runtime.spawn(async move { recalling.recall().await }));
        }
    }

    /// Tells those who watch why the job ended, and stops.
    pub async fn end(self, reason: &str) {
        self.site.teller.end(reason);
        self.ending.send_replace(true);
        // Who does not leave in time is left behind.
        let _ = tokio::time::timeout(FAREWELL, self.serving).await;
    }
}

fn router(site: Arc<Site>, room: Room) -> Router {
    let admitted = from_fn_with_state(site.clone(), admission::page);
    let api = Router::new()
        .route("/api/state", get(state::answer))
        .route("/api/stream", get(stream::answer))
        .route("/api/points", get(map::answer))
        .route("/api/thumbnail", get(thumbnail::answer))
        .layer(admitted);
    let admitted = from_fn_with_state(site.clone(), admission::metrics);
    let metrics = Router::new()
        .route("/metrics", get(metrics))
        .layer(admitted);
    Router::new()
        .route(
            "/livez",
            get(async |State(site): State<Arc<Site>>| verdict(site.health.stalls())),
        )
        .route(
            "/readyz",
            get(async |State(site): State<Arc<Site>>| verdict(site.health.obstacles())),
        )
        .route(
            "/",
            get(async |site| asset(site, Path(String::new())).await),
        )
        .route("/assets/{name}", get(asset))
        .merge(metrics)
        .merge(api)
        .fallback(async || elsewhere())
        .layer(map_response(admission::guard))
        .layer(map_response_with_state(room, connection::close_if_full))
        .with_state(site)
}

fn verdict(reasons: Vec<String>) -> Response {
    if reasons.is_empty() {
        "ok\n".into_response()
    } else {
        unavailable(&reasons.join("\n"))
    }
}

async fn metrics(State(site): State<Arc<Site>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match site.metrics.expose() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A file of the page, or without a name the page itself.
async fn asset(State(site): State<Arc<Site>>, Path(name): Path<String>) -> Response {
    let named = page::ASSETS.iter().find(|asset| asset.name == name);
    let asset = if name.is_empty() {
        Some(&page::INDEX)
    } else {
        named
    };
    let Some(asset) = asset.filter(|_| site.board.is_some()) else {
        return elsewhere();
    };
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        // A page of one binary must not meet scripts of another.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, asset.bytes).into_response()
}

fn elsewhere() -> Response {
    let text = "ask for /livez, /readyz or /metrics; the page is at / of the job's first process\n";
    (StatusCode::NOT_FOUND, text).into_response()
}

fn unavailable(reason: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}

/// JSON that is ready to be sent.
fn json(text: impl Into<axum::body::Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text.into()).into_response()
}
