//! What one worker knows of the keys that it owns, between asking and being answered.

use std::collections::hash_map::Entry;
use std::mem::take;
use std::sync::Arc;

use timely::dataflow::operators::Capability;

use super::pending::{Pending, Step, Task};
use super::tally::Work;
use super::{Answer, Found, Look, Owed};
use crate::event::Version;
use crate::job::Job;
use crate::operators::latest::{Content, Latest};
use crate::operators::restore::Restored;
use crate::operators::{Change, Read, Round, Which};
use crate::storage::{Key, digest};
use crate::table::Reject;

/// Where a look goes out, and what needs none.
pub type At = [Capability<Round>; 2];

/// One round's input, until the round is sealed.
#[derive(Default)]
pub struct Arrivals {
    at: Option<At>,
    /// Of the register.
    pub changes: Vec<((Key, Latest), isize)>,
    /// What they are about.
    pub reads: Vec<Read>,
}

impl Arrivals {
    /// Holds the round by the capabilities that `retain` makes, if it isn't held.
    pub fn hold(&mut self, retain: impl FnOnce() -> At) {
        if self.at.is_none() {
            self.at = Some(retain());
        }
    }
}

/// The keys of one worker.
pub struct Keys {
    job: Arc<Job>,
    index: usize,
    pending: Pending<At>,
    owed: Owed,
    /// Changes that need no look.
    known: Vec<(Capability<Round>, Key, Change)>,
}

impl Keys {
    /// None yet, of worker `index`, which `owed` is for.
    pub fn new(job: Arc<Job>, index: usize, owed: Owed) -> Self {
        Keys {
            job,
            index,
            pending: Pending::default(),
            owed,
            known: Vec::new(),
        }
    }

    /// How many are live.
    pub fn live(&self) -> usize {
        self.pending.etags.len()
    }

    /// Takes in a key that the table holds.
    pub fn restore(&mut self, restored: Restored) {
        let Some(slot) = restored.slot else { return };
        let version = restored.latest.as_ref().map(|latest| latest.version);
        let etag = match restored.latest.map(|latest| latest.content) {
            Some(Content::Present(etag)) => etag,
            _ => digest(b""),
        };
        self.pending.etags.insert(restored.key, etag);
        if slot.which == Which::Rejects {
            self.pending.rejected.insert(restored.key, version);
        }
    }

    /// Takes in the net changes of a sealed round.
    pub fn open(&mut self, arrivals: Arrivals) {
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

    fn malformed(&mut self, key: Key, reject: Reject, [_, known_at]: &At) {
        if let Entry::Vacant(unknown) = self.pending.etags.entry(key) {
            unknown.insert(digest(b""));
            let reject = Change::Reject(Box::new(reject));
            self.known.push((known_at.clone(), key, reject));
        }
    }

    /// The next look, if as many as may be are not under way, and where it goes out.
    pub fn next(&mut self) -> Option<(Capability<Round>, Look)> {
        let job = &self.job;
        while self.owed.all() < job.config.limits.fetches_in_flight {
            match self
                .pending
                .next(|hint| job.config.select.takes(&hint.object))?
            {
                Step::Touch(task) => {
                    let ([_, at], touch) = (task.at, Change::Touch(task.latest.version));
                    self.known.push((at, task.hint.key, touch));
                }
                Step::Look {
                    hint,
                    version,
                    known,
                    at: [at, _],
                } => {
                    let held = self.pending.etags.get(&hint.key).copied();
                    let look = Look {
                        asker: self.index,
                        asked: self.owed.ask(),
                        held: held.filter(|_| !self.pending.rejected.contains_key(&hint.key)),
                        hint,
                        version,
                        known,
                    };
                    return Some((at, look));
                }
            }
        }
        None
    }

    /// The changes that need no look, and where they go out.
    pub fn known(&mut self) -> Vec<(Capability<Round>, Key, Change)> {
        take(&mut self.known)
    }

    /// What an answer makes of its key, and what that took.
    pub fn judge(&mut self, answer: Answer) -> Option<(Change, Work)> {
        self.owed.answered(answer.asked);
        let task = self.pending.ended(answer.key)?;
        let work = match &answer.found {
            Found::Other(featured) => featured.work,
            _ => Work::default(),
        };
        Some((self.change(&task, answer.found)?, work))
    }

    fn change(&mut self, task: &Task<At>, found: Found) -> Option<Change> {
        let (key, version) = (task.hint.key, task.latest.version);
        // A reject that is judged anew is of no older event than before: which hint led there is chance.
        let newer = self.pending.rejected.remove(&key).flatten();
        let newer = newer.filter(|newer| version < *newer);
        match found {
            Found::Same => (!task.stale).then_some(Change::Touch(version)),
            Found::Gone => {
                let known = self.pending.etags.remove(&key).is_some();
                // An object that came and went before it was seen is nothing; a removal is kept, as its creation may follow.
                let removal = task.latest.content == Content::Removed && !task.stale;
                (known || removal).then_some(Change::Remove(version))
            }
            Found::Unreadable(mut reject) => {
                self.pending.etags.insert(key, digest(b""));
                date(&mut reject, newer);
                Some(Change::Reject(reject))
            }
            Found::Other(mut featured) => {
                self.pending.etags.insert(key, featured.etag);
                if let Change::Reject(reject) = &mut featured.change {
                    date(reject, newer);
                }
                Some(featured.change)
            }
        }
    }
}

/// Gives a reject another version, if there is one.
fn date(reject: &mut Reject, version: Option<Version>) {
    if let Some(version) = version {
        reject.event_time_ms = version.time_ms;
        reject.version = version.to_string();
    }
}
