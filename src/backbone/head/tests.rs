use super::*;
use crate::backbone::Model;
use safetensors::tensor::TensorView;

/// The next number of SplitMix64, written down a second time from the paper.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = [
        (30, 0xbf58_476d_1ce4_e5b9),
        (27, 0x94d0_49bb_1331_11eb),
        (31, 1),
    ];
    mixed
        .iter()
        .fold(*state, |z, (shift, factor): &(u32, u64)| {
            (z ^ (z >> shift)).wrapping_mul(*factor)
        })
}

/// Numbers between -1 and 1.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let number = |_| (split_mix(&mut state) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    (0..count).map(number).collect()
}

/// What `head` makes of `pixels`, the levels / 255 of a 16x16 image.
fn of_pixels(head: Head, pixels: &[u8]) -> Vec<f32> {
    let model = Model::pixels().with_head(head).unwrap();
    let mut features = vec![f32::NAN; model.spec().features];
    model.worker().extract(pixels, &mut features).unwrap();
    features
}

fn pixels(seed: u64) -> Vec<u8> {
    let levels = numbers(768, seed).into_iter();
    levels.map(|n| (n * 127.0 + 128.0) as u8).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
    squares.sum::<f64>().sqrt()
}

/// This file's generator is the published one: the first numbers of seed 1234567 as others print them.
#[test]
fn split_mix_gives_the_published_numbers() {
    let mut state = 1_234_567;
    let found = [0; 3].map(|_| split_mix(&mut state));
    let expected = [
        6_457_827_717_110_365_317,
        3_203_168_211_198_807_973,
        9_817_491_932_198_370_423,
    ];
    assert_eq!(found, expected);
}

/// The definition in `Signs::new`, word for word and in f64.
#[test]
fn random_projection_is_the_documented_product() {
    for (inputs, outputs) in [(768, 1), (768, 17), (768, 512)] {
        let mut state = 9;
        let words: Vec<u64> = (0..inputs / 32 * outputs)
            .map(|_| split_mix(&mut state) >> 32)
            .collect();
        let image = pixels(3);
        let found = of_pixels(Head::random(inputs, outputs, 9).unwrap(), &image);
        for (i, found) in found.iter().enumerate() {
            let signed = image.iter().enumerate().map(|(j, level)| {
                let minus = words[j / 32 * outputs + i] >> (j % 32) & 1;
                f64::from(f32::from(*level) / 255.0) * [1.0, -1.0][minus as usize]
            });
            let wanted = signed.sum::<f64>() / (outputs as f64).sqrt();
            assert!((f64::from(*found) - wanted).abs() < 1e-5, "{i}: {found}");
        }
    }
}

#[test]
fn random_projection_keeps_distances() {
    let images: Vec<Vec<u8>> = (0..8).map(pixels).collect();
    let wide: Vec<Vec<f32>> = (images.iter())
        .map(|image| image.iter().map(|l| f32::from(*l) / 255.0).collect())
        .collect();
    let narrow: Vec<_> = (images.iter())
        .map(|image| of_pixels(Head::random(768, 512, 5).unwrap(), image))
        .collect();
    for (a, b) in (0..8).flat_map(|a| (0..a).map(move |b| (a, b))) {
        let ratio = distance(&narrow[a], &narrow[b]) / distance(&wide[a], &wide[b]);
        // Five times the standard deviation, √(1 / 2m).
        assert!((ratio - 1.0).abs() < 0.16, "{a}, {b}: {ratio}");
    }
}

#[test]
fn seeds_and_widths_tell_projections_apart() {
    let of = |outputs, seed| {
        let head = Head::random(768, outputs, seed).unwrap();
        (head.identity().to_owned(), of_pixels(head, &pixels(1)))
    };
    let first = of(32, 1);
    assert_eq!(first, of(32, 1));
    for other in [of(32, 2), of(48, 1)] {
        assert!(first.0 != other.0 && first.1 != other.1);
    }
}

