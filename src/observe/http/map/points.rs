//! The points of the map, and how a commit changes them. No I/O.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use anyhow::Result;
use ndarray::Array2;
use serde::Serialize;

use crate::projection::{self, Stored};
use crate::storage::{Key, key_of};
use crate::table::Reduction;

/// Points that the map has at most. Of a larger table it has a sample: the rows whose paths' hashes begin with so many zeros.
const POINTS_MAX: u64 = 100_000;
/// Samples are drawn so that chance does not take them over the top.
const SAMPLE_MAX: u64 = POINTS_MAX / 10 * 9;
/// Labels that are told apart, as they come: they are parts of keys, so that there may be as many as rows. All that come later
/// are [`OTHER_LABELS`].
const LABELS_MAX: usize = 4096;
const OTHER_LABELS: &str = "other labels";
/// Coordinates that are kept of a row: the first two, and those that may turn into them.
const KEPT: usize = 32;
/// Below this cosine a turn of an axis is seen: 8 degrees.
const COSINE: f64 = 0.99;
/// A shift beyond this share of an axis's standard deviation is seen.
const SHIFT: f64 = 0.1;

/// How many leading zero bits a sample of so many rows asks for.
pub fn sample(rows: u64) -> u32 {
    match rows {
        0..=POINTS_MAX => 0,
        _ => (rows.div_ceil(SAMPLE_MAX))
            .next_power_of_two()
            .trailing_zeros(),
    }
}

/// Whether the row of this path belongs to a sample.
fn is_sampled(path: &str, sample: u32) -> bool {
    key_of(path).leading_zeros() >= sample
}

/// A data file's rows of the sample, with the first [`KEPT`] coordinates.
pub struct File {
    name: Arc<str>,
    rows: Vec<Reduction>,
}

impl File {
    /// Of all its rows. What is not kept takes no memory from here on: a table has many files, all read before the first is
    /// shown.
    pub fn new(name: &str, mut rows: Vec<Reduction>, sample: u32) -> Self {
        rows.retain_mut(|row| {
            if let Some((_, reduced)) = &mut row.reduced {
                reduced.truncate(KEPT);
                reduced.shrink_to_fit();
            }
            is_sampled(&row.path, sample)
        });
        rows.shrink_to_fit();
        let name = name.into();
        File { name, rows }
    }
}

/// How reduced features of one projection become another's: `x · rotation + shift`, of the first [`KEPT`].
#[derive(Clone, Debug)]
pub struct Carry {
    rotation: Array2<f64>,
    shift: Vec<f64>,
}

impl Carry {
    /// From one projection to another.
    pub fn between(from: &Stored, to: &Stored) -> Result<Self> {
        let drift = projection::drift(&from.projection, &to.projection)?;
        let (rows, columns) = drift.rotation.dim();
        let kept = (rows.min(KEPT), columns.min(KEPT));
        Ok(Carry {
            rotation: Array2::from_shape_fn(kept, |at| drift.rotation[at]),
            shift: drift.shift.into_iter().take(KEPT).collect(),
        })
    }

    fn apply(&self, x: &[f32]) -> Box<[f32]> {
        let column = |(column, shift): (usize, &f64)| {
            let products = x
                .iter()
                .zip(self.rotation.column(column))
                .map(|(x, r)| f64::from(*x) * r);
            (products.sum::<f64>() + shift) as f32
        };
        self.shift.iter().enumerate().map(column).collect()
    }

    /// Whether somebody who looks at the first two axes would notice; `to` is where it leads.
    pub fn is_seen(&self, to: &Stored) -> bool {
        let axis = |axis: usize| {
            let Some(cosine) = self.rotation.get((axis, axis)) else {
                return !self.shift.is_empty();
            };
            let deviation = to
                .projection
                .explained_variance()
                .get(axis)
                .map_or(0.0, |v| v.sqrt());
            *cosine < COSINE || self.shift[axis].abs() > SHIFT * deviation
        };
        (0..2.min(self.shift.len())).any(axis)
    }
}

