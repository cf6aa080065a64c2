//! Images to rows: look at the object, decode it, run the network.
//!
//! ```text
//!   changes, reads ──> ask ── looks, by who owes least ──> serve ── answers, by key ──> answer ──> rows, reports
//!                       └──────────── what needs no look ─────────────────────────────────^
//! ```
//!
//! An event is only a hint that its key may have changed; what the object is now, the store says. So every change of
//! `latest` becomes one plain GET of the live object, and its answer decides: the etag that the row has already is no
//! change, another etag is a new row (or a reject, with its reason), nothing there removes the row. Events that lie, come
//! late or describe what was overwritten meanwhile thus all end in the state of the store.
//!
//! A key's owner decides what is looked at, and what an answer makes of the key (`keys`); who looks doesn't matter, so it
//! is the process that owes the owner the fewest answers (`owed`). There, I/O runs on the runtime with a bound on objects and
//! bytes in flight; the network runs on the workers' threads, up to four images between four steps, so that one worker is one core.
//! Which worker of the process it is doesn't matter either ([`Images`]). The capability of a change is held by its owner until
//! the answer is there, and by who looks. Two changes of one key are looked at in turn, never at once.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::VecCollection;
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;

use super::latest::Latest;
use super::restore::Restored;
use super::{Change, Hint, Read, Report, Round};
use crate::event::Version;
use crate::job::Job;
use crate::storage::Key;
use crate::table::Reject;

mod answer;
mod ask;
mod featurise;
mod images;
mod keys;
mod look;
mod owed;
mod pending;
mod serve;
mod tally;

use answer::answer;
use ask::ask;
use featurise::Featured;
pub use featurise::Featuriser;
pub use images::Images;
use keys::Keys;
pub(crate) use owed::Owed;
use serve::serve;
pub use tally::Tally;

/// Turns changes of `latest` into changes of the table. `reads` names the objects that the changes are about; what it takes is told to
/// `tally`. Each process has so many `workers`.
pub fn extract<'scope>(
    job: Arc<Job>,
    changes: VecCollection<'scope, Round, (Key, Latest), isize>,
    reads: StreamVec<'scope, Round, Read>,
    restored: StreamVec<'scope, Round, Restored>,
    tally: Rc<Tally>,
    workers: usize,
) -> (
    StreamVec<'scope, Round, (Key, Change)>,
    StreamVec<'scope, Round, Report>,
) {
    let scope = reads.scope();
    let owed = Owed::new(scope.index(), scope.peers(), workers);
    let keys = Rc::new(RefCell::new(Keys::new(job.clone(), scope.index(), owed)));
    let asked = ask(
        job.clone(),
        changes,
        reads,
        restored,
        keys.clone(),
        tally.clone(),
    );
    let answers = serve(job.clone(), asked.looks);
    answer(job, asked.known, answers, keys, asked.activator, tally)
}

/// An object to look at, for whoever is asked to.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Look {
    /// The worker that owns the key.
    asker: usize,
    /// The worker that is asked.
    asked: usize,
    hint: Hint,
    /// That of the row.
    version: Version,
    /// First only at whether this digest of an etag has changed.
    known: Option<u128>,
    /// The digest of the etag that the key's row has.
    held: Option<u128>,
}

/// What a look came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Answer {
    asker: usize,
    asked: usize,
    key: Key,
    found: Found,
}

/// What was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
