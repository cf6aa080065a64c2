//! What an epoch adds and what it takes away.
//!
//! Every worker keeps, for each live key it owns, the slot of the file that holds its row. Changes wait here until a cut
//! says which of them make an epoch; then they are folded by key, so that what came and went within the epoch leaves
//! nothing. What remains is rows for new files and edits of committed ones.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::Hashable;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::extract::Tally;
use super::latest::horizon_ms;
use super::restore::Restored;
use super::{Amend, Amendment, Batch, Change, Cut, Edit, Load, Round, SharedBatch, Slot, Which};
use crate::event::Version;
use crate::job::Job;
use crate::storage::Key;
use crate::table::{Reject, Row};

/// A key that was removed, with the version that removed it; `None`: it is back.
pub type Tombstone = (Key, Option<Version>);

/// The outputs of [`stage`], all at the epoch's lower round.
pub struct Staged<'scope> {
    /// New rows, for this worker to write.
    pub batches: StreamVec<'scope, Round, SharedBatch>,
    /// Edits of committed files, yet to be exchanged by slot.
    pub edits: StreamVec<'scope, Round, Edit>,
    /// Keys that went or came back.
    pub tombstones: StreamVec<'scope, Round, Tombstone>,
}

/// Folds the changes of each epoch, whose rounds `tally` knows.
pub fn stage<'scope>(
    job: Arc<Job>,
    changes: StreamVec<'scope, Round, (Key, Change)>,
    cuts: StreamVec<'scope, Round, Cut>,
    restored: StreamVec<'scope, Round, Restored>,
    tally: Rc<Tally>,
) -> Staged<'scope> {
    let scope = changes.scope();
    let worker = scope.index();
    let (file_max, retention_ms) = (job.file_max(), job.config.limits.tombstone_retention_ms);
    let mut builder = OperatorBuilder::new("Stage".to_owned(), scope);
    let mut changes = builder.new_input(changes, Pipeline);
    let mut cuts = builder.new_input(cuts, Pipeline);
    let mut restored = builder.new_input(restored, Exchange::new(|r: &Restored| r.key.hashed()));
    let (batches_out, batches) = builder.new_output();
    let (edits_out, edits) = builder.new_output();
    let (tombstones_out, tombstones) = builder.new_output();
    let mut batches_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<SharedBatch>>>::from(batches_out);
    let mut edits_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Edit>>>::from(edits_out);
    let mut tombstones_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<Tombstone>>>::from(tombstones_out);
    builder.build(move |_| {
        let mut state = Stage::default();
        let mut due: Vec<([Capability<Round>; 3], Cut)> = Vec::new();
        move |frontiers| {
            restored.for_each(|_, data| data.drain(..).for_each(|r| state.restore(r)));
            changes
                .for_each(|time, data| state.waiting.entry(*time.time()).or_default().append(data));
            cuts.for_each(|time, data| {
                due.extend(
                    data.drain(..)
                        .map(|cut| (std::array::from_fn(|output| time.retain(output)), cut)),
                );
            });
            // The cut was decided at one worker's frontier; here the last changes may still be on their way.
            while let Some((capabilities, cut)) = due.first() {
                if frontiers[0].less_than(&cut.upper) || frontiers[2].less_equal(&0) {
                    break;
                }
                job.traces.enter(cut.trace);
                tally.close(cut.upper, &job.traces, worker);
                let epoch = state.close(cut.upper, file_max);
                state.forget(retention_ms);
                batches_out
                    .activate()
                    .session(&capabilities[0])
                    .give_iterator(epoch.batches.into_iter());
                edits_out
                    .activate()
                    .session(&capabilities[1])
                    .give_iterator(epoch.edits.into_iter());
                tombstones_out
                    .activate()
                    .session(&capabilities[2])
                    .give_iterator(epoch.tombstones.into_iter());
                due.remove(0);
            }
        }
    });
    Staged {
        batches,
        edits,
        tombstones,
    }
}

#[derive(Default)]
struct Stage {
    /// Where the row of each live key is.
    slots: HashMap<Key, Slot>,
    /// Keys whose removal is remembered, with its time in ms.
    buried: HashMap<Key, i64>,
    waiting: BTreeMap<Round, Vec<(Key, Change)>>,
}

#[derive(Default)]
struct Closed {
    batches: Vec<SharedBatch>,
    edits: Vec<Edit>,
    tombstones: Vec<Tombstone>,
}

