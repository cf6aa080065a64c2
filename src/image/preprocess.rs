//! A picture of any size -> the square that the network was trained on.
//!
//! Scaling is Pillow's, level for level, by a choice of filters. The arithmetic is in integers on every kind of CPU, so the result
//! does not depend on which vector instructions there are; it runs on the calling thread alone.

use super::{
    Picture,
    resize::{Filter, Scaler, Span},
};

/// How a picture comes into the square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The whole picture, its aspect ratio given up. What the pipelines that we succeed do.
    Stretch,
    /// The shorter side scaled to `resize` pixels and the middle cut out, as in torchvision's evaluation transforms.
    CenterCrop {
        /// The shorter side before the cut; at least the square's side.
        resize: u32,
    },
}

/// The square that the network wants, and how it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preprocess {
    /// Side of the square, in pixels.
    pub side: u32,
    /// How the picture comes into it.
    pub fit: Fit,
    /// How it is scaled.
    pub filter: Filter,
}

impl Preprocess {
    /// Whether any picture can be brought into this square.
    ///
    /// # Errors
    /// A side of 0 or beyond [`SIDE_MAX`], or a crop larger than what it is cut from.
    pub fn check(&self) -> Result<(), PreprocessError> {
        let side = self.side;
        if side == 0 || side > SIDE_MAX {
            return Err(PreprocessError::Side { side });
        }
        match self.fit {
            Fit::CenterCrop { resize } if resize < side => {
                Err(PreprocessError::CropTooLarge { side, resize })
            }
            _ => Ok(()),
        }
    }

    /// The part of a picture that fills the square, in the picture's pixels.
    fn window(&self, width: u32, height: u32) -> [Span; 2] {
        match self.fit {
            Fit::Stretch => [Span::whole(width), Span::whole(height)],
            Fit::CenterCrop { resize } => {
                let short = width.min(height);
                [width, height].map(|length| Span::centre(length, short, resize, self.side))
            }
        }
    }
}

/// Largest side of the square: far above any network's input.
pub const SIDE_MAX: u32 = 4096;

/// Why a picture can't be brought into the square.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreprocessError {
    /// The square has no pixels or too many.
    #[error("an input side of {side} pixels is not between 1 and {SIDE_MAX}")]
    Side {
        /// The side asked for.
        side: u32,
    },
    /// The square is larger than the scaled picture.
    #[error(
        "a crop of {side} pixels can't be cut from a side of {resize}: make `resize` at least {side}"
    )]
    CropTooLarge {
        /// The side of the square.
        side: u32,
        /// The shorter side before the cut.
        resize: u32,
    },
    /// The picture's bytes are not width x height x 3, or there are none.
    #[error("a picture of {width} x {height} RGB pixels does not have {bytes} bytes")]
    Picture {
        /// Width of the picture.
        width: u32,
        /// Height of the picture.
        height: u32,
        /// Length of its pixels.
        bytes: usize,
    },
}

impl Span {
    fn whole(length: u32) -> Self {
        Self {
            start: 0.0,
            length: f64::from(length),
        }
    }

    /// What a cut of `side` pixels out of the middle covers, once `short` pixels are scaled to `resize`. The scaled
    /// length is rounded down and an odd margin to even, as torchvision does.
    fn centre(length: u32, short: u32, resize: u32, side: u32) -> Self {
        let scaled = u64::from(length) * u64::from(resize) / u64::from(short);
        let margin = ((scaled - u64::from(side)) as f64 / 2.0).round_ties_even();
        let step = f64::from(length) / scaled as f64;
        let start = margin * step;
        let rest = f64::from(length) - start;
        Self {
            start,
            length: (f64::from(side) * step).min(rest),
        }
    }
}

/// Scales pictures, one after another, reusing its buffers.
#[derive(Default)]
pub struct Resizer {
    scaler: Scaler,
}

impl Resizer {
    /// A resizer for one thread.
    pub fn new() -> Self {
        Self::default()
    }

    /// Fills `out` with the square: `[side, side, 3]`, RGB. What was in `out` is lost, its capacity reused.
    ///
    /// # Errors
    /// A square that [`Preprocess::check`] refuses, or a picture that does not have the pixels it claims.
    pub fn apply(
        &mut self,
        picture: &Picture,
        preprocess: &Preprocess,
        out: &mut Vec<u8>,
    ) -> Result<(), PreprocessError> {
        preprocess.check()?;
        let &Picture {
            width,
            height,
            ref rgb,
        } = picture;
        if rgb.is_empty() || rgb.len() as u64 != u64::from(width) * u64::from(height) * 3 {
            return Err(PreprocessError::Picture {
                width,
                height,
                bytes: rgb.len(),
            });
        }
        let side = preprocess.side as usize;
        out.clear();
        out.resize(side * side * 3, 0);
        let size = [width as usize, height as usize];
        let window = preprocess.window(width, height);
        let filter = preprocess.filter;
        self.scaler.scale(filter, rgb, size, window, side, out);
        Ok(())
    }
}
