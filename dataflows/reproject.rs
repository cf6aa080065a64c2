//! All rows under the newest projection and classifier, and in clusters where the table shows them, in one commit: at the end of a
//! bounded run, which then equals the batch answer, and by the command `reproject`.
//!
//! ```text
//!   files of the last commit ──> cluster (every worker its share) ──> publish (worker 0)
//!                          │                                            │ models, state
//!                          └──> regroup (every worker its groups) <─────┤
//!                                  └────────> conclude (worker 0) <─────┘  one commit
//! ```
//! Small files are merged on the way. Epoch, moments, projection, classifier and offsets stay what they are.

use std::sync::Arc;

use timely::dataflow::operators::ToStream;
use timely::dataflow::operators::vec::Broadcast;
use timely::worker::Worker;

use crate::job::Plan;
use crate::operators::cluster::cluster;
use crate::operators::reproject::{conclude, publish, regroup};
use crate::operators::{Host, Round};

/// Builds the graph at one worker. `plan` is worker 0's, if there is anything to do.
pub fn reproject<H: Host>(worker: &mut Worker, host: &Arc<H>, plan: Option<Plan>) {
    worker.dataflow::<Round, _, _>(|scope| {
        let mut plan = plan;
        let (groups, clusters) = match &mut plan {
            Some(plan) => (std::mem::take(&mut plan.groups), plan.clusters.clone()),
            None => (Vec::new(), None),
        };
        let files = match clusters {
            Some(_) => groups.iter().flatten().cloned().collect(),
            None => Vec::new(),
        };
        let files = files.into_iter().enumerate().to_stream(scope);
        let groups = groups.into_iter().enumerate().to_stream(scope);
        let models = plan.as_ref().map(|plan| plan.models.clone());
        let models = models.to_stream(scope).container::<Vec<_>>().broadcast();
        let wanted = clusters.to_stream(scope).container::<Vec<_>>();
        let found = cluster(host.clone(), files.container::<Vec<_>>(), models, wanted);
        let published = publish(host.clone(), found, plan);
        let models = published.models.broadcast();
        let lists = regroup(host.clone(), groups.container::<Vec<_>>(), models);
        conclude(host.clone(), lists, published.state);
    });
}
