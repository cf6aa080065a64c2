//! Scaling, to the very levels of Pillow's BILINEAR, BICUBIC and NEAREST.
//!
//! The first two are filters that widen with the reduction (antialiased); rows first, then columns, each pass in integers of
//! 22 fractional bits and rounded to 8. The third takes one pixel with all of the weight. An implementation of fewer bits is a level off in one value of ten, which a
//! network's features show. (Pillow 13 takes the columns first where height shrinks much more than width, which moves
//! some values of such a picture by a level, bicubic by several; earlier versions never do.)

use std::fmt;
use std::str::FromStr;

/// Fractional bits of a weight: 32, less 8 for the level and 2 for the sum.
const WEIGHT_BITS: u32 = 32 - 8 - 2;
/// The weight of 1.
const WHOLE: i32 = 1 << WEIGHT_BITS;
const HALF: i32 = 1 << (WEIGHT_BITS - 1);

/// What a value of the scaled picture takes of the picture's pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// A triangle, two pixels wide.
    #[default]
    Bilinear,
    /// Keys' cubic with a = -1/2, four pixels wide: what Pillow's `Image.resize` takes where no filter is said.
    Bicubic,
    /// The one pixel that its middle falls into: what Keras' `load_img` takes where no interpolation is said.
    Nearest,
}

impl Filter {
    const ALL: [Self; 3] = [Self::Bilinear, Self::Bicubic, Self::Nearest];
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
            Self::Nearest => "nearest",
        })
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let named = |filter: &Self| filter.to_string() == name;
        let found = Self::ALL.into_iter().find(named);
        found.ok_or_else(|| format!("unknown filter `{name}`: choose bilinear, bicubic or nearest"))
    }
}

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
    fn new(filter: Filter, span: Span, length: usize, count: usize) -> Self {
        match filter {
            Filter::Bilinear => Self::filtered(triangle, 1.0, span, length, count),
            Filter::Bicubic => Self::filtered(cubic, 2.0, span, length, count),
            Filter::Nearest => Self::nearest(span, length, count),
        }
    }

    /// By a filter that reaches so many pixels to either side where nothing is reduced.
    fn filtered(
        filter: fn(f64) -> f64,
        reach: f64,
        span: Span,
        length: usize,
        count: usize,
    ) -> Self {
        let step = span.length / count as f64;
        let widened = step.max(1.0);
        let reach = reach * widened;
        let (mut taps, mut weights) = (Vec::with_capacity(count), Vec::new());
        for i in 0..count {
            let centre = span.start + (i as f64 + 0.5) * step;
            // The cast rounds towards 0 and takes what lies before the picture for its first pixel.
            let first = (centre - reach + 0.5) as usize;
            let end = ((centre + reach + 0.5) as usize).min(length);
            let at = |source: usize| filter((source as f64 - centre + 0.5) * (1.0 / widened));
            let total: f64 = (first..end).map(at).sum();
            let begin = weights.len();
            weights.extend((first..end).map(|source| {
                let weight = at(source) / total * f64::from(WHOLE);
                (weight + 0.5_f64.copysign(weight)) as i32
            }));
            taps.push((first, begin..weights.len()));
        }
        Self { taps, weights }
    }

    /// Steps are added up, as Pillow does: a product would be rounded otherwise where a middle falls on a pixel's edge.
    fn nearest(span: Span, length: usize, count: usize) -> Self {
        let step = span.length / count as f64;
        let middles = std::iter::successors(Some(span.start + step * 0.5), |at| Some(at + step));
        let taps = middles.take(count);
        Self {
            taps: taps
                .map(|at| ((at as usize).min(length - 1), 0..1))
                .collect(),
            weights: vec![WHOLE],
        }
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

fn triangle(distance: f64) -> f64 {
    (1.0 - distance.abs()).max(0.0)
}

fn cubic(distance: f64) -> f64 {
    const A: f64 = -0.5;
    let x = distance.abs();
    match x {
        _ if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        _ if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
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
        filter: Filter,
        rgb: &[u8],
        [width, height]: [usize; 2],
        [across, down]: [Span; 2],
        side: usize,
        out: &mut [u8],
    ) {
        let columns = Weights::new(filter, across, width, side);
        let rows = Weights::new(filter, down, height, side);
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
