//! Pixels as the first convolution reads them: numbers of the preprocessing, channels interleaved, padded with zeros. Or, for
//! integers and for tiles in f32, the levels themselves.

use super::isa::Isa;
use super::layer::Folded;
use super::memory::Block;
use crate::backbone::Preprocessing;

/// Channels of an image.
pub(super) const CHANNELS: usize = 3;

/// The input of a network, for one side: `[side + 2 pad][side + 2 pad + 2][3]` f32, bf16 or bytes. These may be the image's levels: the
/// first convolution makes the numbers of them ([`Input::folded`]). The border holds what stands for the number 0.
pub(super) struct Input {
    isa: Isa,
    side: usize,
    pad: usize,
    /// Where each channel lies in a pixel.
    colours: [usize; CHANNELS],
    /// What each level in each channel is stored as, in bits.
    stored: Vec<[u32; CHANNELS]>,
    /// What a channel's number is of what is stored: `slope * stored + offset`. None where numbers are stored.
    lines: Option<[Line; CHANNELS]>,
}

#[derive(Clone, Copy)]
struct Line {
    slope: f64,
    offset: f64,
}

impl Line {
    /// From the levels of a channel to its numbers.
    fn of(preprocessing: Preprocessing, channel: usize) -> Self {
        let [offset, end] = [0, 255].map(|level| preprocessing.number(channel, level));
        Self {
            slope: (end - offset) / 255.0,
            offset,
        }
    }

    /// What stands for the number 0.
    fn zero(self) -> f64 {
        -self.offset / self.slope
    }

    /// The same line where so much less is stored.
    fn above(self, base: f64) -> Self {
        Self {
            offset: self.offset + self.slope * base,
            ..self
        }
    }
}

impl Input {
    /// For images of `side` x `side` and a first convolution of `k` x `k`.
    pub(super) fn new(isa: Isa, preprocessing: Preprocessing, side: usize, k: usize) -> Self {
        let lines: [Line; CHANNELS] = std::array::from_fn(|c| Line::of(preprocessing, c));
        // Bytes are the levels. bf16 are what a level has more than the one that is nearest to the number 0.
        let base = |c: usize| match isa.levels() {
            true => lines[c].zero().round(),
            false => 0.0,
        };
        let as_levels = isa.integers() || isa.levels();
        let stored = |c: usize, level: u8| match as_levels {
            true => f64::from(level) - base(c),
            false => preprocessing.number(c, level),
        };
        let of_level = |level| std::array::from_fn(|c| isa.bits(stored(c, level) as f32));
        Self {
            isa,
            side,
            pad: k / 2,
            colours: std::array::from_fn(|c| preprocessing.colour(c)),
            stored: (0..=255).map(of_level).collect(),
            lines: as_levels.then(|| std::array::from_fn(|c| lines[c].above(base(c)))),
        }
    }

    /// What reads it.
    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    /// Memory for one image, its border written once and for all.
    pub(super) fn memory(&self) -> Block {
        let mut image = Block::zeroed(self.bytes());
        if let Some(lines) = &self.lines {
            // Rounded to a level, or to bf16: by less than half of a level, or by a thousandth of one at most.
            let stored = |zero: f64| match self.isa.integers() {
                true => zero.round(),
                false => zero,
            };
            let zeros = lines.map(|line| self.isa.bits(stored(line.zero()) as f32));
            let zeros = zeros.iter().cycle();
            match self.isa.input_bytes() {
                1 => (image.iter_mut().zip(zeros)).for_each(|(to, bits)| *to = *bits as u8),
                _ => (image.halves_mut().iter_mut().zip(zeros))
                    .for_each(|(to, bits)| *to = *bits as u16),
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
        self.row_values() * self.isa.input_bytes()
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
        match self.isa.input_bytes() {
            1 if self.colours == [0, 1, 2] => self.levels(image, pixels),
            1 => self.values(&mut image[..], pixels, |bits| bits as u8),
            2 => self.values(image.halves_mut(), pixels, |bits| bits as u16),
            _ => self.values(image.words_mut(), pixels, f32::from_bits),
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

    fn values<T>(&self, image: &mut [T], pixels: &[u8], from_bits: impl Fn(u32) -> T) {
        let inside = image.chunks_exact_mut(self.row_values()).skip(self.pad);
        for (to, from) in inside.zip(pixels.chunks_exact(self.side * CHANNELS)) {
            let to = to[self.pad * CHANNELS..].chunks_exact_mut(CHANNELS);
            for (to, from) in to.zip(from.chunks_exact(CHANNELS)) {
                for c in 0..CHANNELS {
                    to[c] = from_bits(self.stored[usize::from(from[self.colours[c]])][c]);
                }
            }
        }
    }
}
