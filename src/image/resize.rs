//! Scaling, to the very levels of Pillow's BILINEAR.
//!
//! A triangle filter that widens with the reduction (antialiased); rows first, then columns, each pass in integers of
//! 22 fractional bits and rounded to 8. An implementation of fewer bits is a level off in one value of ten, which a
//! network's features show. (Pillow 13 takes the columns first where height shrinks much more than width, which moves
//! some values of such a picture by a level; earlier versions never do.)

/// Fractional bits of a weight: 32, less 8 for the level and 2 for the sum.
const WEIGHT_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (WEIGHT_BITS - 1);

/// A stretch of one axis, in pixels of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub start: f64,
    pub length: f64,
}

/// What each value along one axis takes of the picture's.
struct Weights {
    /// The first source of each value, and where its weights begin and end.
    taps: Vec<(usize, std::ops::Range<usize>)>,
    weights: Vec<i32>,
}

impl Weights {
    /// To make `count` values of a span of an axis that is `length` long.
    fn new(span: Span, length: usize, count: usize) -> Self {
        let step = span.length / count as f64;
        let reach = step.max(1.0);
        let (mut taps, mut weights) = (Vec::with_capacity(count), Vec::new());
        for i in 0..count {
            let centre = span.start + (i as f64 + 0.5) * step;
            // The cast rounds towards 0 and takes what lies before the picture for its first pixel.
            let first = (centre - reach + 0.5) as usize;
            let end = ((centre + reach + 0.5) as usize).min(length);
            let triangle = |source: usize| {
                let distance = (source as f64 - centre + 0.5) * (1.0 / reach);
                (1.0 - distance.abs()).max(0.0)
            };
            let total: f64 = (first..end).map(triangle).sum();
            let begin = weights.len();
            weights.extend((first..end).map(|source| {
                let weight = triangle(source) / total * f64::from(1 << WEIGHT_BITS);
                (weight + 0.5) as i32
            }));
            taps.push((first, begin..weights.len()));
        }
        Self { taps, weights }
    }

    /// For each value, its first source and its weights.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let of = |(first, range): &(usize, std::ops::Range<usize>)| (*first, range.clone());
        self.taps
            .iter()
            .map(of)
            .map(|(first, range)| (first, &self.weights[range]))
    }
}

fn level(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// Scales pictures of three channels, one after another, reusing its buffers.
#[derive(Default)]
pub(super) struct Scaler {
    narrowed: Vec<u8>,
    sums: Vec<i32>,
}

impl Scaler {
    /// Fills `out`, `[side, side, 3]`, with the part of `rgb`, `[height, width, 3]`, that spans `across` and `down`.
    pub fn scale(
        &mut self,
        rgb: &[u8],
        [width, height]: [usize; 2],
        [across, down]: [Span; 2],
        side: usize,
        out: &mut [u8],
    ) {
        let columns = Weights::new(across, width, side);
        let rows = Weights::new(down, height, side);
        self.narrowed.clear();
        self.narrowed.resize(height * side * 3, 0);
        let needed = rows.taps.first().map_or(0, |(first, _)| *first);
        let lines = rgb.chunks_exact(3 * width);
        let narrowed = self.narrowed.chunks_exact_mut(3 * side);
        for (line, narrowed) in lines.zip(narrowed).skip(needed) {
            let pixels = line.as_chunks::<3>().0;
            let narrowed = narrowed.as_chunks_mut::<3>().0;
            for ((first, weights), out) in columns.iter().zip(narrowed) {
                let mut sums = [HALF; 3];
                for (&weight, pixel) in weights.iter().zip(&pixels[first..]) {
                    for (sum, &value) in sums.iter_mut().zip(pixel) {
                        *sum += weight * i32::from(value);
                    }
                }
                *out = sums.map(level);
            }
        }
        let line = 3 * side;
        for ((first, weights), out) in rows.iter().zip(out.chunks_exact_mut(line)) {
            self.sums.clear();
            self.sums.resize(line, HALF);
            let lines = self.narrowed[first * line..].chunks_exact(line);
            for (&weight, values) in weights.iter().zip(lines) {
                for (sum, &value) in self.sums.iter_mut().zip(values) {
                    *sum += weight * i32::from(value);
                }
            }
            for (out, &sum) in out.iter_mut().zip(&self.sums) {
                *out = level(sum);
            }
        }
    }
}
