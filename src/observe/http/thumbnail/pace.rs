//! How many pictures are made a second, whoever asks: a token bucket, kept as the moment at which it is full again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A token comes this often.
const EVERY: Duration = Duration::from_millis(100);
/// Tokens in a full bucket.
const BURST: u32 = 20;

/// A bucket, full at first.
pub struct Pace {
    full: Mutex<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            full: Mutex::new(Instant::now()),
        }
    }
}

impl Pace {
    /// Takes a token.
    ///
    /// # Errors
    /// There is none; how long it takes until one comes.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let without = (*full).max(now) + EVERY;
        match without.saturating_duration_since(now + EVERY * BURST) {
            Duration::ZERO => {
                *full = without;
                Ok(())
            }
            wait => Err(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_made_at_once_and_then_ten_a_second() {
        let pace = Pace::default();
        let begin = Instant::now();
        let made = |at: Instant| (0..100).filter(|_| pace.take(at).is_ok()).count();
        assert_eq!(made(begin), BURST as usize);
        assert!(pace.take(begin).is_err_and(|wait| wait <= EVERY));
        assert_eq!(made(begin + Duration::from_secs(1)), 10);
        assert_eq!(made(begin + Duration::from_secs(60)), BURST as usize);
    }
}
