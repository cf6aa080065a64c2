//! The leading eigenpairs of a large symmetric matrix by a thick-restarted block Krylov method.
//!
//! The basis V grows by blocks: each next block is what A maps the last one to, outside of V. Once it is full, the
//! eigenvectors of VᵀAV (Rayleigh–Ritz) replace it by its best directions, and it grows again (Wu and Simon, "Thick-restart
//! Lanczos method", 2000, here with blocks and full reorthogonalisation). Why not faer's partial solver, which adds one
//! vector at a time: blocks make matrix products of it, find eigenvalues of higher multiplicity, and an exhausted Krylov
//! space (few distinct images, duplicated columns) is a case to handle here, by a fresh direction, not a division by zero.
//!
//! A Krylov method can miss a direction that its start lacks. Hence the second opinion: a converged space must survive a
//! cycle that starts from a fresh pseudo-random block. The seed is fixed, so the outcome is a function of the matrix.

use super::eigen::{self, Spectrum};
use crate::lanes::dot;
use crate::splitmix::SplitMix;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};

/// Vectors in a block: as few as still make a product with A bound by arithmetic, not by reading A.
const BLOCK: usize = 8;
/// Vectors beyond the wanted ones that survive a restart, for the sake of convergence.
const GUARDS: usize = 2 * BLOCK;
/// Blocks that a cycle adds to the vectors kept from the one before; so deep goes the second opinion, too.
///
/// That a random vector's Krylov space of s steps hides an eigenvalue larger by a share ε than all it shows has a
/// probability of the order √d exp(−√ε (2s − 1)) at most (Kuczyński and Woźniakowski, "Estimating the largest eigenvalue
/// by the power and Lanczos algorithms with a random start", 1992); a block hides it only if all its vectors do. So
/// depth counts for more than width: wherever that bound is above 1e-10, 8 blocks of 8 have a smaller one than 6 of 16.
const CYCLE_BLOCKS: usize = 8;
/// An eigenpair has converged when |Av − θv| is below this share of the largest eigenvalue.
const TOLERANCE: f64 = 1e-12;
/// What is left of a vector below this share of the largest image is rounding error, no direction.
const NEGLIGIBLE: f64 = 1e-13;
/// Cycles before the caller had better decompose the whole matrix.
const MAX_CYCLES: usize = 120;

/// The `k` leading eigenpairs of `matrix` [d, d], symmetric; `None` if they do not converge.
///
/// # Panics
/// If d is below k + 11 blocks.
pub(super) fn leading(matrix: MatRef<'_, f64>, k: usize) -> Option<Spectrum> {
    let mut basis = Basis::new(matrix, k + GUARDS, k + GUARDS + CYCLE_BLOCKS * BLOCK);
    let mut block = basis.fresh_block();
    let mut first_opinion: Option<Vec<f64>> = None;
    for _ in 0..MAX_CYCLES {
        let residual = basis.grow(block);
        let mut values = basis.restart()?;
        values.truncate(k);
        let scale = values[0].abs();
        if basis.worst_residual(&values) > TOLERANCE * scale {
            first_opinion = None;
            block = residual;
            continue;
        }
        let agrees = |first: &Vec<f64>| {
            first
                .iter()
                .zip(&values)
                .all(|(a, b)| (a - b).abs() <= TOLERANCE * scale)
        };
        if first_opinion.as_ref().is_some_and(agrees) {
            let vectors = basis.vectors.subcols(0, k).to_owned();
            return Some(Spectrum { values, vectors });
        }
        first_opinion = Some(values);
        block = basis.fresh_block();
    }
    None
}

/// Orthonormal vectors V, their images AV and the projected matrix VᵀAV, all three kept while V grows.
struct Basis<'a> {
    matrix: MatRef<'a, f64>,
    /// [d, capacity], of which `len` columns are in use.
    vectors: Mat<f64>,
    images: Mat<f64>,
    projected: Mat<f64>,
    len: usize,
    /// Vectors that survive a restart.
    kept: usize,
    /// The largest norm of an image so far: a lower bound of the matrix's norm.
    scale: f64,
    random: SplitMix,
}

impl<'a> Basis<'a> {
    fn new(matrix: MatRef<'a, f64>, kept: usize, capacity: usize) -> Self {
        let width = matrix.nrows();
        assert!(
            capacity + BLOCK <= width,
            "a basis of {capacity} vectors needs a matrix wider than {width}"
        );
        Self {
            matrix,
            vectors: Mat::zeros(width, capacity),
            images: Mat::zeros(width, capacity),
            projected: Mat::zeros(capacity, capacity),
            len: 0,
            kept,
            scale: 0.0,
            random: SplitMix(0),
        }
    }

    /// Appends `block` and the Krylov blocks after it until the basis is full; returns the block that has no more room.
    fn grow(&mut self, mut block: Mat<f64>) -> Mat<f64> {
        loop {
            self.append(&block);
            let last = self.images.subcols(self.len - BLOCK, BLOCK);
            let inverse_scale = if self.scale > 0.0 {
                self.scale.recip()
            } else {
                0.0
            };
            block = Mat::from_fn(last.nrows(), BLOCK, |row, column| {
                last[(row, column)] * inverse_scale
            });
            self.orthonormalise(&mut block);
            if self.len + BLOCK > self.vectors.ncols() {
                return block;
            }
        }
    }

