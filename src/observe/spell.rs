//! Spells of trouble: what many requests meet at once is told once.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A spell is over when a request succeeds and none has failed for so long.
const QUIET: Duration = Duration::from_secs(5);

/// One kind of trouble: the log says when it begins and when it is over, however many requests fail between. All of them
/// are counted.
#[derive(Debug)]
pub struct Spell {
    whose: &'static str,
    failures: AtomicU64,
    now: Mutex<Option<Trouble>>,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    latest: Instant,
    failures: u64,
}

impl Spell {
    /// No trouble yet; `whose` it will be is said in the log.
    pub fn new(whose: &'static str) -> Self {
        Spell {
            whose,
            failures: AtomicU64::new(0),
            now: Mutex::new(None),
        }
    }

    /// Requests that failed and were repeated, in all spells.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// A request failed and is repeated. Whether that began a spell.
    pub fn fails(&self, error: impl Display) -> bool {
        self.failures.fetch_add(1, Relaxed);
        let now = Instant::now();
        let mut trouble = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = trouble.as_mut() {
            trouble.latest = now;
            trouble.failures += 1;
            return false;
        }
        tracing::warn!(%error, "{} is unwell: work waits, and goes on when it recovers", self.whose);
        *trouble = Some(Trouble {
            since: now,
            latest: now,
            failures: 1,
        });
        true
    }

    /// A request succeeded.
    pub fn succeeds(&self) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |trouble: &mut Trouble| trouble.latest.elapsed() > QUIET;
        if let Some(Trouble {
            since, failures, ..
        }) = now.take_if(over)
        {
            let lasted_s = since.elapsed().as_secs();
            tracing::info!(failures, lasted_s, "{} is well again", self.whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spell_is_told_once_and_ends_after_quiet() {
        let spell = Spell::new("the test");
        assert!(spell.fails("one"));
        spell.succeeds();
        assert!(!spell.fails("another, at once"));
        if let Some(trouble) = spell.now.lock().unwrap().as_mut()
            && let Some(earlier) = trouble.latest.checked_sub(2 * QUIET)
        {
            trouble.latest = earlier;
        }
        spell.succeeds();
        assert!(spell.fails("a new one"));
        assert_eq!(spell.failures(), 3);
    }
}
