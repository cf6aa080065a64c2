//! [`Lanes`] on x86-64: AVX-512 in f32 and bf16, AVX2 with FMA; both in integers (`int8`).
//!
//! Plain intrinsics: from the generic kernels LLVM makes the loops one would write by hand (no spills, loads folded into
//! the multiply-adds as broadcasts).

use super::lanes::{LINE_BYTES, Lanes, Task};
use std::arch::x86_64::*;
use std::mem::transmute;

/// Sixteen f32.
#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512);

/// Sixteen sums in f32 of channels that are stored as bf16. A word is two neighbouring channels, multiplied and added
/// by one instruction.
#[derive(Clone, Copy)]
pub(super) struct Avx512Bf16(__m512);

/// Sixteen f32 of channels that are stored as two bf16 each, whose sum they are but for their last bits: the channels' first
/// pieces in one line, the second ones in the next.
#[derive(Clone, Copy)]
pub(super) struct Avx512Split(__m512);

/// Eight f32.
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256);

/// [`Lanes::enter`] with these instructions.
macro_rules! enter {
    ($features:literal) => {
        #[target_feature(enable = $features)]
        unsafe fn enter<T: Task>(task: T) {
            // SAFETY: the caller has the instructions and vouches for the task's pointers.
            unsafe { task.run::<Self>() }
        }
    };
}

