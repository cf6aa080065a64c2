//! Coefficients -> samples: the inverse DCT, in the integer arithmetic that libjpeg calls `islow`.
//!
//! After Loeffler, Ligtenberg and Moschytz (ICASSP 1989): 12 multiplications for 8 values, constants of 13 fractional
//! bits, columns first, and two further bits kept between the passes. Where each step rounds decides the last bit of a
//! sample, so the steps are those of libjpeg, whose samples are everyone's reference.

use std::num::Wrapping;

/// Arithmetic that a picture's coefficients never overflow, and that hostile ones may.
type Int = Wrapping<i32>;

const CONSTANT_BITS: usize = 13;
const PASS_BITS: usize = 2;
/// What sample 0 is to the transform: samples are levels around the middle.
const MIDDLE: i32 = 128;

/// A constant of the transform in fixed point.
const fn fixed(value: f64) -> Int {
    Wrapping((value * (1 << CONSTANT_BITS) as f64 + 0.5) as i32)
}

/// Writes the 8 x 8 samples of one block (`[row, column]`, as are coefficients and steps) to `out`, whose rows lie
/// `stride` samples apart.
pub(super) fn block(coefficients: &[i16; 64], steps: &[u16; 64], out: &mut [u8], stride: usize) {
    let value = |i: usize| Wrapping(i32::from(coefficients[i])) * Wrapping(i32::from(steps[i]));
    let ac = coefficients[1..].iter().fold(0, |any, &c| any | c);
    if ac == 0 {
        let level = sample(round(value(0), 3));
        for row in out.chunks_mut(stride).take(8) {
            row[..8].fill(level);
        }
        return;
    }
    let mut columns = [Wrapping(0); 64];
    for x in 0..8 {
        let column = std::array::from_fn(|y| value(8 * y + x));
        for (y, sum) in transform(column).into_iter().enumerate() {
            columns[8 * y + x] = round(sum, CONSTANT_BITS - PASS_BITS);
        }
    }
    for (row, out) in columns.as_chunks().0.iter().zip(out.chunks_mut(stride)) {
        for (sum, out) in transform(*row).into_iter().zip(out) {
            *out = sample(round(sum, CONSTANT_BITS + PASS_BITS + 3));
        }
    }
}

/// Drops `bits` fractional bits.
fn round(value: Int, bits: usize) -> Int {
    (value + Wrapping(1 << (bits - 1))) >> bits
}

fn sample(level: Int) -> u8 {
    level.0.saturating_add(MIDDLE).clamp(0, 255) as u8
}

/// Eight values through the one-dimensional transform, scaled by the square root of 8 and with 13 more fractional bits.
#[inline(always)]
fn transform(input: [Int; 8]) -> [Int; 8] {
    // Even part: a rotation of 2 and 6, and the sum and difference of 0 and 4.
    let turned = (input[2] + input[6]) * const { fixed(0.541196100) };
    let low = turned - input[6] * const { fixed(1.847759065) };
    let high = turned + input[2] * const { fixed(0.765366865) };
    let sum = (input[0] + input[4]) << CONSTANT_BITS;
    let difference = (input[0] - input[4]) << CONSTANT_BITS;
    let even = [sum + high, difference + low, difference - low, sum - high];

    // Odd part: each of 7, 5, 3 and 1 by itself and in the pairs that share a factor.
    let [a, b, c, d] = [input[7], input[5], input[3], input[1]];
    let all = (a + c + b + d) * const { fixed(1.175875602) };
    let ad = (a + d) * const { fixed(0.899976223) };
    let bc = (b + c) * const { fixed(2.562915447) };
    let ac = all - (a + c) * const { fixed(1.961570560) };
    let bd = all - (b + d) * const { fixed(0.390180644) };
    let odd = [
        d * const { fixed(1.501321110) } - ad + bd,
        c * const { fixed(3.072711026) } - bc + ac,
        b * const { fixed(2.053119869) } - bc + bd,
        a * const { fixed(0.298631336) } - ad + ac,
    ];
    std::array::from_fn(|i| match i {
        0..4 => even[i] + odd[i],
        _ => even[7 - i] - odd[7 - i],
    })
}
