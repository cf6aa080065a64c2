//! CPU inference kernels: a network's forward pass on one core.
//!
//! Read in this order:
//! - `lanes`: a register of channels, the one thing that differs between instruction sets; `x86` implements it; `isa` picks.
//! - `micro`: 14 pixels x 32 outputs, held in registers for the whole of K. All that sums over channels goes through it, or
//!   through `amx` where the CPU has tiles.
//! - `layer`: what a convolution is; `grid`: how maps lie in memory, `bf16` what some of them hold; `product`: a convolution at work.
//! - `conv`: its weights packed, its outputs in `segments` for `micro` or in `tiles` for `amx`; `polyphase`: those of stride 2 on tiles.
//!   `winograd` with `transform`: 3x3s of stride 1. `depthwise`, `pool`, `stem`: the rest of a network; `convert` where it begins in f32.
//! - `source`: weights in, BatchNorm folded; `quantise`: these as bytes, for int8. `input`: pixels in. `plan`: layers and the buffers between them; `networks`: which
//!   layers. `step` and `network`: the plan carried out. `dense` and `signs`: what heads compute. `peak`: the micro-kernel by itself, to measure.
//!
//! What holds: no thread, no lock, no allocation while images run; sums are formed in one order that depends on the shape of
//! a layer only, so an image's bits depend on nothing but its pixels, the weights, the precision and the family: not on the
//! image beside it either.
//! All `unsafe` of the computation is in this folder: raw addresses inside the kernels, behind functions that take slices and
//! assert their extents. (What else of it the crate has are single calls of the system, the allocator and librdkafka; the compiler
//! refuses any other.)

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod bf16;
mod conv;
mod convert;
mod dense;
mod depthwise;
mod grid;
mod input;
mod isa;
mod lanes;
mod layer;
mod memory;
mod micro;
mod network;
mod networks;
mod peak;
mod plan;
mod polyphase;
mod pool;
mod product;
mod quantise;
mod segments;
mod signs;
mod source;
mod stem;
mod step;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tiles;
mod transform;
mod winograd;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

pub(super) use dense::{Dense, DenseArena, DenseLayer};
pub use isa::Family;
pub(super) use network::{Arena, Network};
pub(super) use quantise::Ranges;
pub(super) use signs::Signs;
pub(super) use source::{Source, tensor};

use super::{Architecture, BackboneError, Options, Precision};

/// Raised by every change of these kernels that alters bits.
const REVISION: u32 = 1;
/// The same for those of integers.
const REVISION_OF_INTEGERS: u32 = 1;

/// Operations a second of the micro-kernel that `options` choose for `architecture`, at a glance of some milliseconds.
///
/// # Errors
/// Of a family or precision that this CPU has not.
pub(super) fn pace(architecture: Architecture, options: &Options) -> Result<f64, BackboneError> {
    const ROUNDS: usize = 20;
    let isa = isa::Isa::new(options.chosen_family(architecture), options.precision)?;
    Ok(peak::peak(isa, ROUNDS))
}

/// What the bits depend on besides network, precision and weights.
pub(super) fn identity(architecture: Architecture, options: &Options) -> String {
    let Options {
        side,
        pooling,
        precision,
        preprocessing,
        ..
    } = options;
    let family = options.chosen_family(architecture);
    let sums = match family {
        Family::Amx => "direct".to_owned(),
        _ => {
            let sides = architecture.sides(*side);
            let tiles = sides.map(|side| winograd::tile_side(side).unwrap_or(1));
            format!("winograd {tiles:?}")
        }
    };
    let kernels = match precision {
        Precision::F32 if family == Family::Amx => {
            format!("kernels {REVISION} {family}, {}", networks::split())
        }
        Precision::F32 => format!("kernels {REVISION} {family}, {sums}"),
        Precision::Bf16 => {
            let first = networks::in_f32(architecture);
            format!("kernels {REVISION} {family}, {sums}{first}")
        }
        // Of every family.
        Precision::Int8 => format!("kernels of integers {REVISION_OF_INTEGERS}"),
    };
    let formula = preprocessing.formula();
    format!("{kernels}; side {side}; {formula}; {pooling}")
}
