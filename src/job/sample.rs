//! Which objects of a listing commands announce.

use std::collections::HashMap;

use crate::config::{Config, LabelRule, Select};

/// What commands announce of a listing: what is selected, and of each label the first `select.per_label` objects by key.
#[derive(Debug)]
pub struct Sample {
    select: Select,
    label: LabelRule,
    taken: HashMap<Option<String>, u64>,
}

impl Sample {
    /// Of a job.
    pub fn new(config: &Config) -> Self {
        Sample {
            select: config.select.clone(),
            label: config.label.clone(),
            taken: HashMap::new(),
        }
    }

    /// Whether the job would make a row of the object.
    pub fn selects(&self, key: &str) -> bool {
        self.select.takes(key)
    }

    /// Whether the next object of a listing, which goes by key, is taken.
    pub fn takes(&mut self, key: &str) -> bool {
        if !self.selects(key) {
            return false;
        }
        if self.select.per_label == 0 {
            return true;
        }
        let taken = self.taken.entry(self.label.label(key)).or_default();
        *taken += 1;
        *taken <= self.select.per_label
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Globs;

    #[test]
    fn a_sample_has_the_first_of_each_label() {
        let mut exclude = Globs::default();
        exclude.add("**/2.jpg").unwrap();
        let mut sample = Sample {
            select: Select {
                include: Globs::default(),
                exclude,
                per_label: 2,
            },
            label: LabelRule::Parent,
            taken: HashMap::new(),
        };
        let listed = [
            "a/1.jpg", "a/2.jpg", "a/3.jpg", "a/4.jpg", "b/1.jpg", "c.jpg",
        ];
        let taken: Vec<_> = listed.into_iter().filter(|key| sample.takes(key)).collect();
        assert_eq!(taken, ["a/1.jpg", "a/3.jpg", "b/1.jpg", "c.jpg"]);
    }
}
