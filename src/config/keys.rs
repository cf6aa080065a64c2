//! The one definition of every configuration key.
//!
//! Parsing, environment overrides, `config example` and the documentation all read this table, so none of them can
//! disagree with another. Defaults and samples are TOML text and go through the same parser as a user's file.

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Any text that is never repeated, in errors or elsewhere.
    Secret,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number within these bounds.
    Count {
        /// The smallest number that makes sense.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A time in milliseconds, at least 1; text with a unit (`"30s"`) is accepted as well.
    Milliseconds,
    /// `true` or `false`.
    Flag,
    /// A list of texts.
    List,
    /// A table of free names, each with a text, a number or a boolean.
    Properties,
    /// A column's name, or `false` where there is to be no such column.
    Column,
    /// A number above 0, at most 1, or one of these words.
    ShareOr(&'static [&'static str]),
    /// How many components to keep: a whole number, or the share of variance they must explain, between 0 and 1.
    Components,
}

impl Kind {
    /// The kind in words, as errors and the documentation say it.
    pub fn describe(self) -> String {
        match self {
            Kind::Text | Kind::Secret => "text".into(),
            Kind::Column => "a name, or false for none".into(),
            Kind::Choice(words) => either(words),
            Kind::Count { min, max: u64::MAX } => format!("a whole number, at least {min}"),
            Kind::Count { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Milliseconds => "milliseconds, or text such as \"30s\", \"5m\", \"7d\"".into(),
            Kind::Flag => "true or false".into(),
            Kind::List => "a list of texts".into(),
            Kind::Properties => "a table".into(),
            Kind::ShareOr(words) => format!("a number above 0, at most 1, or {}", either(words)),
            Kind::Components => {
                "a whole number, at least 1, or a share of variance between 0 and 1".into()
            }
        }
    }
}

fn either(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    quoted.join(" or ")
}

/// What holds when nobody says anything. The text is TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsaid {
    /// It is an error; the text is a sample.
    Required(&'static str),
    /// This value.
    Default(&'static str),
    /// Something that depends on other keys, as the key's line of documentation says; the text is a sample.
    Derived(&'static str),
}

impl Unsaid {
    /// A value of the right kind, as TOML: the default, or a sample where there is none.
    pub fn sample(self) -> &'static str {
        match self {
            Unsaid::Required(text) | Unsaid::Default(text) | Unsaid::Derived(text) => text,
        }
    }
}

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The table it stands in.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds without it.
    pub unsaid: Unsaid,
    /// What it does, in one line.
    pub doc: &'static str,
}

impl Key {
    /// `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that overrides it.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}__{}", self.section, self.name).to_uppercase()
    }
}

/// What every overriding environment variable begins with.
pub const VARIABLE_PREFIX: &str = "EIGENFLOW__";

/// The sections in the order of the tour, each with what it is about.
pub const SECTIONS: &[(&str, &str)] = &[
    ("kafka", "Where the events of the uploads arrive."),
    ("s3", "The object store that holds the images."),
    ("table", "Where the result goes."),
    (
        "columns",
        "What the table's columns are called. All files of a table have the same.",
    ),
    ("select", "Which objects are rows, by their keys."),
    ("backbone", "The network that turns pixels into features."),
    (
        "head",
        "What makes features fewer before they are summed: needed beyond 4,096.",
    ),
    ("label", "How an object's key becomes its label."),
    (
        "projection",
        "Standardisation and principal components of the features.",
    ),
    (
        "classifier",
        "A classifier of the labels from the same sums: linear discriminant analysis.",
    ),
    ("publish", "When a new version of the table is committed."),
    (
        "limits",
        "Bounds on what one image, one worker or one process may take.",
    ),
    (
        "observe",
        "Who may see metrics and the live page, where `--listen` shows them; who is told of epochs.",
    ),
    ("log", "What is said on standard error."),
];

const fn at_least(min: u64) -> Kind {
    Kind::Count { min, max: u64::MAX }
}

