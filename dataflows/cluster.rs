//! The clusters of a table's rows, for who wants to know them.
//!
//! ```text
//!   files of a commit ──> answer (every worker its share) <── rounds ──> lead (worker 0) ──> the outcome
//!   its projection ─────────^
//! ```
//! Nothing is written.

use std::sync::Arc;

use timely::dataflow::operators::ToStream;
use timely::dataflow::operators::vec::{Broadcast, Map};
use timely::worker::Worker;

use crate::job::Clusterer;
use crate::operators::Round;
use crate::operators::cluster::cluster;

/// Builds the graph at one worker.
pub fn clusters(worker: &mut Worker, clusterer: &Arc<Clusterer>) {
    worker.dataflow::<Round, _, _>(|scope| {
        let (files, models, wanted) = match scope.index() {
            0 => clusterer.task(),
            _ => Default::default(),
        };
        let files = files.into_iter().enumerate().to_stream(scope);
        let models = models.to_stream(scope).container::<Vec<_>>().broadcast();
        let wanted = wanted.to_stream(scope).container::<Vec<_>>();
        let found = cluster(
            clusterer.clone(),
            files.container::<Vec<_>>(),
            models,
            wanted,
        );
        let clusterer = clusterer.clone();
        found.map(move |found| clusterer.conclude(found));
    });
}
