//! What a commit says beside its files: the job's state, as JSON in the table's domain metadata.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::classifier;
use crate::clusters;
use crate::event::Version;
use crate::moments::{Moments, Part, Sums};
use crate::operators::Epoch;
use crate::projection::{Options, Stored};
use crate::storage::Key;
use crate::table::state::{MomentsPart, Tombstone};
use crate::table::{self, DataFile};

/// Of this layout; another number is refused.
pub const FORMAT: u32 = 2;

/// The state of a job as of a commit. Everything that a restart needs and the files don't hold is here or named here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobState {
    /// [`FORMAT`].
    pub format: u32,
    /// Counts the commits of jobs on this table; a reprojection's repeats the number of the one before.
    pub epoch: Epoch,
    /// The run that made the commit.
    pub writer: String,
    /// What the bits of the features depend on.
    pub backbone: String,
    /// Features of a row.
    pub features: usize,
    /// How its rows' keys became labels, as `[label]` said it; not known of commits from before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The topic of the offsets.
    pub topic: String,
    /// The next offset to read, by partition.
    pub offsets: BTreeMap<i32, i64>,
    /// The moments of the table's rows.
    pub moments: Option<MomentsRef>,
    /// The newest projection.
    pub projection: Option<ProjectionRef>,
    /// The newest classifier.
    #[serde(default)]
    pub classifier: Option<ClassifierRef>,
    /// The clusters of the last `reproject` of a table that shows them.
    #[serde(default)]
    pub clustering: Option<ClusteringRef>,
    /// How often the classifiers before were right on images that were new to them, since the table was made.
    #[serde(default)]
    pub prequential: Prequential,
    /// The object with the removals that are remembered.
    pub tombstones: Option<String>,
    /// What the rejects table's commit of this epoch adds and removes: written ahead, as it follows this one.
    pub rejects_commit: FileList,
}

/// Files that a commit adds and removes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FileList {
    /// New files.
    pub adds: Vec<DataFile>,
    /// Names of files that go.
    pub removes: Vec<String>,
}

/// The moments of a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MomentsRef {
    /// The object, beside the table.
    pub object: String,
    /// Of the canonical bytes of the moments, not of the object.
    pub sha256: String,
    /// Rows.
    pub n: u64,
}

/// The projection of a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectionRef {
    /// The epoch that made it; `projection_version` of the rows reduced by it.
    pub version: Epoch,
    /// The object, beside the table.
    pub object: String,
    /// Of what the projection computes, not of the object.
    pub sha256: String,
    /// How it was fitted: with the moments, all that `verify` needs to fit it again.
    pub options: Options,
    /// Principal components.
    pub components: usize,
    /// Of each component.
    pub explained_variance_ratio: Vec<f64>,
    /// The largest principal angle to the projection before.
    pub drift_rad: Option<f64>,
}

/// The classifier of a commit. There is none where it is not enabled, or the rows have none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassifierRef {
    /// The epoch that made it; `classifier_version` of the rows predicted by it.
    pub version: Epoch,
    /// The object, beside the table.
    pub object: String,
    /// Of what the classifier computes, not of the object.
    pub sha256: String,
    /// How it was fitted: with the moments, all that `verify` needs to fit it again.
    pub options: classifier::Options,
    /// How many labels it tells apart.
    pub labels: usize,
}

/// The clustering of a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusteringRef {
    /// Counts the clusterings of the table; `clustering_version` of the rows that it met.
    pub version: i64,
    /// The projection whose reduced features it is of.
    pub projection_version: Epoch,
    /// The object, beside the table.
    pub object: String,
    /// Of what the clustering is, not of the object.
    pub sha256: String,
    /// How it was found.
    pub options: clusters::Options,
    /// How many clusters there are.
    pub clusters: usize,
    /// The sum of the squares of all rows' distances to their centroids.
    pub inertia: f64,
    /// The mean silhouette.
    pub silhouette: Option<f64>,
    /// With the labels.
    pub agreement: Option<clusters::Agreement>,
}

/// Predictions of labelled images by classifiers that had not learnt them: tested, then trained (Dawid, "Present position and potential
/// developments: some personal views: statistical theory: the prequential approach", 1984). An overwritten image counts anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prequential {
    /// Labelled images that were predicted before they were learnt.
    pub tested: u64,
    /// Those whose label was predicted.
    pub correct: u64,
}

impl Prequential {
    /// Takes another one in.
    pub fn add(&mut self, other: Self) {
        self.tested += other.tested;
        self.correct += other.correct;
    }

    /// The share that was right; `None` before the first.
    pub fn accuracy(self) -> Option<f64> {
        (self.tested > 0).then(|| self.correct as f64 / self.tested as f64)
    }
}

/// The version in a model's name, `<version>-<digest>.safetensors`, in whatever folder.
pub fn version_of(name: &str) -> Option<Epoch> {
    let file = name.rsplit('/').next()?;
    file.split_once('-')?.0.parse().ok()
}

