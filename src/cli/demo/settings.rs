//! What the demo's job is told: by a job's file, if one is given, and over it by the demo, whose servers are its own.

use std::path::PathBuf;

use super::{BUCKET, Demo, TABLE_BUCKET, TOPIC};
use crate::config::{self, Config, ConfigError, Said, keys};

/// What the variables of `[observe]` begin with.
const OBSERVE: &str = "EIGENFLOW__OBSERVE__";

/// Statements over a file.
pub struct Settings {
    file: Option<PathBuf>,
    /// Key, value as a variable has it, and who says so.
    said: Vec<(&'static str, String, &'static str)>,
}

impl Settings {
    /// Of a demo whose servers are at these addresses, with so many images at most.
    pub fn new(demo: &Demo, endpoint: &str, brokers: &str, images: usize) -> Self {
        let own = |key, value: &str| (key, value.to_owned(), "the demo");
        let mut said = vec![
            own("kafka.brokers", brokers),
            own("kafka.topic", TOPIC),
            own("kafka.properties", "{}"),
            own("s3.endpoint", endpoint),
            own("s3.region", "us-east-1"),
            own("s3.buckets", BUCKET),
            own("table.uri", &format!("s3://{TABLE_BUCKET}/table")),
        ];
        if demo.config.is_none() {
            // Some epochs, whatever the number of images; a page shows how the table grows.
            let interval = if demo.keep_serving { "2s" } else { "30s" };
            said.push(own("publish.rows", &(images / 4).max(500).to_string()));
            said.push(own("publish.interval_ms", interval));
        }
        let flags = [
            ("backbone.name", &demo.backbone, "--backbone"),
            ("backbone.weights", &demo.weights, "--weights"),
            ("backbone.precision", &demo.precision, "--precision"),
            ("projection.components", &demo.components, "--components"),
            (
                "limits.rounds_in_flight",
                &demo.rounds_in_flight,
                "--rounds-in-flight",
            ),
        ];
        let given = flags.into_iter();
        said.extend(given.filter_map(|(key, value, flag)| Some((key, value.clone()?, flag))));
        Settings {
            file: demo.config.clone(),
            said,
        }
    }

    /// The configuration. Who may see the page is the environment's to say, as with a job; the rest is the demo's own.
    ///
    /// # Errors
    /// As of a job's file.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let observe = config::environment().filter(|(name, _)| is_heard(name));
        let mut said = match &self.file {
            Some(file) => Said::load(file, observe)?,
            None => Said::parse("", observe)?,
        };
        for (key, value, place) in &self.said {
            said.set(key, value, place);
        }
        said.resolve()
    }

    /// The job's file, if there is one.
    pub fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// What is said over it, as variables.
    pub fn variables(&self) -> impl Iterator<Item = (String, &str)> {
        self.said.iter().filter_map(|(path, value, _)| {
            let (section, name) = path.split_once('.')?;
            Some((keys::find(section, name)?.variable(), value.as_str()))
        })
    }
}

/// Whether the demo hears a variable.
pub fn is_heard(name: &str) -> bool {
    name.starts_with(OBSERVE)
}
