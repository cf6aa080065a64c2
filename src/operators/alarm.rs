//! When an operator is scheduled though nothing has reached it.

use std::time::{Duration, Instant};

use timely::scheduling::Activator;

/// An operator's timer.
///
/// Timely schedules an operator once for every delay it was ever given. One that asked for its next delay each time it
/// is scheduled, which messages and frontiers do too, would start a chain of delays each time; here the chains are one.
pub(crate) struct Alarm {
    activator: Activator,
    rings: Rings,
}

/// When an alarm goes off next, or went off last.
#[derive(Default)]
struct Rings(Option<Instant>);

impl Alarm {
    pub(crate) fn new(activator: Activator) -> Self {
        Alarm {
            activator,
            rings: Rings::default(),
        }
    }

    /// Has the operator scheduled within this time.
    pub(crate) fn within(&mut self, delay: Duration) {
        if self.rings.set(Instant::now(), delay) {
            self.activator.activate_after(delay);
        }
    }
}

impl Rings {
    /// Whether a delay from `now` on is needed: none is under way that ends as early.
    fn set(&mut self, now: Instant, delay: Duration) -> bool {
        let at = now + delay;
        let needed = self.0.is_none_or(|rings| rings <= now || at < rings);
        if needed {
            self.0 = Some(at);
        }
        needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_delay_is_under_way_however_often_it_is_asked_for() {
        let (mut rings, start) = (Rings::default(), Instant::now());
        let ms = Duration::from_millis;
        let mut set = |at, delay| rings.set(start + ms(at), ms(delay));
        assert!(set(0, 100));
        assert!(!set(1, 100) && !set(99, 100));
        assert!(set(100, 100));
        // A shorter one goes before it; what is left of the longer one starts nothing.
        assert!(set(110, 5));
        assert!(!set(112, 100));
        assert!(set(115, 100));
        assert!(!set(200, 100));
    }
}
