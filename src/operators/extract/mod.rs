//! Images to rows: look at the object, decode it, run the network.
//!
//! An event is only a hint that its key may have changed; what the object is now, the store says. So every change of
//! `latest` becomes one plain GET of the live object, and its answer decides: the etag that the row has already is no
//! change, another etag is a new row (or a reject, with its reason), nothing there removes the row. Events that lie, come
//! late or describe what was overwritten meanwhile thus all end in the state of the store.
//!
//! I/O runs on the runtime with a bound on objects and bytes in flight; the network runs on the workers' threads, an
//! image or two between two steps, so that one worker is one core. Which worker of the process it is doesn't matter ([`Images`]). The
//! capability of a change is held until its row is out. Two changes of one key are looked at in turn, never at once.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Result;
use differential_dataflow::{Hashable, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::latest::{Content, Latest};
use super::restore::Restored;
use super::{Change, Hint, Key, Load, Read, Report, Round, Tasks, digest};
use crate::event::Version;
use crate::job::Job;
use crate::table::Reject;

mod featurise;
mod images;
mod look;
mod pending;
mod tally;

pub use featurise::Featuriser;
use featurise::{Featured, reject};
pub use images::Images;
use look::{Seen, look};
use pending::{Pending, Step};
pub use tally::Tally;
use tally::Work;

/// Turns changes of `latest` into changes of the table. `reads` names the objects that the changes are about; what it takes is told to
/// `tally`.
pub fn extract<'scope>(
    job: Arc<Job>,
    changes: VecCollection<'scope, Round, (Key, Latest), isize>,
    reads: StreamVec<'scope, Round, Read>,
    restored: StreamVec<'scope, Round, Restored>,
    tally: Rc<Tally>,
) -> (
    StreamVec<'scope, Round, (Key, Change)>,
    StreamVec<'scope, Round, Report>,
) {
    let scope = reads.scope();
    let mut builder = OperatorBuilder::new("Extract".to_owned(), scope);
    let info = builder.operator_info();
    let activator = scope.activator_for(info.address.clone());
    let tasks = Tasks::new(scope.worker(), &info.address, &job);
    let keys = job.metrics.worker(scope.index());
    let mut changes = builder.new_input(changes.inner, Pipeline);
    let mut reads = builder.new_input(reads, Exchange::new(|read: &Read| read.key().hashed()));
    let mut restored = builder.new_input(
        restored,
        Exchange::new(|restored: &Restored| restored.key.hashed()),
    );
    let (rows_out, rows) = builder.new_output();
    let (reports_out, reports) = builder.new_output();
    let mut rows_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<(Key, Change)>>>::from(rows_out);
    let mut reports_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<Report>>>::from(reports_out);
    builder.build(move |_| {
        let mut rounds: BTreeMap<Round, Arrivals> = BTreeMap::new();
        let mut extract = Extract::new(job, tasks);
        move |frontiers| {
            restored.for_each(|_, data| {
                data.drain(..)
                    .for_each(|restored| extract.restore(restored))
            });
            changes.for_each(|time, data| {
                // A message of a collection may hold several rounds, at or after its own. Round 0 is the table's.
                for (change, round, diff) in data.drain(..).filter(|(_, round, _)| *round > 0) {
                    let arrivals = rounds.entry(round).or_default();
                    arrivals.hold(|| [time.delayed(&round, 0), time.delayed(&round, 1)]);
                    arrivals.changes.push((change, diff));
                }
            });
            reads.for_each(|time, data| {
                let arrivals = rounds.entry(*time.time()).or_default();
                arrivals.hold(|| [time.retain(0), time.retain(1)]);
                arrivals.reads.append(data);
            });
            while let Some(entry) = rounds.first_entry() {
                if frontiers
                    .iter()
                    .any(|frontier| frontier.less_equal(entry.key()))
                {
                    break;
                }
                tally.opened(*entry.key());
                extract.open(entry.remove());
            }
            if extract.job.failure.is_set() {
                return;
            }
            extract.fetch();
            let features = extract.job.features;
            let mut give = |done: Done| {
                if let Some(change) = done.change {
                    tally.changed(*done.at[0].time(), &change, &done.work);
                    let load = Load {
                        count: 1,
                        bytes: change.bytes(features),
                    };
                    rows_out
                        .activate()
                        .session(&done.at[0])
                        .give((done.key, change));
                    reports_out
                        .activate()
                        .session(&done.at[1])
                        .give(Report::Extracted(load));
                }
            };
            extract.ready.drain(..).for_each(&mut give);
            if let Some(done) = extract.next() {
                give(done);
                activator.activate();
            }
            keys.keys.set(extract.pending.etags.len() as f64);
        }
    });
    (rows, reports)
}

/// Where a change may go out: the capabilities of both outputs.
type At = [Capability<Round>; 2];

/// One round's input, until the round is sealed.
#[derive(Default)]
struct Arrivals {
    at: Option<At>,
    changes: Vec<((Key, Latest), isize)>,
    reads: Vec<Read>,
}

