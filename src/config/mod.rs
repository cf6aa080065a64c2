//! The configuration of a job, in two stages: what was said, and what it means.
//!
//! ```text
//! job.toml ──┐
//! EIGENFLOW__… ──> Said (typed, with places) ──> resolve ──> Config (defaults, bounds, relations between keys)
//! flags ─────┘
//! ```
//! [`keys::KEYS`] is the one definition of all keys; the file, the variables, [`Config::example`] and [`Config::docs`]
//! follow from it. Every problem of both stages is reported at once ([`ConfigError::Invalid`]).
//!
//! A flag overrides by [`Said::set`]:
//! ```ignore
//! let mut said = Said::load(path, config::environment())?;
//! said.set("projection.components", "20", "--components");
//! let config = said.resolve()?;
//! ```

mod error;
pub mod keys;
mod label;
mod render;
mod resolve;
mod said;
mod select;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use tracing_subscriber::filter::Targets;

use crate::backbone::{Family, Pooling, Precision, Preprocessing};
use crate::image::{Filter, Fit};

pub use error::{ConfigError, Problem};
pub use label::{LabelPattern, LabelRule};
pub(crate) use resolve::{has_scheme, is_host_and_port};
pub use said::{Said, parse_milliseconds};
pub use select::{Globs, Select};

/// What a job is to do. Every field is valid on its own and together with the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the events arrive.
    pub kafka: Kafka,
    /// The object store.
    pub s3: S3,
    /// Where the result goes.
    pub table: Table,
    /// What its columns are called.
    pub columns: Columns,
    /// Which objects are rows.
    pub select: Select,
    /// The network.
    pub backbone: Backbone,
    /// What makes its features fewer.
    pub head: Head,
    /// From key to label.
    pub label: LabelRule,
    /// Statistics of the features.
    pub projection: Projection,
    /// The classifier of the labels.
    pub classifier: Classifier,
    /// When to commit.
    pub publish: Publish,
    /// Bounds.
    pub limits: Limits,
    /// Who may see metrics and page, and who is told of epochs.
    pub observe: Observe,
    /// Logging.
    pub log: Log,
}

/// Where the events of the uploads arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port,host:port`.
    pub brokers: String,
    /// The topic of the events.
    pub topic: String,
    /// The group in which progress is shown to lag tools.
    pub group: String,
    /// librdkafka properties to pass through.
    pub properties: Properties,
    /// Where to begin without a commit.
    pub start: Start,
    /// What to do when the committed offset is gone.
    pub on_lost_offsets: LostOffsets,
}

/// librdkafka properties. `Debug` hides the values that are secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(pub BTreeMap<String, String>);

impl fmt::Debug for Properties {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(name, value)| {
            let value = if is_secret(name) { "(hidden)" } else { value };
            (name, value)
        });
        out.debug_map().entries(shown).finish()
    }
}

/// Passwords, client secrets, private keys in PEM, and JAAS-like configurations that contain them.
fn is_secret(property: &str) -> bool {
    let property = property.to_lowercase();
    [
        "password",
        "secret",
        "key.pem",
        "oauthbearer.config",
        "jaas",
    ]
    .iter()
    .any(|part| property.contains(part))
}

/// Where to begin when no commit names an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest event that Kafka still holds.
    Earliest,
    /// With what arrives from now on.
    Latest,
}

/// What to do when Kafka no longer holds the committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostOffsets {
    /// Stop: events were lost, `reconcile` makes up for them.
    Fail,
    /// Go on from the earliest event.
    Earliest,
}

/// The object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3 {
    /// `http(s)://…` of a store other than AWS.
    pub endpoint: Option<String>,
    /// Region, if not left to the AWS chain.
    pub region: Option<String>,
    /// Bucket in the path rather than in the host name.
    pub path_style: bool,
    /// The only buckets that are fetched from; never empty.
    pub buckets: Vec<String>,
}

/// Where the result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// `s3://bucket/prefix` or a folder.
    pub uri: String,
    /// Rows of one Parquet file at most.
    pub rows_per_file: usize,
    /// Bytes of a file's rows at most.
    pub file_bytes: u64,
}

/// What the table's columns are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// `s3://bucket/key`.
    pub path: String,
    /// The label.
    pub label: String,
    /// The network's features.
    pub features: String,
    /// The principal components.
    pub reduced_features: String,
    /// The standardised features; without a name there is no such column.
    pub scaled_features: Option<String>,
    /// The classifier's label; without a name here there is no such column.
    pub predicted_label: Option<String>,
    /// How likely that is; without a name there is no such column.
    pub confidence: Option<String>,
    /// The number of the image's cluster; without a name there is no such column.
    pub cluster: Option<String>,
    /// The image's bytes; without a name there is no such column.
    pub content: Option<String>,
}

