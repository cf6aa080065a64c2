//! Naive arithmetic in f64.

use super::super::layer::{Activation, Folded};

/// Channels, height, width; values in that order.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) shape: [usize; 3],
    pub(super) values: Vec<f64>,
}

impl Image {
    pub(super) fn of(shape: [usize; 3], value: impl FnMut(usize) -> f64) -> Self {
        Self {
            shape,
            values: (0..shape.iter().product()).map(value).collect(),
        }
    }
    pub(super) fn get(&self, c: usize, y: isize, x: isize) -> Option<f64> {
        let [_, h, w] = self.shape;
        let inside = (0..h as isize).contains(&y) && (0..w as isize).contains(&x);
        inside.then(|| self.values[(c * h + y as usize) * w + x as usize])
    }
    pub(super) fn plus(mut self, other: &Self) -> Self {
        assert_eq!(self.shape, other.shape);
        self.values
            .iter_mut()
            .zip(&other.values)
            .for_each(|(a, b)| *a += b);
        self
    }
    pub(super) fn relu(self) -> Self {
        self.activated(Activation::Relu)
    }
    pub(super) fn activated(mut self, activation: Activation) -> Self {
        let [floor, ceiling] = match activation {
            Activation::None => [f64::NEG_INFINITY, f64::INFINITY],
            Activation::Relu => [0.0, f64::INFINITY],
            Activation::Relu6 => [0.0, 6.0],
        };
        let values = self.values.iter_mut();
        values.for_each(|v| *v = v.clamp(floor, ceiling));
        self
    }
    /// Padded by half the kernel. With `absolute`, the sum of magnitudes: the scale of rounding errors.
    pub(super) fn convolved(&self, f: &Folded, stride: usize, absolute: bool) -> Self {
        let sign = |v: f64| if absolute { v.abs() } else { v };
        let [_, h, w] = self.shape;
        let [h, w] = [h, w].map(|size| outputs(size, f.k, stride, f.k / 2));
        let shape = [f.cout, h, w];
        Self::of(shape, |i| {
            let (o, y, x) = (
                i / shape[2] / shape[1],
                i / shape[2] % shape[1],
                i % shape[2],
            );
            let mut sum = sign(f64::from(f.bias[o]));
            for (c, ky) in (0..f.cin).flat_map(|c| (0..f.k).map(move |ky| (c, ky))) {
                let row = &f.weights[((o * f.cin + c) * f.k + ky) * f.k..][..f.k];
                for (kx, weight) in row.iter().enumerate() {
                    let at =
                        |out: usize, k: usize| (out * stride + k) as isize - (f.k / 2) as isize;
                    let value = self.get(c, at(y, ky), at(x, kx)).unwrap_or(0.0);
                    sum += sign(f64::from(*weight) * value);
                }
            }
            sum
        })
    }
    /// The maximum of k x k with stride 2, padded by `(k - 1) / 2`.
    pub(super) fn pooled(&self, k: usize) -> Self {
        let pad = (k - 1) / 2;
        let [c, h, w] = self.shape;
        let [h, w] = [h, w].map(|size| outputs(size, k, 2, pad));
        Self::of([c, h, w], |i| {
            let (c, y, x) = (i / (h * w), i / w % h, i % w);
            let near = |v: usize| (0..k).map(move |k| (2 * v + k) as isize - pad as isize);
            near(y)
                .flat_map(|y| near(x).filter_map(move |x| self.get(c, y, x)))
                .fold(f64::NEG_INFINITY, f64::max)
        })
    }
}

/// How many outputs there are, as PyTorch's `Conv2d` and `MaxPool2d` define it.
pub(super) fn outputs(size: usize, k: usize, stride: usize, pad: usize) -> usize {
    (size + 2 * pad - k) / stride + 1
}

pub(super) fn random(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as f64 / (1u64 << 30) as f64 - 1.0
    }
}