impl ClassifierRef {
    /// For a classifier that lies in `object` and was fitted by `options`.
    pub fn new(object: String, stored: &classifier::Stored, options: classifier::Options) -> Self {
        let classifier = &stored.classifier;
        ClassifierRef {
            version: stored.version,
            object,
            sha256: classifier.sha256(),
            options,
            labels: classifier.labels().len(),
        }
    }
}

impl ClusteringRef {
    /// For a clustering that lies in `object`, was found by `options`, and came out so.
    pub fn new(
        object: String,
        stored: &clusters::Stored,
        options: clusters::Options,
        outcome: &clusters::Outcome,
    ) -> Self {
        ClusteringRef {
            version: stored.version,
            projection_version: stored.projection_version,
            object,
            sha256: stored.clustering.sha256(),
            options,
            clusters: stored.clustering.clusters(),
            inertia: outcome.inertia,
            silhouette: outcome.silhouette,
            agreement: outcome.agreement,
        }
    }
}

impl ProjectionRef {
    /// For a projection that lies in `object` and was fitted by `options`.
    pub fn new(object: String, stored: &Stored, options: Options) -> Self {
        let projection = &stored.projection;
        ProjectionRef {
            version: stored.version,
            object,
            sha256: projection.sha256(),
            options,
            components: projection.n_components(),
            explained_variance_ratio: projection.explained_variance_ratio().to_vec(),
            drift_rad: stored
                .drift
                .as_ref()
                .and_then(|drift| drift.angles_rad.iter().copied().reduce(f64::max)),
        }
    }

    /// The share of the variance that all components together explain.
    pub fn explained(&self) -> f64 {
        self.explained_variance_ratio.iter().sum()
    }
}

impl JobState {
    /// Of a table that a job has committed to, as it was `found`.
    ///
    /// # Errors
    /// Where none has.
    pub fn committed(found: Option<Self>) -> Result<Self> {
        found.context("the table is there, but no job has committed to it yet")
    }

    /// From the JSON of a commit.
    pub fn parse(json: &str) -> Result<Self> {
        // Before the rest, which another format may spell otherwise.
        #[derive(Deserialize)]
        struct Formatted {
            format: u32,
        }
        let Formatted { format } = serde_json::from_str(json)?;
        ensure!(
            format == FORMAT,
            "its format is {format}, this eigenflow writes {FORMAT}: use the version that made the table"
        );
        Ok(serde_json::from_str(json)?)
    }
}

/// The moments as a Parquet file: one row a part.
///
/// # Errors
/// A sum that no decimal holds, which the bounds of the moments exclude.
pub fn encode_moments(moments: &Moments) -> Result<Vec<u8>> {
    let parts = moments.parts().map(|(part, sums)| {
        let (kind, key) = match part {
            Part::Count => (COUNT, String::new()),
            Part::Columns(block) => (COLUMNS, block.to_string()),
            Part::Label(label) => (LABEL, label),
        };
        MomentsPart {
            kind: kind.to_owned(),
            key,
            values: sums.into(),
        }
    });
    Ok(table::state::encode_moments(parts)?)
}

/// The moments of `features` features from their Parquet file.
///
/// # Errors
/// Bytes that are no such file.
pub fn decode_moments(features: usize, bytes: Bytes) -> Result<Moments> {
    let mut parts = Vec::new();
    for MomentsPart { kind, key, values } in table::state::decode_moments(bytes)? {
        let part = match kind.as_str() {
            COUNT => Part::Count,
            COLUMNS => Part::Columns(
                key.parse()
                    .with_context(|| format!("column block {key:?}"))?,
            ),
            LABEL => Part::Label(key),
            _ => bail!("unknown kind of part {kind:?}"),
        };
        parts.push((part, Sums::from(values)));
    }
    Ok(Moments::from_parts(features, parts)?)
}

const COUNT: &str = "count";
const COLUMNS: &str = "columns";
const LABEL: &str = "label";

/// Removals as a Parquet file, in the order of keys.
///
/// # Errors
/// None that the input causes.
pub fn encode_tombstones(tombstones: &HashMap<Key, Version>) -> Result<Vec<u8>> {
    let mut sorted: Vec<Tombstone> = tombstones
        .iter()
        .map(|(key, version)| Tombstone {
            key_hash: *key,
            time_ms: version.time_ms,
            sequencer: version.sequencer,
        })
        .collect();
    sorted.sort_unstable();
    Ok(table::state::encode_tombstones(&sorted)?)
}

/// Removals from their Parquet file.
///
/// # Errors
/// Bytes that are no such file.
pub fn decode_tombstones(bytes: Bytes) -> Result<HashMap<Key, Version>> {
    let tombstones = table::state::decode_tombstones(bytes)?;
    let version = |t: &Tombstone| Version {
        time_ms: t.time_ms,
        sequencer: t.sequencer,
    };
    Ok(tombstones
        .iter()
        .map(|tombstone| (tombstone.key_hash, version(tombstone)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::version_of;

    #[test]
    fn a_models_name_tells_its_version() {
        assert_eq!(version_of("0000000012-ab.safetensors"), Some(12));
        assert_eq!(
            version_of("projections/0000000012-ab.safetensors"),
            Some(12)
        );
        assert_eq!(version_of("notes.txt"), None);
    }
}
