//! Integers leave no room for tolerances: every family gives the very bytes of the naive convolution.

use super::super::input::Input;
use super::super::network::Network;
use super::super::quantise::{Factors, Levels, Ranges, quantise};
use super::super::source::Source;
use super::super::stem::Stem;
use super::super::winograd::{self, Winograd};
use super::ends::pixels;
use super::*;
use crate::backbone::{Architecture, Options, Pooling, Preprocessing, Strides};

/// Every way to compute in bytes on this CPU.
fn families() -> Vec<(Family, Isa)> {
    let isa = |family| Some((family, Isa::new(family, Precision::Int8).ok()?));
    Family::ALL.into_iter().filter_map(isa).collect()
}

/// What a sum becomes, as `quantise` specifies it.
fn byte(sum: f64, factor: f32, bias: f32, residual: Option<f32>) -> f64 {
    let scaled = sum as f32 * factor + bias;
    let number = residual.map_or(scaled, |residual| scaled + residual);
    f64::from(number.clamp(0.0, 255.0).round_ties_even())
}

fn integers(case: &Case, random: &mut impl FnMut() -> f64) -> (Image, Folded, Factors) {
    let input = Image::of([case.cin, case.height, case.width], |i| match i % 7 {
        // The extremes, whose products are the largest.
        0 => 255.0,
        _ => (random() * 127.0 + 128.0).floor(),
    });
    let folded = Folded {
        weights: (0..case.cout * case.cin * case.k * case.k)
            .map(|i| match i % 5 {
                0 => 127.0,
                1 => -127.0,
                _ => (random() * 127.0).round() as f32,
            })
            .collect(),
        bias: vec![0.0; case.cout],
        cin: case.cin,
        cout: case.cout,
        k: case.k,
    };
    let spread = 1e-4 / f64::from((case.cin * case.k) as f32).sqrt();
    let factors = Factors {
        sums: (0..case.cout)
            .map(|_| (spread * (1.5 + random())) as f32)
            .collect(),
        residual: (random() + 1.0) as f32,
    };
    (input, folded, factors)
}

/// [`check_bytes_of`] numbers of all sizes.
fn check_bytes(case: &Case) {
    let mut random = random(case.seed);
    let of_bytes = integers(case, &mut random);
    check_bytes_of(case, of_bytes, &mut random);
}

