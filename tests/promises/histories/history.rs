//! Seeded histories of a bucket, and what must be published of them, worked out by plain loops that share no code with
//! the dataflow.

use std::collections::BTreeMap;

use eigenflow::event::{Change, ObjectEvent};
use eigenflow::moments::{Moments, Part, Sums};
use eigenflow::table::Row;

use crate::world::{BUCKET, event, picture};

/// A history happens in so many stages; between them, the job ends and another goes on.
pub const STAGES: usize = 2;
pub const PARTITIONS: i32 = 3;
const FEATURES: usize = 768;
const KEYS: usize = 14;
const OPERATIONS: usize = 24;

/// What happens to the bucket in a stage, and then to the topic.
#[derive(Default)]
pub struct Stage {
    /// The objects that differ at its end; `None`: deleted.
    pub objects: BTreeMap<String, Option<Vec<u8>>>,
    /// Events in the order of the topic, each with its partition.
    pub events: Vec<(i32, ObjectEvent)>,
}

/// An object that is there in the end.
#[derive(Clone)]
struct Live {
    /// Of its picture; `None`: its bytes are no picture.
    seed: Option<u64>,
    etag: String,
    /// Of the newest event that tells of it.
    time_ms: i64,
}

/// What happens, and what remains.
pub struct History {
    pub stages: Vec<Stage>,
    live: BTreeMap<String, Live>,
}

/// A small generator of random numbers, the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % bound as u64) as usize
    }
}

impl History {
    /// Creates, overwrites, deletes, same-etag copies and objects that are no picture, in the order of time; their events
    /// doubled, late by up to a stage, and shuffled within and across partitions. `etag` is the store's rule.
    pub fn new(seed: u64, etag: impl Fn(&[u8]) -> String) -> Self {
        let mut random = Random::new(seed);
        let mut history = History {
            stages: Vec::new(),
            live: BTreeMap::new(),
        };
        let (mut time_ms, mut late) = (0, Vec::new());
        for number in 0..STAGES {
            let mut stage = Stage::default();
            let mut told = std::mem::take(&mut late);
            for _ in 0..OPERATIONS {
                time_ms += 1 + random.below(3) as i64;
                let key = format!("class {}/{}.png", random.below(3), random.below(KEYS));
                let event = history.operate(&mut random, &mut stage, &key, time_ms, &etag);
                if random.below(4) == 0 {
                    told.push(event.clone());
                }
                if number + 1 < STAGES && random.below(5) == 0 {
                    late.push(event);
                } else {
                    told.push(event);
                }
            }
            let reach = [1, 5, told.len()][random.below(3)];
            for at in 0..told.len() {
                let with = at + random.below(reach.min(told.len() - at));
                told.swap(at, with);
            }
            let partition = |_: &ObjectEvent| random.below(PARTITIONS as usize) as i32;
            let partitions: Vec<i32> = told.iter().map(partition).collect();
            stage.events = partitions.into_iter().zip(told).collect();
            history.stages.push(stage);
        }
        history
    }

    fn operate(
        &mut self,
        random: &mut Random,
        stage: &mut Stage,
        key: &str,
        time_ms: i64,
        etag: &impl Fn(&[u8]) -> String,
    ) -> ObjectEvent {
        let what = random.below(10);
        if what < 3 {
            self.live.remove(key);
            stage.objects.insert(key.to_owned(), None);
            return event(Change::Removed, key, None, time_ms);
        }
        if what < 5
            && let Some(live) = self.live.get_mut(key)
        {
            live.time_ms = time_ms;
            return event(Change::Created, key, Some(live.etag.clone()), time_ms);
        }
        let seed = (what < 9).then(|| random.below(1 << 30) as u64);
        let bytes = seed.map_or_else(|| format!("no picture {time_ms}").into_bytes(), picture);
        let live = Live {
            seed,
            etag: etag(&bytes),
            time_ms,
        };
        stage.objects.insert(key.to_owned(), Some(bytes));
        let event = event(Change::Created, key, Some(live.etag.clone()), time_ms);
        self.live.insert(key.to_owned(), live);
        event
    }

    /// The rows that must be there in the end, by path; reduced features are left out.
    pub fn rows(&self) -> BTreeMap<String, Row> {
        let row = |(key, live): (&String, &Live)| {
            let path = format!("s3://{BUCKET}/{key}");
            let row = Row {
                path: path.clone(),
                label: key.split('/').next().map(str::to_owned),
                etag: live.etag.clone(),
                event_time_ms: live.time_ms,
                version: event(Change::Created, key, None, live.time_ms)
                    .version
                    .to_string(),
                width: 16,
                height: 16,
                features: features(live.seed?),
                ..Row::default()
            };
            Some((path, row))
        };
        self.live.iter().filter_map(row).collect()
    }

    /// The paths of the rejects that must be there in the end.
    pub fn rejects(&self) -> Vec<String> {
        let unreadable = self.live.iter().filter(|(_, live)| live.seed.is_none());
        unreadable
            .map(|(key, _)| format!("s3://{BUCKET}/{key}"))
            .collect()
    }
}

/// What the backbone `pixels` makes of a picture of 16x16: its colours.
fn features(seed: u64) -> Vec<f32> {
    let decoded = image::load_from_memory(&picture(seed)).expect("a picture");
    let colours = decoded.into_rgb8().into_raw().into_iter();
    colours.map(|colour| f32::from(colour) / 255.0).collect()
}

/// The moments of rows by plain integer loops.
pub fn moments_of(rows: &BTreeMap<String, Row>) -> Moments {
    let mut columns = vec![Vec::new(); FEATURES / 32];
    let mut labels = BTreeMap::<String, Vec<i128>>::new();
    let on_grid = |row: &Row| -> Vec<i64> {
        let steps = row.features.iter().map(|x| f64::from(*x) * 4_194_304.0);
        steps.map(|steps| steps.round_ties_even() as i64).collect()
    };
    let grid: Vec<Vec<i64>> = rows.values().map(on_grid).collect();
    for (block, sums) in columns.iter_mut().enumerate() {
        for j in block * 32..(block + 1) * 32 {
            let sum = grid.iter().map(|x| x[j]).sum::<i64>();
            sums.push(i128::from(sum));
            let product = |i: usize| grid.iter().map(|x| x[i] * x[j]).sum::<i64>();
            sums.extend((j..FEATURES).map(|i| i128::from(product(i))));
        }
    }
    for (row, x) in rows.values().zip(&grid) {
        let label = row.label.clone().expect("a label");
        let sums = labels.entry(label).or_insert_with(|| vec![0; FEATURES + 1]);
        sums[0] += 1;
        sums[1..]
            .iter_mut()
            .zip(x)
            .for_each(|(sum, x)| *sum += i128::from(*x));
    }
    let count = std::iter::once((Part::Count, vec![rows.len() as i128]));
    let columns = columns
        .into_iter()
        .enumerate()
        .map(|(block, sums)| (Part::Columns(block as u32), sums));
    let labels = labels
        .into_iter()
        .map(|(label, sums)| (Part::Label(label), sums));
    let parts = count.chain(columns).chain(labels);
    let parts = parts.map(|(part, sums)| (part, Sums::from(sums)));
    Moments::from_parts(FEATURES, parts).expect("sums of rows")
}
