//! The kernels against naive arithmetic in f64, on every family that this CPU has, over awkward shapes.

mod convert;
mod depthwise;
mod ends;
mod int8;
mod networks;

use super::conv::{Activation, Direct, Epilogue, Folded, Grid, from_bf16, to_bf16};
use super::isa::{Family, Isa};
use super::lanes::LINE_BYTES;
use super::memory::Block;
use super::micro::PANEL;
use super::plan::RELU;
use super::polyphase::Strided;
use super::winograd::{self, Winograd};
use crate::backbone::Precision;
use proptest::prelude::*;

/// Channels, height, width; values in that order.
#[derive(Clone)]
struct Image {
    shape: [usize; 3],
    values: Vec<f64>,
}

impl Image {
    fn of(shape: [usize; 3], value: impl FnMut(usize) -> f64) -> Self {
        Self {
            shape,
            values: (0..shape.iter().product()).map(value).collect(),
        }
    }
    fn get(&self, c: usize, y: isize, x: isize) -> Option<f64> {
        let [_, h, w] = self.shape;
        let inside = (0..h as isize).contains(&y) && (0..w as isize).contains(&x);
        inside.then(|| self.values[(c * h + y as usize) * w + x as usize])
    }
    fn plus(mut self, other: &Self) -> Self {
        assert_eq!(self.shape, other.shape);
        self.values
            .iter_mut()
            .zip(&other.values)
            .for_each(|(a, b)| *a += b);
        self
    }
    fn relu(self) -> Self {
        self.activated(Activation::Relu)
    }
    fn activated(mut self, activation: Activation) -> Self {
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
    fn convolved(&self, f: &Folded, stride: usize, absolute: bool) -> Self {
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
    fn pooled(&self, k: usize) -> Self {
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
fn outputs(size: usize, k: usize, stride: usize, pad: usize) -> usize {
    (size + 2 * pad - k) / stride + 1
}

fn random(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as f64 / (1u64 << 30) as f64 - 1.0
    }
}

/// A number as two bf16, the second what rounding leaves of the first.
fn split(value: f32) -> [u16; 2] {
    let first = to_bf16(value);
    [first, to_bf16(value - from_bf16(first))]
}

fn joined([first, second]: [u16; 2]) -> f32 {
    from_bf16(first) + from_bf16(second)
}

/// What a value becomes when it is stored.
fn stored(isa: Isa, value: f64) -> f64 {
    let value = value as f32;
    f64::from(match isa.value_bytes() {
        4 => value,
        _ if isa.splits() => joined(split(value)),
        _ => from_bf16(to_bf16(value)),
    })
}

fn folded(isa: Isa, [cout, cin, k]: [usize; 3], random: &mut impl FnMut() -> f64) -> Folded {
    // A weight that is split keeps all of its bits.
    let mut weight = || match isa.splits() {
        true => random() as f32,
        false => stored(isa, random()) as f32,
    };
    Folded {
        weights: (0..cout * cin * k * k).map(|_| weight()).collect(),
        bias: (0..cout).map(|_| random() as f32).collect(),
        cin,
        cout,
        k,
    }
}

fn offset(isa: Isa, grid: Grid, c: usize, y: usize, x: usize) -> usize {
    let (block, lane) = (c / isa.block_channels(), c % isa.block_channels());
    grid.at(y, x) + block * grid.block_pitch() + lane * isa.value_bytes()
}

fn pack(isa: Isa, grid: Grid, image: &Image) -> Block {
    let mut block = Block::zeroed(grid.bytes());
    let [_, h, w] = image.shape;
    for (i, &value) in image.values.iter().enumerate() {
        let at = offset(isa, grid, i / w / h, i / w % h, i % w);
        match isa.value_bytes() {
            _ if isa.integers() => block[at] = value as u8,
            2 if isa.splits() => {
                for (piece, bits) in split(value as f32).into_iter().enumerate() {
                    let at = at + piece * LINE_BYTES;
                    block[at..at + 2].copy_from_slice(&bits.to_le_bytes());
                }
            }
            2 => block[at..at + 2].copy_from_slice(&to_bf16(value as f32).to_le_bytes()),
            _ => block[at..at + 4].copy_from_slice(&(value as f32).to_le_bytes()),
        }
    }
    block
}

/// Images one behind the other.
fn stack(isa: Isa, grid: Grid, images: &[Image]) -> Vec<u8> {
    let packed = |image| pack(isa, grid, image)[..grid.bytes()].to_vec();
    images.iter().flat_map(packed).collect()
}

fn unpack(isa: Isa, grid: Grid, channels: usize, block: &[u8]) -> Image {
    let shape = [channels, grid.height, grid.width];
    Image::of(shape, |i| {
        let (c, y, x) = (
            i / shape[2] / shape[1],
            i / shape[2] % shape[1],
            i % shape[2],
        );
        f64::from(value(isa, &block[offset(isa, grid, c, y, x)..]))
    })
}

/// The stored value that begins here.
fn value(isa: Isa, at: &[u8]) -> f32 {
    let half = |piece: usize| {
        let at = &at[piece * LINE_BYTES..];
        u16::from_le_bytes(at[..2].try_into().unwrap())
    };
    match isa.value_bytes() {
        _ if isa.integers() => f32::from(at[0]),
        2 if isa.splits() => joined([0, 1].map(half)),
        2 => from_bf16(half(0)),
        _ => f32::from_le_bytes(at[..4].try_into().unwrap()),
    }
}

/// Whether two buffers are the same, borders and what is behind the last channel included. Of a number that is split there may be
/// two forms, one half of a last place above and one below: there values are compared.
fn alike(isa: Isa, a: &[u8], b: &[u8]) -> bool {
    if !isa.splits() {
        return a == b;
    }
    let values = |bytes: &[u8]| -> Vec<f32> {
        let pixels = bytes.chunks_exact(isa.pixel_bytes());
        let values = pixels.flat_map(|pixel| {
            let at = (0..LINE_BYTES).step_by(isa.value_bytes());
            at.map(|at| value(isa, &pixel[at..]))
        });
        values.collect()
    };
    values(a) == values(b)
}

/// All kernels of floats on this CPU; the portable ones are among them everywhere.
fn instruction_sets() -> Vec<(String, Isa)> {
    let precisions = [Precision::F32, Precision::Bf16];
    let all = Family::ALL
        .into_iter()
        .flat_map(|f| precisions.map(|p| (f, p)));
    all.filter_map(|(f, p)| Some((format!("{f} {p}"), Isa::new(f, p).ok()?)))
        .collect()
}

/// So many cases of a property; under Miri, which interprets, a few.
fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { count.min(2) } else { count },
        failure_persistence: None,
        ..Default::default()
    }
}

/// All of these; under Miri the first alone.
fn all<T, const N: usize>(values: [T; N]) -> impl Iterator<Item = T> {
    let count = if cfg!(miri) { 1 } else { N };
    values.into_iter().take(count)
}

#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    images: usize,
    height: usize,
    width: usize,
    cin: usize,
    cout: usize,
    k: usize,
    stride: usize,
    activation: Activation,
    accumulate: bool,
    spare_border: usize,
}

fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::None),
        Just(Activation::Relu),
        Just(Activation::Relu6)
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let most: [usize; 4] = match cfg!(miri) {
        true => [4, 6, 18, 35],
        false => [18, 32, 65, 97],
    };
    let size = most.map(|most| 1..most);
    let kind = (
        any::<bool>(),
        1..3usize,
        activation(),
        any::<bool>(),
        0..3usize,
        1..4usize,
    );
    (any::<u64>(), size, kind).prop_map(|(seed, size, kind)| Case {
        seed,
        images: kind.5,
        height: size[0],
        width: size[1],
        cin: size[2],
        cout: size[3],
        k: if kind.0 { 3 } else { 1 },
        stride: kind.1,
        activation: kind.2,
        accumulate: kind.3,
        spare_border: kind.4,
    })
}

/// How far a result may be off.
#[derive(Clone, Copy)]
enum Tolerance {
    /// Each value, relative to the sum of its terms' magnitudes.
    Each(f64),
    /// All values in L2, relative to all sums: for transforms in bf16, whose error at a pixel comes from its whole tile.
    Together(f64),
}

/// Runs a direct convolution in memory that holds no numbers.
fn directly(direct: &Direct, images: usize, input: &[u8], output: &mut [u8]) {
    let mut scratch = vec![0xff; direct.scratch_bytes(images)];
    direct.run(images, input, output, &mut scratch);
}

