//! Convolutions, direct, by parity and by Winograd's algorithm.

use super::super::layer::RELU;
use super::super::polyphase::Strided;
use super::super::winograd::{self, Winograd};
use super::*;

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

/// Larger than the second-level cache's share, so that tiles visit them in blocks, and segments in passes; some segments stay alone.
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
    let (from, to) = (
        Grid::new(wide, input.shape, 4),
        Grid::new(wide, [32, 9, 10], 0),
    );
    let input = pack(wide, from, &input);
    let outputs = [wide, narrow].map(|isa| {
        let mut outputs = [Block::zeroed(to.bytes()), Block::zeroed(to.bytes())];
        let direct = Direct::blocked(isa, &folded, 1, RELU, from, to);
        directly(&direct, 1, &input, &mut outputs[0]);
        let winograd = Winograd::new(isa, &folded, 4, RELU, from, to);
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
