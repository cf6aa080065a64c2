//! Spells of trouble: what many requests meet at once is told once.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

/// A spell is over when a request succeeds and none has failed for so long.
const QUIET: Duration = Duration::from_secs(5);
/// What failed so long ago, and was not asked since, may be well by now: requests are repeated more often.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// One kind of trouble: the log says when it begins and when it is over, however many requests fail between. All of them
/// are counted.
#[derive(Debug)]
pub struct Spell {
    whose: &'static str,
    meanwhile: &'static str,
    failures: Counter,
    now: Mutex<Option<Trouble>>,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    latest: Instant,
    failures: u64,
}

impl Spell {
    /// No trouble yet; `whose` it will be is said in the log. Failures are counted by `failures`.
    pub fn new(whose: &'static str, failures: Counter) -> Self {
        Spell {
            whose,
            meanwhile: "work waits, and goes on when it recovers",
            failures,
            now: Mutex::new(None),
        }
    }

    /// The same for one that nothing waits for: what is done instead is said in the log.
    pub fn meanwhile(self, meanwhile: &'static str) -> Self {
        Spell { meanwhile, ..self }
    }

    /// Requests that failed and were repeated, in all spells.
    pub fn failures(&self) -> u64 {
        self.failures.get()
    }

    /// What is wrong now, in a sentence; `None` if nothing is.
    pub fn unwell(&self) -> Option<String> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = now
            .as_ref()
            .filter(|now| now.latest.elapsed() < FORGOTTEN)?;
        let since_s = trouble.since.elapsed().as_secs();
        Some(format!("{} is unwell since {since_s} s", self.whose))
    }

    /// A request failed and is repeated. Whether that began a spell.
    pub fn fails(&self, error: impl Display) -> bool {
        self.failures.inc();
        let now = Instant::now();
        let mut trouble = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = trouble.as_mut() {
            trouble.latest = now;
            trouble.failures += 1;
            return false;
        }
        tracing::warn!(%error, "{} is unwell: {}", self.whose, self.meanwhile);
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
        let spell = Spell::new("the test", Counter::default());
        assert_eq!(spell.unwell(), None);
        assert!(spell.fails("one"));
        spell.succeeds();
        assert_eq!(
            spell.unwell().as_deref(),
            Some("the test is unwell since 0 s")
        );
        assert!(!spell.fails("another, at once"));
        if let Some(trouble) = spell.now.lock().unwrap().as_mut()
            && let Some(earlier) = trouble.latest.checked_sub(2 * QUIET)
        {
            trouble.latest = earlier;
        }
        spell.succeeds();
        assert_eq!(spell.unwell(), None);
        assert!(spell.fails("a new one"));
        assert_eq!(spell.failures(), 3);
    }
}