/// Runs a convolution of either kind, on images side by side, and compares.
fn check(name: &str, isa: Isa, case: &Case, m: Option<usize>, tolerance: Tolerance) {
    let mut random = random(case.seed);
    let folded = folded(isa, [case.cout, case.cin, case.k], &mut random);
    let mut images = |shape| -> Vec<Image> {
        let image = |_| Image::of(shape, |_| stored(isa, random()));
        (0..case.images).map(image).collect()
    };
    let inputs = images([case.cin, case.height, case.width]);
    let [height, width] =
        [case.height, case.width].map(|size| outputs(size, case.k, case.stride, case.k / 2));
    let residuals = images([case.cout, height, width]);
    let overhang = |side: usize| m.map_or(0, |m| side.next_multiple_of(m) - side);
    let border = case.k / 2 + case.spare_border + overhang(case.height).max(overhang(case.width));
    let from = Grid::new(isa, inputs[0].shape, border);
    let to = Grid::new(isa, residuals[0].shape, case.spare_border);
    let input = stack(isa, from, &inputs);
    // Without accumulation whatever lies in the output must not matter.
    let mut output = stack(isa, to, &residuals);
    let epilogue = Epilogue {
        accumulate: case.accumulate,
        activation: case.activation,
    };
    match m {
        Some(m) => {
            let convolution = Winograd::new(isa, &folded, m, epilogue, from, to);
            let mut scratch = vec![0xff; convolution.scratch_bytes()];
            convolution.run(case.images, &input, &mut output, &mut scratch);
        }
        None => {
            let held = output.to_vec();
            let direct = Direct::blocked(isa, &folded, case.stride, epilogue, from, to);
            directly(&direct, case.images, &input, &mut output);
            if isa.tiles() && case.stride == 2 {
                let strided = Strided::new(isa, &folded, epilogue, from, to);
                let mut scratch = vec![0xff; strided.scratch_bytes(case.images)];
                let mut again = held;
                strided.run(case.images, &input, &mut again, &mut scratch);
                assert!(*again == *output, "{name}: {case:?} by parity");
            }
        }
    }
    let outputs = output.chunks_exact(to.bytes());
    for ((input, residual), output) in inputs.iter().zip(&residuals).zip(outputs) {
        let mut want = input.convolved(&folded, case.stride, false);
        let norm = want.values.iter().map(|v| v * v).sum();
        let mut scale = input.convolved(&folded, case.stride, true);
        if case.accumulate {
            want = want.plus(residual);
            scale.values.iter_mut().for_each(|v| *v += 1.0);
        }
        want = want.activated(case.activation);
        let got = unpack(isa, to, case.cout, output);
        let what = format!("{name}, {case:?}");
        compare(&what, isa, [&got, &want, &scale], norm, tolerance);
        let inside = pack(isa, to, &got);
        assert!(
            alike(isa, &inside[..to.bytes()], output),
            "{what}: wrote into the border or behind the last channel"
        );
    }
}

