//! All rows under the newest projection and classifier, in one commit: at the end of a bounded run, which then equals the batch answer,
//! and by the command `reproject`.
//!
//! ```text
//!   files of the last commit ──> regroup (every worker its groups) ──> conclude (worker 0: one commit)
//!   its models ───────────────────^
//! ```
//! Small files are merged on the way. Epoch, moments, models and offsets stay what they are.

use std::sync::Arc;

use timely::dataflow::operators::ToStream;
use timely::dataflow::operators::vec::Broadcast;
use timely::worker::Worker;

use crate::job::Plan;
use crate::operators::reproject::{conclude, regroup};
use crate::operators::{Host, Round};

/// Builds the graph at one worker. `plan` is worker 0's, if there is anything to do.
pub fn reproject<H: Host>(worker: &mut Worker, host: &Arc<H>, plan: Option<Plan>) {
    worker.dataflow::<Round, _, _>(|scope| {
        let (groups, models, state) = match plan {
            Some(plan) => (plan.groups, Some(plan.models), Some(plan.state)),
            None => (Vec::new(), None, None),
        };
        let groups = groups
            .into_iter()
            .enumerate()
            .to_stream(scope)
            .container::<Vec<_>>();
        let models = models.to_stream(scope).container::<Vec<_>>().broadcast();
        let lists = regroup(host.clone(), groups, models);
        conclude(host.clone(), lists, state);
    });
}
