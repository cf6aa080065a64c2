//! What a process tells of itself while it works.
//!
//! - [`Metrics`]: what it counts;
//! - [`Spell`]: trouble that is told once.

mod metrics;
mod spell;

pub use metrics::{Metrics, Stage};
pub use spell::Spell;
