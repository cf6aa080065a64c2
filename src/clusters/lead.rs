//! The one who asks.

use std::collections::BTreeSet;

use super::questions::{Answer, Ask, Assigned, Drawn, FRACTION_BITS, Told};
use super::{Agreement, ClusterError, Clustering, Options, Outcome};

/// Passes over the rows at most, as scikit-learn has it.
const ITERATIONS_MAX: u32 = 300;
/// The silhouette of more rows is a sample's: its work grows with their square.
const SILHOUETTE_ROWS_MAX: usize = 10_000;

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// Ask all, and bring their answers.
    Ask(Ask),
    /// Nothing more.
    Done(Box<Outcome>),
}

/// Leads all [`Members`](super::Members) to their clusters.
pub struct Lead {
    options: Options,
    width: usize,
    /// How many clusters; known from the census on.
    wanted: usize,
    rows: u64,
    centres: Vec<Vec<f32>>,
    candidates: Vec<Vec<f32>>,
    centroids: Vec<f64>,
    iterations: u32,
    converged: bool,
    clustering: Clustering,
    /// All but its silhouette.
    outcome: Option<Outcome>,
}

impl Lead {
    /// Of rows of `width` reduced features; and the first question.
    ///
    /// # Errors
    /// A number of clusters that can't be.
    pub fn new(options: Options, width: usize) -> Result<(Self, Ask), ClusterError> {
        if let Some(number) = options.clusters
            && !(1..=Clustering::MAX).contains(&number)
        {
            return Err(ClusterError::Clusters(number));
        }
        let lead = Lead {
            options,
            width,
            wanted: 0,
            rows: 0,
            centres: Vec::new(),
            candidates: Vec::new(),
            centroids: Vec::new(),
            iterations: 0,
            converged: false,
            clustering: Clustering {
                width,
                centroids: Vec::new(),
                sizes: Vec::new(),
            },
            outcome: None,
        };
        Ok((lead, Ask::Census))
    }

    /// Takes the answers to the last question, one of each of the members, in whatever order.
    ///
    /// # Errors
    /// Where there can be no clusters.
    ///
    /// # Panics
    /// If they are answers to another question.
    pub fn take(&mut self, answers: Vec<Answer>) -> Result<Step, ClusterError> {
        let step = match Answer::together(answers) {
            Answer::Census(rows, labels) => self.census(rows, labels)?,
            Answer::Drawn(drawn) => self.drawn(drawn),
            Answer::Weighed(weights) => {
                let lightest = (0..weights.len()).min_by_key(|at| weights[*at]);
                let centre = self.candidates.swap_remove(lightest.unwrap_or(0));
                self.centre(centre)
            }
            Answer::Assigned(assigned) => self.assigned(assigned),
            Answer::Told(told) => return Ok(self.told(told)),
            Answer::Silhouettes(sum) => return Ok(self.silhouettes(sum)),
        };
        Ok(Step::Ask(step))
    }

    fn census(&mut self, rows: u64, labels: BTreeSet<String>) -> Result<Ask, ClusterError> {
        if rows == 0 {
            return Err(ClusterError::NoRows);
        }
        self.rows = rows;
        self.wanted = match self.options.clusters {
            Some(clusters) => clusters,
            None if labels.is_empty() => return Err(ClusterError::NoLabels),
            None => labels.len().min(Clustering::MAX),
        };
        Ok(Ask::Draw {
            centre: None,
            turn: 0,
            draws: 1,
        })
    }

    fn drawn(&mut self, mut drawn: Vec<Drawn>) -> Ask {
        drawn.sort_unstable_by(|a, b| a.arrival.total_cmp(&b.arrival).then(a.key.cmp(&b.key)));
        let draws = if self.centres.is_empty() {
            1
        } else {
            self.draws()
        };
        drawn.truncate(draws);
        let mut rows: Vec<Vec<f32>> = drawn.into_iter().map(|drawn| drawn.row).collect();
        match rows.len() {
            // All rows are where a centre is.
            0 => self.begin(),
            1 => self.centre(rows.remove(0)),
            _ => {
                self.candidates.clone_from(&rows);
                Ask::Weigh(rows)
            }
        }
    }

