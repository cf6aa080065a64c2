//! Dot products and distances in one fixed order of summation, which is also one that compilers turn into SIMD.
//!
//! Addition in floating point does not associate, so a compiler may not reorder it: the order is written down
//! here, in sixteen interleaved partial sums, none of whose products is fused with its addition. So the result does not depend
//! on the CPU, though each that has AVX2 takes it, nor on what else is computed.

use pulp::Arch;

const LANES: usize = 16;

/// Σ a_i b_i.
///
/// # Panics
/// In tests, if the lengths differ.
pub(crate) fn dot<T: Copy>(a: &[f64], b: &[T]) -> f64
where
    f64: From<T>,
{
    sum::<f64, T>(a, b, |a, b| a * b)
}

/// Σ (a_i - b_i)²: the square of Euclid's distance.
///
/// # Panics
/// In tests, if the lengths differ.
pub(crate) fn squared_distance<T: Copy, U: Copy>(a: &[T], b: &[U]) -> f64
where
    f64: From<T> + From<U>,
{
    sum::<T, U>(a, b, |a, b| (a - b) * (a - b))
}

fn sum<T: Copy, U: Copy>(a: &[T], b: &[U], term: impl Fn(f64, f64) -> f64) -> f64
where
    f64: From<T> + From<U>,
{
    Arch::new().dispatch(
        #[inline(always)]
        || in_lanes(a, b, term),
    )
}

#[inline(always)]
fn in_lanes<T: Copy, U: Copy>(a: &[T], b: &[U], term: impl Fn(f64, f64) -> f64) -> f64
where
    f64: From<T> + From<U>,
{
    debug_assert_eq!(a.len(), b.len());
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += term(f64::from(a[lane]), f64::from(b[lane]));
        }
    }
    for (sum, (&a, &b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum += term(f64::from(a), f64::from(b));
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::{dot, in_lanes, squared_distance};

    #[test]
    fn every_length_is_summed_whole() {
        for length in 0..70u32 {
            let a: Vec<f64> = (0..length).map(|i| f64::from(i) - 7.0).collect();
            let b: Vec<f32> = (0..length).map(|i| (i * i % 11) as f32).collect();
            let expected: f64 = a.iter().zip(&b).map(|(a, b)| a * f64::from(*b)).sum();
            assert_eq!(
                dot(&a, &b),
                expected,
                "small integers are exact in any order"
            );
            let expected: f64 = a
                .iter()
                .zip(&b)
                .map(|(a, b)| (a - f64::from(*b)).powi(2))
                .sum();
            assert_eq!(squared_distance(&a, &b), expected);
        }
    }

    #[test]
    fn no_cpu_rounds_otherwise() {
        // What any other order of summation, or a fused product, would change in the last place.
        let a: Vec<f64> = (0..2048).map(|i| f64::from(i).sin() / 3.0).collect();
        let b: Vec<f32> = (0..2048).map(|i| (i as f32).cos()).collect();
        assert_eq!(dot(&a, &b), in_lanes(&a, &b, |a: f64, b: f64| a * b));
        let distance = in_lanes(&a, &b, |a: f64, b: f64| (a - b) * (a - b));
        assert_eq!(squared_distance(&a, &b), distance);
    }
}
