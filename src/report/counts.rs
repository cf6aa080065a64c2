//! What is counted over all rows: clusters by labels, labels by predictions, rejects by reason.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::table::{Point, Reject};

/// How many rows are in each pair of a row and a column, which are named in order.
#[derive(Debug, Default, Serialize)]
pub struct Table {
    rows: Vec<String>,
    columns: Vec<String>,
    /// (row, column, count), none of 0.
    cells: Vec<(usize, usize, u64)>,
}

impl Table {
    /// Of counted pairs, rows and columns in their order.
    pub fn new<A: Ord + Clone + ToString, B: Ord + Clone + ToString>(
        counts: &BTreeMap<(A, B), u64>,
    ) -> Self {
        let rows = numbered(counts.keys().map(|(row, _)| row));
        let columns = numbered(counts.keys().map(|(_, column)| column));
        let cell = |((row, column), count): (&(A, B), &u64)| (rows[row], columns[column], *count);
        Table {
            cells: counts.iter().map(cell).collect(),
            rows: rows.keys().map(A::to_string).collect(),
            columns: columns.keys().map(B::to_string).collect(),
        }
    }
}

fn numbered<'a, T: Ord + Clone + 'a>(names: impl Iterator<Item = &'a T>) -> BTreeMap<T, usize> {
    let mut numbers: BTreeMap<T, usize> = names.map(|name| (name.clone(), 0)).collect();
    for (number, name) in numbers.values_mut().enumerate() {
        *name = number;
    }
    numbers
}

/// How labels are told by classifiers.
#[derive(Debug, Default)]
pub struct Told {
    /// By (label, predicted label).
    pub counts: BTreeMap<(String, String), u64>,
    /// Rows that were predicted before they were learnt.
    pub unseen: u64,
}

impl Told {
    /// Takes in a row, with what a classifier says of it: one that had learnt it, or not.
    pub fn add(&mut self, point: &Point, predicted: &str, learnt: bool) {
        if let Some(label) = &point.label {
            let pair = (label.clone(), predicted.to_owned());
            *self.counts.entry(pair).or_default() += 1;
            self.unseen += u64::from(!learnt);
        }
    }
}

/// Rejects of one reason.
#[derive(Debug, Serialize)]
pub struct Refused {
    reason: String,
    count: u64,
    /// The path of the first, and why.
    path: String,
    detail: String,
}

/// Rejects by reason, the most frequent first.
#[derive(Debug, Default)]
pub struct Refusals(BTreeMap<String, Refused>);

impl Refusals {
    /// Takes in a reject.
    pub fn add(&mut self, reject: Reject) {
        let Reject {
            path,
            reason,
            detail,
            ..
        } = reject;
        let refused = self.0.entry(reason.clone()).or_insert_with(|| Refused {
            reason,
            count: 0,
            path: path.clone(),
            detail: detail.clone(),
        });
        refused.count += 1;
        if path < refused.path {
            (refused.path, refused.detail) = (path, detail);
        }
    }

    /// By reason.
    pub fn sorted(self) -> Vec<Refused> {
        let mut all: Vec<Refused> = self.0.into_values().collect();
        all.sort_by_key(|refused| std::cmp::Reverse(refused.count));
        all
    }
}
