//! The main job: uploads in, reduced features out.
//!
//! ```text
//!   Kafka ──> source ──> latest ──> extract ──> stage ──────────────> write ──┐
//!               │  └──── hints ────────^          │ └─> rewrite ─┐      ^     ├──> commit ──> s3://…/table
//!               └─ reports ─> mint ── cuts ───────┘       │      └──────│─────┘
//!                                                         └─> moments ─> project
//! ```

use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concat, Probe, probe};
use timely::worker::Worker;

use crate::job::{Beginning, Job};
use crate::operators::clock::{Pace, clock};
use crate::operators::commit::{self, commit};
use crate::operators::extract::{Tally, extract};
use crate::operators::latest::latest;
use crate::operators::mint::mint;
use crate::operators::moments::moments;
use crate::operators::project::project;
use crate::operators::restore::restore;
use crate::operators::rewrite::rewrite;
use crate::operators::source::source;
use crate::operators::stage::stage;
use crate::operators::vitals::vitals;
use crate::operators::write::write;
use crate::operators::{Control, Read, Round};

/// Reading pauses when so many epochs' worth of changes wait for their commit.
pub(crate) const EPOCHS_UNCOMMITTED: u64 = 3;

/// Builds the graph at one of the `workers` of a process. `beginning` is worker 0's. The frontier behind `restore` leaves round 0 when all that the
/// last commit says is where it is needed.
pub fn online_pca(
    worker: &mut Worker,
    job: &Arc<Job>,
    beginning: Option<Beginning>,
    workers: usize,
) -> probe::Handle<Round> {
    let control = Rc::new(Control::default());
    let (origin, state, ledger) = match beginning {
        Some(beginning) => (
            Some(beginning.origin),
            Some(beginning.state),
            Some(beginning.ledger),
        ),
        None => (None, None, None),
    };
    let epoch = ledger.as_ref().map_or(0, |ledger| ledger.state.epoch);
    let limits = &job.config.limits;
    let pace = Pace {
        rounds_in_flight: limits.rounds_in_flight as u64,
        quota_max: limits.events_per_round,
        uncommitted_max: job.epoch_max().times(EPOCHS_UNCOMMITTED),
    };
    let restoring = probe::Handle::new();
    worker.dataflow::<Round, _, _>(|scope| {
        let behind = probe::Handle::new();
        let begin = restore(job.clone(), scope, origin);
        let keys = begin.keys.probe_with(&restoring);
        let ticks = clock(
            scope,
            pace,
            control.clone(),
            job.metrics.clone(),
            behind.clone(),
        );
        let (reads, read_reports) = source(job.clone(), ticks, begin.offsets);

        // What is not selected is remembered by nobody. `extract` is told of it, as its row may be from an earlier selection.
        let selected = job.config.select.clone();
        let events = reads.clone().flat_map(move |read| match read {
            Read::Hint(hint) if selected.takes(&hint.object) => Some((hint.key, hint.latest)),
            _ => None,
        });
        let known = keys
            .clone()
            .flat_map(|key| key.latest.map(|latest| (key.key, latest)));
        let changes = latest(events.concat(known), limits.tombstone_retention_ms);
        let tally = Rc::new(Tally::new(&job.traces));
        let (rows, row_reports) = extract(
            job.clone(),
            changes,
            reads,
            keys.clone(),
            tally.clone(),
            workers,
        );
        let reports = read_reports.concat(row_reports.probe_with(&behind));
        let cuts = mint(job.clone(), reports, control.clone(), epoch);
        vitals(job.clone(), cuts.clone(), workers);

        let staged = stage(job.clone(), rows, cuts.clone(), keys, tally);
        let rewritten = rewrite(job.clone(), staged.edits, cuts.clone(), begin.placed);
        let sums = moments(job.clone(), staged.batches.clone(), rewritten.retracted);
        let projections = project(job.clone(), sums.inner, cuts.clone(), state);
        let written = write(job.clone(), staged.batches, projections.models);
        let inputs = commit::Inputs {
            cuts,
            files: written.concat(rewritten.files),
            tombstones: staged.tombstones,
            published: projections.published,
        };
        commit(job.clone(), inputs, control, ledger);
    });
    restoring
}
