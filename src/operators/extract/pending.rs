//! Which keys are to be looked at, and in what order.
//!
//! What the register takes is news; what it does not take is old, or comes from a clock that is wrong. Whether a hint
//! says anything that the row does not say can be known only when the looks before it have ended: so every hint waits
//! here, and is held against the row when its turn comes. One that is dropped for another leaves its doubt with it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use differential_dataflow::consolidation;

use crate::event::Version;
use crate::operators::Hint;
use crate::operators::latest::{Content, Latest};
use crate::storage::Key;

/// A key to look at. `At` is where its change may go out.
pub struct Task<At> {
    pub hint: Hint,
    /// What the register holds of it, or the hint's own if that is stale.
    pub latest: Latest,
    pub at: At,
    /// The register holds a newer version already.
    pub stale: bool,
    /// A hint that was dropped for this one said something else.
    doubt: bool,
}

impl<At> Task<At> {
    fn new(hint: Hint, latest: Option<Latest>, doubt: bool, at: At) -> Self {
        Task {
            stale: latest.is_none(),
            latest: latest.unwrap_or_else(|| hint.latest.clone()),
            hint,
            at,
            doubt,
        }
    }

    /// One task of two that wait for one key, `later` being of a later round. What a look will see subsumes both, but an
    /// old hint must not displace a newer one. Its change goes out at the earlier round: that one's offset is committed with it.
    fn merge(self, later: Self) -> Self {
        let doubt = self.doubt || later.doubt || self.latest.content != later.latest.content;
        match later.stale {
            true => Task { doubt, ..self },
            false => Task {
                doubt,
                at: self.at,
                ..later
            },
        }
    }
}

/// What the next task comes to.
pub enum Step<At> {
    /// The row has what the event tells of; only its version is newer.
    Touch(Task<At>),
    /// A look at the store, for a row of this version.
    Look {
        hint: Hint,
        version: Version,
        /// First only at whether this digest of an etag has changed.
        known: Option<u128>,
        /// Where its change may go out.
        at: At,
    },
}

/// The hints that wait, and what they are held against.
pub struct Pending<At> {
    /// The etag of each live key's row or reject.
    pub etags: HashMap<Key, u128>,
    /// Those whose reject is of an earlier run, which other limits or another program may have made, with its version where it has an etag: what
    /// comes first about them is a reason to look.
    pub rejected: HashMap<Key, Option<Version>>,
    /// In the order of rounds.
    queue: VecDeque<Task<At>>,
    /// Being looked at: the task, and what waits for it.
    looking: HashMap<Key, (Task<At>, Option<Task<At>>)>,
}

impl<At> Default for Pending<At> {
    fn default() -> Self {
        Pending {
            etags: HashMap::new(),
            rejected: HashMap::new(),
            queue: VecDeque::new(),
            looking: HashMap::new(),
        }
    }
}

impl<At: Clone> Pending<At> {
    /// Takes in a sealed round: its hints, and the changes of the register that they made.
    pub fn open(
        &mut self,
        hints: impl IntoIterator<Item = Hint>,
        mut changes: Vec<((Key, Latest), isize)>,
        at: &At,
    ) {
        let mut newest: HashMap<Key, (Hint, bool)> = HashMap::new();
        for hint in hints {
            match newest.entry(hint.key) {
                Entry::Occupied(mut entry) => {
                    let (held, doubt) = entry.get_mut();
                    *doubt |= held.latest.content != hint.latest.content;
                    if held.latest < hint.latest {
                        *held = hint;
                    }
                }
                Entry::Vacant(first) => {
                    first.insert((hint, false));
                }
            }
        }
        consolidation::consolidate(&mut changes);
        for ((key, latest), diff) in changes {
            // Each change stems from an event of its own round, so the hint is there.
            if diff > 0
                && let Some((hint, doubt)) = newest.remove(&key)
            {
                let task = Task::new(hint, Some(latest), doubt, at.clone());
                self.queue.push_back(task);
            }
        }
        let old = newest.into_values();
        self.queue
            .extend(old.map(|(hint, doubt)| Task::new(hint, None, doubt, at.clone())));
    }

