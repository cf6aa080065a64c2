//! How far results may be from the naive ones.

use super::super::isa::Isa;
use super::image::Image;

/// How far a result may be off.
#[derive(Clone, Copy)]
pub(super) enum Tolerance {
    /// Each value, relative to the sum of its terms' magnitudes.
    Each(f64),
    /// All values in L2, relative to all sums: for transforms in bf16, whose error at a pixel comes from its whole tile.
    Together(f64),
}

/// Holds what was got to what is wanted. `scale` is the sum of the terms' magnitudes, `norm` the square of all sums.
pub(super) fn compare(
    what: &str,
    isa: Isa,
    [got, want, scale]: [&Image; 3],
    norm: f64,
    tolerance: Tolerance,
) {
    let mut squares = 0.0;
    for (i, (got, want)) in got.values.iter().zip(&want.values).enumerate() {
        let rounded = (got - want).abs() - want.abs() * rounding(isa);
        squares += rounded.max(0.0).powi(2);
        if let Tolerance::Each(tolerance) = tolerance {
            let bound = tolerance * scale.values[i];
            assert!(rounded <= bound, "value {i}: {got} for {want}, {what}");
        }
    }
    if let Tolerance::Together(tolerance) = tolerance {
        let error = (squares / norm).sqrt();
        assert!(error <= tolerance, "relative L2 {error}, {what}");
    }
}

/// Relative error of storing a result.
pub(super) fn rounding(isa: Isa) -> f64 {
    let bits = match isa.value_bytes() {
        4 => 24,
        _ if isa.splits() => 17,
        _ => 8,
    };
    0.5f64.powi(bits)
}

/// Error of a sum over channels, relative to its terms' magnitudes: that of summing in f32; and where numbers are split, the
/// product of the pieces that are left out, an input's second, 2⁻⁸ of it at most, and a weight's second and third.
pub(super) fn summing(isa: Isa) -> f64 {
    let left_out = if isa.splits() {
        0.5f64.powi(16) * 1.01
    } else {
        0.0
    };
    1e-6 + left_out
}
