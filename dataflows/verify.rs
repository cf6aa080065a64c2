//! The published state, computed again from the stored features and compared bit for bit.
//!
//! ```text
//!   files of the last commit ──> audit (every worker its share) ──sums, by part──> conclude (worker 0: the verdict)
//!                                  └───────────── what was read ──────────────────────^
//! ```
//! Nothing is written.

use std::sync::Arc;

use timely::dataflow::operators::ToStream;
use timely::worker::Worker;

use crate::job::Verification;
use crate::operators::Round;
use crate::operators::verify::{audit, conclude};

/// Builds the graph at one worker.
pub fn verify(worker: &mut Worker, verification: &Arc<Verification>) {
    worker.dataflow::<Round, _, _>(|scope| {
        let checks = verification.checks(scope.index(), scope.peers());
        let checks = checks.to_stream(scope).container::<Vec<_>>();
        let audit = audit(verification.clone(), checks);
        conclude(
            verification.clone(),
            audit.sums.consolidate().inner,
            audit.tallies,
        );
    });
}
