//! An object's label, from its key: `[label]`.

use std::fmt;

use regex::Regex;

/// How an object's key becomes its label.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelRule {
    /// The parent folder's name.
    Parent,
    /// No label.
    None,
    /// What the pattern's capture matches.
    Regex(LabelPattern),
}

impl LabelRule {
    /// The label of `key`, if the rule gives it one.
    pub fn label(&self, key: &str) -> Option<String> {
        match self {
            LabelRule::Parent => key
                .rsplit('/')
                .nth(1)
                .map(str::to_owned)
                .filter(|label| !label.is_empty()),
            LabelRule::None => None,
            LabelRule::Regex(LabelPattern(pattern)) => pattern
                .captures(key)?
                .get(1)
                .map(|label| label.as_str().to_owned()),
        }
    }
}

/// As the table keeps it.
impl fmt::Display for LabelRule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            LabelRule::Parent => f.write_str("parent"),
            LabelRule::None => f.write_str("none"),
            LabelRule::Regex(LabelPattern(pattern)) => write!(f, "regex {pattern}"),
        }
    }
}

/// A regular expression with one capture, the label.
#[derive(Clone, Debug)]
pub struct LabelPattern(Regex);

impl LabelPattern {
    /// Compiles it.
    ///
    /// # Errors
    /// In one line, what is wrong with it.
    pub fn new(pattern: &str) -> Result<Self, String> {
        // Of a syntax error the last line is the reason; those before it draw where.
        let last = |error: regex::Error| {
            let text = error.to_string();
            let line = text.lines().last().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        };
        let regex = Regex::new(pattern).map_err(last)?;
        match regex.captures_len() - 1 {
            1 => Ok(LabelPattern(regex)),
            captures => Err(format!("{pattern:?} has {captures}")),
        }
    }
}

impl PartialEq for LabelPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_folder_is_the_label() {
        let rule = LabelRule::Parent;
        assert_eq!(
            rule.label("Training/Apple Golden 1/0_100.jpg").as_deref(),
            Some("Apple Golden 1")
        );
        assert_eq!(rule.label("no_folder.jpg"), None);
        assert_eq!(rule.label("a//x.jpg"), None);
    }

    #[test]
    fn a_pattern_labels_by_its_capture_and_needs_one() {
        let rule = LabelRule::Regex(LabelPattern::new("^([^/]+)/").unwrap());
        assert_eq!(rule.label("Kiwi/1.jpg").as_deref(), Some("Kiwi"));
        assert_eq!(rule.label("1.jpg"), None);
        for wrong in ["Kiwi", "(a)(b)", "("] {
            assert!(LabelPattern::new(wrong).is_err(), "{wrong}");
        }
    }
}