#[derive(Debug)]
struct Point {
    /// Changes with what is shown.
    id: u64,
    label: usize,
    path: String,
    file: Arc<str>,
    at: Box<[f32]>,
}

impl Point {
    fn place(&self) -> (f32, f32) {
        let axis = |axis: usize| self.at.get(axis).copied().unwrap_or(0.0);
        (axis(0), axis(1))
    }

    fn written(&self) -> (u64, usize, f32, f32) {
        let (x, y) = self.place();
        (self.id, self.label, x, y)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Points {
    points: HashMap<Key, Point>,
    files: HashSet<String>,
    /// By number; none is ever taken away.
    labels: Vec<String>,
    numbers: HashMap<String, usize>,
    basis: Option<Arc<Stored>>,
    /// To the basis, from every version that was met.
    carries: HashMap<i64, Carry>,
    sample: u32,
    ids: u64,
    revision: u64,
    commit: u64,
    rows: u64,
}

/// What is new with a commit.
pub struct Update {
    /// Version of the table.
    pub commit: u64,
    /// Its rows.
    pub rows: u64,
    /// As [`sample`] has it.
    pub sample: u32,
    /// All its files.
    pub names: HashSet<String>,
    /// Those that were not known, as far as the sample goes.
    pub new: Vec<File>,
    /// Ways to the basis for their projections.
    pub carries: HashMap<i64, Carry>,
    /// The basis as it was, or as it is to be.
    pub basis: Arc<Stored>,
    /// Where the basis turns then, and the way there.
    pub turned: Option<(Arc<Stored>, Carry)>,
}

/// What a commit changed.
pub enum Change {
    None,
    Some(Delta),
    All,
}

/// As the API has it.
#[derive(Debug, Default, Serialize)]
pub struct Delta {
    revision: u64,
    commit: u64,
    of: u64,
    /// Those that are new.
    labels: Vec<String>,
    remove: Vec<u64>,
    add: Vec<(u64, usize, f32, f32)>,
    paths: Vec<String>,
}

/// As the API has it.
#[derive(Serialize)]
pub struct All<'a> {
    revision: u64,
    commit: u64,
    projection_version: i64,
    of: u64,
    labels: &'a [String],
    points: Vec<(u64, usize, f32, f32)>,
    paths: Vec<&'a str>,
}

impl Points {
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn basis(&self) -> Option<Arc<Stored>> {
        self.basis.clone()
    }

    /// The point's number, if the path has one.
    pub fn row(&self, path: &str) -> Option<u64> {
        self.points.get(&key_of(path)).map(|point| point.id)
    }

    /// Files that need not be read again for a sample.
    pub fn files(&self, sample: u32) -> HashSet<String> {
        // A smaller sample is a part of what is there; a larger one is not.
        if sample < self.sample {
            HashSet::new()
        } else {
            self.files.clone()
        }
    }

    /// Versions in `files` for which there is no way to the basis yet, those of most rows first.
    pub fn unknown(&self, files: &[File], basis: &Stored) -> Vec<i64> {
        let mut rows: BTreeMap<i64, u64> = BTreeMap::new();
        for row in files.iter().flat_map(|file| &file.rows) {
            if let Some((version, _)) = &row.reduced
                && *version != basis.version
                && !self.carries.contains_key(version)
            {
                *rows.entry(*version).or_default() += 1;
            }
        }
        let mut versions: Vec<(u64, i64)> = rows
            .into_iter()
            .map(|(version, rows)| (rows, version))
            .collect();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        versions.into_iter().map(|(_, version)| version).collect()
    }

    pub fn all(&self) -> All<'_> {
        let mut points: Vec<&Point> = self.points.values().collect();
        points.sort_unstable_by_key(|point| point.id);
        All {
            revision: self.revision,
            commit: self.commit,
            projection_version: self.basis.as_ref().map_or(0, |basis| basis.version),
            of: self.rows,
            labels: &self.labels,
            points: points.iter().map(|point| point.written()).collect(),
            paths: points.iter().map(|point| point.path.as_str()).collect(),
        }
    }