impl Arrivals {
    fn hold(&mut self, retain: impl FnOnce() -> At) {
        if self.at.is_none() {
            self.at = Some(retain());
        }
    }
}

/// A key to look at.
type Task = pending::Task<At>;

struct Done {
    key: Key,
    at: At,
    change: Option<Change>,
    work: Work,
}

impl Done {
    /// What needs no look.
    fn at_once(key: Key, at: At, change: Change) -> Self {
        Done {
            key,
            at,
            change: Some(change),
            work: Work::default(),
        }
    }
}

/// What a look came to.
enum Found {
    /// What was known.
    Same,
    /// Nothing.
    Gone,
    /// Something that may not be read.
    Unreadable(Box<Reject>),
    /// Another object than was known.
    Other(Featured),
}

struct Extract {
    job: Arc<Job>,
    tasks: Tasks<(Key, Found)>,
    pending: Pending<At>,
    /// Changes that need no look.
    ready: Vec<Done>,
}

impl Extract {
    fn new(job: Arc<Job>, tasks: Tasks<(Key, Found)>) -> Self {
        Extract {
            job,
            tasks,
            pending: Pending::default(),
            ready: Vec::new(),
        }
    }

    fn restore(&mut self, restored: Restored) {
        if restored.slot.is_some() {
            let etag = match restored.latest.map(|latest| latest.content) {
                Some(Content::Present(etag)) => etag,
                _ => digest(b""),
            };
            self.pending.etags.insert(restored.key, etag);
        }
    }

    /// Takes in the net changes of a sealed round.
    fn open(&mut self, arrivals: Arrivals) {
        let Some(at) = arrivals.at else { return };
        let mut hints = Vec::new();
        for read in arrivals.reads {
            match read {
                Read::Hint(hint) => hints.push(hint),
                Read::Malformed(key, reject) => self.malformed(key, reject, &at),
            }
        }
        self.pending.open(hints, arrivals.changes, &at);
    }

    fn malformed(&mut self, key: Key, reject: Reject, at: &At) {
        if let Entry::Vacant(unknown) = self.pending.etags.entry(key) {
            unknown.insert(digest(b""));
            let change = Change::Reject(Box::new(reject));
            self.ready.push(Done::at_once(key, at.clone(), change));
        }
    }

    /// Starts as many looks as may be in flight.
    fn fetch(&mut self) {
        let job = &self.job;
        while self.tasks.running() < job.config.limits.fetches_in_flight
            && let Some(step) = self.pending.next(|hint| job.selection.takes(&hint.object))
        {
            match step {
                Step::Touch(task) => {
                    let touch = Change::Touch(task.latest.version);
                    self.ready
                        .push(Done::at_once(task.hint.key, task.at, touch));
                }
                Step::Look {
                    hint,
                    version,
                    known,
                } => {
                    let held = self.pending.etags.get(&hint.key).copied();
                    let job = job.clone();
                    self.tasks.spawn(async move {
                        let key = hint.key;
                        let seen = look(&job, &hint, known).await?;
                        Ok((key, found(&job, hint, version, held, seen).await?))
                    });
                }
            }
        }
    }

    /// What the next look that has ended comes to.
    fn next(&mut self) -> Option<Done> {
        let (key, found) = self.tasks.finished()?;
        let task = self.pending.ended(key)?;
        let work = match &found {
            Found::Other(featured) => featured.work,
            _ => Work::default(),
        };
        let change = self.judge(&task, found);
        Some(Done {
            key,
            at: task.at,
            change,
            work,
        })
    }

    /// What was found makes of its key.
    fn judge(&mut self, task: &Task, found: Found) -> Option<Change> {
        let (key, version) = (task.hint.key, task.latest.version);
        match found {
            Found::Same => (!task.stale).then_some(Change::Touch(version)),
            Found::Gone => {
                let known = self.pending.etags.remove(&key).is_some();
                // An object that came and went before it was seen is nothing; a removal is kept, as its creation may follow.
                let removal = task.latest.content == Content::Removed && !task.stale;
                (known || removal).then_some(Change::Remove(version))
            }
            Found::Unreadable(reject) => {
                self.pending.etags.insert(key, digest(b""));
                Some(Change::Reject(reject))
            }
            Found::Other(featured) => {
                self.pending.etags.insert(key, featured.etag);
                Some(featured.change)
            }
        }
    }
}

/// What was seen comes to, beside the etag that the key's row holds. An image waits for a worker of this process.
async fn found(
    job: &Job,
    hint: Hint,
    version: Version,
    held: Option<u128>,
    seen: Seen,
) -> Result<Found> {
    Ok(match seen {
        Seen::Same => Found::Same,
        Seen::Gone => Found::Gone,
        Seen::Unreadable(why) => {
            Found::Unreadable(Box::new(reject(job, &hint, version, None, why)))
        }
        Seen::Object(fetched) if held == Some(digest(fetched.upload.meta.etag.as_bytes())) => {
            Found::Same
        }
        Seen::Object(fetched) => Found::Other(job.images.featurise(hint, version, fetched).await?),
    })
}
