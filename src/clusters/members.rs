//! The rows that one worker has, and what they answer.

use std::collections::{BTreeMap, BTreeSet};

use super::Clustering;
use super::model::nearest;
use super::questions::{Answer, Ask, Assigned, Drawn, FRACTION_BITS, Sampled, Told};
use super::race::{arrival, hash};
use crate::lanes::squared_distance;

/// Rows of m reduced features, with their keys and labels.
pub struct Members {
    seed: u64,
    width: usize,
    keys: Vec<u128>,
    /// [n, m]
    rows: Vec<f32>,
    labels: Vec<Option<u32>>,
    names: BTreeMap<String, u32>,
    /// The square of each row's distance to its nearest centre, while they are chosen.
    distances: Vec<f64>,
    clusters: Vec<u32>,
}

fn grid(value: f64) -> i128 {
    (value * f64::from(1u32 << FRACTION_BITS)).round_ties_even() as i128
}

impl Members {
    /// None yet, of `width` reduced features.
    pub fn new(width: usize, seed: u64) -> Self {
        Members {
            seed,
            width,
            keys: Vec::new(),
            rows: Vec::new(),
            labels: Vec::new(),
            names: BTreeMap::new(),
            distances: Vec::new(),
            clusters: Vec::new(),
        }
    }

    /// Takes in a row. Its key must be its own.
    ///
    /// # Panics
    /// Unless there are m reduced features.
    pub fn push(&mut self, key: u128, label: Option<&str>, reduced: &[f32]) {
        assert_eq!(reduced.len(), self.width, "rows have m reduced features");
        let label = label.map(|label| match self.names.get(label) {
            Some(number) => *number,
            None => {
                let number = self.names.len() as u32;
                self.names.insert(label.to_owned(), number);
                number
            }
        });
        self.keys.push(key);
        self.labels.push(label);
        self.rows.extend_from_slice(reduced);
    }

    fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.rows.chunks_exact(self.width)
    }

    /// Answers a question.
    pub fn answer(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Census => {
                Answer::Census(self.keys.len() as u64, self.names.keys().cloned().collect())
            }
            Ask::Draw {
                centre,
                turn,
                draws,
            } => Answer::Drawn(self.draw(centre.as_deref(), *turn, *draws)),
            Ask::Weigh(candidates) => {
                let weight = |candidate: &Vec<f32>| self.weigh(candidate);
                Answer::Weighed(candidates.iter().map(weight).collect())
            }
            Ask::Assign(centroids) => Answer::Assigned(self.assign(centroids)),
            Ask::Tell(clustering, sample) => Answer::Told(self.tell(clustering, *sample)),
            Ask::Silhouette(sample) => Answer::Silhouettes(self.silhouettes(sample)),
        }
    }

    fn draw(&mut self, centre: Option<&[f32]>, turn: u64, draws: usize) -> Vec<Drawn> {
        match centre {
            None => self.distances = vec![f64::INFINITY; self.keys.len()],
            Some(centre) => {
                let rows = self.rows.chunks_exact(self.width);
                for (distance, row) in self.distances.iter_mut().zip(rows) {
                    *distance = distance.min(squared_distance(centre, row));
                }
            }
        }
        // The first centre is any row.
        let weight = |distance: f64| if distance.is_finite() { distance } else { 1.0 };
        let rows = self.keys.iter().zip(&self.distances).enumerate();
        let arrivals = rows.filter_map(|(at, (key, distance))| {
            let arrival = arrival(self.seed, turn, *key, weight(*distance))?;
            Some((arrival, *key, at))
        });
        let mut arrivals: Vec<(f64, u128, usize)> = arrivals.collect();
        let earlier = |a: &(f64, u128, usize), b: &(f64, u128, usize)| {
            a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
        };
        if arrivals.len() > draws {
            arrivals.select_nth_unstable_by(draws - 1, earlier);
            arrivals.truncate(draws);
        }
        let drawn = |(arrival, key, at): (f64, u128, usize)| Drawn {
            arrival,
            key,
            row: self.rows[at * self.width..][..self.width].to_vec(),
        };
        arrivals.into_iter().map(drawn).collect()
    }

    fn weigh(&self, candidate: &[f32]) -> u128 {
        let rows = self.rows().zip(&self.distances);
        let weights = rows.map(|(row, distance)| squared_distance(candidate, row).min(*distance));
        weights.map(|weight| grid(weight) as u128).sum()
    }

    fn assign(&mut self, centroids: &[f64]) -> Assigned {
        let clusters = centroids.len() / self.width;
        let mut assigned = Assigned {
            sums: vec![0; centroids.len()],
            sizes: vec![0; clusters],
            moved: 0,
        };
        self.clusters.resize(self.keys.len(), u32::MAX);
        for (row, before) in self.rows.chunks_exact(self.width).zip(&mut self.clusters) {
            let (cluster, _) = nearest(centroids, row);
            assigned.moved += u64::from(*before != cluster);
            *before = cluster;
            let cluster = cluster as usize;
            assigned.sizes[cluster] += 1;
            let sums = &mut assigned.sums[cluster * self.width..][..self.width];
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += grid(f64::from(*x));
            }
        }
        assigned
    }

    fn tell(&mut self, clustering: &Clustering, sample: usize) -> Told {
        let mut told = Told::default();
        let mut cells: BTreeMap<(Option<u32>, u32), u64> = BTreeMap::new();
        let mut ranks = Vec::with_capacity(self.keys.len());
        self.clusters.clear();
        for (at, row) in self.rows.chunks_exact(self.width).enumerate() {
            let (cluster, distance) = nearest(&clustering.centroids, row);
            told.inertia += grid(distance) as u128;
            *cells.entry((self.labels[at], cluster)).or_default() += 1;
            self.clusters.push(cluster);
            let key = self.keys[at];
            ranks.push(((hash(self.seed, u64::MAX, key), key), at));
        }
        let names: BTreeMap<u32, &String> = self
            .names
            .iter()
            .map(|(name, number)| (*number, name))
            .collect();
        let named = |label: Option<u32>| label.map(|label| names[&label].clone());
        told.table = cells
            .into_iter()
            .map(|((label, cluster), rows)| ((named(label), cluster), rows))
            .collect();
        ranks.sort_unstable();
        ranks.truncate(sample);
        let sampled = |(rank, at): ((u64, u128), usize)| Sampled {
            rank,
            cluster: self.clusters[at],
            row: self.rows[at * self.width..][..self.width].to_vec(),
        };
        told.sample = ranks.into_iter().map(sampled).collect();
        told
    }

    /// Of the rows of the sample that are here.
    fn silhouettes(&self, sample: &[Sampled]) -> i128 {
        let here: BTreeSet<u128> = self.keys.iter().copied().collect();
        let clusters = sample.iter().map(|one| one.cluster as usize + 1).max();
        let mut sizes = vec![0u64; clusters.unwrap_or(0)];
        for one in sample {
            sizes[one.cluster as usize] += 1;
        }
        let mine = sample.iter().filter(|one| here.contains(&one.rank.1));
        mine.map(|one| grid(silhouette(one, sample, &sizes))).sum()
    }
}

/// How much nearer a row's own cluster is than the next: 1 is well placed, -1 badly. A row alone in its cluster has 0.
fn silhouette(one: &Sampled, sample: &[Sampled], sizes: &[u64]) -> f64 {
    let own = one.cluster as usize;
    if sizes[own] == 1 {
        return 0.0;
    }
    let mut sums = vec![0.0; sizes.len()];
    for other in sample {
        sums[other.cluster as usize] += squared_distance(&one.row, &other.row).sqrt();
    }
    let own_mean = sums[own] / (sizes[own] - 1) as f64;
    let others = (0..sizes.len()).filter(|cluster| *cluster != own && sizes[*cluster] > 0);
    let next = others
        .map(|cluster| sums[cluster] / sizes[cluster] as f64)
        .fold(f64::INFINITY, f64::min);
    let larger = own_mean.max(next);
    if larger > 0.0 {
        (next - own_mean) / larger
    } else {
        0.0
    }
}