    /// So many candidates for a centre, of which the best is taken: as scikit-learn.
    fn draws(&self) -> usize {
        2 + (self.wanted as f64).ln() as usize
    }

    fn centre(&mut self, centre: Vec<f32>) -> Ask {
        self.centres.push(centre.clone());
        if self.centres.len() == self.wanted {
            return self.begin();
        }
        Ask::Draw {
            centre: Some(centre),
            turn: self.centres.len() as u64,
            draws: self.draws(),
        }
    }

    /// The centres are chosen.
    fn begin(&mut self) -> Ask {
        let centres = self.centres.iter().flatten();
        self.centroids = centres.map(|x| f64::from(*x)).collect();
        Ask::Assign(self.centroids.clone())
    }

    fn assigned(&mut self, assigned: Assigned) -> Ask {
        self.iterations += 1;
        self.converged = assigned.moved == 0;
        let unit = f64::from(1u32 << FRACTION_BITS);
        let centroids = self.centroids.chunks_exact_mut(self.width);
        let sums = assigned.sums.chunks_exact(self.width);
        for ((centroid, sums), size) in centroids.zip(sums).zip(&assigned.sizes) {
            // One that has lost all its rows stays where it is.
            if *size > 0 {
                for (x, sum) in centroid.iter_mut().zip(sums) {
                    *x = *sum as f64 / (*size as f64 * unit);
                }
            }
        }
        if !self.converged && self.iterations < ITERATIONS_MAX {
            return Ask::Assign(self.centroids.clone());
        }
        self.clustering = self.ordered(&assigned.sizes);
        Ask::Tell(self.clustering.clone(), SILHOUETTE_ROWS_MAX)
    }

    /// The centroids by falling size, without those that have no row.
    fn ordered(&self, sizes: &[u64]) -> Clustering {
        let mut order: Vec<usize> = (0..sizes.len()).filter(|at| sizes[*at] > 0).collect();
        order.sort_by_key(|at| std::cmp::Reverse(sizes[*at]));
        let centroid = |at: &usize| &self.centroids[at * self.width..][..self.width];
        Clustering {
            width: self.width,
            centroids: order.iter().flat_map(centroid).copied().collect(),
            sizes: order.iter().map(|at| sizes[*at]).collect(),
        }
    }

    fn told(&mut self, told: Told) -> Step {
        let Told {
            inertia,
            table,
            mut sample,
        } = told;
        let mut clustering = self.clustering.clone();
        clustering.sizes.fill(0);
        for ((_, cluster), rows) in &table {
            clustering.sizes[*cluster as usize] += rows;
        }
        let labelled = table
            .iter()
            .filter_map(|((label, cluster), rows)| Some(((label.as_deref()?, *cluster), *rows)));
        let agreement = Agreement::new(labelled);
        sample.sort_unstable_by_key(|one| one.rank);
        sample.truncate(SILHOUETTE_ROWS_MAX);
        let silhouette_rows = sample.len() as u64;
        let distinct: BTreeSet<u32> = sample.iter().map(|one| one.cluster).collect();
        self.outcome = Some(Outcome {
            clustering,
            rows: self.rows,
            iterations: self.iterations,
            converged: self.converged,
            inertia: inertia as f64 / f64::from(1u32 << FRACTION_BITS),
            silhouette: None,
            silhouette_rows,
            agreement,
            table,
        });
        match distinct.len() {
            0 | 1 => self.done(None),
            _ => Step::Ask(Ask::Silhouette(sample)),
        }
    }

    fn silhouettes(&mut self, sum: i128) -> Step {
        let sum = sum as f64 / f64::from(1u32 << FRACTION_BITS);
        self.done(Some(sum))
    }

    fn done(&mut self, silhouettes: Option<f64>) -> Step {
        let Some(mut outcome) = self.outcome.take() else {
            unreachable!("all else is known by then")
        };
        outcome.silhouette = silhouettes.map(|sum| sum / outcome.silhouette_rows as f64);
        Step::Done(Box::new(outcome))
    }
}