/// Holds what was got to what is wanted. `scale` is the sum of the terms' magnitudes, `norm` the square of all sums.
fn compare(what: &str, isa: Isa, [got, want, scale]: [&Image; 3], norm: f64, tolerance: Tolerance) {
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
fn rounding(isa: Isa) -> f64 {
    let bits = match isa.value_bytes() {
        4 => 24,
        _ if isa.splits() => 17,
        _ => 8,
    };
    0.5f64.powi(bits)
}

/// Error of a sum over channels, relative to its terms' magnitudes: that of summing in f32; and where numbers are split, the
/// product of the pieces that are left out, an input's second, 2⁻⁸ of it at most, and a weight's second and third.
fn summing(isa: Isa) -> f64 {
    let left_out = if isa.splits() {
        0.5f64.powi(16) * 1.01
    } else {
        0.0
    };
    1e-6 + left_out
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn direct_convolution_is_the_naive_one_on_every_family_and_shape(case in case()) {
        for (name, isa) in instruction_sets() {
            check(&name, isa, &case, None, Tolerance::Each(summing(isa)));
        }
    }

    #[test]
    fn winograd_convolution_is_the_naive_one_on_every_family_and_shape(case in case(), four in any::<bool>()) {
        let [cin, cout] = [case.cin, case.cout].map(|channels| channels.next_multiple_of(PANEL));
        let case = Case { k: 3, stride: 1, cin, cout, ..case };
        // On tiles no convolution is a Winograd's.
        for (name, isa) in instruction_sets().into_iter().filter(|(_, isa)| !isa.tiles()) {
            let m = if four { 4 } else { 2 };
            let tolerance = match (isa.value_bytes(), four) {
                (4, _) => Tolerance::Each(1e-5),
                // bf16 rounds transformed inputs and weights, which F(4x4) makes larger.
                (_, false) => Tolerance::Together(0.01),
                (_, true) => Tolerance::Together(0.06),
            };
            check(&name, isa, &case, Some(m), tolerance);
        }
    }
}

/// Larger than the second-level cache's share, so that tiles and segments visit them in blocks; some segments stay alone.
#[test]
#[cfg_attr(miri, ignore = "too many products to interpret")]
fn large_maps_are_convolved_as_small_ones() {
    let case = Case {
        seed: 11,
        images: 2,
        height: 61,
        width: 69,
        cin: 64,
        cout: 96,
        k: 1,
        stride: 1,
        activation: Activation::Relu,
        accumulate: true,
        spare_border: 1,
    };
    for (name, isa) in instruction_sets() {
        check(&name, isa, &case, None, Tolerance::Each(summing(isa)));
    }
}

/// Enough weights and inputs for each order of a convolution's loops on tiles: panels in the outermost, in blocks, and chunks of K, with
/// and without a shorter one behind the last. An odd map, too, whose rows and columns of one parity are fewer.
#[test]
#[cfg_attr(miri, ignore = "too many products to interpret")]
fn many_weights_are_convolved_as_few() {
    for (cin, cout, side, k, stride) in [
        (1024, 256, 14, 1, 1),
        (512, 1024, 14, 1, 1),
        (544, 96, 9, 3, 2),
        (1056, 352, 15, 1, 2),
    ] {
        for (name, isa) in instruction_sets() {
            if !isa.tiles() {
                continue;
            }
            let mut random = random(5);
            let folded = folded(isa, [cout, cin, k], &mut random);
            let image = |_| Image::of([cin, side, side], |_| stored(isa, random()));
            let inputs: Vec<_> = (0..4).map(image).collect();
            let out = outputs(side, k, stride, k / 2);
            let from = Grid::new(isa, [cin, side, side], k / 2);
            let to = Grid::new(isa, [cout, out, out], 0);
            let direct = Direct::blocked(isa, &folded, stride, RELU, from, to);
            let input = stack(isa, from, &inputs);
            let mut output = vec![0xff; 4 * to.bytes()];
            directly(&direct, 4, &input, &mut output);
            // Each by itself, in another order.
            let inputs_alone = input.chunks_exact(from.bytes());
            for (input, together) in inputs_alone.zip(output.chunks_exact(to.bytes())) {
                let mut alone = vec![0xff; to.bytes()];
                directly(&direct, 1, input, &mut alone);
                assert!(alone == together, "{name}: {cin} to {cout}");
            }
            if stride == 2 {
                let strided = Strided::new(isa, &folded, RELU, from, to);
                let mut scratch = vec![0xff; strided.scratch_bytes(4)];
                let mut parted = vec![0xff; 4 * to.bytes()];
                strided.run(4, &input, &mut parted, &mut scratch);
                assert!(parted == output, "{name}: {cin} to {cout} by parity");
            }
            let [want, scale] = [false, true].map(|a| inputs[3].convolved(&folded, stride, a));
            let norm = want.values.iter().map(|v| v * v).sum();
            let want = want.relu();
            let got = unpack(isa, to, cout, &output[3 * to.bytes()..]);
            let tolerance = Tolerance::Each(summing(isa));
            compare(&name, isa, [&got, &want, &scale], norm, tolerance);
        }
    }
}

#[test]
fn fused_families_agree_bit_for_bit() {
    let both = [Family::Avx512, Family::Avx2].map(|f| Isa::new(f, Precision::F32));
    let [Ok(wide), Ok(narrow)] = both else {
        eprintln!("SKIPPED: this CPU has not both AVX-512 and AVX2");
        return;
    };
    let mut random = random(7);
    let input = Image::of([64, 9, 10], |_| f64::from(random() as f32));
    let folded = folded(wide, [32, 64, 3], &mut random);
    let epilogue = Epilogue {
        accumulate: false,
        activation: Activation::Relu,
    };
    let (from, to) = (
        Grid::new(wide, input.shape, 4),
        Grid::new(wide, [32, 9, 10], 0),
    );
    let input = pack(wide, from, &input);
    let outputs = [wide, narrow].map(|isa| {
        let mut outputs = [Block::zeroed(to.bytes()), Block::zeroed(to.bytes())];
        let direct = Direct::blocked(isa, &folded, 1, epilogue, from, to);
        directly(&direct, 1, &input, &mut outputs[0]);
        let winograd = Winograd::new(isa, &folded, 4, epilogue, from, to);
        winograd.run(
            1,
            &input,
            &mut outputs[1],
            &mut vec![0; winograd.scratch_bytes()],
        );
        outputs.map(|o| o.to_vec())
    });
    assert!(outputs[0] == outputs[1]);
}

#[test]
fn borders_reach_as_far_as_the_last_tiles_read() {
    for height in 1..100 {
        let m = winograd::tile_side(height).unwrap_or(1);
        assert!(winograd::border(Some(m), height) + height > height.next_multiple_of(m));
    }
}
