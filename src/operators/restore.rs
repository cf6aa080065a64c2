//! Where the job left off: round 0 of the dataflow is what the table's last commit names.
//!
//! Worker 0 read the commit; all others learn from it, so that one reader decides what the job goes on from. The key
//! columns of the table's files are read where the file's slot lives and sent to the workers that own the keys, however
//! many there are now. Features are not read.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::{Broadcast, Map};
use timely::dataflow::operators::{Capability, Concat, Exchange, ToStream};
use timely::dataflow::{Scope, StreamVec};

use super::latest::{Content, Latest};
use super::{Placed, Round, Slot, Tasks, Which};
use crate::event::Version;
use crate::job::{Contradiction, Job, Origin};
use crate::storage::{Key, digest, key_of, object_of};
use crate::table::{self, DataFile};

/// What is known of a key from the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Restored {
    /// The key.
    pub key: Key,
    /// Its version; `None` for a reject that no object event vouches for.
    pub latest: Option<Latest>,
    /// Where its row is; `None` for a tombstone.
    pub slot: Option<Slot>,
}

/// Round 0, at the workers concerned.
pub struct Restoration<'scope> {
    /// All keys, at the worker that read them: yet to be exchanged by key.
    pub keys: StreamVec<'scope, Round, Restored>,
    /// All files, at the worker that owns their slot.
    pub placed: StreamVec<'scope, Round, Placed>,
    /// Where to go on reading, at all workers.
    pub offsets: StreamVec<'scope, Round, (i32, i64)>,
}

const READS_IN_FLIGHT: usize = 4;

/// Spreads `origin`, which worker 0 has, over the workers.
pub fn restore<'scope>(
    job: Arc<Job>,
    scope: Scope<'scope, Round>,
    origin: Option<Origin>,
) -> Restoration<'scope> {
    let origin = origin.unwrap_or_default();
    let tombstones = origin
        .tombstones
        .into_iter()
        .map(|(key, version)| Restored {
            key,
            latest: Some(Latest {
                version,
                content: Content::Removed,
            }),
            slot: None,
        });
    let placed = origin
        .placed
        .to_stream(scope)
        .container::<Vec<_>>()
        .exchange(|placed: &Placed| placed.slot.id);
    let fingerprint = (scope.index() == 0).then(|| job.fingerprint());
    let fingerprint = fingerprint.to_stream(scope).container::<Vec<_>>();
    let offsets = origin.offsets.to_stream(scope).container::<Vec<_>>();
    Restoration {
        keys: read_keys(job.clone(), placed.clone())
            .concat(tombstones.to_stream(scope).container::<Vec<_>>()),
        placed,
        offsets: alike(job, fingerprint, offsets),
    }
}

/// The offsets, at all workers, where worker 0's `fingerprint` is this process's, too: features of different networks, or
/// labels of different rules, must not meet in one table.
fn alike<'scope>(
    job: Arc<Job>,
    fingerprint: StreamVec<'scope, Round, String>,
    offsets: StreamVec<'scope, Round, (i32, i64)>,
) -> StreamVec<'scope, Round, (i32, i64)> {
    let first: StreamVec<_, Result<String, _>> = fingerprint.map(Ok);
    let both = first.concat(offsets.map(Err)).broadcast();
    both.flat_map(move |either| match either {
        Ok(first) if first != job.fingerprint() => {
            let here = job.fingerprint();
            let difference = Contradiction(format!(
                "this process of the job was started differently from its first: here {here}; there {first}"
            ));
            job.failure.set(difference.into());
            None
        }
        Ok(_) => None,
        Err(offset) => Some(offset),
    })
}

fn read_keys<'scope>(
    job: Arc<Job>,
    placed: StreamVec<'scope, Round, Placed>,
) -> StreamVec<'scope, Round, Restored> {
    let scope = placed.scope();
    let mut builder = OperatorBuilder::new("RestoreKeys".to_owned(), scope);
    let mut tasks: Tasks<(Slot, Vec<table::KeyRow>)> =
        Tasks::new(scope.worker(), &builder.operator_info().address, &job);
    let mut placed = builder.new_input(placed, Pipeline);
    let (output, keys) = builder.new_output();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Restored>>>::from(output);
    builder.build(move |_| {
        let mut queue: VecDeque<(Capability<Round>, Slot, DataFile)> = VecDeque::new();
        // Held while tasks run; all are at round 0.
        let mut held: Option<Capability<Round>> = None;
        move |_frontiers| {
            placed.for_each(|time, data| {
                for placed in data.drain(..) {
                    queue.extend(placed.file.map(|file| (time.retain(0), placed.slot, file)));
                }
            });
            while let Some((slot, rows)) = tasks.finished() {
                let Some(capability) = &held else {
                    unreachable!("a capability is held while tasks run")
                };
                // One of a file is enough to tell a fault of the store from that of an object.
                if let (Which::Main, Some(row)) = (slot.which, rows.last())
                    && let Some((bucket, object)) = object_of(&row.path)
                {
                    job.witnesses.read(bucket, object);
                }
                let restored = restored(slot, rows);
                output
                    .activate()
                    .session(capability)
                    .give_iterator(restored);
            }
            while tasks.running() < READS_IN_FLIGHT
                && let Some((capability, slot, file)) = queue.pop_front()
            {
                held = Some(capability);
                let job = job.clone();
                tasks.spawn(
                    async move { Ok((slot, job.tables.read_keys(slot.which, &file).await?)) },
                );
            }
            if tasks.running() == 0 {
                held = None;
            }
        }
    });
    keys
}

fn restored(slot: Slot, rows: Vec<table::KeyRow>) -> impl Iterator<Item = Restored> {
    rows.into_iter().map(move |row| Restored {
        key: key_of(&row.path),
        // A reject without an etag vouches for no content: the next hint is worth a look.
        latest: row.etag.and_then(|etag| {
            let version = row.version.parse::<Version>().ok()?;
            let content = Content::Present(digest(etag.as_bytes()));
            Some(Latest { version, content })
        }),
        slot: Some(slot),
    })
}
