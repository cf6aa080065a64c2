//! What the extraction of each round takes for one worker's keys, wherever they are looked at, until a cut says of which epoch the
//! round is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::observe::Traces;
use crate::operators::{Change, Round};

/// The work for one change.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Work {
    /// Its GET.
    pub fetch: Duration,
    /// Decoding, and fitting to the network's input.
    pub decode: Duration,
    /// The network.
    pub network: Duration,
}

/// One worker's rounds; `extract` writes, `stage` reads. Without anybody to tell it stays empty.
#[derive(Debug)]
pub struct Tally {
    wanted: bool,
    rounds: RefCell<BTreeMap<Round, Extraction>>,
}

#[derive(Debug)]
struct Extraction {
    began: SystemTime,
    ended: SystemTime,
    changes: u64,
    images: u64,
    work: Work,
}

impl Tally {
    /// For these traces.
    pub fn new(traces: &Traces) -> Self {
        Tally {
            wanted: traces.wanted(),
            rounds: RefCell::default(),
        }
    }

    /// All events of a round have arrived.
    pub fn opened(&self, round: Round) {
        if self.wanted {
            let now = SystemTime::now();
            let extraction = || Extraction {
                began: now,
                ended: now,
                changes: 0,
                images: 0,
                work: Work::default(),
            };
            self.rounds
                .borrow_mut()
                .entry(round)
                .or_insert_with(extraction);
        }
    }

    /// A change of a round is there.
    pub fn changed(&self, round: Round, change: &Change, work: &Work) {
        if let Some(extraction) = self.rounds.borrow_mut().get_mut(&round) {
            extraction.ended = SystemTime::now();
            extraction.changes += 1;
            extraction.images += u64::from(matches!(change, Change::Row(_)));
            extraction.work.add(work);
        }
    }

    /// Makes one span of the rounds below `upper`, by this worker.
    pub fn close(&self, upper: Round, traces: &Traces, worker: usize) {
        let mut rounds = self.rounds.borrow_mut();
        let later = rounds.split_off(&upper);
        let closed = std::mem::replace(&mut *rounds, later).into_values();
        let all = closed.reduce(|mut all, next| {
            all.began = all.began.min(next.began);
            all.ended = all.ended.max(next.ended);
            all.changes += next.changes;
            all.images += next.images;
            all.work.add(&next.work);
            all
        });
        let Some(all) = all.filter(|all| all.changes > 0) else {
            return;
        };
        traces
            .began("extract", all.began)
            .with("worker", worker)
            .with("changes", all.changes)
            .with("images", all.images)
            .with("fetch_seconds", all.work.fetch)
            .with("decode_seconds", all.work.decode)
            .with("network_seconds", all.work.network)
            .ended(all.ended);
    }
}

impl Work {
    fn add(&mut self, other: &Work) {
        self.fetch += other.fetch;
        self.decode += other.decode;
        self.network += other.network;
    }
}
