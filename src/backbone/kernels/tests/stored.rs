//! How numbers are stored, written down a second time.

use super::super::bf16::{from_bf16, to_bf16};
use super::super::grid::Grid;
use super::super::isa::Isa;
use super::super::lanes::LINE_BYTES;
use super::super::memory::Block;
use super::image::Image;

/// A number as two bf16, the second what rounding leaves of the first.
pub(super) fn split(value: f32) -> [u16; 2] {
    let first = to_bf16(value);
    [first, to_bf16(value - from_bf16(first))]
}

pub(super) fn joined([first, second]: [u16; 2]) -> f32 {
    from_bf16(first) + from_bf16(second)
}

/// What a value becomes when it is stored.
pub(super) fn stored(isa: Isa, value: f64) -> f64 {
    let value = value as f32;
    f64::from(match isa.value_bytes() {
        4 => value,
        _ if isa.splits() => joined(split(value)),
        _ => from_bf16(to_bf16(value)),
    })
}

pub(super) fn offset(isa: Isa, grid: Grid, c: usize, y: usize, x: usize) -> usize {
    let (block, lane) = (c / isa.block_channels(), c % isa.block_channels());
    grid.at(y, x) + block * grid.block_pitch() + lane * isa.value_bytes()
}

pub(super) fn pack(isa: Isa, grid: Grid, image: &Image) -> Block {
    let mut block = Block::zeroed(grid.bytes());
    let [_, h, w] = image.shape;
    for (i, &value) in image.values.iter().enumerate() {
        let at = offset(isa, grid, i / w / h, i / w % h, i % w);
        match isa.value_bytes() {
            _ if isa.integers() => block[at] = value as u8,
            2 if isa.splits() => {
                for (piece, bits) in split(value as f32).into_iter().enumerate() {
                    let at = at + piece * LINE_BYTES;
                    block[at..at + 2].copy_from_slice(&bits.to_le_bytes());
                }
            }
            2 => block[at..at + 2].copy_from_slice(&to_bf16(value as f32).to_le_bytes()),
            _ => block[at..at + 4].copy_from_slice(&(value as f32).to_le_bytes()),
        }
    }
    block
}

/// Images one behind the other.
pub(super) fn stack(isa: Isa, grid: Grid, images: &[Image]) -> Vec<u8> {
    let packed = |image| pack(isa, grid, image)[..grid.bytes()].to_vec();
    images.iter().flat_map(packed).collect()
}

pub(super) fn unpack(isa: Isa, grid: Grid, channels: usize, block: &[u8]) -> Image {
    let shape = [channels, grid.height, grid.width];
    Image::of(shape, |i| {
        let (c, y, x) = (
            i / shape[2] / shape[1],
            i / shape[2] % shape[1],
            i % shape[2],
        );
        f64::from(value(isa, &block[offset(isa, grid, c, y, x)..]))
    })
}

/// The stored value that begins here.
pub(super) fn value(isa: Isa, at: &[u8]) -> f32 {
    let half = |piece: usize| {
        let at = &at[piece * LINE_BYTES..];
        u16::from_le_bytes(at[..2].try_into().unwrap())
    };
    match isa.value_bytes() {
        _ if isa.integers() => f32::from(at[0]),
        2 if isa.splits() => joined([0, 1].map(half)),
        2 => from_bf16(half(0)),
        _ => f32::from_le_bytes(at[..4].try_into().unwrap()),
    }
}

/// Whether two buffers are the same, borders and what is behind the last channel included. Of a number that is split there may be
/// two forms, one half of a last place above and one below: there values are compared.
pub(super) fn alike(isa: Isa, a: &[u8], b: &[u8]) -> bool {
    if !isa.splits() {
        return a == b;
    }
    let values = |bytes: &[u8]| -> Vec<f32> {
        let pixels = bytes.chunks_exact(isa.pixel_bytes());
        let values = pixels.flat_map(|pixel| {
            let at = (0..LINE_BYTES).step_by(isa.value_bytes());
            at.map(|at| value(isa, &pixel[at..]))
        });
        values.collect()
    };
    values(a) == values(b)
}