/// The net effect of an epoch's changes on one key.
#[derive(Default)]
struct Net {
    edit: Option<Amendment>,
    new: Option<New>,
    tombstone: Option<Version>,
}

enum New {
    Row(Box<Row>),
    Reject(Box<Reject>),
}

impl Stage {
    fn restore(&mut self, restored: Restored) {
        match (restored.slot, restored.latest) {
            (Some(slot), _) => drop(self.slots.insert(restored.key, slot)),
            (None, Some(removal)) => {
                self.buried.insert(restored.key, removal.version.time_ms);
            }
            (None, None) => {}
        }
    }

    /// Forgets removals older than the retention: at most those that the commit forgets, which knows all workers' newest.
    fn forget(&mut self, retention_ms: u64) {
        let oldest_ms = horizon_ms(self.buried.values().copied(), retention_ms);
        self.buried.retain(|_, time_ms| *time_ms >= oldest_ms);
    }

    fn close(&mut self, upper: Round, file_max: Load) -> Closed {
        let later = self.waiting.split_off(&upper);
        let mut net: HashMap<Key, Net> = HashMap::new();
        for (key, change) in std::mem::replace(&mut self.waiting, later)
            .into_values()
            .flatten()
        {
            net.entry(key)
                .or_default()
                .fold(change, self.slots.contains_key(&key));
        }
        let mut closed = Closed::default();
        let (mut rows, mut rejects) = (Vec::new(), Vec::new());
        for (key, net) in net {
            if let Some(amendment) = net.edit
                && let Some(&slot) = self.slots.get(&key)
            {
                closed.edits.push(Edit {
                    slot,
                    key,
                    amendment,
                });
                if amendment == Amendment::Remove {
                    self.slots.remove(&key);
                }
            }
            match net.tombstone {
                Some(version) => {
                    self.buried.insert(key, version.time_ms);
                    closed.tombstones.push((key, Some(version)));
                }
                None if net.new.is_some() && self.buried.remove(&key).is_some() => {
                    closed.tombstones.push((key, None))
                }
                None => {}
            }
            match net.new {
                Some(New::Row(row)) => rows.push((key, *row)),
                Some(New::Reject(reject)) => rejects.push((key, *reject)),
                None => {}
            }
        }
        rows.sort_unstable_by(|a, b| a.1.path.cmp(&b.1.path));
        rejects.sort_unstable_by(|a, b| a.1.path.cmp(&b.1.path));
        let rows = self.found(Which::Main, rows, file_max, Row::bytes, Batch::Rows);
        let rejects = self.found(Which::Rejects, rejects, file_max, |_| 0, Batch::Rejects);
        closed.batches.extend(rows.into_iter().chain(rejects));
        closed
    }

    /// Cuts records into batches of at most `file_max`, or of one, each of which founds a slot.
    fn found<R>(
        &mut self,
        which: Which,
        records: Vec<(Key, R)>,
        file_max: Load,
        bytes: impl Fn(&R) -> u64,
        batch: impl Fn(Slot, Vec<R>) -> Batch,
    ) -> Vec<SharedBatch> {
        let mut batches = Vec::new();
        let mut close = |slot, chunk| batches.push(Arc::new(batch(slot, chunk)));
        let (mut slot, mut chunk, mut load) = (Slot::new(which), Vec::new(), Load::default());
        for (key, record) in records {
            let one = Load {
                count: 1,
                bytes: bytes(&record),
            };
            if !chunk.is_empty() && (load + one).exceeds(file_max) {
                close(slot, std::mem::take(&mut chunk));
                (slot, load) = (Slot::new(which), Load::default());
            }
            load = load + one;
            self.slots.insert(key, slot);
            chunk.push(record);
        }
        if !chunk.is_empty() {
            close(slot, chunk);
        }
        batches
    }
}

impl Net {
    fn fold(&mut self, change: Change, committed: bool) {
        match change {
            Change::Row(row) => self.replace(Some(New::Row(row)), None, committed),
            Change::Reject(reject) => self.replace(Some(New::Reject(reject)), None, committed),
            Change::Remove(version) => self.replace(None, Some(version), committed),
            Change::Touch(version) => match &mut self.new {
                Some(New::Row(row)) => row.stamp(version),
                Some(New::Reject(reject)) => reject.stamp(version),
                None if committed && self.edit != Some(Amendment::Remove) => {
                    self.edit = Some(Amendment::Touch(version));
                }
                None => {}
            },
        }
    }