    fn append(&mut self, block: &Mat<f64>) {
        let start = self.len;
        self.len += BLOCK;
        self.vectors.subcols_mut(start, BLOCK).copy_from(block);
        // VᵀA instead of AV, as A is symmetric: faer takes half the time for a product that is wide instead of tall.
        let mut images = Mat::zeros(BLOCK, block.nrows());
        multiply(
            images.as_mut(),
            Accum::Replace,
            block.transpose(),
            self.matrix,
            1.0,
        );
        self.images
            .subcols_mut(start, BLOCK)
            .copy_from(images.transpose());
        for column in start..self.len {
            let image = self.images.col_as_slice(column);
            self.scale = self.scale.max(dot(image, image).sqrt());
        }
        let mut products = Mat::zeros(BLOCK, self.len);
        multiply(
            products.as_mut(),
            Accum::Replace,
            images.as_ref(),
            self.vectors.subcols(0, self.len),
            1.0,
        );
        for column in 0..BLOCK {
            for row in 0..self.len {
                self.projected[(row, start + column)] = products[(column, row)];
                self.projected[(start + column, row)] = products[(column, row)];
            }
        }
    }

    /// Replaces the basis by its best `kept` Ritz vectors; returns all Ritz values, largest first.
    fn restart(&mut self) -> Option<Vec<f64>> {
        let projected = self.projected.submatrix(0, 0, self.len, self.len);
        let ritz = eigen::full(projected, self.len).ok()?;
        let rotation = ritz.vectors.subcols(0, self.kept);
        for vectors in [&mut self.vectors, &mut self.images] {
            let mut rotated = Mat::zeros(vectors.nrows(), self.kept);
            multiply(
                rotated.as_mut(),
                Accum::Replace,
                vectors.subcols(0, self.len),
                rotation,
                1.0,
            );
            vectors.subcols_mut(0, self.kept).copy_from(&rotated);
        }
        self.len = self.kept;
        self.projected.fill(0.0);
        for (i, &value) in ritz.values.iter().take(self.kept).enumerate() {
            self.projected[(i, i)] = value;
        }
        Some(ritz.values)
    }

    /// The largest |Av − θv| over the vectors of `values`.
    fn worst_residual(&self, values: &[f64]) -> f64 {
        let residual = |(column, &value): (usize, &f64)| {
            let (image, vector) = (
                self.images.col_as_slice(column),
                self.vectors.col_as_slice(column),
            );
            let difference: Vec<f64> = image
                .iter()
                .zip(vector)
                .map(|(image, v)| image - value * v)
                .collect();
            dot(&difference, &difference).sqrt()
        };
        values.iter().enumerate().map(residual).fold(0.0, f64::max)
    }

    /// Pseudo-random directions outside of the basis.
    fn fresh_block(&mut self) -> Mat<f64> {
        let mut block = Mat::zeros(self.matrix.nrows(), BLOCK);
        for column in 0..BLOCK {
            fill(block.col_as_slice_mut(column), &mut self.random);
        }
        self.orthonormalise(&mut block);
        block
    }

    /// Makes the columns of `block` orthonormal, and orthogonal to the basis; what vanishes becomes a random direction.
    ///
    /// A pass that leaves every norm above 1/2 has lost no digits ("twice is enough", Kahan and Parlett).
    fn orthonormalise(&mut self, block: &mut Mat<f64>) {
        loop {
            let basis = self.vectors.subcols(0, self.len);
            let mut overlap = Mat::zeros(BLOCK, self.len);
            multiply(
                overlap.as_mut(),
                Accum::Replace,
                block.transpose(),
                basis,
                1.0,
            );
            multiply(block.as_mut(), Accum::Add, basis, overlap.transpose(), -1.0);
            let mut smallest = f64::INFINITY;
            for column in 0..BLOCK {
                let mut vector = block.col_as_slice(column).to_vec();
                for previous in 0..column {
                    let previous = block.col_as_slice(previous);
                    let overlap = dot(previous, &vector);
                    vector
                        .iter_mut()
                        .zip(previous)
                        .for_each(|(v, p)| *v -= overlap * p);
                }
                let norm = dot(&vector, &vector).sqrt();
                if norm > NEGLIGIBLE {
                    smallest = smallest.min(norm);
                    vector.iter_mut().for_each(|v| *v /= norm);
                } else {
                    smallest = 0.0;
                    fill(&mut vector, &mut self.random);
                }
                block.col_as_slice_mut(column).copy_from_slice(&vector);
            }
            if smallest > 0.5 {
                return;
            }
        }
    }
}

fn multiply(
    into: MatMut<'_, f64>,
    accum: Accum,
    left: MatRef<'_, f64>,
    right: MatRef<'_, f64>,
    factor: f64,
) {
    matmul(into, accum, left, right, factor, Par::Seq);
}

