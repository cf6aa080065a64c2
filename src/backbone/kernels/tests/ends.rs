//! The first convolutions, on pixels, and what pools the last maps.

use super::super::input::Input;
use super::super::layer::{RELU, RELU6};
use super::super::pool::{Max2, Pool};
use super::super::stem::Stem;
use super::*;
use crate::backbone::{Pooling, Preprocessing};

/// An image as the network sees it.
pub(super) fn normalised(preprocessing: Preprocessing, pixels: &[u8], side: usize) -> Image {
    Image::of([3, side, side], |i| {
        let (c, at) = (i / (side * side), i % (side * side));
        preprocessing.number(c, pixels[at * 3 + preprocessing.colour(c)])
    })
}

pub(super) fn pixels(side: usize) -> Vec<u8> {
    let mut random = random(side as u64);
    (0..side * side * 3)
        .map(|_| (random() * 127.0 + 127.5) as u8)
        .collect()
}

/// Compares `run`'s second result with the sums of the naive one, clipped: the second image must find nothing of the first.
fn check_first(
    name: &str,
    isa: Isa,
    input: &Input,
    (to, sums, want): (Grid, &Image, &Image),
    run: impl Fn(&[u8], &mut [u8]),
) {
    let side = input.side();
    let (mut image, mut output) = (input.memory(), Block::zeroed(to.bytes()));
    for pixels in [vec![255; side * side * 3], pixels(side)] {
        input.fill(&mut image, &pixels);
        run(&image, &mut output);
    }
    // Relative to the largest sum: bf16 rounds the input.
    let tolerance = if isa.value_bytes() == 4 { 1e-5 } else { 2e-2 };
    let largest = sums.values.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
    let got = unpack(isa, to, want.shape[0], &output);
    for (got, want) in got.values.iter().zip(&want.values) {
        let close = (got - want).abs() <= tolerance * largest;
        assert!(close, "{name}, side {side}: {got} for {want}");
    }
}

/// What splits numbers begins with an image's levels.
fn first_sets() -> impl Iterator<Item = (String, Isa)> {
    let sets = instruction_sets().into_iter();
    sets.map(|(name, isa)| (name, isa.of_levels()))
}

#[test]
fn stem_is_convolution_relu_and_maximum() {
    for (name, isa) in first_sets() {
        for side in all([5, 32, 33, 35, 36, 38, 96]) {
            let folded = folded(isa, [64, 3, 7], &mut random(1));
            let input = Input::new(isa, Preprocessing::Torchvision, side, 7);
            let sums = normalised(Preprocessing::Torchvision, &pixels(side), side)
                .convolved(&folded, 2, false);
            let folded = input.folded(folded);
            let want = sums.clone().relu().pooled(3);
            let to = Grid::new(isa, want.shape, 2);
            let stem = Stem::new(&folded, &input, to);
            check_first(&name, isa, &input, (to, &sums, &want), |image, output| {
                stem.run(image, output, &mut vec![0xff; stem.scratch_bytes()]);
            });
        }
    }
}

#[test]
fn first_3x3_is_the_naive_one_under_every_preprocessing() {
    for (name, isa) in first_sets() {
        for preprocessing in all(Preprocessing::ALL) {
            let shapes = [
                (5, 1, RELU),
                (32, 1, RELU),
                (33, 1, RELU),
                (34, 2, RELU6),
                (35, 2, RELU6),
                (96, 2, RELU),
            ];
            for (side, stride, epilogue) in all(shapes) {
                let folded = folded(isa, [32, 3, 3], &mut random(2));
                let input = Input::new(isa, preprocessing, side, 3);
                let sums = normalised(preprocessing, &pixels(side), side)
                    .convolved(&folded, stride, false);
                let folded = input.folded(folded);
                let want = sums.clone().activated(epilogue.activation);
                let to = Grid::new(isa, want.shape, 1);
                let strides = [stride, input.row_bytes()];
                let first = Direct::interleaved(isa, &folded, strides, epilogue, to);
                let name = format!("{name} {preprocessing}");
                check_first(&name, isa, &input, (to, &sums, &want), |image, output| {
                    directly(&first, 1, image, output);
                });
            }
        }
    }
}

#[test]
fn maxima_and_poolings_are_the_naive_ones() {
    for (name, isa) in instruction_sets() {
        let mut random = random(3);
        let maps = Image::of([64, 6, 10], |_| stored(isa, random()));
        let from = Grid::new(isa, maps.shape, 2);
        let packed = pack(isa, from, &maps);

        for shape in all([maps.shape, [64, 7, 10], [64, 6, 11], [64, 7, 11]]) {
            let maps = Image::of(shape, |_| stored(isa, random()));
            let (from, to) = (Grid::new(isa, shape, 2), Grid::new(isa, [64, 3, 5], 1));
            let mut output = Block::zeroed(to.bytes());
            Max2 { isa, from, to }.run(&pack(isa, from, &maps), &mut output);
            let got = unpack(isa, to, 64, &output);
            assert!(got.values == maps.pooled(2).values, "{name} {shape:?}");
        }

        let of = |pooling, count| {
            let mut features = vec![f32::NAN; count];
            Pool {
                pooling,
                from,
                input: &packed,
                features: &mut features,
            }
            .run(isa);
            features
        };
        let channels = || maps.values.chunks(60);
        let most = channels().map(|c| c.iter().fold(f64::MIN, |a, b| a.max(*b)) as f32);
        assert!(of(Pooling::Max, 64) == most.collect::<Vec<_>>(), "{name}");
        for (got, channel) in of(Pooling::Avg, 64).iter().zip(channels()) {
            let mean = channel.iter().sum::<f64>() / 60.0;
            assert!(
                (f64::from(*got) - mean).abs() < 1e-6,
                "{name}: {got} for {mean}"
            );
        }
        let all = of(Pooling::Flatten, 64 * 60);
        for (i, got) in all.iter().enumerate() {
            let (pixel, channel) = (i / 64, i % 64);
            assert!(
                f64::from(*got) == maps.values[channel * 60 + pixel],
                "{name}, feature {i}"
            );
        }
    }
}
