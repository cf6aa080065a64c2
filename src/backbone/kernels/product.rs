//! A convolution at work: what it reads, multiplies and writes, whichever way its outputs are cut into what is computed at once.

use super::quantise::Factors;

/// Where a convolution reads the first value of each output's inputs, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    pub(super) origin: usize,
    /// From one pixel of the output to the next.
    pub(super) step: usize,
    /// From one row of the output to the next.
    pub(super) row: usize,
}

/// Bytes of inputs and outputs that are worked on with all weights before the next: what stays in a second-level cache.
pub(super) const BLOCK_BYTES: usize = 512 << 10;

/// What is multiplied, with the outputs that it leads to.
pub(super) struct Product<'a> {
    pub(super) images: usize,
    pub(super) input: *const u8,
    /// From one image to the next.
    pub(super) input_bytes: usize,
    pub(super) output: *mut u8,
    pub(super) output_bytes: usize,
    /// By panels of 32 outputs, each `[run][word]` in the order of the kernels.
    pub(super) weights: &'a [u8],
    pub(super) bias: &'a [f32],
    /// What sums of integers, and what the output holds then, are multiplied with.
    pub(super) factors: &'a Factors,
    /// Offsets in bytes.
    pub(super) runs: &'a [u32],
    /// Add what the output holds.
    pub(super) accumulate: bool,
    /// What outputs are clipped to.
    pub(super) bounds: [f32; 2],
    /// For sums on tiles: of [`Direct::scratch_bytes`](super::conv::Direct::scratch_bytes).
    #[cfg_attr(
        not(all(target_arch = "x86_64", target_os = "linux")),
        expect(dead_code)
    )]
    pub(super) scratch: *mut u8,
}
