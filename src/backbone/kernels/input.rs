//! Pixels as the first convolution reads them: numbers of the preprocessing, channels interleaved, padded with zeros. Or, for
//! integers, the levels themselves.

use super::conv::Folded;
use super::isa::Isa;
use super::memory::Block;
use crate::backbone::Preprocessing;

/// Channels of an image.
pub(super) const CHANNELS: usize = 3;

/// The input of a network, for one side: `[side + 2 pad][side + 2 pad + 2][3]` f32, bf16 or integers. Those are the image's levels
/// as they are: the first convolution makes the numbers of them ([`Input::folded`]). The border holds what stands for the number 0.
pub(super) struct Input {
    side: usize,
    pad: usize,
    value_bytes: usize,
    /// Where each channel lies in a pixel.
    colours: [usize; CHANNELS],
    /// The number of each level in each channel, as the bits that are stored.
    numbers: Vec<[u32; CHANNELS]>,
    /// What a channel's number is of its level: `slope * level + offset`. None where numbers are stored.
    lines: Option<[Line; CHANNELS]>,
}

#[derive(Clone, Copy)]
struct Line {
    slope: f64,
    offset: f64,
}

impl Input {
    /// For images of `side` x `side` and a first convolution of `k` x `k`.
    pub(super) fn new(isa: Isa, preprocessing: Preprocessing, side: usize, k: usize) -> Self {
        let stored = |c, level| match isa.integers() {
            true => u32::from(level),
            false => isa.bits(preprocessing.number(c, level) as f32),
        };
        let of_level = |level| std::array::from_fn(|c| stored(c, level));
        let line = |c| {
            let [offset, end] = [0, 255].map(|level| preprocessing.number(c, level));
            Line {
                slope: (end - offset) / 255.0,
                offset,
            }
        };
        Self {
            side,
            pad: k / 2,
            value_bytes: isa.value_bytes(),
            colours: std::array::from_fn(|c| preprocessing.colour(c)),
            numbers: (0..=255).map(of_level).collect(),
            lines: (isa.integers()).then(|| std::array::from_fn(line)),
        }
    }

    /// Memory for one image, its border written once and for all.
    pub(super) fn memory(&self) -> Block {
        let mut image = Block::zeroed(self.bytes());
        if let Some(lines) = &self.lines {
            // The level nearest to the number 0, whose error is less than half a level's.
            let zeros = lines.map(|line| (-line.offset / line.slope).round() as u8);
            for (i, value) in image.chunks_exact_mut(self.value_bytes).enumerate() {
                value[0] = zeros[i % CHANNELS];
            }
        }
        image
    }

    /// The first convolution of what is stored: of levels, where it is those.
    pub(super) fn folded(&self, mut folded: Folded) -> Folded {
        let Some(lines) = &self.lines else {
            return folded;
        };
        let taps = folded.k * folded.k;
        for (weights, bias) in
            (folded.weights.chunks_exact_mut(CHANNELS * taps)).zip(&mut folded.bias)
        {
            let mut sum = f64::from(*bias);
            for (weights, line) in weights.chunks_exact_mut(taps).zip(lines) {
                for weight in weights {
                    sum += line.offset * f64::from(*weight);
                    *weight = (line.slope * f64::from(*weight)) as f32;
                }
            }
            *bias = sum as f32;
        }
        folded
    }

    pub(super) fn side(&self) -> usize {
        self.side
    }

    /// Bytes of an image's pixels, before they are numbers.
    pub(super) fn pixel_bytes(&self) -> usize {
        self.side * self.side * CHANNELS
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
        assert!(pixels.len() == self.pixel_bytes());
        match self.value_bytes {
            1 if self.colours == [0, 1, 2] => self.levels(image, pixels),
            1 => self.numbers(&mut image[..], pixels, |bits| bits as u8),
            2 => self.numbers(image.halves_mut(), pixels, |bits| bits as u16),
            _ => self.numbers(image.words_mut(), pixels, f32::from_bits),
        }
    }

    /// The image as it is.
    fn levels(&self, image: &mut [u8], pixels: &[u8]) {
        let row = self.side * CHANNELS;
        let inside = image.chunks_exact_mut(self.row_values()).skip(self.pad);
        for (to, from) in inside.zip(pixels.chunks_exact(row)) {
            to[self.pad * CHANNELS..][..row].copy_from_slice(from);
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
