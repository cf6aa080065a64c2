//! CPU inference kernels: a ResNet's forward pass for one image on one core.
//!
//! Read in this order:
//! - `lanes`: a register of channels, the one thing that differs between instruction sets; `x86` implements it; `isa` picks.
//! - `micro`: 14 pixels x 32 outputs, held in registers for the whole of K. Everything that multiplies goes through it.
//! - `conv`, `winograd` with `transform`: how a convolution becomes tiles of it. `pool`, `stem`: the rest of a ResNet.
//! - `source`: weights in, BatchNorm folded. `network`: the graph and its memory. `peak`: the micro-kernel by itself, to measure.
//!
//! What holds: no thread, no lock, no allocation while an image runs; sums are formed in one order that depends on the shape of
//! a layer only, so an image's bits depend on nothing but its pixels, the weights, the precision and the family.
//! All `unsafe` of the crate is in this folder: raw addresses inside the kernels, behind functions that take slices and
//! assert their extents.

mod conv;
mod isa;
mod lanes;
mod memory;
mod micro;
mod network;
mod peak;
mod pool;
mod source;
mod stem;
mod transform;
mod winograd;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

pub use isa::Family;
pub(super) use network::{Arena, Network};
pub(super) use peak::peak;
pub(super) use source::Source;

/// Raised by every change of these kernels that alters bits.
const REVISION: u32 = 1;

/// What the bits depend on besides network, precision and weights.
pub(super) fn identity(family: Family, side: usize) -> String {
    let tiles = [4, 8, 16, 32].map(|scale| winograd::tile_side(side / scale).unwrap_or(1));
    let [mean, std] = [stem::MEAN, stem::STD];
    format!(
        "kernels {REVISION} {family}, winograd {tiles:?}; side {side}; rgb / 255, mean {mean:?}, std {std:?}"
    )
}
