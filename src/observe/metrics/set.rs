//! Definitions of metrics: name, labels and help are said once, where the metric is made. Exposition and documentation follow.

use std::fmt::{self, Debug, Write};
use std::hash::Hash;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry, Unit};

const PREFIX: &str = "eigenflow";

/// What the documentation says of a metric.
#[derive(Debug)]
struct Definition {
    /// As its samples are called.
    name: String,
    kind: MetricType,
    labels: Vec<&'static str>,
    help: &'static str,
}

/// All metrics of a process.
#[derive(Debug)]
pub(super) struct Set {
    registry: Registry,
    definitions: Vec<Definition>,
}

impl Set {
    pub(super) fn new() -> Self {
        Set {
            registry: Registry::with_prefix(PREFIX),
            definitions: Vec::new(),
        }
    }

    /// Defines a metric. `name` goes without the unit and, of counters, `_total`: both are appended.
    pub(super) fn define<M: Metric + TypedMetric + Clone>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        labels: &[&'static str],
        help: &'static str,
        metric: M,
    ) -> M {
        let suffix = unit.as_ref().map(|unit| format!("_{}", unit.as_str()));
        let total = matches!(M::TYPE, MetricType::Counter).then_some("_total");
        self.definitions.push(Definition {
            name: format!(
                "{PREFIX}_{name}{}{}",
                suffix.unwrap_or_default(),
                total.unwrap_or_default()
            ),
            kind: M::TYPE,
            labels: labels.to_vec(),
            help,
        });
        match unit {
            Some(unit) => self
                .registry
                .register_with_unit(name, help, unit, metric.clone()),
            None => self.registry.register(name, help, metric.clone()),
        }
        metric
    }

    /// A counter by words of our own.
    pub(super) fn counters<const N: usize>(
        &mut self,
        name: &str,
        labels: [&'static str; N],
        help: &'static str,
    ) -> Counters<N> {
        let family = self.define(name, None, &labels, help, Family::default());
        Counters { labels, family }
    }

    /// The exposition, as OpenMetrics text.
    pub(super) fn expose(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Every metric as a markdown table.
    pub(super) fn docs(&self) -> String {
        let mut out = String::from("| metric | type | labels | |\n|---|---|---|---|\n");
        for metric in &self.definitions {
            let labels: Vec<_> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
            // Writing to a String can't fail.
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} |",
                metric.name,
                metric.kind.as_str(),
                labels.join(", "),
                metric.help
            );
        }
        out
    }
}

/// A counter for each combination of words. Words are the program's own, so there are not many, and nobody outside adds one.
#[derive(Clone, Debug)]
pub struct Counters<const N: usize> {
    labels: [&'static str; N],
    family: Family<[(&'static str, &'static str); N], Counter>,
}

impl<const N: usize> Counters<N> {
    /// The counter of these words, in the order of the labels.
    pub fn of(&self, words: [&'static str; N]) -> Counter {
        let labels = std::array::from_fn(|i| (self.labels[i], words[i]));
        self.family.get_or_create_owned(&labels)
    }
}

/// One metric for each value of a label.
#[derive(Clone, Debug)]
pub(super) struct By<L, M> {
    label: &'static str,
    family: Family<[(&'static str, L); 1], M>,
}

impl<L, M> By<L, M>
where
    L: Clone + Debug + Eq + Hash + EncodeLabelValue + Send + Sync + 'static,
    M: Clone
        + Debug
        + Default
        + TypedMetric
        + prometheus_client::encoding::EncodeMetric
        + Send
        + Sync
        + 'static,
    [(&'static str, L); 1]: EncodeLabelSet,
{
    pub(super) fn new(
        set: &mut Set,
        name: &str,
        unit: Option<Unit>,
        label: &'static str,
        help: &'static str,
    ) -> Self {
        let family = set.define(name, unit, &[label], help, Family::default());
        By { label, family }
    }

    pub(super) fn of(&self, value: L) -> M {
        self.family.get_or_create_owned(&[(self.label, value)])
    }
}
