//! An object's label, from its key.

use anyhow::{Context, Result, ensure};
use regex::Regex;

use crate::config::LabelRule;

/// A label rule, compiled.
#[derive(Clone, Debug)]
pub enum Labeller {
    /// The parent folder's name.
    Parent,
    /// No label.
    None,
    /// What the pattern's capture matches.
    Pattern(Regex),
}

impl Labeller {
    /// Compiles a rule.
    ///
    /// # Errors
    /// A pattern that is none, or has not exactly one capture.
    pub fn new(rule: &LabelRule) -> Result<Self> {
        Ok(match rule {
            LabelRule::Parent => Labeller::Parent,
            LabelRule::None => Labeller::None,
            LabelRule::Regex(pattern) => {
                let pattern = Regex::new(pattern).context("label.pattern")?;
                let captures = pattern.captures_len() - 1;
                ensure!(
                    captures == 1,
                    "label.pattern has {captures} captures; it must have exactly one, the label"
                );
                Labeller::Pattern(pattern)
            }
        })
    }

    /// The label of `key`, if the rule gives it one.
    pub fn label(&self, key: &str) -> Option<String> {
        match self {
            Labeller::Parent => key
                .rsplit('/')
                .nth(1)
                .map(str::to_owned)
                .filter(|label| !label.is_empty()),
            Labeller::None => None,
            Labeller::Pattern(pattern) => pattern
                .captures(key)?
                .get(1)
                .map(|label| label.as_str().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_folder_is_the_label() {
        let rule = Labeller::new(&LabelRule::Parent).unwrap();
        assert_eq!(
            rule.label("Training/Apple Golden 1/0_100.jpg").as_deref(),
            Some("Apple Golden 1")
        );
        assert_eq!(rule.label("no_folder.jpg"), None);
        assert_eq!(rule.label("a//x.jpg"), None);
    }

    #[test]
    fn a_pattern_labels_by_its_capture_and_needs_one() {
        let rule = |pattern: &str| Labeller::new(&LabelRule::Regex(pattern.into()));
        assert_eq!(
            rule("^([^/]+)/").unwrap().label("Kiwi/1.jpg").as_deref(),
            Some("Kiwi")
        );
        assert_eq!(rule("^([^/]+)/").unwrap().label("1.jpg"), None);
        assert!(rule("Kiwi").is_err() && rule("(a)(b)").is_err() && rule("(").is_err());
    }
}
