//! [`Lanes`] of integers: four products of bytes and their sum are one instruction of AVX512-VNNI. AVX2 has none that does not saturate,
//! so there bytes are stored as 16 bits, of which it multiplies and adds two. The integers are the same.

use super::super::lanes::{Lanes, Task};
use std::arch::x86_64::*;

/// Sixteen sums, of channels stored as u8.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx512Int8(__m512);

/// Eight sums, of channels stored as u16.
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
    const PIXELS: usize = 6;
    const VALUE_BYTES: usize = 2;
    const INTEGERS: bool = true;

    enter!("avx2,fma");
    arithmetic!(256);
    #[inline(always)]
    unsafe fn read(from: *const u8) -> Self {
        // SAFETY: inside `enter`; the caller vouches for the pointer.
        Self(unsafe {
            let values = _mm_loadu_si128(from.cast());
            _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(values))
        })
    }
    #[inline(always)]
    unsafe fn write(self, to: *mut u8) {
        // SAFETY: inside `enter`; the caller vouches for the pointer.
        unsafe {
            let words = _mm256_cvtps_epi32(self.0);
            let high = _mm256_extracti128_si256::<1>(words);
            // With their sign: Winograd's transform makes negative ones.
            let values = _mm_packs_epi32(_mm256_castsi256_si128(words), high);
            _mm_storeu_si128(to.cast(), values);
        }
    }
    /// What is below the floor, which is always 0, is seen to when it has 16 bits.
    #[inline(always)]
    unsafe fn write_pair(pair: [Self; 2], [_, ceiling]: [Self; 2], to: [*mut u8; 2]) {
        debug_assert_eq!(to[0].wrapping_add(16), to[1]);
        // SAFETY: inside `enter`; 16 channels are half a block of 64 bytes, for which the caller vouches.
        unsafe {
            let [low, high] = pair.map(|half| _mm256_cvtps_epi32(half.min(ceiling).0));
            // In each half four values of the lower channels and four of the upper ones.
            let values = _mm256_packs_epi32(low, high);
            let values = _mm256_max_epi16(values, _mm256_setzero_si256());
            let values = _mm256_permute4x64_epi64::<0b11_01_10_00>(values);
            _mm256_storeu_si256(to[0].cast(), values);
        }
    }
    #[inline(always)]
    unsafe fn dot(self, weights: Self, input: Self) -> Self {
        // SAFETY: inside `enter`.
        Self(unsafe {
            let sum = _mm256_castps_si256(self.0);
            let (weights, input) = (_mm256_castps_si256(weights.0), _mm256_castps_si256(input.0));
            _mm256_castsi256_ps(_mm256_add_epi32(sum, _mm256_madd_epi16(weights, input)))
        })
    }
    #[inline(always)]
    unsafe fn plus_sums(self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        Self(unsafe {
            let (a, b) = (_mm256_castps_si256(self.0), _mm256_castps_si256(other.0));
            _mm256_castsi256_ps(_mm256_add_epi32(a, b))
        })
    }
    #[inline(always)]
    unsafe fn minus_sums(self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        Self(unsafe {
            let (a, b) = (_mm256_castps_si256(self.0), _mm256_castps_si256(other.0));
            _mm256_castsi256_ps(_mm256_sub_epi32(a, b))
        })
    }
    #[inline(always)]
    unsafe fn total(self) -> Self {
        // SAFETY: inside `enter`.
        Self(unsafe { _mm256_cvtepi32_ps(_mm256_castps_si256(self.0)) })
    }
}