/// Holds every family's bytes to those of the naive convolution.
fn check_bytes_of(
    case: &Case,
    (input, folded, factors): (Image, Folded, Factors),
    random: &mut impl FnMut() -> f64,
) {
    let bias: Vec<f32> = (0..case.cout).map(|_| (100.0 * random()) as f32).collect();
    let sums = input.convolved(&folded, case.stride, false);
    let held = Image::of(sums.shape, |_| (random() * 127.0 + 128.0).floor());
    let area = sums.shape[1] * sums.shape[2];
    let want = Image::of(sums.shape, |i| {
        let residual = case
            .accumulate
            .then(|| held.values[i] as f32 * factors.residual);
        byte(
            sums.values[i],
            factors.sums[i / area],
            bias[i / area],
            residual,
        )
    });
    let folded = Folded { bias, ..folded };
    let epilogue = Epilogue {
        accumulate: case.accumulate,
        activation: case.activation,
    };
    let panels = [case.cin, case.cout].map(|channels| channels.is_multiple_of(PANEL));
    let winograd = (case.k, case.stride, panels) == (3, 1, [true; 2]);
    for (family, isa) in families() {
        // Directly, and by Winograd's algorithm where there is one, whose tiles of 2 x 2 reach a pixel further.
        let m = winograd::chosen(isa, 4).filter(|_| winograd);
        for m in std::iter::once(None).chain(m.map(Some)) {
            let border = case.k / 2 + case.spare_border + m.map_or(0, |m| m - 1);
            let from = Grid::new(isa, input.shape, border);
            let to = Grid::new(isa, want.shape, case.spare_border);
            let direct = Direct::blocked(isa, &folded, case.stride, epilogue, from, to);
            let direct = direct.scaled(Some(&factors));
            let winograd = m.map(|m| Winograd::new(isa, &folded, m, epilogue, from, to));
            let winograd = winograd.map(|winograd| winograd.scaled(Some(&factors)));
            // The image between images of nothing, so that it is read and written in its own place.
            let among = |grid: Grid, image: &Image, at: usize| {
                let mut images = vec![Image::of(image.shape, |_| 0.0); case.images];
                images[at] = image.clone();
                stack(isa, grid, &images)
            };
            for at in 0..case.images {
                let (input, mut output) = (among(from, &input, at), among(to, &held, at));
                match &winograd {
                    Some(winograd) => {
                        let mut scratch = vec![0xff; winograd.scratch_bytes()];
                        winograd.run(case.images, &input, &mut output, &mut scratch);
                    }
                    None => directly(&direct, case.images, &input, &mut output),
                }
                let output = &output[at * to.bytes()..][..to.bytes()];
                let got = unpack(isa, to, case.cout, output);
                let name = format!("{family}, {m:?}, {case:?}");
                assert!(got.values == want.values, "{name}");
                let inside = pack(isa, to, &want);
                assert!(inside[..to.bytes()] == *output, "{name}: wrote elsewhere");
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn bytes_are_the_naive_ones_on_every_family_and_shape(case in case()) {
        check_bytes(&case);
    }

    #[test]
    fn bytes_of_3x3s_are_the_naive_ones_by_every_algorithm(case in case()) {
        let [cin, cout] = [case.cin, case.cout].map(|channels| channels.next_multiple_of(PANEL));
        check_bytes(&Case { k: 3, stride: 1, cin, cout, ..case });
    }

    /// Sums so small that each is a byte of its own.
    #[test]
    fn every_unit_of_a_sum_counts(case in case()) {
        let [cin, cout] = [case.cin, case.cout].map(|channels| channels.next_multiple_of(PANEL));
        let case = Case { stride: 1, cin, cout, ..case };
        let mut random = random(case.seed);
        let (mut input, mut folded, mut factors) = integers(&case, &mut random);
        input.values.iter_mut().for_each(|v| *v = (2.0 + 2.0 * random()).floor());
        folded.weights.iter_mut().for_each(|w| *w = (1.5 * random()).round() as f32);
        factors.sums.fill(1.0);
        check_bytes_of(&case, (input, folded, factors), &mut random);
    }
}

/// Of all 3x3s of all networks none has more channels. By Winograd's algorithm four times these sums are formed, of 30 bits.
#[test]
#[cfg_attr(miri, ignore = "too many products to interpret")]
fn the_largest_sums_do_not_overflow() {
    let case = Case {
        seed: 13,
        images: 1,
        height: 6,
        width: 5,
        cin: 512,
        cout: 64,
        k: 3,
        stride: 1,
        activation: Activation::Relu,
        accumulate: false,
        spare_border: 0,
    };
    // All of an output's the most, all the least, and in turns.
    let kinds: [[f32; 9]; 4] = [1, 2, 3, 4].map(|kind| {
        std::array::from_fn(|tap| match kind {
            1 => 127.0,
            2 => -127.0,
            kind => 127.0 * (-1.0f32).powi(tap as i32 + kind),
        })
    });
    let of_output = |output: usize| kinds[output % 4].repeat(case.cin);
    let folded = Folded {
        weights: (0..case.cout).flat_map(of_output).collect(),
        bias: vec![0.0; case.cout],
        cin: case.cin,
        cout: case.cout,
        k: case.k,
    };
    let factors = || Factors {
        sums: vec![1.5e-6; case.cout],
        residual: 0.0,
    };
    let bright = Image::of([case.cin, case.height, case.width], |_| 255.0);
    let checked = Image::of(bright.shape, |i| if i % 2 > 0 { 255.0 } else { 0.0 });
    for input in [bright, checked] {
        let of_bytes = (input, clone(&folded), factors());
        check_bytes_of(&case, of_bytes, &mut random(case.seed));
    }
}

/// Largest steps of weights and outputs: what a quantised result may be off.
#[test]
#[cfg_attr(miri, ignore = "too many products to interpret")]
fn a_quantised_convolution_is_the_one_in_f64_within_its_steps() {
    let mut random = random(11);
    let case = [64, 9, 11];
    let input = Image::of(case, |_| random().max(0.0));
    let held = Image::of([32, 9, 11], |_| 2.0 * random());
    let folded = Folded {
        weights: (0..32 * 64 * 9).map(|_| random() as f32 / 16.0).collect(),
        bias: (0..32).map(|_| random() as f32).collect(),
        cin: 64,
        cout: 32,
        k: 3,
    };
    let want = input.convolved(&folded, 1, false).plus(&held).relu();
    let most = want.values.iter().fold(0.0, |a: f64, b| a.max(*b));
    let levels = [
        Levels::of(1.0, Activation::Relu),
        Levels::of(most as f32, Activation::Relu),
        Levels::of(2.0, Activation::None),
    ];
    let (quantised, factors) = quantise(&folded, [levels[0], levels[1]], Some(levels[2]));
    let epilogue = Epilogue {
        accumulate: true,
        activation: Activation::Relu,
    };
    for (family, isa) in families() {
        let (from, to) = (
            Grid::new(isa, input.shape, 1),
            Grid::new(isa, want.shape, 0),
        );
        let bytes = |image: &Image, levels: Levels, zero: f64| {
            let values = image
                .values
                .iter()
                .map(|v| (v / levels.step + zero).round());
            Image {
                shape: image.shape,
                values: values.collect(),
            }
        };
        let mut output = pack(isa, to, &bytes(&held, levels[2], 128.0));
        let direct = Direct::blocked(isa, &quantised, 1, epilogue, from, to);
        let input = pack(isa, from, &bytes(&input, levels[0], 0.0));
        let direct = direct.scaled(Some(&factors));
        directly(&direct, 1, &input, &mut output);
        let got = unpack(isa, to, 32, &output);
        let errors = (got.values.iter().zip(&want.values)).map(|(g, w)| g * levels[1].step - w);
        let (sum, worst) = errors.fold((0.0, 0.0), |(sum, worst): (f64, f64), e| {
            (sum + e * e, worst.max(e.abs()))
        });
        let typical = (sum / want.values.len() as f64).sqrt();
        assert!(
            typical <= levels[1].step && worst <= 4.0 * levels[1].step,
            "{family}: {typical}, {worst}"
        );
    }
}

/// The levels of an image go in as they are: mean and deviation are the weights'.
#[test]
#[cfg_attr(miri, ignore = "too many products to interpret")]
fn stem_of_levels_is_that_of_numbers_within_its_steps() {
    for preprocessing in Preprocessing::ALL {
        let side = 64;
        let scale = if preprocessing == Preprocessing::Caffe {
            100.0
        } else {
            1.0
        };
        let mut random = random(5);
        let folded = Folded {
            weights: (0..64 * 147).map(|_| (random() / scale) as f32).collect(),
            bias: (0..64).map(|_| random() as f32).collect(),
            cin: 3,
            cout: 64,
            k: 7,
        };
        let sums = super::ends::normalised(preprocessing, &pixels(side), side)
            .convolved(&folded, 2, false)
            .relu();
        let want = sums.pooled(3);
        let most = want.values.iter().fold(0.0, |a: f64, b| a.max(*b));
        let levels = [Levels::IMAGE, Levels::of(most as f32, Activation::Relu)];
        let mut outputs = families().into_iter().map(|(family, isa)| {
            let input = Input::new(isa, preprocessing, side, 7);
            let (quantised, factors) = quantise(&input.folded(clone(&folded)), levels, None);
            let to = Grid::new(isa, want.shape, 1);
            let stem = Stem::new(&quantised, &input, to).scaled(Some(&factors));
            let (mut image, mut output) = (input.memory(), Block::zeroed(to.bytes()));
            input.fill(&mut image, &pixels(side));
            stem.run(&image, &mut output, &mut vec![0xff; stem.scratch_bytes()]);
            let got = unpack(isa, to, 64, &output);
            assert!(*pack(isa, to, &got) == *output, "{family} wrote elsewhere");
            for (got, want) in got.values.iter().zip(&want.values) {
                let error = (got * levels[1].step - want).abs() / levels[1].step;
                assert!(
                    error <= 3.0,
                    "{family} {preprocessing}: off by {error} steps"
                );
            }
            got.values
        });
        let first = outputs.next().expect("there is a portable family");
        assert!(outputs.all(|output| output == first));
    }
}

fn clone(folded: &Folded) -> Folded {
    Folded {
        weights: folded.weights.clone(),
        bias: folded.bias.clone(),
        ..*folded
    }
}

#[test]
#[cfg_attr(miri, ignore = "too many products to interpret")]
fn whole_networks_give_the_same_bits_on_every_family_and_point_where_f32_does() {
    let resnet = Architecture::resnet;
    for (architecture, side, pooling) in [
        (resnet(18, Strides::V15), 64, Pooling::Avg),
        (resnet(50, Strides::V1), 32, Pooling::Max),
        (resnet(50, Strides::V15), 96, Pooling::Avg),
        (resnet(18, Strides::V15), 75, Pooling::Flatten),
        (Architecture::Vgg16, 32, Pooling::Flatten),
        (Architecture::Vgg16, 77, Pooling::Flatten),
    ] {
        let source = Source::Random(3);
        let options = |family, precision| Options {
            family,
            side,
            precision,
            preprocessing: Preprocessing::Torchvision,
            pooling,
        };
        let image = pixels(side);
        let features = |network: &Network| {
            let mut features = vec![0.0; architecture.features(side, pooling)];
            network.forward(&mut network.arena(), &image, &mut features, |_| ());
            features
        };
        let mut ranges = Ranges::new();
        let floats = options(Some(Family::Portable), Precision::F32);
        let floats = Network::load(architecture, &source, &floats, &ranges).unwrap();
        floats.show(&mut floats.arena(), &image, |layer, outputs| {
            let most = outputs.iter().fold(0.0, |most: f32, v| most.max(v.abs()));
            ranges.insert(layer.to_owned(), most);
        });
        let want = features(&floats);
        let mut first: Option<Vec<f32>> = None;
        for (family, _) in families() {
            let options = options(Some(family), Precision::Int8);
            let network = Network::load(architecture, &source, &options, &ranges).unwrap();
            let got = features(&network);
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum()
            };
            let cosine = dot(&got, &want) / (dot(&got, &got) * dot(&want, &want)).sqrt();
            println!("{architecture} {pooling} {family}: cosine {cosine:.5}");
            assert!(cosine > 0.99, "{architecture} {pooling} {family}: {cosine}");
            let first = first.get_or_insert_with(|| got.clone());
            assert!(got == *first, "{architecture} {pooling} on {family}");
        }
    }
}

#[test]
fn a_layer_without_a_range_and_a_network_without_integers_are_refused() {
    let options = Options {
        side: 32,
        precision: Precision::Int8,
        ..Options::default()
    };
    let refused = |architecture| {
        let loaded = Network::load(architecture, &Source::Random(1), &options, &Ranges::new());
        loaded.err().expect("a refusal").to_string()
    };
    assert!(refused(Architecture::resnet(18, Strides::V15)).contains("`conv1`"));
    assert!(refused(Architecture::MobileNetV2).contains("mobilenet_v2 has no int8"));
}