    /// Takes in a commit.
    pub fn apply(&mut self, update: Update) -> Change {
        let Update {
            commit,
            rows,
            sample,
            names,
            new,
            carries,
            basis,
            turned,
        } = update;
        let first = self.basis.is_none();
        let resampled = self.sample != sample;
        if sample < self.sample {
            self.points.clear();
            self.files.clear();
        }
        self.points.retain(|key, _| key.leading_zeros() >= sample);
        let resized = self.rows != rows;
        (self.sample, self.commit, self.rows) = (sample, commit, rows);
        self.revision += 1;
        let labels_told = self.labels.len();
        self.carries.extend(carries);
        let version = basis.version;
        self.basis = Some(basis);
        let mut delta = Delta {
            revision: self.revision,
            commit,
            of: rows,
            ..Delta::default()
        };
        for File { name, rows } in new {
            self.files.insert(name.to_string());
            for row in rows {
                self.place(row, &name, version, &mut delta);
            }
        }
        self.files.retain(|name| names.contains(name));
        self.points.retain(|_, point| {
            let stays = names.contains(&*point.file);
            if !stays {
                delta.remove.push(point.id);
            }
            stays
        });
        if let Some((newest, carry)) = turned {
            self.turn(newest, &carry);
        } else if !(first || resampled) {
            if delta.add.is_empty() && delta.remove.is_empty() && !resized {
                return Change::None;
            }
            delta.labels = self.labels[labels_told..].to_vec();
            return Change::Some(delta);
        }
        Change::All
    }

    /// Puts a row on the map, or moves it.
    fn place(&mut self, row: Reduction, file: &Arc<str>, basis: i64, delta: &mut Delta) {
        // Too few rows for a projection, or under one that is out of reach.
        let Some((version, reduced)) = row.reduced else {
            return;
        };
        let at = match self.carries.get(&version) {
            _ if version == basis => reduced.into(),
            Some(carry) => carry.apply(&reduced),
            None => return,
        };
        let label = self.label(row.label.unwrap_or_default());
        self.ids += 1;
        let mut point = Point {
            id: self.ids,
            label,
            path: row.path,
            file: file.clone(),
            at,
        };
        let key = key_of(&point.path);
        if let Some(old) = self.points.get(&key) {
            if (old.place(), old.label) == (point.place(), point.label) {
                // Its file was rewritten, and nothing else.
                point.id = old.id;
                self.points.insert(key, point);
                return;
            }
            delta.remove.push(old.id);
        }
        delta.add.push(point.written());
        delta.paths.push(point.path.clone());
        self.points.insert(key, point);
    }

    fn label(&mut self, label: String) -> usize {
        if let Some(number) = self.numbers.get(&label) {
            return *number;
        }
        let label = if self.labels.len() < LABELS_MAX {
            label
        } else {
            OTHER_LABELS.to_owned()
        };
        *self.numbers.entry(label).or_insert_with_key(|label| {
            self.labels.push(label.clone());
            self.labels.len() - 1
        })
    }

    /// Makes another projection the basis.
    fn turn(&mut self, newest: Arc<Stored>, carry: &Carry) {
        for point in self.points.values_mut() {
            point.at = carry.apply(&point.at);
        }
        for old in self.carries.values_mut() {
            let shift = carry.shift.iter().enumerate().map(|(column, shift)| {
                let turned = old
                    .shift
                    .iter()
                    .zip(carry.rotation.column(column))
                    .map(|(x, r)| x * r);
                turned.sum::<f64>() + shift
            });
            *old = Carry {
                shift: shift.collect(),
                rotation: old.rotation.dot(&carry.rotation),
            };
        }
        if let Some(old) = self.basis.replace(newest) {
            self.carries.insert(old.version, carry.clone());
        }
        let newest = self.basis.as_ref().map_or(0, |basis| basis.version);
        self.carries.remove(&newest);
    }
}

#[cfg(test)]
mod tests;
