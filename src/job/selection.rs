//! Which objects are to be rows, by their keys.

use std::collections::HashMap;

use anyhow::{Context, Result};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::Labeller;
use crate::config::{Config, Select};

/// `select.include` and `select.exclude`, compiled. What it does not take is for the job as if it were not there.
#[derive(Clone, Debug)]
pub struct Selection {
    /// `None`: all.
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Selection {
    /// Compiles the globs.
    ///
    /// # Errors
    /// A glob that is none.
    pub fn new(select: &Select) -> Result<Self> {
        let include = (!select.include.is_empty())
            .then(|| globs(&select.include).context("select.include"))
            .transpose()?;
        Ok(Selection {
            include,
            exclude: globs(&select.exclude).context("select.exclude")?,
        })
    }

    /// Whether the object of this key is to be a row.
    pub fn takes(&self, key: &str) -> bool {
        let included = self
            .include
            .as_ref()
            .is_none_or(|globs| globs.is_match(key));
        included && !self.exclude.is_match(key)
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        // As everywhere: * ends at a folder, ** doesn't.
        set.add(GlobBuilder::new(pattern).literal_separator(true).build()?);
    }
    Ok(set.build()?)
}

/// What commands announce of a listing: the selection, and of each label the first `select.per_label` objects by key.
#[derive(Debug)]
pub struct Sample {
    selection: Selection,
    labeller: Labeller,
    per_label: u64,
    taken: HashMap<Option<String>, u64>,
}

impl Sample {
    /// Of a job.
    ///
    /// # Errors
    /// Globs or a label pattern that are none.
    pub fn new(config: &Config) -> Result<Self> {
        Ok(Sample {
            selection: Selection::new(&config.select)?,
            labeller: Labeller::new(&config.label)?,
            per_label: config.select.per_label,
            taken: HashMap::new(),
        })
    }

    /// Whether the job would make a row of the object.
    pub fn selects(&self, key: &str) -> bool {
        self.selection.takes(key)
    }

    /// Whether the next object of a listing, which goes by key, is taken.
    pub fn takes(&mut self, key: &str) -> bool {
        if !self.selects(key) {
            return false;
        }
        if self.per_label == 0 {
            return true;
        }
        let taken = self.taken.entry(self.labeller.label(key)).or_default();
        *taken += 1;
        *taken <= self.per_label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(include: &[&str], exclude: &[&str]) -> Select {
        let texts = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect();
        Select {
            include: texts(include),
            exclude: texts(exclude),
            per_label: 2,
        }
    }

    #[test]
    fn globs_choose_as_in_a_shell() {
        let selection = Selection::new(&select(&["Training/**/*.jpg"], &["**/Tomato*/*"])).unwrap();
        assert!(selection.takes("Training/Kiwi/0.jpg"));
        assert!(selection.takes("Training/0.jpg"));
        assert!(!selection.takes("Test/Kiwi/0.jpg"));
        assert!(!selection.takes("Training/Kiwi/0.png"));
        assert!(!selection.takes("Training/Tomato 1/0.jpg"));
        assert!(
            Selection::new(&select(&[], &[]))
                .unwrap()
                .takes("any/thing")
        );
        assert!(
            !Selection::new(&select(&["*.jpg"], &[]))
                .unwrap()
                .takes("a/b.jpg")
        );
        assert!(Selection::new(&select(&["a[.jpg"], &[])).is_err());
    }

    #[test]
    fn a_sample_has_the_first_of_each_label() {
        let mut sample = Sample {
            selection: Selection::new(&select(&[], &["**/2.jpg"])).unwrap(),
            labeller: Labeller::Parent,
            per_label: 2,
            taken: HashMap::new(),
        };
        let listed = [
            "a/1.jpg", "a/2.jpg", "a/3.jpg", "a/4.jpg", "b/1.jpg", "c.jpg",
        ];
        let taken: Vec<_> = listed.into_iter().filter(|key| sample.takes(key)).collect();
        assert_eq!(taken, ["a/1.jpg", "a/3.jpg", "b/1.jpg", "c.jpg"]);
    }
}
