//! What a process tells of itself while it works.
//!
//! - [`Metrics`]: what it counts;
//! - [`Health`]: whether it moves, and whether it is ready;
//! - [`Spell`]: trouble that is told once;
//! - [`http`]: where others can ask.

mod health;
pub mod http;
mod metrics;
mod spell;

pub use health::{Health, Pulse};
pub use metrics::{Metrics, Stage};
pub use spell::Spell;
