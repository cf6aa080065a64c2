//! All rows under the newest projection, in one commit: a bounded replay then equals the batch answer.
//!
//! ```text
//!   files of the last commit ──> regroup (every worker its groups) ──> conclude (worker 0: one commit)
//!   its projection ───────────────^
//! ```
//! Small files are merged on the way. Moments, projection and offsets stay what they are.

use std::sync::Arc;

use timely::dataflow::operators::ToStream;
use timely::dataflow::operators::vec::Broadcast;
use timely::worker::Worker;

use crate::job::{Job, Reprojection};
use crate::operators::Round;
use crate::operators::reproject::{conclude, regroup};

/// Builds the graph at one worker. `plan` is worker 0's, if there is anything to do.
pub fn reproject(worker: &mut Worker, job: &Arc<Job>, plan: Option<Reprojection>) {
    worker.dataflow::<Round, _, _>(|scope| {
        let (groups, projection, state) = match plan {
            Some(plan) => (plan.groups, Some(plan.projection), Some(plan.state)),
            None => (Vec::new(), None, None),
        };
        let groups = groups
            .into_iter()
            .enumerate()
            .to_stream(scope)
            .container::<Vec<_>>();
        let projection = projection
            .to_stream(scope)
            .container::<Vec<_>>()
            .broadcast();
        let lists = regroup(job.clone(), groups, projection);
        conclude(job.clone(), lists, state);
    });
}
