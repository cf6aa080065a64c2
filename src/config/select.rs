//! Which objects are rows, by their keys: `[select]`.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};

/// Which objects are rows. What it does not take is for the job as if it were not there.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// Keys; none means all.
    pub include: Globs,
    /// Keys.
    pub exclude: Globs,
    /// Objects of a label that commands announce; 0 means all.
    pub per_label: u64,
}

impl Select {
    /// Whether the object of this key is to be a row.
    pub fn takes(&self, key: &str) -> bool {
        (self.include.0.is_empty() || self.include.matches(key)) && !self.exclude.matches(key)
    }
}

/// Globs of keys, of which one has to match. `Debug` shows their texts.
#[derive(Clone, Default)]
pub struct Globs(Vec<GlobMatcher>);

impl Globs {
    /// Adds one.
    ///
    /// # Errors
    /// A glob that is none.
    pub fn add(&mut self, glob: &str) -> Result<(), globset::Error> {
        // As everywhere: * ends at a folder, ** doesn't.
        let glob = GlobBuilder::new(glob).literal_separator(true).build()?;
        self.0.push(glob.compile_matcher());
        Ok(())
    }

    fn matches(&self, key: &str) -> bool {
        self.0.iter().any(|glob| glob.is_match(key))
    }
}

impl fmt::Debug for Globs {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let texts = self.0.iter().map(|glob| glob.glob().glob());
        f.debug_list().entries(texts).finish()
    }
}

impl PartialEq for Globs {
    fn eq(&self, other: &Self) -> bool {
        let texts = self.0.iter().map(GlobMatcher::glob);
        texts.eq(other.0.iter().map(GlobMatcher::glob))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(globs: &[&str]) -> Globs {
        let mut all = Globs::default();
        globs.iter().for_each(|glob| all.add(glob).unwrap());
        all
    }

    fn select(include: &[&str], exclude: &[&str]) -> Select {
        Select {
            include: globs(include),
            exclude: globs(exclude),
            per_label: 0,
        }
    }

    #[test]
    fn globs_choose_as_in_a_shell() {
        let some = select(&["Training/**/*.jpg"], &["**/Tomato*/*"]);
        assert!(some.takes("Training/Kiwi/0.jpg"));
        assert!(some.takes("Training/0.jpg"));
        assert!(!some.takes("Test/Kiwi/0.jpg"));
        assert!(!some.takes("Training/Kiwi/0.png"));
        assert!(!some.takes("Training/Tomato 1/0.jpg"));
        assert!(select(&[], &[]).takes("any/thing"));
        assert!(!select(&["*.jpg"], &[]).takes("a/b.jpg"));
        assert!(select(&["*.png", "*.jpg"], &[]).takes("b.jpg"));
        assert!(Globs::default().add("a[.jpg").is_err());
    }

    #[test]
    fn globs_are_equal_and_shown_by_their_text() {
        assert_eq!(format!("{:?}", globs(&["a/*", "b"])), r#"["a/*", "b"]"#);
        assert_eq!(globs(&["a/*"]), globs(&["a/*"]));
        assert_ne!(globs(&["a/*"]), globs(&["a/**"]));
        assert_ne!(globs(&["a/*"]), globs(&["a/*", "b"]));
    }
}
