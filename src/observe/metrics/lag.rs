//! How far reading is behind, by partition.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Unit;
use serde::{Deserialize, Serialize};

use super::set::Set;
use super::values::encode_gauge;
use crate::observe::now_ms;

const LABEL: &str = "partition";

/// Where reading of a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// The next offset to read.
    pub next: i64,
    /// Behind the last message that the broker has told of.
    pub high: i64,
    /// The timestamp of the newest message that was read, in ms since 1970 UTC.
    pub read_ms: Option<i64>,
}

impl Lag {
    /// Messages that are not read.
    pub fn offsets(&self) -> u64 {
        u64::try_from(self.high - self.next).unwrap_or(0)
    }

    /// The age of the newest message that was read while others wait, in seconds: what was written since is not read. 0 when
    /// none waits; `None` when nothing was read yet.
    pub fn seconds(&self) -> Option<f64> {
        match (self.offsets(), self.read_ms) {
            (0, _) => Some(0.0),
            (_, Some(read_ms)) => Some(now_ms().saturating_sub(read_ms).max(0) as f64 / 1e3),
            (_, None) => None,
        }
    }
}

/// The partitions that this process reads.
#[derive(Clone, Debug, Default)]
pub struct Lags(Arc<Mutex<BTreeMap<i32, Lag>>>);

impl Lags {
    pub(super) fn new(set: &mut Set) -> Self {
        let lags = Lags::default();
        let labels = [LABEL];
        set.define(
            "lag_offsets",
            None,
            &labels,
            "Messages of a partition that are not read yet",
            Exposed {
                lags: lags.clone(),
                value: |lag| Some(lag.offsets() as f64),
            },
        );
        set.define(
            "lag",
            Some(Unit::Seconds),
            &labels,
            "Age of the newest message read of a partition in which others wait; 0 when none waits",
            Exposed {
                lags: lags.clone(),
                value: Lag::seconds,
            },
        );
        lags
    }

    /// The partition is there now.
    pub fn set(&self, partition: i32, lag: Lag) {
        self.all().insert(partition, lag);
    }

    /// All partitions of this process.
    pub fn list(&self) -> Vec<(i32, Lag)> {
        self.all()
            .iter()
            .map(|(number, lag)| (*number, *lag))
            .collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<i32, Lag>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One value of every partition.
#[derive(Clone, Debug)]
struct Exposed {
    lags: Lags,
    value: fn(&Lag) -> Option<f64>,
}

impl TypedMetric for Exposed {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for Exposed {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        for (partition, lag) in self.lags.list() {
            encode_gauge(
                (self.value)(&lag),
                encoder.encode_family(&[(LABEL, partition)])?,
            )?;
        }
        Ok(())
    }
    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
    fn is_empty(&self) -> bool {
        self.lags
            .list()
            .iter()
            .all(|(_, lag)| (self.value)(lag).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_lag_in_seconds_before_anything_was_read_unless_nothing_waits() {
        let lag = |next, high, read_ms| Lag {
            next,
            high,
            read_ms,
        };
        assert_eq!(
            (lag(3, 5, None).offsets(), lag(3, 5, None).seconds()),
            (2, None)
        );
        assert_eq!(lag(5, 5, None).seconds(), Some(0.0));
        // The broker's word may be older than what was read.
        assert_eq!(lag(6, 5, Some(0)).offsets(), 0);
        let old = lag(3, 5, Some(now_ms() - 90_000)).seconds();
        assert!(
            old.is_some_and(|age| (89.0..100.0).contains(&age)),
            "{old:?}"
        );
    }
}
