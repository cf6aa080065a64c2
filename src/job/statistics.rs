//! What Delta's statistics of a data file tell of the models that its rows are under, without a look at the file.

use std::ops::RangeInclusive;

use anyhow::{Result, anyhow};
use serde::Deserialize;

use crate::operators::Epoch;

/// What kind of model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `projection_version` names it.
    Projection,
    /// `classifier_version` names it.
    Classifier,
    /// `clustering_version` names it.
    Clustering,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    min_values: Columns,
    max_values: Columns,
    null_count: Option<Columns>,
}

#[derive(Deserialize)]
struct Columns {
    projection_version: Option<i64>,
    classifier_version: Option<i64>,
    clustering_version: Option<i64>,
}

impl Columns {
    fn of(&self, kind: Kind) -> Option<i64> {
        match kind {
            Kind::Projection => self.projection_version,
            Kind::Classifier => self.classifier_version,
            Kind::Clustering => self.clustering_version,
        }
    }
}

impl Stats {
    fn parse(json: &str) -> Result<Self> {
        serde_json::from_str(json)
            .map_err(|error| anyhow!("the statistics of a data file can't be read: {error}"))
    }

    fn versions(&self, kind: Kind) -> Option<RangeInclusive<Epoch>> {
        let bounds = self.min_values.of(kind).zip(self.max_values.of(kind));
        bounds.map(|(min, max)| min..=max)
    }
}

/// The versions of such models that rows of a file may be under; `None` where no row is.
///
/// # Errors
/// Statistics that no job writes.
pub fn versions(stats: &str, kind: Kind) -> Result<Option<RangeInclusive<Epoch>>> {
    Ok(Stats::parse(stats)?.versions(kind))
}

/// Whether all rows of a file are known to be under the model of this version, or under none where that is `None`.
///
/// # Errors
/// Statistics that no job writes.
pub fn all_under(stats: &str, kind: Kind, version: Option<Epoch>) -> Result<bool> {
    let stats = Stats::parse(stats)?;
    let without = stats.null_count.as_ref().and_then(|count| count.of(kind));
    Ok(match (stats.versions(kind), version) {
        (None, None) => true,
        (Some(versions), Some(wanted)) => versions == (wanted..=wanted) && without == Some(0),
        _ => false,
    })
}

/// Whether all rows of a file are known to be under some such model.
///
/// # Errors
/// Statistics that no job writes.
pub fn all_have(stats: &str, kind: Kind) -> Result<bool> {
    let count = Stats::parse(stats)?.null_count;
    Ok(count.and_then(|count| count.of(kind)) == Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(min: &str, max: &str, nulls: &str) -> String {
        format!(
            r#"{{"numRecords":2,"minValues":{{"path":"a"{min}}},"maxValues":{{"path":"b"{max}}},"nullCount":{{"path":0{nulls}}}}}"#
        )
    }

    #[test]
    fn a_files_statistics_tell_its_projections() {
        let seven = stats(
            r#","projection_version":7"#,
            r#","projection_version":9"#,
            "",
        );
        assert_eq!(versions(&seven, Kind::Projection).unwrap(), Some(7..=9));
        assert_eq!(
            versions(&stats("", "", ""), Kind::Projection).unwrap(),
            None
        );
        assert_eq!(versions(&seven, Kind::Classifier).unwrap(), None);
        assert!(versions("", Kind::Projection).is_err());
    }

    #[test]
    fn a_file_is_under_a_projection_when_every_row_is() {
        let of = |version: i64| format!(r#","projection_version":{version}"#);
        let by = |min, max, nulls, wanted| {
            all_under(
                &stats(&of(min), &of(max), &of(nulls)),
                Kind::Projection,
                wanted,
            )
            .unwrap()
        };
        assert!(by(7, 7, 0, Some(7)));
        assert!(!by(7, 7, 1, Some(7)), "a row without");
        assert!(!by(6, 7, 0, Some(7)) && !by(7, 8, 0, Some(7)));
        assert!(!by(7, 7, 0, None));
        let unreduced = stats("", "", &of(2));
        assert!(all_under(&unreduced, Kind::Projection, None).unwrap());
        assert!(!all_under(&unreduced, Kind::Projection, Some(7)).unwrap());
        let unknown = stats(&of(7), &of(7), "");
        assert!(!all_under(&unknown, Kind::Projection, Some(7)).unwrap());
        let have = |stats: &str| all_have(stats, Kind::Projection).unwrap();
        assert!(have(&stats(&of(7), &of(9), &of(0))));
        assert!(!have(&stats(&of(7), &of(9), &of(1))) && !have(&unknown));
    }
}
