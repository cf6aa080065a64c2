//! How activations lie in memory.
//!
//! Rows: `[y][block][x][64 bytes]`, a block being 16 f32, 32 bf16, 64 u8 or 32 u16 channels. For tiles planes:
//! `[block][y][x][64 bytes]`, and f32 is split in two pieces: `[block][y][x][piece][64 bytes]`. Where a 3x3 reads, a border of zeros
//! is stored, which is never written and so never cleared again. Images lie one behind the other.

use super::isa::Isa;
use super::micro::PANEL;

/// How many images are computed side by side where any are.
pub(super) const TOGETHER: usize = 4;

/// Shape of one image's activations, with `border` zero pixels on every side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Grid {
    pub(super) blocks: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) border: usize,
    /// Whether a block's rows lie together, not a row's blocks.
    pub(super) planes: bool,
    /// Of one block.
    pub(super) pixel_bytes: usize,
}

impl Grid {
    /// Room for `channels`, `height`, `width`, with channels filled up to whole panels of outputs.
    pub(super) fn new(isa: Isa, [channels, height, width]: [usize; 3], border: usize) -> Self {
        Self {
            blocks: channels
                .next_multiple_of(PANEL)
                .div_ceil(isa.block_channels()),
            height,
            width,
            border,
            planes: isa.tiles(),
            pixel_bytes: isa.pixel_bytes(),
        }
    }

    fn line(&self) -> usize {
        (self.width + 2 * self.border) * self.pixel_bytes
    }
    fn lines(&self) -> usize {
        self.height + 2 * self.border
    }
    /// Bytes from one block of channels to the next.
    pub(super) fn block_pitch(&self) -> usize {
        self.line() * if self.planes { self.lines() } else { 1 }
    }
    /// Bytes from one row to the next.
    pub(super) fn row_pitch(&self) -> usize {
        self.line() * if self.planes { 1 } else { self.blocks }
    }
    /// Pixels without the border's.
    pub(super) fn area(&self) -> usize {
        self.height * self.width
    }
    pub(super) fn bytes(&self) -> usize {
        self.blocks * self.lines() * self.line()
    }
    /// The first block of pixel (`y`, `x`), counted from the border's corner.
    pub(super) fn corner_at(&self, y: usize, x: usize) -> usize {
        y * self.row_pitch() + x * self.pixel_bytes
    }
    /// The first block of pixel (`y`, `x`).
    pub(super) fn at(&self, y: usize, x: usize) -> usize {
        self.corner_at(y + self.border, x + self.border)
    }
}