/// The network that turns pixels into features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backbone {
    /// `resnet50` and so on.
    pub name: String,
    /// Its weights.
    pub weights: Weights,
    /// Arithmetic of the convolutions.
    pub precision: Precision,
    /// Instructions of the convolutions, if not the fastest.
    pub kernels: Option<Family>,
    /// From levels to the network's input, if not what the weights were made for.
    pub preprocessing: Option<Preprocessing>,
    /// From the last maps to features.
    pub pooling: Pooling,
    /// Side of the input in pixels, if not the network's own.
    pub input_side: Option<usize>,
    /// How an image becomes square.
    pub fit: Fit,
    /// How it is scaled.
    pub filter: Filter,
}

/// Where weights come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Pretrained, from the cache, by name.
    Named(String),
    /// A local safetensors file; it existed when the configuration was read.
    File(PathBuf),
    /// Random, from this seed.
    Random(u64),
}

/// What makes features fewer before they are summed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// Nothing.
    None,
    /// Random signs.
    RandomProjection {
        /// How many features remain, 1 to 4,096.
        features: usize,
        /// Of the signs.
        seed: u64,
    },
    /// Fully connected layers from a safetensors file.
    Dense(PathBuf),
}

/// Standardisation and principal components.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projection {
    /// How many to keep.
    pub components: Components,
    /// Correlation rather than covariance.
    pub standardise: bool,
    /// Delta degrees of freedom of the standard deviation, 0 or 1.
    pub ddof: u64,
    /// Whether means are subtracted.
    pub center: bool,
    /// Whether components are divided by their standard deviations.
    pub whiten: bool,
}

/// How many components to keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Components {
    /// This many, at least 1.
    Count(usize),
    /// As many as explain this share of the variance; between 0 and 1, exclusive.
    Ratio(f64),
}

/// Linear discriminant analysis of the labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Classifier {
    /// Whether there is one.
    pub enabled: bool,
    /// Of the scatter within labels.
    pub shrinkage: Shrinkage,
    /// With more labels there is none.
    pub max_labels: usize,
}

/// How far the scatter within labels is moved towards a sphere's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shrinkage {
    /// Above 0, at most 1.
    By(f64),
    /// By an estimate.
    LedoitWolf,
}

/// When a version is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// After this time, …
    pub interval_ms: u64,
    /// … or this many changed rows.
    pub rows: u64,
    /// After rows of so many bytes.
    pub bytes: u64,
    /// Whether the end of the stream brings every row under the final projection.
    pub reproject_at_end: bool,
}

/// Bounds; all at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest object that is fetched.
    pub image_bytes: u64,
    /// Largest width × height that is decoded.
    pub image_pixels: u64,
    /// Largest width or height that is decoded, in pixels.
    pub image_dimension: u64,
    /// Objects that one worker's keys may have under way, wherever they are fetched.
    pub fetches_in_flight: usize,
    /// Fetched bytes that wait, per process; at least `image_bytes`.
    pub fetch_bytes_in_flight: u64,
    /// Events that one worker reads at a time.
    pub events_per_round: usize,
    /// Unfinished rounds before reading pauses.
    pub rounds_in_flight: usize,
    /// How long a failing fetch is retried.
    pub retry_ms: u64,
    /// Most labels of live rows.
    pub labels: usize,
    /// How long a deleted key is remembered.
    pub tombstone_retention_ms: u64,
}

/// Who may see metrics and the live page, and who is told of epochs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observe {
    /// Who shows it may.
    pub token: Option<Token>,
    /// `http(s)://host:port` of a collector of traces.
    pub otlp_endpoint: Option<String>,
}

/// A secret. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(hidden)")
    }
}

/// What is said on standard error.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// For whom.
    pub format: LogFormat,
    /// Which lines.
    pub filter: Targets,
}

/// For whom the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    Auto,
    /// A person.
    Human,
    /// A log collector.
    Json,
}

impl Config {
    /// The configuration of a file, overridden by `environment` (see [`environment`]).
    ///
    /// # Errors
    /// [`ConfigError`]: unreadable, no TOML, or every problem of its content at once.
    pub fn load(
        path: &Path,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Said::load(path, environment)?.resolve()
    }

    /// As [`Config::load`], from a text.
    ///
    /// # Errors
    /// [`ConfigError`]: no TOML, or every problem of its content at once.
    pub fn parse(
        text: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Said::parse(text, environment)?.resolve()
    }

    /// An annotated configuration to start from: required keys with samples, all others commented out.
    pub fn example() -> String {
        render::example()
    }

    /// Every key as a markdown table.
    pub fn docs() -> String {
        render::docs()
    }
}

/// The process's environment; variables that are not Unicode are left out, as no key can mean them.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