    fn replace(&mut self, new: Option<New>, tombstone: Option<Version>, committed: bool) {
        if committed {
            self.edit = Some(Amendment::Remove);
        }
        self.new = new;
        self.tombstone = tombstone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V: Version = Version {
        time_ms: 1,
        sequencer: 0,
    };

    fn row(path: &str) -> Change {
        Change::Row(Box::new(Row {
            path: path.into(),
            etag: "e".into(),
            event_time_ms: 1,
            version: V.to_string(),
            width: 1,
            height: 1,
            features: vec![0.0],
            ..Row::default()
        }))
    }

    fn rows(count: u64) -> Load {
        Load {
            count,
            bytes: u64::MAX,
        }
    }

    fn staged(changes: Vec<(Round, Key, Change)>) -> Stage {
        let mut stage = Stage::default();
        for (round, key, change) in changes {
            stage.waiting.entry(round).or_default().push((key, change));
        }
        stage
    }

    #[test]
    fn what_comes_and_goes_within_an_epoch_leaves_only_a_tombstone() {
        let mut stage = staged(vec![(1, 7, row("a")), (2, 7, Change::Remove(V))]);
        let closed = stage.close(3, rows(10));
        assert!(closed.batches.is_empty() && closed.edits.is_empty() && stage.slots.is_empty());
        assert_eq!(closed.tombstones, vec![(7, Some(V))]);
    }

    #[test]
    fn a_removal_is_remembered_for_the_retention() {
        let removed = |time_ms| Change::Remove(Version { time_ms, ..V });
        let mut stage = staged(vec![(1, 7, removed(10)), (1, 8, removed(60))]);
        stage.close(2, rows(10));
        stage.forget(50);
        assert_eq!(stage.buried.len(), 2);
        stage.waiting.insert(2, vec![(9, removed(61))]);
        stage.close(3, rows(10));
        stage.forget(50);
        assert_eq!(stage.buried, HashMap::from([(8, 60), (9, 61)]));
    }

    #[test]
    fn changes_at_and_after_the_cut_wait_for_the_next() {
        let mut stage = staged(vec![(1, 7, row("a")), (3, 7, Change::Remove(V))]);
        assert_eq!(stage.close(3, rows(10)).batches.len(), 1);
        let slot = stage.slots[&7];
        let closed = stage.close(4, rows(10));
        assert_eq!(
            closed.edits,
            vec![Edit {
                slot,
                key: 7,
                amendment: Amendment::Remove
            }]
        );
        assert!(closed.batches.is_empty());
    }

    #[test]
    fn an_overwrite_of_a_committed_row_is_one_removal_and_one_row() {
        let mut stage = staged(vec![(1, 7, row("a"))]);
        stage.close(2, rows(10));
        let old = stage.slots[&7];
        stage
            .waiting
            .insert(2, vec![(7, row("a")), (7, Change::Touch(V)), (7, row("a"))]);
        let closed = stage.close(3, rows(10));
        assert_eq!(
            closed.edits,
            vec![Edit {
                slot: old,
                key: 7,
                amendment: Amendment::Remove
            }]
        );
        assert_eq!(closed.batches.len(), 1);
        assert_ne!(stage.slots[&7], old);
    }

    #[test]
    fn batches_are_sorted_and_bounded() {
        let mut stage = staged((0..5).map(|i| (1, i, row(&format!("{}", 9 - i)))).collect());
        let bytes = row("5").bytes(0);
        for file_max in [
            rows(2),
            Load {
                count: 10,
                bytes: 2 * bytes,
            },
        ] {
            let mut stage = staged((0..5).map(|i| (1, i, row(&format!("{}", 9 - i)))).collect());
            assert_eq!(
                paths(stage.close(2, file_max)),
                [vec!["5", "6"], vec!["7", "8"], vec!["9"]]
            );
        }
        // A row that no file could hold has one for itself.
        let alone = stage.close(
            2,
            Load {
                count: 10,
                bytes: 1,
            },
        );
        assert_eq!(alone.batches.len(), 5);
    }

    fn paths(closed: Closed) -> Vec<Vec<String>> {
        closed
            .batches
            .iter()
            .map(|batch| match &**batch {
                Batch::Rows(_, rows) => rows.iter().map(|row| row.path.clone()).collect(),
                Batch::Rejects(..) => panic!("no rejects were staged"),
            })
            .collect()
    }
}
