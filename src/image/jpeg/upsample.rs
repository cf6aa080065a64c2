//! Chroma of half the resolution -> a value for every pixel, as libjpeg does it ("fancy upsampling").
//!
//! A sample lies in the middle of the pixels that it stands for, so a pixel takes 3/4 of the sample nearest to it and
//! 1/4 of the next nearest, along each halved axis. Halves are rounded up in one pixel and down in its neighbour:
//! always up would brighten the colours of the whole picture by a fraction of a level, and networks see that.

/// One component's samples: `height` rows of `width`, each found by its number.
pub(super) trait Samples {
    /// Samples in a row that belong to the picture.
    fn width(&self) -> usize;
    /// Rows that belong to the picture.
    fn height(&self) -> usize;
    /// Row `y`, at least [`width`](Self::width) samples long.
    fn row(&self, y: usize) -> &[u8];
}

/// How many pixels one sample stands for, and how they get their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upsampling {
    /// A sample for every pixel.
    None,
    /// Half the pixels of a row.
    Across,
    /// Half the rows.
    Down,
    /// Half of both.
    Both,
    /// Any other whole ratio, or too narrow for a filter: the sample itself.
    Repeat { across: usize, down: usize },
}

impl Upsampling {
    /// For `across` x `down` pixels a sample, and `width` samples in a row.
    pub fn new(across: usize, down: usize, width: usize) -> Self {
        match (across, down) {
            (1, 1) => Self::None,
            (1, 2) => Self::Down,
            (2, 1) if width > 2 => Self::Across,
            (2, 2) if width > 2 => Self::Both,
            _ => Self::Repeat { across, down },
        }
    }

    /// The values of row `y` of the picture; `out` has room for a row rounded up to whole samples.
    pub fn row(self, samples: &impl Samples, y: usize, out: &mut [u8]) {
        let width = samples.width();
        match self {
            Self::None => out[..width].copy_from_slice(&samples.row(y)[..width]),
            Self::Across => across(&samples.row(y)[..width], out),
            Self::Down => {
                let (near, far) = rows(samples, y);
                let bias = if y.is_multiple_of(2) { 1 } else { 2 };
                for ((out, &near), &far) in out.iter_mut().zip(near).zip(far) {
                    *out = ((weighted(near, far) + bias) >> 2) as u8;
                }
            }
            Self::Both => {
                let (near, far) = rows(samples, y);
                both(near, far, out);
            }
            Self::Repeat { across, down } => {
                let row = &samples.row(y / down)[..width];
                for (out, &sample) in out.chunks_mut(across).zip(row) {
                    out.fill(sample);
                }
            }
        }
    }
}

/// The nearest and the next nearest row of samples to row `y` of a picture of twice the height. Beyond the picture's
/// edge the last row goes on.
fn rows(samples: &impl Samples, y: usize) -> (&[u8], &[u8]) {
    let near = y / 2;
    let far = match y % 2 {
        0 => near.saturating_sub(1),
        _ => (near + 1).min(samples.height() - 1),
    };
    let row = |y| &samples.row(y)[..samples.width()];
    (row(near), row(far))
}

fn weighted(near: u8, far: u8) -> u16 {
    3 * u16::from(near) + u16::from(far)
}

/// Doubles a row of at least two samples.
fn across(row: &[u8], out: &mut [u8]) {
    let last = row.len() - 1;
    out[0] = row[0];
    out[2 * last + 1] = row[last];
    for (pair, out) in row.windows(2).zip(out[1..].chunks_exact_mut(2)) {
        out[0] = ((weighted(pair[0], pair[1]) + 2) >> 2) as u8;
        out[1] = ((weighted(pair[1], pair[0]) + 1) >> 2) as u8;
    }
}

/// Doubles a row of at least two samples, each of them between two rows: quarters down times quarters across, rounded
/// once.
fn both(near: &[u8], far: &[u8], out: &mut [u8]) {
    let last = near.len() - 1;
    let down = |i: usize| weighted(near[i], far[i]);
    out[0] = ((4 * down(0) + 8) >> 4) as u8;
    out[2 * last + 1] = ((4 * down(last) + 7) >> 4) as u8;
    let pairs = near.windows(2).zip(far.windows(2));
    for ((near, far), out) in pairs.zip(out[1..].chunks_exact_mut(2)) {
        let (left, right) = (weighted(near[0], far[0]), weighted(near[1], far[1]));
        out[0] = ((3 * left + right + 7) >> 4) as u8;
        out[1] = ((3 * right + left + 8) >> 4) as u8;
    }
}
