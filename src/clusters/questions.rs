//! What is asked of the rows, what they answer, and how the answers of several make one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Clustering;

/// Binary digits behind the point of what is summed over rows.
pub(super) const FRACTION_BITS: u32 = 24;

/// A question to all rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// How many are there, and of which labels?
    Census,
    /// This is a centre (none: there is none yet). Which rows arrive first at being the next?
    Draw {
        /// \[m\]
        centre: Option<Vec<f32>>,
        /// Of the race.
        turn: u64,
        /// How many of the first.
        draws: usize,
    },
    /// How far would all be from their nearest centre, if each of these was one?
    Weigh(Vec<Vec<f32>>),
    /// To which of these centroids [k, m] is each nearest?
    Assign(Vec<f64>),
    /// Where are all in the end, and which are in a sample of so many?
    Tell(Clustering, usize),
    /// How well is each that is in the sample placed among it?
    Silhouette(Vec<Sampled>),
}

/// The answer of one worker's rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Ask::Census`].
    Census(u64, BTreeSet<String>),
    /// To [`Ask::Draw`], in no order.
    Drawn(Vec<Drawn>),
    /// To [`Ask::Weigh`]: the sum of squares for each, in units of 2^-24.
    Weighed(Vec<u128>),
    /// To [`Ask::Assign`].
    Assigned(Assigned),
    /// To [`Ask::Tell`].
    Told(Told),
    /// To [`Ask::Silhouette`]: the sum, in units of 2^-24.
    Silhouettes(i128),
}

/// A row that may become a centre.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Drawn {
    pub(super) arrival: f64,
    pub(super) key: u128,
    pub(super) row: Vec<f32>,
}

/// Sums over the rows of each cluster.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Assigned {
    /// [k, m], in units of 2^-24.
    pub(super) sums: Vec<i128>,
    /// \[k\]
    pub(super) sizes: Vec<u64>,
    /// Rows that were in another cluster before.
    pub(super) moved: u64,
}

/// What is true of the last centroids.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Told {
    /// Of the squared distances, in units of 2^-24.
    pub(super) inertia: u128,
    pub(super) table: BTreeMap<(Option<String>, u32), u64>,
    pub(super) sample: Vec<Sampled>,
}

/// A row of the sample for the silhouette.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sampled {
    /// The least are in the sample.
    pub(super) rank: (u64, u128),
    pub(super) cluster: u32,
    pub(super) row: Vec<f32>,
}

impl Answer {
    /// The answer of all rows, whoever has them.
    ///
    /// # Panics
    /// If there is none, or they answer different questions.
    pub(super) fn together(answers: Vec<Answer>) -> Answer {
        let mut answers = answers.into_iter();
        let Some(first) = answers.next() else {
            unreachable!("who asks is answered")
        };
        answers.fold(first, Answer::and)
    }

    fn and(self, other: Answer) -> Answer {
        match (self, other) {
            (Answer::Census(a, mut labels), Answer::Census(b, more)) => {
                labels.extend(more);
                Answer::Census(a + b, labels)
            }
            (Answer::Drawn(mut drawn), Answer::Drawn(more)) => {
                drawn.extend(more);
                Answer::Drawn(drawn)
            }
            (Answer::Weighed(mut weights), Answer::Weighed(more)) => {
                add(&mut weights, more);
                Answer::Weighed(weights)
            }
            (Answer::Assigned(mut assigned), Answer::Assigned(more)) => {
                add(&mut assigned.sums, more.sums);
                add(&mut assigned.sizes, more.sizes);
                assigned.moved += more.moved;
                Answer::Assigned(assigned)
            }
            (Answer::Told(mut told), Answer::Told(more)) => {
                told.inertia += more.inertia;
                for (cell, rows) in more.table {
                    *told.table.entry(cell).or_default() += rows;
                }
                told.sample.extend(more.sample);
                Answer::Told(told)
            }
            (Answer::Silhouettes(a), Answer::Silhouettes(b)) => Answer::Silhouettes(a + b),
            _ => unreachable!("all answer the same question"),
        }
    }
}

fn add<T: std::ops::AddAssign>(sums: &mut [T], more: Vec<T>) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}
