//! Winograd's transforms of weights, input tiles and output tiles, for m = 2 and 4; N = m + 2 throughout.
//!
//! They are element-wise over channels, so one text serves every instruction set.

use super::lanes::Lanes;

/// What a register of sums becomes.
pub(super) struct Ending<L> {
    pub(super) bias: L,
    /// What sums of integers are multiplied with, and what they are added to where that is `accumulate`d.
    pub(super) factors: L,
    pub(super) residual_factor: L,
    pub(super) accumulate: bool,
    pub(super) bounds: [L; 2],
}

impl<L: Lanes> Ending<L> {
    /// Writes the output that a sum makes.
    #[inline(always)]
    unsafe fn write(&self, sum: L, to: *mut u8) {
        let [floor, ceiling] = self.bounds;
        // SAFETY: the caller is inside `enter` and vouches for the pointer.
        unsafe {
            let mut value = if L::INTEGERS {
                sum.total().mul(self.factors).add(self.bias)
            } else {
                sum.add(self.bias)
            };
            if self.accumulate {
                let mut held = L::read(to);
                if L::INTEGERS {
                    held = held.mul(self.residual_factor);
                }
                value = value.add(held);
            }
            value.max(floor).min(ceiling).write(to);
        }
    }
}

/// The transform of weights, `[m + 2][3]`.
pub(super) fn weight_transform(m: usize) -> &'static [[f64; 3]] {
    const F2: [[f64; 3]; 4] = [
        [1.0, 0.0, 0.0],
        [0.5, 0.5, 0.5],
        [0.5, -0.5, 0.5],
        [0.0, 0.0, 1.0],
    ];
    const F4: [[f64; 3]; 6] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];
    if m == 4 { &F4 } else { &F2 }
}

/// `N` x `N` input pixels to as many frequencies, `pitch` bytes apart.
#[inline(always)]
pub(super) unsafe fn input_tile<L: Lanes, const N: usize>(
    from: *const u8,
    row_pitch: usize,
    to: *mut u8,
    pitch: usize,
) {
    // SAFETY: the caller vouches for N x N pixels and as many frequencies.
    unsafe {
        let mut columns = [[L::splat(0.0); N]; N];
        for (x, column) in columns.iter_mut().enumerate() {
            for (y, value) in column.iter_mut().enumerate() {
                *value = L::read(from.add(y * row_pitch + x * 64));
            }
            *column = input_1d(*column);
        }
        for y in 0..N {
            let mut row = [L::splat(0.0); N];
            for (value, column) in row.iter_mut().zip(&columns) {
                *value = column[y];
            }
            for (x, value) in input_1d(row).into_iter().enumerate() {
                value.write(to.add((y * N + x) * pitch));
            }
        }
    }
}

/// `N` x `N` frequencies to m x m output pixels, of which `valid` rows and columns lie inside the output.
#[inline(always)]
pub(super) unsafe fn output_tile<L: Lanes, const N: usize>(
    from: *const u8,
    pitch: usize,
    ending: &Ending<L>,
    to: *mut u8,
    row_pitch: usize,
    valid: [usize; 2],
) {
    // SAFETY: the caller vouches for N x N frequencies and for the valid pixels.
    unsafe {
        let mut columns = [[L::splat(0.0); N]; N];
        for (x, column) in columns.iter_mut().enumerate() {
            for (y, value) in column.iter_mut().enumerate() {
                *value = L::load(from.add((y * N + x) * pitch).cast());
            }
            *column = output_1d(*column);
        }
        for y in 0..N - 2 {
            let mut row = [L::splat(0.0); N];
            for (value, column) in row.iter_mut().zip(&columns) {
                *value = column[y];
            }
            let row = output_1d(row);
            // Bounds known to the compiler, so that the arrays stay in registers; the edge is tested inside.
            for (x, value) in row[..N - 2].iter().enumerate() {
                if y < valid[0] && x < valid[1] {
                    ending.write(*value, to.add(y * row_pitch + x * 64));
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn input_1d<L: Lanes, const N: usize>(x: [L; N]) -> [L; N] {
    let mut y = x;
    // SAFETY: inside `enter`, by the contract of `Lanes`.
    unsafe {
        if N == 6 {
            // 4 x0 - 5 x2 + x4 and so on, with the common terms taken once.
            let even = x[4].minus(4.0, x[2]);
            let odd = x[3].minus(4.0, x[1]);
            let even2 = x[4].sub(x[2]);
            let odd2 = x[3].sub(x[1]).mul(L::splat(2.0));
            y[0] = x[4].minus(5.0, x[2]).plus(4.0, x[0]);
            y[1] = even.add(odd);
            y[2] = even.sub(odd);
            y[3] = even2.add(odd2);
            y[4] = even2.sub(odd2);
            y[5] = x[5].minus(5.0, x[3]).plus(4.0, x[1]);
        } else {
            y[0] = x[0].sub(x[2]);
            y[1] = x[1].add(x[2]);
            y[2] = x[2].sub(x[1]);
            y[3] = x[1].sub(x[3]);
        }
    }
    y
}

/// The first N - 2 values of the result count.
#[inline(always)]
unsafe fn output_1d<L: Lanes, const N: usize>(x: [L; N]) -> [L; N] {
    let mut y = x;
    // SAFETY: inside `enter`, by the contract of `Lanes`.
    unsafe {
        if N == 6 {
            let (sum1, difference1) = (x[1].add(x[2]), x[1].sub(x[2]));
            let (sum2, difference2) = (x[3].add(x[4]), x[3].sub(x[4]));
            y[0] = x[0].add(sum1).add(sum2);
            y[1] = difference1.plus(2.0, difference2);
            y[2] = sum1.plus(4.0, sum2);
            y[3] = difference1.plus(8.0, difference2).add(x[5]);
        } else {
            y[0] = x[0].plus_sums(x[1]).plus_sums(x[2]);
            y[1] = x[1].minus_sums(x[2]).minus_sums(x[3]);
        }
    }
    y
}
