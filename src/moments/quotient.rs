//! Correctly rounded i128 / u64 -> f64, fast enough for the millions of entries of a covariance matrix.

/// Divides by one fixed denominator, each quotient rounded once, to the nearest f64 (ties to even).
///
/// The quotient's leading 62 to 64 bits come from one 128-by-64 division by a precomputed reciprocal (Möller and
/// Granlund, "Improved division by invariant integers", 2011, algorithm 4); whether anything is left over goes into the
/// last bit, so that the one rounding, that to f64, sees on which side of a tie the true quotient lies.
pub(super) struct Quotient {
    /// The denominator, shifted left until its top bit is set.
    divisor: u64,
    /// floor((2^128 - 1) / divisor) - 2^64.
    reciprocal: u64,
    /// That shift and the caller's scale, as a power of two.
    exponent: i32,
}

impl Quotient {
    /// For the quotients numerator / `denominator` · 2^`scale_exponent`.
    ///
    /// # Panics
    /// If `denominator` is 0.
    pub(super) fn new(denominator: u64, scale_exponent: i32) -> Self {
        assert!(denominator > 0, "a quotient needs a denominator");
        let shift = denominator.leading_zeros();
        let divisor = denominator << shift;
        Self {
            divisor,
            // Between 2^64 and 2^65, so dropping the top bit subtracts 2^64.
            reciprocal: (u128::MAX / u128::from(divisor)) as u64,
            exponent: shift as i32 + scale_exponent,
        }
    }

    /// The quotient of `numerator`, which must lie above `i128::MIN`.
    pub(super) fn of(&self, numerator: i128) -> f64 {
        if numerator == 0 {
            return 0.0;
        }
        let magnitude = numerator.unsigned_abs();
        // The top bit goes to 126, so the high word is below the divisor and the quotient fits 64 bits.
        let shift = magnitude.leading_zeros() - 1;
        let (quotient, remainder) = self.divide(magnitude << shift);
        let sticky = quotient | u64::from(remainder != 0);
        let value = sticky as f64 * power_of_two(self.exponent - shift as i32);
        if numerator < 0 { -value } else { value }
    }

    fn divide(&self, dividend: u128) -> (u64, u64) {
        let (high, low) = ((dividend >> 64) as u64, dividend as u64);
        let estimate = (u128::from(self.reciprocal) * u128::from(high)).wrapping_add(dividend);
        let mut quotient = ((estimate >> 64) as u64).wrapping_add(1);
        let mut remainder = low.wrapping_sub(quotient.wrapping_mul(self.divisor));
        if remainder > estimate as u64 {
            quotient = quotient.wrapping_sub(1);
            remainder = remainder.wrapping_add(self.divisor);
        }
        if remainder >= self.divisor {
            quotient = quotient.wrapping_add(1);
            remainder -= self.divisor;
        }
        (quotient, remainder)
    }
}

/// 2^`exponent`, for exponents of normal numbers.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    /// Compares `numerator / denominator` with mantissa · 2^exponent, in integers alone.
    fn compare(numerator: u128, denominator: u64, mantissa: u64, exponent: i32) -> Ordering {
        let shift = |x: u128, by: i32| {
            let by = by.max(0) as u32;
            assert!(
                x.leading_zeros() >= by,
                "the quotient is off by more than an ulp"
            );
            x << by
        };
        let product = u128::from(mantissa) * u128::from(denominator);
        shift(numerator, -exponent).cmp(&shift(product, exponent))
    }

    /// The quotient must lie between the midpoints to both neighbours, on them only if its mantissa is even.
    fn assert_nearest(numerator: i128, denominator: u64) {
        let got = Quotient::new(denominator, 0).of(numerator);
        let bits = got.abs().to_bits();
        let mantissa = (bits & ((1 << 52) - 1)) | (1 << 52);
        let exponent = (bits >> 52) as i32 - 1075;
        let n = numerator.unsigned_abs();
        // Below a power of two the neighbours are twice as close.
        let below = if mantissa == 1 << 52 {
            compare(n, denominator, 4 * mantissa - 1, exponent - 2)
        } else {
            compare(n, denominator, 2 * mantissa - 1, exponent - 1)
        };
        let above = compare(n, denominator, 2 * mantissa + 1, exponent - 1);
        let tie_is_ours = mantissa & 1 == 0;
        assert!(
            below == Ordering::Greater || (below == Ordering::Equal && tie_is_ours),
            "{numerator}/{denominator} is nearer to the f64 below {got:e}"
        );
        assert!(
            above == Ordering::Less || (above == Ordering::Equal && tie_is_ours),
            "{numerator}/{denominator} is nearer to the f64 above {got:e}"
        );
        assert_eq!(got < 0.0, numerator < 0);
    }

    #[test]
    fn ties_and_ends_of_the_range_round_right() {
        for numerator in [
            1,
            (1 << 53) + 1,
            (1 << 53) + 3,
            (1 << 54) - 1,
            i128::MAX,
            -i128::MAX,
            (1 << 126) + 1,
        ] {
            for denominator in [1, 2, 3, 7, 1 << 32, (1 << 63) - 1, 1 << 63, u64::MAX] {
                assert_nearest(numerator, denominator);
            }
        }
        assert_eq!(Quotient::new(5, 0).of(0), 0.0);
        assert_eq!(Quotient::new(2, -32).of(1 << 40), 128.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn quotients_are_the_nearest_f64(numerator in any::<i128>(), lose in 0u32..127, denominator in 1u64.., few in 0u32..64) {
            let (numerator, denominator) = ((numerator >> 1) >> lose, (denominator >> few).max(1));
            prop_assume!(numerator != 0);
            assert_nearest(numerator, denominator);
        }

        /// Numerators that sit on or beside the midpoint of two f64, where double rounding would show.
        #[test]
        fn quotients_beside_a_tie_are_the_nearest_f64(mantissa in 1u64 << 52..1 << 53, denominator in 1u64.., nudge in -1i128..=1) {
            let midpoint = i128::from(2 * mantissa + 1) * i128::from(denominator);
            assert_nearest(midpoint + nudge, denominator);
        }
    }
}