/// Fills `vector` with a direction: entries uniform in [-1, 1), scaled to norm 1.
fn fill(vector: &mut [f64], random: &mut SplitMix) {
    vector
        .iter_mut()
        .for_each(|v| *v = (random.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0);
    let norm = dot(vector, vector).sqrt();
    vector.iter_mut().for_each(|v| *v /= norm);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Q diag(values) Qᵀ for a pseudo-random orthogonal Q: Householder reflections, so that it is exactly known.
    fn with_spectrum(values: &[f64]) -> (Mat<f64>, Mat<f64>) {
        let width = values.len();
        let mut random = SplitMix(7);
        let mut q = Mat::<f64>::identity(width, width);
        for _ in 0..3 {
            let mut v = vec![0.0; width];
            fill(&mut v, &mut random);
            q = Mat::from_fn(width, width, |i, j| {
                q[(i, j)] - 2.0 * v[i] * (0..width).map(|l| v[l] * q[(l, j)]).sum::<f64>()
            });
        }
        let scaled = Mat::from_fn(width, width, |i, j| q[(i, j)] * values[j]);
        let matrix = &scaled * q.transpose();
        (
            Mat::from_fn(width, width, |i, j| matrix[(i.max(j), i.min(j))]),
            q,
        )
    }

    fn assert_eigenpairs(matrix: &Mat<f64>, expected: &[f64], spectrum: &Spectrum) {
        let vectors = &spectrum.vectors;
        let residual = matrix * vectors
            - Mat::from_fn(vectors.nrows(), vectors.ncols(), |i, j| {
                vectors[(i, j)] * spectrum.values[j]
            });
        assert!(
            residual.norm_max() < 1e-11 * expected[0].max(1e-300),
            "{}",
            residual.norm_max()
        );
        assert!(
            (vectors.transpose() * vectors
                - Mat::<f64>::identity(vectors.ncols(), vectors.ncols()))
            .norm_max()
                < 1e-13
        );
        for (got, expected_value) in spectrum.values.iter().zip(expected) {
            assert!(
                (got - expected_value).abs() <= 1e-12 * expected[0],
                "{got} is not {expected_value}"
            );
        }
    }

    #[test]
    fn a_decaying_spectrum_is_found_to_its_vectors() {
        let values: Vec<f64> = (0..400).map(|i| 200.0 / f64::from(1 + i)).collect();
        let (matrix, q) = with_spectrum(&values);
        let spectrum = leading(matrix.as_ref(), 30).unwrap();
        assert_eigenpairs(&matrix, &values, &spectrum);
        for column in 0..30 {
            let cosine = dot(
                q.col_as_slice(column),
                spectrum.vectors.col_as_slice(column),
            )
            .abs();
            assert!((cosine - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn eigenvalues_of_high_multiplicity_are_all_found() {
        let values: Vec<f64> = (0..400)
            .map(|i| if i < 40 { 5.0 } else { 1.0 / f64::from(i) })
            .collect();
        let (matrix, _) = with_spectrum(&values);
        assert_eigenpairs(&matrix, &values, &leading(matrix.as_ref(), 45).unwrap());
    }

    #[test]
    fn an_exhausted_krylov_space_is_no_dead_end() {
        for rank in [0, 1, 3, 20] {
            let values: Vec<f64> = (0..300)
                .map(|i| if i < rank { f64::from(rank - i) } else { 0.0 })
                .collect();
            let (matrix, _) = with_spectrum(&values);
            assert_eigenpairs(&matrix, &values, &leading(matrix.as_ref(), 30).unwrap());
        }
        let identity = Mat::<f64>::identity(300, 300);
        assert_eigenpairs(
            &identity,
            &[1.0; 300],
            &leading(identity.as_ref(), 30).unwrap(),
        );
    }

    #[test]
    fn directions_that_the_start_lacks_are_found_by_the_second_opinion() {
        // Block diagonal: nothing but the start couples the parts.
        let matrix = Mat::from_fn(300, 300, |i, j| {
            if i == j {
                1.0 + f64::from(i as u32 % 50)
            } else {
                0.0
            }
        });
        let expected: Vec<f64> = (0..300).map(|i| 50.0 - f64::from(i / 6)).collect();
        assert_eigenpairs(&matrix, &expected, &leading(matrix.as_ref(), 30).unwrap());
    }

    #[test]
    fn equal_matrices_give_equal_bits_wherever_they_lie() {
        let values: Vec<f64> = (0..257).map(|i| 1.0 / f64::from(1 + i)).collect();
        let (matrix, _) = with_spectrum(&values);
        let first = leading(matrix.as_ref(), 20).unwrap();
        for offset in 1..4 {
            let mut elsewhere = vec![0.0; offset];
            (0..257).for_each(|column| elsewhere.extend_from_slice(matrix.col_as_slice(column)));
            let moved = MatRef::from_column_major_slice(&elsewhere[offset..], 257, 257);
            let again = std::thread::scope(|scope| {
                scope.spawn(|| leading(moved, 20).unwrap()).join().unwrap()
            });
            assert_eq!(first.values, again.values);
            assert_eq!(first.vectors, again.vectors);
        }
    }
}