/// The methods that only name another intrinsic, of registers of so many bits.
macro_rules! arithmetic {
    (512) => {
        arithmetic!(
            _mm512_set1_ps,
            _mm512_loadu_ps,
            _mm512_storeu_ps,
            _mm512_add_ps,
            _mm512_sub_ps,
            _mm512_mul_ps,
            _mm512_max_ps,
            _mm512_min_ps,
            _mm512_fmadd_ps,
            _mm512_fnmadd_ps
        );
    };
    (256) => {
        arithmetic!(
            _mm256_set1_ps,
            _mm256_loadu_ps,
            _mm256_storeu_ps,
            _mm256_add_ps,
            _mm256_sub_ps,
            _mm256_mul_ps,
            _mm256_max_ps,
            _mm256_min_ps,
            _mm256_fmadd_ps,
            _mm256_fnmadd_ps
        );
    };
    ($splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident, $mul:ident, $max:ident, $min:ident, $fmadd:ident, $fnmadd:ident) => {
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: inside `enter`.
            Self(unsafe { $splat(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: inside `enter`; the caller vouches for the pointer.
            Self(unsafe { $load(from) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: inside `enter`; the caller vouches for the pointer.
            unsafe { $store(to, self.0) }
        }
        #[inline(always)]
        unsafe fn broadcast(word: *const u8) -> Self {
            // SAFETY: inside `enter`; the caller vouches for the pointer.
            Self(unsafe { $splat(word.cast::<f32>().read_unaligned()) })
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: inside `enter`.
            Self(unsafe { $add(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            // SAFETY: inside `enter`.
            Self(unsafe { $sub(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            // SAFETY: inside `enter`.
            Self(unsafe { $mul(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            // SAFETY: inside `enter`.
            Self(unsafe { $max(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            // SAFETY: inside `enter`.
            Self(unsafe { $min(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
            // SAFETY: inside `enter`.
            Self(unsafe { $fmadd(a.0, b.0, self.0) })
        }
        #[inline(always)]
        unsafe fn minus(self, factor: f32, x: Self) -> Self {
            // SAFETY: inside `enter`.
            Self(unsafe { $fnmadd($splat(factor), x.0, self.0) })
        }
        #[inline(always)]
        unsafe fn prefetch(line: *const u8) {
            // SAFETY: a prefetch never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) }
        }
    };
}

mod int8;

pub(super) use int8::{Avx2Int8, Avx512Int8};

/// Activations stored as f32 are read, written and multiplied as they are.
macro_rules! stored_as_f32 {
    ($fmadd:ident) => {
        #[inline(always)]
        unsafe fn read(from: *const u8) -> Self {
            // SAFETY: inside `enter`; the caller vouches for the pointer.
            unsafe { Self::load(from.cast()) }
        }
        #[inline(always)]
        unsafe fn write(self, to: *mut u8) {
            // SAFETY: inside `enter`; the caller vouches for the pointer.
            unsafe { self.store(to.cast()) }
        }
        #[inline(always)]
        unsafe fn dot(self, weights: Self, input: Self) -> Self {
            // SAFETY: inside `enter`.
            Self(unsafe { $fmadd(weights.0, input.0, self.0) })
        }
    };
}

impl Lanes for Avx512 {
    const WIDTH: usize = 16;
    const PIXELS: usize = 14;
    const VALUE_BYTES: usize = 4;

    enter!("avx512f");
    arithmetic!(512);
    stored_as_f32!(_mm512_fmadd_ps);
}

/// Sixteen bf16 as f32.
#[inline(always)]
unsafe fn widened(halves: __m256i) -> __m512 {
    // SAFETY: the caller is inside `enter`.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves))) }
}

/// Sixteen f32 as bf16, rounded to nearest even.
#[inline(always)]
unsafe fn rounded(values: __m512) -> __m256i {
    // SAFETY: the caller is inside `enter`; the transmuted types are 32 bytes of bits.
    unsafe { transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values)) }
}

impl Lanes for Avx512Bf16 {
    const WIDTH: usize = 16;
    const PIXELS: usize = 14;
    const VALUE_BYTES: usize = 2;

    enter!("avx512f,avx512bf16");
    arithmetic!(512);
    #[inline(always)]
    unsafe fn read(from: *const u8) -> Self {
        // SAFETY: inside `enter`; the caller vouches for the pointer.
        Self(unsafe { widened(_mm256_loadu_si256(from.cast())) })
    }
    #[inline(always)]
    unsafe fn write(self, to: *mut u8) {
        // SAFETY: inside `enter`; the caller vouches for the pointer.
        unsafe { _mm256_storeu_si256(to.cast(), rounded(self.0)) }
    }
    #[inline(always)]
    unsafe fn write_pair(pair: [Self; 2], [floor, ceiling]: [Self; 2], to: [*mut u8; 2]) {
        debug_assert_eq!(to[0].wrapping_add(32), to[1]);
        // SAFETY: inside `enter`; 32 channels are one block of 64 bytes, for which the caller vouches.
        unsafe {
            let [low, high] = pair.map(|half| half.max(floor).min(ceiling));
            let halves = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high.0, low.0));
            _mm512_storeu_si512(to[0].cast(), halves);
        }
    }
    #[inline(always)]
    unsafe fn dot(self, weights: Self, input: Self) -> Self {
        // SAFETY: inside `enter`; the transmuted types are 64 bytes of bits.
        Self(unsafe {
            let pairs = |x| transmute::<__m512, __m512bh>(x);
            _mm512_dpbf16_ps(self.0, pairs(weights.0), pairs(input.0))
        })
    }
}

impl Lanes for Avx512Split {
    const WIDTH: usize = 16;
    const PIXELS: usize = 14;
    const VALUE_BYTES: usize = 2;
    const PIXEL_BYTES: usize = 2 * LINE_BYTES;

    enter!("avx512f,avx512bf16");
    arithmetic!(512);
    #[inline(always)]
    unsafe fn read(from: *const u8) -> Self {
        // SAFETY: inside `enter`; the caller vouches for the pointer, and so for the line behind it.
        Self(unsafe {
            let [first, second] =
                [0, LINE_BYTES].map(|piece| widened(_mm256_loadu_si256(from.add(piece).cast())));
            _mm512_add_ps(first, second)
        })
    }
    #[inline(always)]
    unsafe fn write(self, to: *mut u8) {
        // SAFETY: inside `enter`; the caller vouches for the pointer, and so for the line behind it.
        unsafe {
            let first = rounded(self.0);
            let second = rounded(_mm512_sub_ps(self.0, widened(first)));
            _mm256_storeu_si256(to.cast(), first);
            _mm256_storeu_si256(to.add(LINE_BYTES).cast(), second);
        }
    }
    unsafe fn dot(self, _weights: Self, _input: Self) -> Self {
        unreachable!("sums over split channels are formed on tiles")
    }
}

impl Lanes for Avx2 {
    const WIDTH: usize = 8;
    const PIXELS: usize = 6;
    const VALUE_BYTES: usize = 4;

    enter!("avx2,fma");
    arithmetic!(256);
    stored_as_f32!(_mm256_fmadd_ps);
}
