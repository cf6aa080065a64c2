//! Pictures that were made, as far as some memory goes.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

/// By the number of the row, which changes with it. What was not asked for since its turn came last goes first: a second chance
/// instead of an order by use, so that a look costs no more than finding the picture.
pub struct Kept {
    pictures: HashMap<u64, Picture>,
    turns: VecDeque<u64>,
    bytes: usize,
    bytes_max: usize,
}

struct Picture {
    jpeg: Bytes,
    asked: bool,
}

impl Kept {
    pub fn new(bytes_max: usize) -> Self {
        Kept {
            pictures: HashMap::new(),
            turns: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    pub fn get(&mut self, row: u64) -> Option<Bytes> {
        let picture = self.pictures.get_mut(&row)?;
        picture.asked = true;
        Some(picture.jpeg.clone())
    }

    pub fn put(&mut self, row: u64, jpeg: Bytes) {
        self.bytes += jpeg.len();
        let asked = false;
        match self.pictures.insert(row, Picture { jpeg, asked }) {
            Some(before) => self.bytes -= before.jpeg.len(),
            None => self.turns.push_back(row),
        }
        while self.bytes > self.bytes_max
            && let Some(row) = self.turns.pop_front()
        {
            self.pass(row);
        }
    }

    /// The turn of this row: it goes, unless it was asked for.
    fn pass(&mut self, row: u64) {
        let picture = self.pictures.get_mut(&row);
        if picture.is_some_and(|picture| std::mem::take(&mut picture.asked)) {
            self.turns.push_back(row);
        } else {
            let gone = self.pictures.remove(&row);
            self.bytes -= gone.map_or(0, |picture| picture.jpeg.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_outlives_what_was_not_within_the_memory() {
        let mut kept = Kept::new(1000);
        let picture = Bytes::from_static(&[0; 100]);
        for row in 0..10 {
            kept.put(row, picture.clone());
        }
        assert!(kept.get(0).is_some());
        kept.put(10, picture.clone());
        kept.put(10, picture);
        assert!(kept.get(1).is_none() && kept.get(0).is_some() && kept.get(10).is_some());
        assert_eq!((kept.bytes, kept.turns.len()), (1000, 10));
        // One that is too large for the memory goes itself, in the end.
        kept.put(11, Bytes::from_static(&[0; 2000]));
        assert_eq!((kept.bytes, kept.turns.len()), (200, 2));
        assert!(kept.get(11).is_none() && kept.get(0).is_some() && kept.get(10).is_some());
    }
}
