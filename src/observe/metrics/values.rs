//! Values that a metric can have beside a counter: each is an atomic that any thread may set, read when it is asked for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// A value that goes up and down. It is not told before it was set: most processes never know what process 0 knows.
#[derive(Clone, Debug)]
pub struct Reading(Arc<AtomicU64>);

impl Default for Reading {
    fn default() -> Self {
        Reading(Arc::new(AtomicU64::new(f64::NAN.to_bits())))
    }
}

impl Reading {
    /// It is `value` now.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// What it was set to; `None` before.
    pub fn get(&self) -> Option<f64> {
        let value = f64::from_bits(self.0.load(Relaxed));
        (!value.is_nan()).then_some(value)
    }
}

/// How long ago something began that is not over; 0 when nothing is under way.
#[derive(Clone, Debug)]
pub struct Age {
    epoch: Instant,
    /// In µs since `epoch`, plus 2; 0: never known; 1: nothing is under way.
    since: Arc<AtomicU64>,
}

impl Default for Age {
    fn default() -> Self {
        Age {
            epoch: Instant::now(),
            since: Arc::default(),
        }
    }
}

impl Age {
    /// What is under way began then; `None`: nothing is.
    pub fn set(&self, since: Option<Instant>) {
        let micros =
            |since: Instant| since.saturating_duration_since(self.epoch).as_micros() as u64;
        self.since
            .store(since.map_or(1, |since| micros(since) + 2), Relaxed);
    }

    /// The age in seconds; `None` where this process never knew.
    pub fn get(&self) -> Option<f64> {
        match self.since.load(Relaxed) {
            0 => None,
            1 => Some(0.0),
            since => {
                let began = self.epoch + Duration::from_micros(since - 2);
                Some(began.elapsed().as_secs_f64())
            }
        }
    }
}

/// A value that is found out when it is asked for.
#[derive(Clone, Copy)]
pub struct Asked(pub fn() -> Option<f64>);

impl fmt::Debug for Asked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Asked")
    }
}

impl Asked {
    fn get(&self) -> Option<f64> {
        (self.0)()
    }
}

/// Makes gauges of what has a `get`: told when it is known.
macro_rules! gauges {
    ($($value:ty),*) => {$(
        impl TypedMetric for $value {
            const TYPE: MetricType = MetricType::Gauge;
        }

        impl EncodeMetric for $value {
            fn encode(&self, encoder: MetricEncoder) -> fmt::Result {
                encode_gauge(self.get(), encoder)
            }
            fn metric_type(&self) -> MetricType {
                Self::TYPE
            }
            fn is_empty(&self) -> bool {
                self.get().is_none()
            }
        }
    )*};
}

gauges!(Reading, Age, Asked);

pub(super) fn encode_gauge(value: Option<f64>, mut encoder: MetricEncoder) -> fmt::Result {
    match value {
        Some(value) => encoder.encode_gauge(&value),
        None => Ok(()),
    }
}

/// Upper bounds of a stage's buckets, in seconds: from the decoding of a small image to a commit on a slow store.
const BOUNDS_S: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// How often something was done and how long it took: a histogram.
#[derive(Clone, Debug, Default)]
pub struct Stage(Arc<Durations>);

#[derive(Debug, Default)]
struct Durations {
    /// Of each bucket alone; the last holds what is beyond all bounds.
    counts: [AtomicU64; BOUNDS_S.len() + 1],
    sum_ns: AtomicU64,
}

impl Stage {
    /// Counts one that took `elapsed`.
    pub fn record(&self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        let bucket = BOUNDS_S.partition_point(|bound| *bound < seconds);
        self.0.counts[bucket].fetch_add(1, Relaxed);
        self.0.sum_ns.fetch_add(elapsed.as_nanos() as u64, Relaxed);
    }

    /// How often.
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// How many a second one worker does while it is at it; `None` before the first.
    pub fn per_second(&self) -> Option<f64> {
        let busy_s = self.sum_s();
        (busy_s > 0.0).then(|| self.count() as f64 / busy_s)
    }

    fn sum_s(&self) -> f64 {
        self.0.sum_ns.load(Relaxed) as f64 / 1e9
    }
}

impl TypedMetric for Stage {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Stage {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let bounds = BOUNDS_S.into_iter().chain([f64::INFINITY]);
        let counts = self.0.counts.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        // The count is that of the buckets, whatever is added meanwhile.
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum_s(), count, &buckets, None)
    }
    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_and_an_age_are_unknown_until_they_are_set() {
        let (reading, age) = (Reading::default(), Age::default());
        assert_eq!((reading.get(), age.get()), (None, None));
        reading.set(-1.5);
        age.set(None);
        assert_eq!((reading.get(), age.get()), (Some(-1.5), Some(0.0)));
        age.set(Some(Instant::now()));
        assert!(age.get().is_some_and(|age| (0.0..60.0).contains(&age)));
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let stage = Stage::default();
        for ms in [1, 2, 70_000] {
            stage.record(Duration::from_millis(ms));
        }
        let counts: Vec<u64> = stage.0.counts.iter().map(|c| c.load(Relaxed)).collect();
        assert_eq!((counts[0], counts[1], counts[BOUNDS_S.len()]), (1, 1, 1));
        assert_eq!(stage.count(), 3);
        assert!(
            stage
                .per_second()
                .is_some_and(|rate| (0.04..0.05).contains(&rate))
        );
    }
}
