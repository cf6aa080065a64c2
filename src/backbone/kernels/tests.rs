//! The kernels against naive arithmetic in f64, on every family that this CPU has, over awkward shapes.

mod case;
mod compare;
mod convert;
mod convolution;
mod depthwise;
mod ends;
mod image;
mod int8;
mod networks;
mod stored;

use self::case::{Case, all, case, cases, folded, instruction_sets};
use self::compare::{Tolerance, compare, rounding, summing};
use self::image::{Image, outputs, random};
use self::stored::{alike, pack, stack, stored, unpack};
use super::conv::Direct;
use super::grid::Grid;
use super::isa::{Family, Isa};
use super::layer::{Activation, Epilogue, Folded};
use super::memory::Block;
use super::micro::PANEL;
use crate::backbone::Precision;
use proptest::prelude::*;

/// Runs a direct convolution in memory that holds no numbers.
fn directly(direct: &Direct, images: usize, input: &[u8], output: &mut [u8]) {
    let mut scratch = vec![0xff; direct.scratch_bytes(images)];
    direct.run(images, input, output, &mut scratch);
}
