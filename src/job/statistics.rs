//! What Delta's statistics of a data file tell of the projections that reduced its rows, without a look at the file.

use std::ops::RangeInclusive;

use anyhow::{Result, anyhow};
use serde::Deserialize;

use crate::operators::Epoch;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    min_values: OfProjection,
    max_values: OfProjection,
    null_count: Option<OfProjection>,
}

#[derive(Deserialize)]
struct OfProjection {
    projection_version: Option<i64>,
}

impl Stats {
    fn parse(json: &str) -> Result<Self> {
        serde_json::from_str(json)
            .map_err(|error| anyhow!("the statistics of a data file can't be read: {error}"))
    }

    fn versions(&self) -> Option<RangeInclusive<Epoch>> {
        let bounds = self.min_values.projection_version;
        let bounds = bounds.zip(self.max_values.projection_version);
        bounds.map(|(min, max)| min..=max)
    }
}

/// The versions that may have reduced rows of a file; `None` where no row is reduced.
///
/// # Errors
/// Statistics that no job writes.
pub fn projections(stats: &str) -> Result<Option<RangeInclusive<Epoch>>> {
    Ok(Stats::parse(stats)?.versions())
}

/// Whether all rows of a file are known to be reduced by `projection`, or by none where that is `None`.
///
/// # Errors
/// Statistics that no job writes.
pub fn all_reduced_by(stats: &str, projection: Option<Epoch>) -> Result<bool> {
    let stats = Stats::parse(stats)?;
    let unreduced = stats.null_count.as_ref();
    let unreduced = unreduced.and_then(|count| count.projection_version);
    Ok(match (stats.versions(), projection) {
        (None, None) => true,
        (Some(versions), Some(wanted)) => versions == (wanted..=wanted) && unreduced == Some(0),
        _ => false,
    })
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
        assert_eq!(projections(&seven).unwrap(), Some(7..=9));
        assert_eq!(projections(&stats("", "", "")).unwrap(), None);
        assert!(projections("").is_err());
    }

    #[test]
    fn a_file_is_under_a_projection_when_every_row_is() {
        let of = |version: i64| format!(r#","projection_version":{version}"#);
        let by = |min, max, nulls, wanted| {
            all_reduced_by(&stats(&of(min), &of(max), &of(nulls)), wanted).unwrap()
        };
        assert!(by(7, 7, 0, Some(7)));
        assert!(!by(7, 7, 1, Some(7)), "a row without");
        assert!(!by(6, 7, 0, Some(7)) && !by(7, 8, 0, Some(7)));
        assert!(!by(7, 7, 0, None));
        let unreduced = stats("", "", &of(2));
        assert!(all_reduced_by(&unreduced, None).unwrap());
        assert!(!all_reduced_by(&unreduced, Some(7)).unwrap());
        let unknown = stats(&of(7), &of(7), "");
        assert!(!all_reduced_by(&unknown, Some(7)).unwrap());
    }
}
