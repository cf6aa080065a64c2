//! The pace of the last quarter of an hour, for those who open the page only now.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::state;
use crate::observe::board::Heard;
use crate::observe::now_ms;

/// A quarter of an hour, one a second.
const KEPT: usize = 900;

/// When (in ms since 1970 UTC), images a second, and messages not yet read.
pub type Beat = (i64, f64, u64);

/// See the module.
#[derive(Default)]
pub struct Beats(Mutex<VecDeque<Beat>>);

impl Beats {
    /// Remembers how fast it goes now, once anybody has told.
    pub fn take(&self, heard: &Heard) {
        if heard.processes.is_empty() {
            return;
        }
        let mut beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if beats.len() == KEPT {
            beats.pop_front();
        }
        beats.push_back((now_ms(), state::images_rate(heard), state::waiting(heard)));
    }

    /// All that are remembered, the latest last.
    pub fn list(&self) -> VecDeque<Beat> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Board, Vitals};

    #[test]
    fn a_quarter_of_an_hour_is_remembered_from_the_first_word_on() {
        let (board, beats) = (Board::default(), Beats::default());
        beats.take(&board.look());
        assert!(beats.list().is_empty());
        board.hear(Vitals::default());
        for _ in 0..KEPT + 10 {
            beats.take(&board.look());
        }
        assert_eq!(beats.list().len(), KEPT);
    }
}
