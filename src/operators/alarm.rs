//! When an operator is scheduled though nothing has reached it.

use std::time::{Duration, Instant};

use timely::scheduling::Activator;

/// An operator's timer.
///
/// Timely schedules an operator once for every delay it was ever given. One that asked for its next delay each time it
/// is scheduled, which messages and frontiers do too, would start a chain of delays each time; here the chains are one.
pub(crate) struct Alarm {
    activator: Activator,
    rings: Option<Instant>,
}

impl Alarm {
    pub(crate) fn new(activator: Activator) -> Self {
        Alarm {
            activator,
            rings: None,
        }
    }

    /// Has the operator scheduled within this time.
    pub(crate) fn within(&mut self, delay: Duration) {
        let now = Instant::now();
        let at = now + delay;
        if self.rings.is_none_or(|rings| rings <= now || at < rings) {
            self.rings = Some(at);
            self.activator.activate_after(delay);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use timely::scheduling::Activations;

    use super::*;

    fn rung(activations: &RefCell<Activations>) -> bool {
        let mut rung = false;
        let mut activations = activations.borrow_mut();
        activations.advance();
        activations.for_extensions(&[], |_| rung = true);
        rung
    }

    #[test]
    fn one_delay_is_under_way_however_often_it_is_asked_for() {
        let activations = Rc::new(RefCell::new(Activations::new(Some(Instant::now()))));
        let mut alarm = Alarm::new(Activator::new(vec![0].into(), activations.clone()));
        let delay = Duration::from_millis(20);
        for _ in 0..3 {
            alarm.within(delay);
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(!rung(&activations));
        std::thread::sleep(delay);
        assert!(rung(&activations));
        // The second and third would have come now.
        std::thread::sleep(delay);
        assert!(!rung(&activations));
        assert_eq!(activations.borrow().empty_for(), None);
    }

    #[test]
    fn an_earlier_delay_goes_before_a_later_one() {
        let activations = Rc::new(RefCell::new(Activations::new(Some(Instant::now()))));
        let mut alarm = Alarm::new(Activator::new(vec![0].into(), activations.clone()));
        alarm.within(Duration::from_secs(3600));
        alarm.within(Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(2));
        assert!(rung(&activations));
    }
}
