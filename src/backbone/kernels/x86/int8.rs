//! [`Lanes`] of bytes: four products and their sum are one instruction of AVX512-VNNI, and six of AVX2, with the same integers.

use super::super::lanes::{Lanes, Task};
use std::arch::x86_64::*;

/// Sixteen sums, of channels stored as u8.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx512Int8(__m512);

/// Eight.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx2Int8(__m256);

impl Lanes for Avx512Int8 {
    const WIDTH: usize = 16;
    const PIXELS: usize = 14;
    const VALUE_BYTES: usize = 1;
    const INTEGERS: bool = true;

    enter!("avx512f,avx512bw,avx512vnni");
    arithmetic!(512);
    #[inline(always)]
    unsafe fn read(from: *const u8) -> Self {
        // SAFETY: inside `enter`; the caller vouches for the pointer.
        Self(unsafe {
            let bytes = _mm_loadu_si128(from.cast());
            _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
        })
    }
    #[inline(always)]
    unsafe fn write(self, to: *mut u8) {
        // SAFETY: inside `enter`; the caller vouches for the pointer.
        unsafe {
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0));
            _mm_storeu_si128(to.cast(), bytes);
        }
    }
    /// Narrowing keeps within 0 and 255 by itself what is a 32-bit integer, so only the ceiling is looked at before.
    #[inline(always)]
    unsafe fn write_pair(pair: [Self; 2], [_, ceiling]: [Self; 2], to: [*mut u8; 2]) {
        debug_assert_eq!(to[0].wrapping_add(16), to[1]);
        // SAFETY: inside `enter`; 32 channels are half a block of 64 bytes, for which the caller vouches.
        unsafe {
            let [low, high] = pair.map(|half| _mm512_cvtps_epi32(half.min(ceiling).0));
            let halves = _mm512_packs_epi32(low, high);
            // In each quarter four bytes of the lower channels and four of the upper ones, twice.
            let bytes = _mm512_packus_epi16(halves, halves);
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
            let bytes = _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, bytes));
            _mm256_storeu_si256(to[0].cast(), bytes);
        }
    }
    #[inline(always)]
    unsafe fn dot(self, weights: Self, input: Self) -> Self {
        // SAFETY: inside `enter`.
        Self(unsafe {
            let sum = _mm512_castps_si512(self.0);
            let (weights, input) = (_mm512_castps_si512(weights.0), _mm512_castps_si512(input.0));
            _mm512_castsi512_ps(_mm512_dpbusd_epi32(sum, input, weights))
        })
    }
    #[inline(always)]
    unsafe fn total(self) -> Self {
        // SAFETY: inside `enter`.
        Self(unsafe { _mm512_cvtepi32_ps(_mm512_castps_si512(self.0)) })
    }
}

impl Lanes for Avx2Int8 {
    const WIDTH: usize = 8;
    const PIXELS: usize = 4;
    const VALUE_BYTES: usize = 1;
    const INTEGERS: bool = true;

    enter!("avx2,fma");
    arithmetic!(256);
    #[inline(always)]
    unsafe fn read(from: *const u8) -> Self {
        // SAFETY: inside `enter`; the caller vouches for the pointer.
        Self(unsafe {
            let bytes = _mm_loadl_epi64(from.cast());
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
        })
    }
    #[inline(always)]
    unsafe fn write(self, to: *mut u8) {
        // SAFETY: inside `enter`; the caller vouches for the pointer.
        unsafe {
            let words = _mm256_cvtps_epi32(self.0);
            let high = _mm256_extracti128_si256::<1>(words);
            let halves = _mm_packus_epi32(_mm256_castsi256_si128(words), high);
            _mm_storel_epi64(to.cast(), _mm_packus_epi16(halves, halves));
        }
    }
    /// By 16 bits, even bytes and odd ones: `maddubs`, which would take all at once, saturates.
    #[inline(always)]
    unsafe fn dot(self, weights: Self, input: Self) -> Self {
        // SAFETY: inside `enter`.
        Self(unsafe {
            let sum = _mm256_castps_si256(self.0);
            let (weights, input) = (_mm256_castps_si256(weights.0), _mm256_castps_si256(input.0));
            let even = _mm256_madd_epi16(
                _mm256_and_si256(input, _mm256_set1_epi16(0xff)),
                _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights)),
            );
            let odd = _mm256_madd_epi16(
                _mm256_srli_epi16::<8>(input),
                _mm256_srai_epi16::<8>(weights),
            );
            _mm256_castsi256_ps(_mm256_add_epi32(sum, _mm256_add_epi32(even, odd)))
        })
    }
    #[inline(always)]
    unsafe fn total(self) -> Self {
        // SAFETY: inside `enter`.
        Self(unsafe { _mm256_cvtepi32_ps(_mm256_castps_si256(self.0)) })
    }
}