    /// The next task that comes to anything. `takes` says whether an object is to have a row.
    pub fn next(&mut self, takes: impl Fn(&Hint) -> bool) -> Option<Step<At>> {
        while let Some(task) = self.queue.pop_front() {
            let key = task.hint.key;
            if let Some((_, waiting)) = self.looking.get_mut(&key) {
                *waiting = Some(match waiting.take() {
                    Some(earlier) => earlier.merge(task),
                    None => task,
                });
                continue;
            }
            let held = self.etags.get(&key).copied();
            let said = match task.latest.content {
                Content::Present(etag) => Some(etag),
                Content::Removed => None,
            };
            let judged = !self.rejected.contains_key(&key);
            if held == said && !task.doubt && judged {
                // What a new selection no longer takes must be looked at, and is then gone. So must an old removal: it may be that of a
                // removal, and the register has forgotten what it held of the key.
                match (held, task.stale) {
                    (Some(_), true) if takes(&task.hint) => continue,
                    (Some(_), false) if takes(&task.hint) => return Some(Step::Touch(task)),
                    _ => {}
                }
            }
            // News of another content is best fetched at once.
            let known = held.filter(|_| judged && (task.stale || held == said));
            let look = Step::Look {
                hint: task.hint.clone(),
                version: task.latest.version,
                known,
                at: task.at.clone(),
            };
            self.looking.insert(key, (task, None));
            return Some(look);
        }
        None
    }

