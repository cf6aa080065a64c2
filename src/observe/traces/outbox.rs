//! Spans on their way to the collector: a bounded queue, and a task that empties it in batches.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use prometheus_client::metrics::counter::Counter;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url, redirect};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Span;
use super::otlp::{Resource, request};
use crate::observe::Spell;
use crate::observe::metrics::Counters;

/// Spans that may wait for a collector that is away: of some hundred epochs.
const WAITING_MAX: usize = 2048;
/// Spans of one request.
const BATCH_MAX: usize = 256;
/// A span waits so long for others.
const GATHER: Duration = Duration::from_secs(1);
/// For a request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before the same batch is sent again.
const PAUSE: Duration = Duration::from_secs(5);
/// At the end of the job.
const FAREWELL: Duration = Duration::from_secs(3);

/// Where spans wait.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    dropped: Counter,
}

#[derive(Debug)]
enum State {
    Idle(Box<Collector>),
    Sending(Sender<Span>, JoinHandle<()>),
    Ended,
}

impl Outbox {
    /// For the collector at `endpoint`.
    pub fn new(endpoint: &str, spans: &Counters<1>) -> anyhow::Result<Self> {
        let address = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let client = Client::builder()
            .user_agent(concat!("eigenflow/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .timeout(PATIENCE)
            .build();
        let spell = Spell::new("the collector of traces", Counter::default())
            .meanwhile("the job goes on, and spans that find no place are dropped");
        let collector = Collector {
            client: client.context("observe.otlp_endpoint: no client")?,
            address: Url::parse(&address).context("observe.otlp_endpoint")?,
            spell,
            sent: spans.of(["sent"]),
            dropped: spans.of(["dropped"]),
        };
        Ok(Outbox {
            dropped: collector.dropped.clone(),
            state: Mutex::new(State::Idle(Box::new(collector))),
        })
    }

    /// Starts emptying it.
    pub fn start(&self, runtime: &Handle, resource: Resource) {
        let mut state = self.state();
        if let State::Idle(collector) = std::mem::replace(&mut *state, State::Ended) {
            let (sender, receiver) = channel(WAITING_MAX);
            let task = runtime.spawn(collector.empty(receiver, resource));
            *state = State::Sending(sender, task);
        }
    }

    /// Puts a span into it, or drops it where there is no place.
    pub fn put(&self, span: Span) {
        let placed = match &*self.state() {
            State::Sending(sender, _) => sender.try_send(span).is_ok(),
            State::Idle(_) | State::Ended => false,
        };
        if !placed {
            self.dropped.inc();
        }
    }

    /// Sends what is in it, for a moment at most.
    pub fn end(&self, runtime: &Handle) {
        let state = std::mem::replace(&mut *self.state(), State::Ended);
        if let State::Sending(sender, mut task) = state {
            drop(sender);
            if runtime
                .block_on(async { timeout(FAREWELL, &mut task).await })
                .is_err()
            {
                task.abort();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where spans go.
#[derive(Debug)]
struct Collector {
    client: Client,
    address: Url,
    spell: Spell,
    sent: Counter,
    dropped: Counter,
}

/// What a request came to.
enum Answer {
    Taken,
    /// It may be taken later.
    Away(String),
    /// It will never be.
    Refused(String),
}

impl Collector {
    /// Sends all spans of `inbox`, until it is closed and empty. A batch that is not taken then is not sent again.
    async fn empty(self, mut inbox: Receiver<Span>, resource: Resource) {
        let mut batch = Vec::new();
        while gather(&mut inbox, &mut batch).await {
            let body = request(&resource, &batch);
            while let Some(error) = self.send(body.clone(), batch.len() as u64).await {
                self.spell.fails(error);
                if inbox.is_closed() {
                    self.dropped.inc_by(batch.len() as u64);
                    break;
                }
                sleep(PAUSE).await;
            }
            batch.clear();
        }
    }

    /// Sends a batch of `spans`; why it is to be sent again.
    async fn send(&self, body: Vec<u8>, spans: u64) -> Option<String> {
        match self.post(body).await {
            Answer::Taken => {
                self.spell.succeeds();
                self.sent.inc_by(spans);
                None
            }
            Answer::Away(error) => Some(error),
            Answer::Refused(error) => {
                self.spell.fails(error);
                self.dropped.inc_by(spans);
                None
            }
        }
    }

    async fn post(&self, body: Vec<u8>) -> Answer {
        let request = self.client.post(self.address.clone());
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        let status = match request.send().await {
            Ok(answer) => answer.status(),
            Err(error) => return Answer::Away(format!("{:#}", anyhow::Error::new(error))),
        };
        let said = |address: &Url| format!("{address} answers {status}");
        match status {
            status if status.is_success() => Answer::Taken,
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Answer::Away(said(&self.address)),
            _ => Answer::Refused(said(&self.address)),
        }
    }
}

/// Fills `batch` with what comes within a moment of its first; false when nothing will come any more.
async fn gather(inbox: &mut Receiver<Span>, batch: &mut Vec<Span>) -> bool {
    let Some(first) = inbox.recv().await else {
        return false;
    };
    batch.push(first);
    let end = Instant::now() + GATHER;
    while batch.len() < BATCH_MAX
        && let Ok(Some(span)) = timeout_at(end, inbox.recv()).await
    {
        batch.push(span);
    }
    true
}
