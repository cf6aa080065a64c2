use super::super::depthwise::Depthwise;
use super::*;

/// Every channel with its own 3x3, padded by one. With `absolute`, the sum of magnitudes.
pub(super) fn filtered(image: &Image, f: &Folded, stride: usize, absolute: bool) -> Image {
    let [channels, height, width] = image.shape;
    let sign = |v: f64| if absolute { v.abs() } else { v };
    let shape = [channels, height.div_ceil(stride), width.div_ceil(stride)];
    Image::of(shape, |i| {
        let (c, y, x) = (
            i / shape[2] / shape[1],
            i / shape[2] % shape[1],
            i % shape[2],
        );
        let taps = (0..9).map(|tap| {
            let [dy, dx] = [tap / 3, tap % 3].map(|at| at as isize - 1);
            let [y, x] = [y, x].map(|at| (at * stride) as isize);
            let value = image.get(c, y + dy, x + dx).unwrap_or(0.0);
            sign(f64::from(f.weights[c * 9 + tap]) * value)
        });
        sign(f64::from(f.bias[c])) + taps.sum::<f64>()
    })
}

/// The output of a depthwise convolution, packed, and the grid it has.
fn run(isa: Isa, case: &Case, image: &Image, f: &Folded) -> (Grid, Block) {
    let to = [
        case.cout,
        case.height.div_ceil(case.stride),
        case.width.div_ceil(case.stride),
    ];
    let from = Grid::new(isa, image.shape, 1 + case.spare_border);
    let to = Grid::new(isa, to, case.spare_border);
    let epilogue = Epilogue {
        accumulate: false,
        activation: case.activation,
    };
    let mut output = Block::zeroed(to.bytes());
    let depthwise = Depthwise::new(isa, f, case.stride, epilogue, from, to);
    depthwise.run(&pack(isa, from, image), &mut output);
    (to, output)
}

fn subject(isa: Isa, case: &Case) -> (Image, Folded) {
    let mut random = random(case.seed);
    let shape = [case.cout, case.height, case.width];
    let image = Image::of(shape, |_| stored(isa, 3.0 * random()));
    (image, folded(isa, [case.cout, 1, 3], &mut random))
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn depthwise_convolution_is_the_naive_one_on_every_family_and_shape(case in case()) {
        for (name, isa) in instruction_sets() {
            let (image, f) = subject(isa, &case);
            let want = filtered(&image, &f, case.stride, false).activated(case.activation);
            let scale = filtered(&image, &f, case.stride, true);
            let (to, output) = run(isa, &case, &image, &f);
            let got = unpack(isa, to, case.cout, &output);
            for (i, (got, want)) in got.values.iter().zip(&want.values).enumerate() {
                let bound = 1e-6 * scale.values[i] + rounding(isa) * want.abs();
                assert!((got - want).abs() <= bound, "{name}, value {i}: {got} for {want}, {case:?}");
            }
            let inside = pack(isa, to, &got);
            let outside_is_zero = case.activation != Activation::None || alike(isa, &inside, &output);
            assert!(outside_is_zero, "{name} wrote into the border or behind the last channel, {case:?}");
        }
    }

    #[test]
    fn depthwise_families_that_fuse_agree_bit_for_bit(case in case()) {
        let both = [Family::Avx512, Family::Avx2].map(|f| Isa::new(f, Precision::F32));
        if let [Ok(wide), Ok(narrow)] = both {
            let (image, f) = subject(wide, &case);
            let [a, b] = [wide, narrow].map(|isa| run(isa, &case, &image, &f).1.to_vec());
            assert!(a == b, "{case:?}");
        }
    }
}
