//! Chance of a simulation.

use crate::splitmix::{SplitMix, fraction};

/// A sequence from a seed.
#[derive(Debug)]
pub struct Random(SplitMix);

impl Random {
    /// The same every time.
    pub fn new(seed: u64) -> Self {
        Random(SplitMix(seed))
    }

    /// Below `n`, each as likely as any other.
    pub fn below(&mut self, n: usize) -> usize {
        (self.0.next() % n as u64) as usize
    }

    /// A waiting time of mean 1.
    pub fn wait(&mut self) -> f64 {
        let uniform = fraction(self.0.next());
        -(1.0 - uniform).ln()
    }
}
