//! What a process tells of itself while it works.
//!
//! ```text
//! operators ──> Metrics, Health, Spell ──> /metrics, /livez, /readyz      (every process answers for itself)
//!         │           └─ Vitals ── through the dataflow ──> Board ──> /api, the page   (process 0, for all)
//!         └───> Traces ──> a collector                                    (every process sends its own)
//! ```
//! All but [`http`] know nothing of the job that they tell of.

mod board;
mod health;
pub mod http;
mod metrics;
pub mod page;
mod traces;
mod vitals;

pub use crate::spell::Spell;
pub use board::{Board, Commit, Event, FITTED_MAX, Fitted};
pub use health::{Health, Pulse};
pub use metrics::{Lag, Metrics, Outcome, Stage, Worker};
pub use traces::{Begun, Trace, Traces, Value};
pub use vitals::{Refused, Vitals, WorkerVitals};

/// Now, in ms since 1970 UTC.
pub fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
