//! The second stage: what it means. Defaults are filled in, and what only holds between values is checked.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};
use url::Url;

use super::error::ConfigError;
use super::keys::{KEYS, Key, Unsaid};
use super::said::{Said, Value};
use super::{
    Backbone, Classifier, Columns, Components, Config, Globs, Head, Kafka, LabelPattern, LabelRule,
    Limits, Log, LogFormat, LostOffsets, Observe, Projection, Properties, Publish, S3, Select,
    Shrinkage, Start, Table, Token, Weights,
};
use crate::backbone::Precision;
use crate::image::Fit;

/// Kafka properties that are eigenflow's own to set, each with the place to say them instead.
const OWN_PROPERTIES: &[(&str, &str)] = &[
    ("bootstrap.servers", "`kafka.brokers` sets it"),
    ("metadata.broker.list", "`kafka.brokers` sets it"),
    ("group.id", "`kafka.group` sets it"),
    (
        "auto.offset.reset",
        "`kafka.start` and `kafka.on_lost_offsets` decide that",
    ),
    ("enable.auto.commit", "offsets are committed with the table"),
];

impl Said {
    /// The configuration that was meant.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every problem, of the first stage as well.
    pub fn resolve(mut self) -> Result<Config, ConfigError> {
        self.hear_defaults(KEYS.iter());
        let config = Config {
            kafka: self.kafka(),
            s3: self.s3(),
            table: self.table(),
            columns: self.columns(),
            select: self.select(),
            backbone: self.backbone(),
            head: self.head(),
            label: self.label(),
            projection: self.projection(),
            classifier: self.classifier(),
            publish: self.publish(),
            limits: self.limits(),
            observe: self.observe(),
            log: self.log(),
        };
        if self.problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Invalid(self.problems))
        }
    }

    /// As [`resolve`](Self::resolve), of what makes features alone: the other sections' keys may be absent.
    ///
    /// # Errors
    /// As of all.
    pub fn resolve_network(mut self) -> Result<(Backbone, Head), ConfigError> {
        let network = |key: &&Key| ["backbone", "head"].contains(&key.section);
        self.hear_defaults(KEYS.iter().filter(network));
        let network = (self.backbone(), self.head());
        match self.problems.is_empty() {
            true => Ok(network),
            false => Err(ConfigError::Invalid(self.problems)),
        }
    }

    /// A key that was said but not understood counts as missing here: it is reported once already.
    fn hear_defaults<'a>(&mut self, keys: impl Iterator<Item = &'a Key>) {
        for key in keys {
            let path = key.path();
            if self.statements.contains_key(&path) {
                continue;
            }
            match key.unsaid {
                Unsaid::Default(text) => self.set_toml(key, text),
                Unsaid::Required(sample) if !self.mentioned(&path) => {
                    let message = format!("is required, such as {} = {sample}", key.name);
                    self.complain(&path, message);
                }
                _ => {}
            }
        }
    }

    fn mentioned(&self, path: &str) -> bool {
        let quoted = format!("`{path}`");
        self.problems.iter().any(|p| p.message.starts_with(&quoted))
    }

    fn kafka(&mut self) -> Kafka {
        let brokers = self.text("kafka.brokers");
        for broker in brokers.split(',').filter(|_| !brokers.is_empty()) {
            // librdkafka takes a protocol in front of each.
            let (_, address) = broker.split_once("://").unwrap_or(("", broker));
            if !is_host_and_port(address.trim()) {
                self.wrong(
                    "kafka.brokers",
                    &format!("takes \"host:port,host:port\"; {broker:?} is not host:port"),
                );
            }
        }
        let topic = self.text("kafka.topic");
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if topic.len() > 249 || !topic.chars().all(legal) {
            self.wrong(
                "kafka.topic",
                "takes at most 249 letters, digits, '.', '_' and '-'",
            );
        }
        let properties = match self.value("kafka.properties") {
            Some(Value::Properties(properties)) => properties,
            _ => Default::default(),
        };
        for (name, instead) in OWN_PROPERTIES {
            if properties.contains_key(*name) {
                self.wrong(
                    "kafka.properties",
                    &format!("cannot hold {name}: {instead}"),
                );
            }
        }
        Kafka {
            brokers,
            topic,
            group: self.text("kafka.group"),
            properties: Properties(properties),
            start: match self.text("kafka.start").as_str() {
                "latest" => Start::Latest,
                _ => Start::Earliest,
            },
            on_lost_offsets: match self.text("kafka.on_lost_offsets").as_str() {
                "earliest" => LostOffsets::Earliest,
                _ => LostOffsets::Fail,
            },
        }
    }

    fn s3(&mut self) -> S3 {
        let endpoint = self.optional_text("s3.endpoint");
        if let Some(url) = &endpoint
            && !has_scheme(url, &["http://", "https://", "file:///"])
        {
            self.wrong(
                "s3.endpoint",
                "takes http://host:port, https://host or file:///folder",
            );
        }
        let buckets = match self.value("s3.buckets") {
            Some(Value::List(buckets)) => {
                if buckets.is_empty() {
                    self.wrong(
                        "s3.buckets",
                        "takes at least one bucket: no other is ever fetched from",
                    );
                }
                buckets
            }
            _ => Vec::new(),
        };
        for bucket in &buckets {
            if !is_bucket(bucket) {
                let message = format!(
                    "takes names of buckets, without s3:// or a prefix; {bucket:?} cannot be one"
                );
                self.wrong("s3.buckets", &message);
            }
        }
        S3 {
            path_style: match self.value("s3.path_style") {
                Some(Value::Flag(flag)) => flag,
                _ => endpoint.is_some(),
            },
            endpoint,
            region: self.optional_text("s3.region"),
            buckets,
        }
    }

    fn table(&mut self) -> Table {
        let uri = self.text("table.uri");
        let acceptable = match uri.split_once("://") {
            Some(("s3", rest)) => rest.split_once('/').is_some_and(|(bucket, prefix)| {
                is_bucket(bucket) && !prefix.trim_matches('/').is_empty()
            }),
            Some(_) => false,
            // No shell has been there.
            None => !uri.starts_with('~'),
        };
        if !acceptable {
            self.wrong(
                "table.uri",
                "takes s3://bucket/prefix, or the path of a folder (~ is not expanded)",
            );
        }
        Table {
            uri,
            rows_per_file: self.size("table.rows_per_file"),
            file_bytes: self.count("table.file_bytes"),
        }
    }

    fn backbone(&mut self) -> Backbone {
        let name = self.text("backbone.name");
        let input_side = match self.value("backbone.input_side") {
            Some(Value::Count(side)) => usize::try_from(side).ok(),
            _ => None,
        };
        let resize = u32::try_from(self.count("backbone.crop_resize")).unwrap_or(u32::MAX);
        let fit = match self.text("backbone.fit").as_str() {
            "center-crop" => Fit::CenterCrop { resize },
            _ => Fit::Stretch,
        };
        if let (Fit::CenterCrop { .. }, Some(side)) = (fit, input_side)
            && side > resize as usize
        {
            let message = format!("must be at least `backbone.input_side`, {side}");
            self.wrong("backbone.crop_resize", &message);
        }
        let precision = self.chosen("backbone.precision").unwrap_or_default();
        if let (Precision::Int8, "mobilenet_v2" | "pixels") = (precision, name.as_str()) {
            let message = format!(
                "can't be int8 for {name}: the ResNets and vgg16 have it; choose f32 or bf16"
            );
            self.wrong("backbone.precision", &message);
        }
        Backbone {
            weights: self.weights(&name),
            name,
            precision,
            kernels: match self.text("backbone.kernels").as_str() {
                "auto" => None,
                _ => self.chosen("backbone.kernels"),
            },
            preprocessing: self.chosen("backbone.preprocessing"),
            pooling: self.chosen("backbone.pooling").unwrap_or_default(),
            input_side,
            fit,
            filter: self.chosen("backbone.filter").unwrap_or_default(),
        }
    }

    fn weights(&mut self, backbone: &str) -> Weights {
        let Some(text) = self.optional_text("backbone.weights") else {
            return Weights::Named(backbone.to_owned());
        };
        if let Some(seed) = text.strip_prefix("random:") {
            return Weights::Random(seed.parse().unwrap_or_else(|_| {
                self.wrong(
                    "backbone.weights",
                    "takes a whole number after random:, such as \"random:1\"",
                );
                0
            }));
        }
        if !text.contains(['/', '\\']) && !text.ends_with(".safetensors") {
            return Weights::Named(text);
        }
        let path = PathBuf::from(&text);
        if !text.ends_with(".safetensors") {
            self.wrong(
                "backbone.weights",
                &format!("takes a .safetensors file; {text:?} is none"),
            );
        } else if !path.is_file() {
            self.wrong(
                "backbone.weights",
                &format!("names a file that is not there: {text:?}"),
            );
        }
        Weights::File(path)
    }

    fn head(&mut self) -> Head {
        let weights = self.optional_text("head.weights");
        match (self.text("head.kind").as_str(), weights) {
            ("random-projection", _) => Head::RandomProjection {
                features: self.size("head.features"),
                seed: self.count("head.seed"),
            },
            ("dense", Some(path)) => {
                if !path.ends_with(".safetensors") {
                    let message = format!("takes a .safetensors file; {path:?} is none");
                    self.wrong("head.weights", &message);
                }
                Head::Dense(path.into())
            }
            ("dense", None) => {
                if !self.mentioned("head.weights") {
                    let message = "is required with kind = \"dense\", such as weights = \"./head.safetensors\"";
                    self.complain("head.weights", message.into());
                }
                Head::None
            }
            _ => Head::None,
        }
    }

    fn label(&mut self) -> LabelRule {
        let pattern = self.optional_text("label.pattern");
        match (self.text("label.rule").as_str(), pattern) {
            ("regex", Some(pattern)) => match LabelPattern::new(&pattern) {
                Ok(pattern) => LabelRule::Regex(pattern),
                Err(reason) => {
                    let message = format!("takes a regular expression with one capture: {reason}");
                    self.wrong("label.pattern", &message);
                    LabelRule::None
                }
            },
            ("regex", None) => {
                if !self.mentioned("label.pattern") {
                    let message =
                        "is required with rule = \"regex\", such as pattern = '^([^/]+)/'";
                    self.complain("label.pattern", message.into());
                }
                LabelRule::None
            }
            ("none", _) => LabelRule::None,
            _ => LabelRule::Parent,
        }
    }

    fn columns(&mut self) -> Columns {
        let classifies = self.flag("classifier.enabled");
        for column in ["columns.predicted_label", "columns.confidence"] {
            if self.optional_text(column).is_some() && !classifies {
                self.wrong(column, "needs `classifier.enabled = true`");
            }
        }
        let predicts = classifies && self.text("label.rule") != "none";
        let predicted = |column: &str, name: &str| match self.value(column) {
            None => predicts.then(|| name.to_owned()),
            Some(_) => self.optional_text(column),
        };
        Columns {
            path: self.text("columns.path"),
            label: self.text("columns.label"),
            features: self.text("columns.features"),
            reduced_features: self.text("columns.reduced_features"),
            scaled_features: self.optional_text("columns.scaled_features"),
            predicted_label: predicted("columns.predicted_label", "predicted_label"),
            confidence: predicted("columns.confidence", "confidence"),
            cluster: self.optional_text("columns.cluster"),
            content: self.optional_text("columns.content"),
        }
    }

    fn select(&mut self) -> Select {
        Select {
            include: self.globs("select.include"),
            exclude: self.globs("select.exclude"),
            per_label: self.count("select.per_label"),
        }
    }

    fn globs(&mut self, path: &str) -> Globs {
        let mut globs = Globs::default();
        for glob in self.texts(path) {
            if let Err(error) = globs.add(&glob) {
                let message = format!("takes globs; {glob:?} is none: {}", error.kind());
                self.wrong(path, &message);
            }
        }
        globs
    }

    fn projection(&mut self) -> Projection {
        Projection {
            components: match self.value("projection.components") {
                Some(Value::Ratio(share)) => Components::Ratio(share),
                _ => Components::Count(self.size("projection.components")),
            },
            standardise: self.flag("projection.standardise"),
            ddof: self.count("projection.ddof"),
            center: self.flag("projection.center"),
            whiten: self.flag("projection.whiten"),
        }
    }

    fn classifier(&mut self) -> Classifier {
        Classifier {
            enabled: self.flag("classifier.enabled"),
            shrinkage: match self.value("classifier.shrinkage") {
                Some(Value::Ratio(share)) => Shrinkage::By(share),
                _ => Shrinkage::LedoitWolf,
            },
            max_labels: self.size("classifier.max_labels"),
        }
    }

    fn publish(&mut self) -> Publish {
        Publish {
            interval_ms: self.count("publish.interval_ms"),
            rows: self.count("publish.rows"),
            bytes: self.count("publish.bytes"),
            reproject_at_end: self.flag("publish.reproject_at_end"),
        }
    }

    fn limits(&mut self) -> Limits {
        let limits = Limits {
            image_bytes: self.count("limits.image_bytes"),
            image_pixels: self.count("limits.image_pixels"),
            image_dimension: self.count("limits.image_dimension"),
            fetches_in_flight: self.size("limits.fetches_in_flight"),
            fetch_bytes_in_flight: self.count("limits.fetch_bytes_in_flight"),
            events_per_round: self.size("limits.events_per_round"),
            rounds_in_flight: self.size("limits.rounds_in_flight"),
            retry_ms: self.count("limits.retry_ms"),
            labels: self.size("limits.labels"),
            tombstone_retention_ms: self.count("limits.tombstone_retention_ms"),
        };
        if limits.fetch_bytes_in_flight < limits.image_bytes {
            let message = format!(
                "must be at least `limits.image_bytes`, {}, or such an image could never be fetched",
                limits.image_bytes
            );
            self.wrong("limits.fetch_bytes_in_flight", &message);
        }
        limits
    }

    fn observe(&mut self) -> Observe {
        let token = self.optional_text("observe.token");
        if token
            .as_ref()
            .is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            // It travels in a header.
            self.wrong(
                "observe.token",
                "takes ASCII letters, digits and signs, without spaces",
            );
        }
        let otlp_endpoint = self.optional_text("observe.otlp_endpoint");
        if otlp_endpoint.as_ref().is_some_and(|url| !is_collector(url)) {
            self.wrong(
                "observe.otlp_endpoint",
                "takes http://host:port or https://host, without a name, a password or a query",
            );
        }
        Observe {
            token: token.map(Token),
            otlp_endpoint,
        }
    }

    fn log(&mut self) -> Log {
        let text = self.text("log.filter");
        let directives = text.split(',').map(str::trim);
        let directives: Vec<_> = directives.filter(|said| !said.is_empty()).collect();
        let level =
            |directive: &&&str| directive.contains('=') || directive.parse::<LevelFilter>().is_ok();
        if let Some(bare) = directives.iter().find(|directive| !level(directive)) {
            // It would be taken for a module, whose lines of all levels are shown, and nobody else's.
            let message = format!(
                "takes levels (error, warn, info, debug, trace, off), of a module as module=level; {bare:?} is neither"
            );
            self.wrong("log.filter", &message);
        }
        let filter = directives.join(",").parse().unwrap_or_else(|error| {
            let message = format!("takes a filter such as \"info,eigenflow=debug\": {error}");
            self.wrong("log.filter", &message);
            Targets::default()
        });
        Log {
            format: match self.text("log.format").as_str() {
                "human" => LogFormat::Human,
                "json" => LogFormat::Json,
                _ => LogFormat::Auto,
            },
            filter,
        }
    }

    /// What a word stands for; none where none is said.
    fn chosen<T: FromStr<Err: Display>>(&mut self, path: &str) -> Option<T> {
        let parsed = self.optional_text(path)?.parse();
        let problem = |error| self.wrong(path, &format!("is not to be had: {error}"));
        parsed.map_err(problem).ok()
    }

    /// Reports a value that was understood, but cannot be meant.
    fn wrong(&mut self, path: &str, message: &str) {
        let place = match self.statements.get(path) {
            Some(statement) => statement.place.clone(),
            None => path.to_owned(),
        };
        self.complain(&place, format!("`{path}` {message}"));
    }

    fn value(&self, path: &str) -> Option<Value> {
        self.statements.get(path).map(|s| s.value.clone())
    }

    fn optional_text(&self, path: &str) -> Option<String> {
        match self.value(path) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    // The accessors below stand in with an empty value only where a problem is on record already, and a configuration
    // with problems is never returned.

    fn text(&self, path: &str) -> String {
        self.optional_text(path).unwrap_or_default()
    }

    fn texts(&self, path: &str) -> Vec<String> {
        match self.value(path) {
            Some(Value::List(texts)) => texts,
            _ => Vec::new(),
        }
    }

    fn count(&self, path: &str) -> u64 {
        match self.value(path) {
            Some(Value::Count(count)) => count,
            _ => 0,
        }
    }

    fn size(&self, path: &str) -> usize {
        usize::try_from(self.count(path)).unwrap_or(usize::MAX)
    }

    fn flag(&self, path: &str) -> bool {
        matches!(self.value(path), Some(Value::Flag(true)))
    }
}

/// Whether a path can be put behind this address, and the whole be written into a log.
fn is_collector(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        ["http", "https"].contains(&url.scheme())
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

/// Whether it is one of these schemes and something behind it.
pub(crate) fn has_scheme(url: &str, schemes: &[&str]) -> bool {
    let mut schemes = schemes.iter();
    let rest = schemes.find_map(|scheme| url.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty())
}

/// Whether it is `host:port` or `[v6]:port`; who it is need not be known.
pub(crate) fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let plain = !host.is_empty() && !host.contains([':', '/', ' ', '\t', '[', ']', '#']);
    (bracketed || plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Whether S3 could have a bucket of this name (older buckets may have capitals and underscores).
fn is_bucket(name: &str) -> bool {
    (3..=255).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
}
