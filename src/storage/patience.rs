//! Waiting for a store that stumbles: exponential back-off with jitter, up to a limit.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use uuid::Uuid;

use crate::spell::Spell;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// How long to go on trying, and where trouble is told.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Time after the first failure when the last one is handed to the caller.
    pub limit: Duration,
    /// The store's trouble: shared by all who wait for it.
    pub spell: Arc<Spell>,
}

impl Default for Patience {
    /// Ten minutes: longer than a store's restart, shorter than an operator's lunch.
    fn default() -> Self {
        Self {
            limit: Duration::from_secs(600),
            spell: Arc::new(Spell::new("the store", Counter::default())),
        }
    }
}

impl Patience {
    /// Runs `attempt` until it succeeds, fails for good, or patience ends. `what` names it in the log.
    ///
    /// # Errors
    /// The last failure.
    pub async fn retry<T, E, F, A>(
        &self,
        what: &str,
        is_transient: impl Fn(&E) -> bool,
        mut attempt: A,
    ) -> Result<T, E>
    where
        E: std::fmt::Display,
        F: Future<Output = Result<T, E>>,
        A: FnMut() -> F,
    {
        let mut first_failure = None;
        let mut backoff = Backoff::default();
        loop {
            let error = match attempt().await {
                Ok(value) => {
                    self.spell.succeeds();
                    return Ok(value);
                }
                Err(error) => error,
            };
            let delay = backoff.next_delay();
            let waited = first_failure.get_or_insert_with(Instant::now).elapsed();
            if !is_transient(&error) || waited + delay > self.limit {
                return Err(error);
            }
            tracing::debug!(%error, ?delay, "{what} failed and is tried again");
            self.spell.fails(error);
            tokio::time::sleep(delay).await;
        }
    }
}

/// Doubling delays, each drawn from its upper half: many workers that failed together come back apart.
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Default for Backoff {
    /// For requests to a store.
    fn default() -> Self {
        Self::new(FIRST_DELAY, LONGEST_DELAY)
    }
}

impl Backoff {
    /// From `first` up to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            next: first,
            longest,
        }
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let random = f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
        let delay = self.next.mul_f64(0.5 + random / 2.0);
        self.next = (self.next * 2).min(self.longest);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    async fn tries(limit: Duration, fails: u32, transient: bool) -> (Result<u32, String>, u32) {
        let count = AtomicU32::new(0);
        let patience = Patience {
            limit,
            ..Patience::default()
        };
        let result = patience
            .retry(
                "test",
                |_| transient,
                || async {
                    let n = count.fetch_add(1, Ordering::Relaxed);
                    if n < fails {
                        Err("down".to_string())
                    } else {
                        Ok(n)
                    }
                },
            )
            .await;
        (result, count.into_inner())
    }

    #[tokio::test]
    async fn a_store_that_comes_back_is_waited_for() {
        assert_eq!(tries(Duration::from_secs(5), 3, true).await, (Ok(3), 4));
    }

    #[tokio::test]
    async fn a_permanent_failure_is_not_tried_again() {
        assert_eq!(tries(Duration::from_secs(5), 3, false).await.1, 1);
    }

    #[tokio::test]
    async fn patience_ends() {
        let (result, count) = tries(Duration::from_millis(400), u32::MAX, true).await;
        assert_eq!(result, Err("down".to_string()));
        assert!((2..=5).contains(&count), "{count} tries");
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let all: Vec<_> = (0..20).map(|_| backoff.next_delay()).collect();
        assert!(all[0] >= FIRST_DELAY / 2 && all[0] <= FIRST_DELAY);
        assert!(all[19] >= LONGEST_DELAY / 2 && all[19] <= LONGEST_DELAY);
    }
}