const fn key(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    unsaid: Unsaid,
    doc: &'static str,
) -> Key {
    Key {
        section,
        name,
        kind,
        unsaid,
        doc,
    }
}

use Unsaid::{Default, Derived, Required};

/// Every key, in the order of [`SECTIONS`].
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("kafka", "brokers", Kind::Text, Required("\"localhost:9092\""), "Bootstrap brokers, \"host:port,host:port\"."),
    key("kafka", "topic", Kind::Text, Required("\"uploads\""), "The topic of the object events."),
    key("kafka", "group", Kind::Text, Default("\"eigenflow\""), "Consumer group in which progress is shown to the ordinary lag tools; the table's commit is what counts."),
    key("kafka", "properties", Kind::Properties, Default("{}"), "Any librdkafka property, passed through: security.protocol, sasl.username, ssl.ca.location, …"),
    key("kafka", "start", Kind::Choice(&["earliest", "latest"]), Default("\"earliest\""), "Where to begin when no commit of the table names an offset."),
    key("kafka", "on_lost_offsets", Kind::Choice(&["fail", "earliest"]), Default("\"fail\""), "When Kafka no longer holds the committed offset: stop, or go on from the earliest and miss what was dropped."),

    key("s3", "endpoint", Kind::Text, Derived("\"http://localhost:9000\""), "Address of an S3-compatible store; file:///folder for folders that stand for buckets; without it AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, then AWS itself."),
    key("s3", "region", Kind::Text, Derived("\"eu-central-1\""), "Region; without it the standard AWS chain decides."),
    key("s3", "path_style", Kind::Flag, Derived("true"), "Bucket in the path, not in the host name; without it true exactly when an endpoint is set."),
    key("s3", "buckets", Kind::List, Required("[\"landing\"]"), "Only objects of these buckets are ever fetched."),

    key("table", "uri", Kind::Text, Required("\"s3://warehouse/eigenflow/table\""), "The Delta table: s3://bucket/prefix, or a folder. Rejects and state lie beside it, so no other table may."),
    key("table", "rows_per_file", at_least(1), Default("10000"), "Rows of one Parquet file at most."),
    key("table", "file_bytes", Kind::Count { min: 1, max: 1 << 30 }, Default("134217728"), "Bytes of a file's rows at most, before compression; a single row may be larger."),

    key("columns", "path", Kind::Text, Default("\"path\""), "s3://bucket/key."),
    key("columns", "label", Kind::Text, Default("\"label\""), "The label."),
    key("columns", "features", Kind::Text, Default("\"features\""), "The network's features."),
    key("columns", "reduced_features", Kind::Text, Default("\"reduced_features\""), "The principal components."),
    key("columns", "scaled_features", Kind::Column, Derived("\"scaled_features\""), "The standardised features; without a name there is no such column."),
    key("columns", "predicted_label", Kind::Column, Derived("\"predicted_label\""), "The label that a classifier gives the image before it learns it; without a word here it is there, under this name, where there are a classifier and a rule of labels. classifier_version comes with it, or with confidence."),
    key("columns", "confidence", Kind::Column, Derived("\"confidence\""), "How likely the classifier holds that label; there as predicted_label is."),
    key("columns", "cluster", Kind::Column, Derived("\"cluster\""), "The k-means cluster of the image, by the reproject that last met it; without a name there is no such column. clustering_version comes with it."),
    key("columns", "content", Kind::Column, Derived("\"content\""), "The image's bytes; without a name there is no such column."),

    key("select", "include", Kind::List, Default("[]"), "Globs: only objects whose keys match one are rows; none means all. * ends at a folder, ** does not."),
    key("select", "exclude", Kind::List, Default("[]"), "Globs: objects whose keys match one are no rows."),
    key("select", "per_label", at_least(0), Default("0"), "Of each label, only so many objects, the first by key, are announced by replay, reconcile and demo, counted below the prefix that they are given; 0: all."),

    key("backbone", "name", Kind::Choice(&["pixels", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "mobilenet_v2", "vgg16"]), Default("\"resnet50\""), "The network."),
    key("backbone", "weights", Kind::Text, Derived("\"resnet50\""), "Name of cached weights, path of a .safetensors file, or \"random:SEED\"; without it the network's name."),
    key("backbone", "precision", Kind::Choice(&["f32", "bf16", "int8"]), Default("\"f32\""), "Arithmetic of the convolutions. bf16 needs AMX, which makes it several times as fast, or AVX512-BF16, by which it is faster or slower than f32: a job says where it is slower. int8 gives the same features on every CPU, and calibrates the weights at their first use; the ResNets and vgg16 have it."),
    key("backbone", "kernels", Kind::Choice(&["auto", "amx", "avx512", "avx2", "portable"]), Default("\"auto\""), "Instructions that the convolutions are made of: auto takes the fastest that the CPU has in the precision. Features' bits depend on them (but for int8), so all processes of a job, and whoever goes on with a table, need the same: where CPUs differ, name what all of them have."),
    key("backbone", "preprocessing", Kind::Choice(&["torchvision", "caffe", "tf"]), Derived("\"torchvision\""), "From levels to the network's input: mean and deviation of RGB (torchvision), BGR minus the mean (caffe: Keras' own ResNet50 and VGG16), -1 to 1 (tf: Keras' own MobileNetV2); without it what the weights were made for."),
    key("backbone", "pooling", Kind::Choice(&["avg", "max", "flatten"]), Default("\"avg\""), "From the last maps to features: mean or maximum of each channel, or all of them by row, column, channel as Keras flattens."),
    key("backbone", "input_side", Kind::Count { min: 32, max: 2048 }, Derived("224"), "Side of the square input in pixels; without it the network's own."),
    key("backbone", "fit", Kind::Choice(&["stretch", "center-crop"]), Default("\"stretch\""), "How an image becomes square."),
    key("backbone", "filter", Kind::Choice(&["bilinear", "bicubic", "nearest"]), Default("\"bilinear\""), "How an image is scaled, to the levels of Pillow's filter of that name: bicubic is Image.resize without a word, nearest Keras' load_img without a word."),
    key("backbone", "crop_resize", Kind::Count { min: 32, max: 4096 }, Default("256"), "The shorter side in pixels before the crop, for fit = \"center-crop\"."),

    key("head", "kind", Kind::Choice(&["none", "random-projection", "dense"]), Default("\"none\""), "Nothing, random signs from a seed (Achlioptas 2003), or fully connected layers from a file."),
    key("head", "features", Kind::Count { min: 1, max: 4096 }, Default("512"), "Features that remain, for kind = \"random-projection\"."),
    key("head", "seed", at_least(0), Default("1"), "Which signs, for kind = \"random-projection\"."),
    key("head", "weights", Kind::Text, Derived("\"./head.safetensors\""), "Layers for kind = \"dense\", each followed by ReLU: dense.0.kernel [inputs, outputs] and dense.0.bias [outputs], dense.1 and so on, f32."),

    key("label", "rule", Kind::Choice(&["parent", "none", "regex"]), Default("\"parent\""), "Label from the key: the parent folder, nothing, or what a pattern captures."),
    key("label", "pattern", Kind::Text, Derived("\"^([^/]+)/\""), "Regular expression with one capture, for rule = \"regex\"."),

    key("projection", "components", Kind::Components, Default("50"), "Components to keep: how many (50), or the share of variance to explain (0.95)."),
    key("projection", "standardise", Kind::Flag, Default("true"), "Divide each feature by its standard deviation, too, not only centre it."),
    key("projection", "ddof", Kind::Count { min: 0, max: 1 }, Default("1"), "Delta degrees of freedom of the standard deviation: 1 as Spark, 0 as scikit-learn."),
    key("projection", "center", Kind::Flag, Default("true"), "Subtract the means. Spark's PCA does not, which is the same for standardised features up to a constant."),
    key("projection", "whiten", Kind::Flag, Default("false"), "Divide each component by its standard deviation, so that all have variance 1."),

    key("classifier", "enabled", Kind::Flag, Default("true"), "Publish a classifier with every projection, and count how often the one before knew a new image's label."),
    key("classifier", "shrinkage", Kind::ShareOr(&["ledoit-wolf"]), Default("0.01"), "How far the scatter within labels is moved towards a sphere's, as scikit-learn's LinearDiscriminantAnalysis(solver=\"lsqr\", shrinkage=0.01) does; or by the estimate of Ledoit and Wolf, Rao-Blackwellised, for which rows should scatter normally about their labels' means."),
    key("classifier", "max_labels", Kind::Count { min: 2, max: 65_536 }, Default("1000"), "With more labels than this there is no classifier: it holds as many numbers of each as there are features."),

    key("publish", "interval_ms", Kind::Milliseconds, Default("30000"), "A version is published after this time, …"),
    key("publish", "rows", at_least(1), Default("20000"), "… or after this many changed rows, …"),
    key("publish", "bytes", at_least(1), Default("268435456"), "… or after rows of so many bytes, which wait in memory."),
    key("publish", "reproject_at_end", Kind::Flag, Default("true"), "At the end of the stream, rewrite every row under the final projection."),

    key("limits", "image_bytes", at_least(1), Default("33554432"), "Largest object that is fetched."),
    key("limits", "image_pixels", at_least(1), Default("50000000"), "Largest width × height that is decoded."),
    key("limits", "image_dimension", at_least(1), Default("30000"), "Largest width or height that is decoded, in pixels."),
    key("limits", "fetches_in_flight", at_least(1), Default("16"), "Objects that one worker's keys may have under way, wherever they are fetched."),
    key("limits", "fetch_bytes_in_flight", at_least(1), Default("134217728"), "Fetched bytes that wait for their worker, per process; at least image_bytes."),
    key("limits", "events_per_round", at_least(1), Default("4096"), "Events that one worker reads for a round at most."),
    key("limits", "rounds_in_flight", at_least(1), Default("8"), "Rounds that may be unfinished before no more events are read."),
    key("limits", "retry_ms", Kind::Milliseconds, Default("600000"), "How long a failing fetch is retried. Then the object is rejected if another of its bucket can be read (access-denied, unavailable), or else the job stops."),
    key("limits", "labels", at_least(1), Default("10000"), "Most labels of live rows: each takes 16 bytes a feature of the first process's memory and of every version's moments. A job that would have more ends."),
    key("limits", "tombstone_retention_ms", Kind::Milliseconds, Default("604800000"), "How long a deleted key is remembered against late events."),

    key("observe", "token", Kind::Secret, Derived("\"a-long-random-text\""), "Bearer token for /metrics and the page's data; rather say it as EIGENFLOW__OBSERVE__TOKEN. Without it only requests from this machine see the page."),
    key("observe", "otlp_endpoint", Kind::Text, Derived("\"http://localhost:4318\""), "An OpenTelemetry collector that takes OTLP over HTTP: it is told where the time of each epoch went, as JSON at /v1/traces below this address; without it nothing is traced."),

    key("log", "format", Kind::Choice(&["auto", "human", "json"]), Default("\"auto\""), "auto: human on a terminal, json elsewhere."),
    key("log", "filter", Kind::Text, Default("\"info,delta_kernel=warn\""), "Which lines, by level and module: \"info,eigenflow=debug\"."),
];

/// The key of this section and name.
pub fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter()
        .find(|key| key.section == section && key.name == name)
}

/// The known word with the smallest edit distance to an unknown one.
pub(super) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.min_by_key(|word| edit_distance(unknown, word))
}

/// Levenshtein's distance, one row at a time.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
