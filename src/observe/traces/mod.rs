//! Traces: where the time of each epoch went, as OpenTelemetry spans for a collector.
//!
//! ```text
//! gather ──────────────────────┐          (process 0: from the first event to the cut)
//! extract (a worker's keys) ───┤          (looks, decoding, network, wherever they were; while the epoch is gathered)
//!                              ├─ rewrite, moments, write (a worker) ── project, commit (process 0)
//! epoch ───────────────────────┴────────────────────────────────────────┘
//! ```
//! An epoch is one trace, whichever processes its spans come from: its name travels with the cut. Where no collector is
//! configured nothing is recorded. What the collector does not take waits in a bounded queue, and what finds no place in
//! that is dropped and counted: the job never waits for it.

mod otlp;
mod outbox;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::metrics::Counters;
use outbox::Outbox;

/// An epoch's trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Of 16 bytes, as OpenTelemetry has it.
    pub id: u128,
    /// When the epoch's first event was read.
    pub began: SystemTime,
}

impl Trace {
    /// The trace of a table's `epoch` by this `writer`: an epoch that failed, and is tried again by another run, is another.
    pub fn new(table: &str, writer: &str, epoch: i64, began: SystemTime) -> Self {
        let hash = Sha256::digest(format!("{table}\n{writer}\n{epoch}"));
        let id = u128::from_be_bytes(std::array::from_fn(|i| hash[i]));
        Trace { id, began }
    }

    /// The span that all others of the trace lie in.
    fn root(self) -> u64 {
        self.id as u64
    }
}

impl fmt::Display for Trace {
    /// The id, as collectors show it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.id)
    }
}

/// What a span says beside its time.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number of something, or a name that is a number.
    Count(i64),
    /// A measure.
    Number(f64),
    /// Words.
    Text(String),
}

impl From<i64> for Value {
    fn from(count: i64) -> Self {
        Value::Count(count)
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Value::Count(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Value::from(count as u64)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Number(number)
    }
}

impl From<Duration> for Value {
    /// In seconds.
    fn from(time: Duration) -> Self {
        Value::Number(time.as_secs_f64())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

/// A part of an epoch's work that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    trace: u128,
    id: u64,
    parent: Option<u64>,
    name: &'static str,
    began: SystemTime,
    ended: SystemTime,
    attributes: Vec<(&'static str, Value)>,
}

/// The traces of one process.
#[derive(Debug)]
pub struct Traces {
    outbox: Option<Outbox>,
    /// Of the epoch that is being published. There is one at a time: the next is cut when it is committed.
    current: Mutex<Option<Trace>>,
}

impl Traces {
    /// For the collector at this address, if there is one; `spans` counts what became of each.
    ///
    /// # Errors
    /// An address to which nothing can be sent.
    pub fn new(endpoint: Option<&str>, spans: &Counters<1>) -> anyhow::Result<Self> {
        let outbox = endpoint.map(|endpoint| Outbox::new(endpoint, spans));
        Ok(Traces {
            outbox: outbox.transpose()?,
            current: Mutex::default(),
        })
    }

    /// Whether somebody is to have them.
    pub fn wanted(&self) -> bool {
        self.outbox.is_some()
    }

    /// Starts sending, as this `process` of the job that `writer` names in its commits.
    pub fn start(&self, runtime: &Handle, process: usize, writer: &str) {
        if let Some(outbox) = &self.outbox {
            outbox.start(runtime, otlp::Resource::new(process, writer));
        }
    }

    /// Sends what waits, for a moment at most, and ends. Blocks; not for a runtime's thread.
    pub fn end(&self, runtime: &Handle) {
        if let Some(outbox) = &self.outbox {
            outbox.end(runtime);
        }
    }

    /// An epoch is published from now on: the spans that begin are its.
    pub fn enter(&self, trace: Trace) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(trace);
    }

    /// Begins a span of the epoch that is being published.
    pub fn begin(&self, name: &'static str) -> Begun<'_> {
        self.began(name, SystemTime::now())
    }

    /// As [`begin`](Self::begin), of what began before.
    pub fn began(&self, name: &'static str, began: SystemTime) -> Begun<'_> {
        let current = *self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let parent = current.map(Trace::root);
        // Never 0: the bits of its version are among these.
        let id = uuid::Uuid::new_v4().as_u64_pair().1;
        self.open(current, id, parent, name, began)
    }

    /// The span of a whole epoch: what `trace` began, all others lie in.
    pub fn epoch(&self, trace: Trace) -> Begun<'_> {
        self.open(Some(trace), trace.root(), None, "epoch", trace.began)
    }

    fn open(
        &self,
        trace: Option<Trace>,
        id: u64,
        parent: Option<u64>,
        name: &'static str,
        began: SystemTime,
    ) -> Begun<'_> {
        let sent = self.outbox.as_ref().zip(trace);
        Begun(sent.map(|(outbox, trace)| {
            let span = Span {
                trace: trace.id,
                id,
                parent,
                name,
                began,
                ended: began,
                attributes: Vec::new(),
            };
            (outbox, span)
        }))
    }
}

/// A span that has begun. It is sent when it [ends](Begun::end); what is dropped, as by an error, is not.
#[must_use]
pub struct Begun<'a>(Option<(&'a Outbox, Span)>);

impl Begun<'_> {
    /// Says something of it: `name` follows `eigenflow.`.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        if let Some((_, span)) = &mut self.0 {
            span.attributes.push((name, value.into()));
        }
        self
    }

    /// It has ended now.
    pub fn end(self) {
        self.ended(SystemTime::now());
    }

    /// It has ended then.
    pub fn ended(self, at: SystemTime) {
        if let Some((outbox, mut span)) = self.0 {
            span.ended = at.max(span.began);
            outbox.put(span);
        }
    }
}