/// A safetensors file of f32 tensors.
fn file(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = (tensors.iter())
        .map(|(_, _, numbers)| numbers.iter().flat_map(|n| n.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        let view = TensorView::new(safetensors::Dtype::F32, shape.to_vec(), bytes);
        (*name, view.unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// `relu(x · kernel + bias)` in f64, kernel `[inputs, outputs]`.
fn naive(x: &[f64], kernel: &[f32], bias: &[f32]) -> Vec<f64> {
    let outputs = bias.len();
    let sum = |o| {
        let rows = x.iter().zip(kernel.chunks(outputs));
        let products = rows.map(|(x, row): (_, &[f32])| x * f64::from(row[o]));
        products.sum::<f64>() + f64::from(bias[o])
    };
    (0..outputs).map(|o| f64::max(sum(o), 0.0)).collect()
}

#[test]
fn dense_layers_are_the_naive_ones_on_every_family() {
    // Widths that are no whole panels.
    let [k0, b0] = [numbers(768 * 40, 1), numbers(40, 2)];
    let [k1, b1] = [numbers(40 * 7, 3), numbers(7, 4)];
    let bytes = file(&[
        ("dense.0.kernel", &[768, 40], &k0),
        ("dense.0.bias", &[40], &b0),
        ("dense.1.kernel", &[40, 7], &k1),
        ("dense.1.bias", &[7], &b1),
    ]);
    let image = pixels(8);
    let levels: Vec<f64> = image.iter().map(|l| f64::from(*l) / 255.0).collect();
    let wanted = naive(&naive(&levels, &k0, &b0), &k1, &b1);
    assert!(wanted.contains(&0.0) && wanted.iter().any(|w| *w > 1.0));
    let mut fused = Vec::new();
    let mut portable = None;
    for family in Family::ALL {
        let Ok(head) = Head::dense(family, 768, &bytes, "0") else {
            eprintln!("SKIPPED: no {family} kernels on this CPU");
            continue;
        };
        let identity = head.identity().to_owned();
        let found = of_pixels(head, &image);
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!(
                (f64::from(*found) - wanted).abs() <= 1e-4,
                "{family}: {found} for {wanted}"
            );
        }
        match family {
            Family::Portable => portable = Some((identity, found)),
            Family::Amx | Family::Avx512 | Family::Avx2 => fused.push((identity, found)),
        }
    }
    // Equal bits have equal identities, others have others.
    assert!(fused.windows(2).all(|pair| pair[0] == pair[1]));
    let (identity, bits) = portable.expect("every machine has plain Rust");
    assert!(
        fused
            .iter()
            .all(|(other, found)| *other != identity && *found != bits)
    );
}

#[test]
fn what_is_no_head_is_refused() {
    for outputs in [0, 768, 1000] {
        let refused = Head::random(768, outputs, 1);
        assert!(matches!(refused, Err(BackboneError::HeadWidth { .. })));
    }
    let dense = |tensors: &[_]| {
        let error = Head::dense(Family::Portable, 4, &file(tensors), "0");
        error.err().unwrap().to_string()
    };
    let error = dense(&[("dense.0.kernel", &[4, 1], &[0.0; 4])]);
    assert!(error.contains("lack the tensor `dense.0.bias`"), "{error}");
    let error = dense(&[
        ("dense.0.bias", &[2], &[0.0; 2]),
        ("dense.0.kernel", &[2, 4], &[0.0; 8]),
    ]);
    assert!(
        error.contains("[2, 4]") && error.contains("[4, 2]"),
        "{error}"
    );
    let error = dense(&[
        ("dense.0.bias", &[1], &[0.0]),
        ("dense.0.kernel", &[4, 1], &[0.0; 4]),
        ("dense_1.bias", &[1], &[0.0]),
    ]);
    assert!(
        error.contains("`dense_1.bias` belongs to no layer"),
        "{error}"
    );
    let error = dense(&[
        ("dense.0.bias", &[1], &[f32::NAN]),
        ("dense.0.kernel", &[4, 1], &[0.0; 4]),
    ]);
    assert!(error.contains("not finite"), "{error}");
    let head = Head::random(100, 10, 1).unwrap();
    assert!(matches!(
        Model::pixels().with_head(head),
        Err(BackboneError::FeatureCount {
            found: 100,
            expected: 768
        })
    ));
}