    /// The task of a look that has ended; what waited for it is next.
    pub fn ended(&mut self, key: Key) -> Option<Task<At>> {
        let (task, waiting) = self.looking.remove(&key)?;
        if let Some(waiting) = waiting {
            self.queue.push_front(waiting);
        }
        Some(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = 7;
    const E1: Content = Content::Present(1);
    const E2: Content = Content::Present(2);
    const GONE: Content = Content::Removed;

    /// A store of one object behind a register that is right, and a row.
    #[derive(Default)]
    struct Room {
        pending: Pending<()>,
        newest: Option<Latest>,
        /// Looks under way, by the etag that they know.
        looks: VecDeque<Option<u128>>,
        looked: usize,
        touched: usize,
    }

    impl Room {
        /// The events of one round.
        fn round(&mut self, events: &[(Content, i64)]) {
            let hints = events.iter().map(|&(content, time_ms)| Hint {
                key: KEY,
                bucket: String::new(),
                object: String::new(),
                size_bytes: None,
                latest: Latest {
                    version: Version {
                        time_ms,
                        sequencer: 0,
                    },
                    content,
                },
            });
            let hints: Vec<Hint> = hints.collect();
            let newest = hints.iter().map(|hint| hint.latest.clone()).max();
            let news = newest.filter(|newest| self.newest.as_ref() < Some(newest));
            let changes = news.clone().map(|latest| ((KEY, latest), 1));
            self.newest = news.or(self.newest.take());
            self.pending.open(hints, changes.into_iter().collect(), &());
            self.go_on();
        }

        fn go_on(&mut self) {
            while let Some(step) = self.pending.next(|_| true) {
                match step {
                    Step::Touch(_) => self.touched += 1,
                    Step::Look { known, .. } => {
                        self.looked += 1;
                        self.looks.push_back(known);
                    }
                }
            }
        }

        /// The look under way ends, having seen this.
        fn saw(&mut self, content: Content) {
            self.looks.pop_front().expect("a look");
            match content {
                Content::Present(etag) => self.pending.etags.insert(KEY, etag),
                Content::Removed => self.pending.etags.remove(&KEY),
            };
            self.pending.ended(KEY).expect("its task");
            self.go_on();
        }

        fn with_row() -> Self {
            let mut room = Room::default();
            room.round(&[(E1, 50)]);
            room.saw(E1);
            assert_eq!((room.looked, room.touched), (1, 0));
            room
        }
    }

    #[test]
    fn what_says_what_the_row_says_costs_no_look() {
        let mut room = Room::with_row();
        room.round(&[(E1, 50), (E1, 50)]);
        room.round(&[(E1, 40)]);
        assert_eq!((room.looked, room.touched), (1, 0));
        room.round(&[(E1, 60), (E1, 55)]);
        assert_eq!((room.looked, room.touched), (1, 1));
    }

    #[test]
    fn an_old_removal_of_what_has_no_row_is_looked_at() {
        let mut room = Room::default();
        room.round(&[(GONE, 60)]);
        room.saw(GONE);
        assert_eq!(room.looked, 1);
        // Of a removal, say: the object is there again.
        room.round(&[(GONE, 50)]);
        assert_eq!(room.looked, 2);
        room.saw(E1);
        assert_eq!(room.pending.etags[&KEY], 1);
    }

    #[test]
    fn a_reject_of_an_earlier_run_is_judged_anew_once() {
        let mut room = Room::with_row();
        room.pending.rejected.insert(KEY, None);
        room.round(&[(E1, 50)]);
        assert_eq!((room.looked, room.looks.back()), (2, Some(&None)));
        room.pending.rejected.remove(&KEY);
        room.saw(E1);
        room.round(&[(E1, 50)]);
        assert_eq!(room.looked, 2);
    }

    #[test]
    fn of_two_hints_that_wait_the_later_goes_out_at_the_earlier_round() {
        let task = |time_ms: i64, stale: bool, at: u64| {
            let version = Version {
                time_ms,
                sequencer: 0,
            };
            let latest = Latest {
                version,
                content: E1,
            };
            let hint = Hint {
                key: KEY,
                bucket: String::new(),
                object: String::new(),
                size_bytes: None,
                latest: latest.clone(),
            };
            Task::new(hint, (!stale).then_some(latest), false, at)
        };
        let kept = task(10, false, 6).merge(task(20, false, 8));
        assert_eq!((kept.hint.latest.version.time_ms, kept.at), (20, 6));
        let kept = task(10, false, 6).merge(task(5, true, 8));
        assert_eq!((kept.hint.latest.version.time_ms, kept.at), (10, 6));
    }

    #[test]
    fn duplicates_that_come_while_a_key_is_looked_at_cost_no_second_look() {
        let mut room = Room::default();
        room.round(&[(E1, 50)]);
        room.round(&[(E1, 50)]);
        room.round(&[(E1, 50)]);
        room.saw(E1);
        assert_eq!((room.looked, room.looks.len()), (1, 0));
    }

    #[test]
    fn an_old_removal_that_comes_while_its_key_is_looked_at_is_looked_at() {
        let mut room = Room::default();
        room.round(&[(E1, 100)]);
        room.round(&[(GONE, 50)]);
        room.saw(E1);
        assert_eq!(room.looks, [Some(1)]);
        room.saw(GONE);
        assert!(room.pending.etags.is_empty());
    }

    #[test]
    fn an_old_upload_that_comes_while_its_key_is_found_gone_is_looked_at() {
        let mut room = Room::with_row();
        room.round(&[(GONE, 100)]);
        room.round(&[(E1, 60)]);
        room.saw(GONE);
        assert_eq!(room.looks, [None]);
        room.saw(E1);
        assert_eq!(room.pending.etags[&KEY], 1);
    }

    #[test]
    fn an_old_removal_beside_news_of_one_round_is_looked_at() {
        let mut room = Room::with_row();
        room.round(&[(E1, 100), (GONE, 60)]);
        // News, so its version is the row's if nothing else has changed; and one HEAD tells.
        assert_eq!((room.looks.clone(), room.touched), ([Some(1)].into(), 0));
        room.saw(GONE);
        assert!(room.pending.etags.is_empty());
    }

    #[test]
    fn of_those_that_wait_the_newest_is_kept_with_the_doubts_of_all() {
        for (rounds, known) in [
            ([(GONE, 60), (E2, 200)], Some(2)),
            ([(E2, 200), (GONE, 60)], Some(2)),
            ([(E2, 200), (E1, 60)], Some(2)),
            // The newest says another content than the row by then.
            ([(E1, 200), (E2, 60)], None),
        ] {
            let mut room = Room::with_row();
            room.round(&[(E2, 100)]);
            for event in rounds {
                room.round(&[event]);
            }
            room.saw(E2);
            assert_eq!(room.looks, [known], "{rounds:?}");
            room.saw(GONE);
            assert!(room.pending.etags.is_empty() && room.looks.is_empty());
        }
    }

    #[test]
    fn news_of_another_content_is_fetched_without_asking_first() {
        let mut room = Room::with_row();
        room.round(&[(E2, 100)]);
        assert_eq!(room.looks, [None]);
    }

    #[test]
    fn a_removal_that_is_news_is_looked_at_though_there_is_no_row() {
        let mut room = Room::default();
        room.round(&[(GONE, 100)]);
        assert_eq!(room.looks, [None]);
    }
}
