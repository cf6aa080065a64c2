//! Canonical Huffman codes of up to 16 bits (ITU-T T.81, annex C), and how to find the next one.

use super::fault::Fault;

/// Codes up to this length are found in one step.
const SHORT: usize = 9;

/// A canonical Huffman code.
#[derive(Clone)]
pub(super) struct HuffmanTable {
    /// For what the next bits may be: the code's length and its symbol, or a length of 0 for codes beyond `SHORT`.
    short: Vec<(u8, u8)>,
    /// For each length, the 16 bits that no code up to this length reaches.
    ends: [u32; 17],
    /// For each length, what a code's number lacks to be its symbol's place.
    places: [i32; 17],
    symbols: Vec<u8>,
}

impl HuffmanTable {
    /// From the number of codes of each length, 1 to 16, and the symbols in the order of their codes.
    pub fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, Fault> {
        let mut table = Self {
            short: vec![(0, 0); 1 << SHORT],
            ends: [0; 17],
            places: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut place) = (0, 0);
        for (length, &count) in (1..).zip(counts) {
            let count = usize::from(count);
            table.places[length] = place as i32 - code as i32;
            if code + count > 1 << length || place + count > symbols.len() {
                return Err(Fault::OverfullTable);
            }
            if length <= SHORT {
                let width = 1 << (SHORT - length);
                for (i, &symbol) in symbols[place..place + count].iter().enumerate() {
                    table.short[(code + i) * width..][..width].fill((length as u8, symbol));
                }
            }
            code += count;
            place += count;
            table.ends[length] = (code << (16 - length)) as u32;
            code *= 2;
        }
        Ok(table)
    }

    /// The code that the next 16 bits begin with: its length and its symbol.
    #[inline]
    pub fn find(&self, next: u32) -> Result<(u32, u8), Fault> {
        let (length, symbol) = self.short[(next >> (16 - SHORT)) as usize];
        if length > 0 {
            return Ok((u32::from(length), symbol));
        }
        let length = (SHORT + 1..=16)
            .find(|&length| next < self.ends[length])
            .ok_or(Fault::UnknownCode)?;
        let place = (next >> (16 - length)) as i32 + self.places[length];
        let symbol = usize::try_from(place).ok();
        let symbol = symbol.and_then(|place| self.symbols.get(place).copied());
        Ok((length as u32, symbol.ok_or(Fault::UnknownCode)?))
    }
}
