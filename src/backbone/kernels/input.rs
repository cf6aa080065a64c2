//! Pixels as the first convolution reads them: numbers of the preprocessing, channels interleaved, padded with zeros.

use super::conv::to_bf16;
use super::isa::Isa;
use super::memory::Block;
use crate::backbone::Preprocessing;

/// Channels of an image.
pub(super) const CHANNELS: usize = 3;

/// The input of a network, for one side: `[side + 2 pad][side + 2 pad + 2][3]` f32 or bf16. The border stays zero.
pub(super) struct Input {
    side: usize,
    pad: usize,
    value_bytes: usize,
    /// Where each channel lies in a pixel.
    colours: [usize; CHANNELS],
    /// The number of each level in each channel, as the bits that are stored.
    numbers: Vec<[u32; CHANNELS]>,
}

impl Input {
    /// For images of `side` x `side` and a first convolution of `k` x `k`.
    pub(super) fn new(isa: Isa, preprocessing: Preprocessing, side: usize, k: usize) -> Self {
        let stored = |number: f64| match isa.value_bytes() {
            4 => (number as f32).to_bits(),
            _ => u32::from(to_bf16(number as f32)),
        };
        let of_level = |level| std::array::from_fn(|c| stored(preprocessing.number(c, level)));
        Self {
            side,
            pad: k / 2,
            value_bytes: isa.value_bytes(),
            colours: std::array::from_fn(|c| preprocessing.colour(c)),
            numbers: (0..=255).map(of_level).collect(),
        }
    }

    pub(super) fn side(&self) -> usize {
        self.side
    }

    /// Bytes from one row to the next.
    pub(super) fn row_bytes(&self) -> usize {
        self.row_values() * self.value_bytes
    }

    pub(super) fn bytes(&self) -> usize {
        (self.side + 2 * self.pad) * self.row_bytes()
    }

    /// The last two pixels of a row are read where a run is rounded up to whole words.
    fn row_values(&self) -> usize {
        (self.side + 2 * self.pad + 2) * CHANNELS
    }

    /// Writes an image, `[side, side, 3]` RGB.
    pub(super) fn fill(&self, image: &mut Block, pixels: &[u8]) {
        assert!(pixels.len() == self.side * self.side * CHANNELS);
        if self.value_bytes == 4 {
            self.numbers(image.words_mut(), pixels, f32::from_bits);
        } else {
            self.numbers(image.halves_mut(), pixels, |bits| bits as u16);
        }
    }

    fn numbers<T>(&self, image: &mut [T], pixels: &[u8], from_bits: impl Fn(u32) -> T) {
        let inside = image.chunks_exact_mut(self.row_values()).skip(self.pad);
        for (to, from) in inside.zip(pixels.chunks_exact(self.side * CHANNELS)) {
            let to = to[self.pad * CHANNELS..].chunks_exact_mut(CHANNELS);
            for (to, from) in to.zip(from.chunks_exact(CHANNELS)) {
                for c in 0..CHANNELS {
                    to[c] = from_bits(self.numbers[usize::from(from[self.colours[c]])][c]);
                }
            }
        }
    }
}
