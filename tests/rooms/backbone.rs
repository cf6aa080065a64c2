//! Backbones as their users see them: right, repeatable, sharing weights, and clear about what is wrong.

use candle_core::{DType, Device, Tensor};
use eigenflow::backbone::{
    Backbone, BackboneError, Family, Model, Precision, ResNet, Strides, bench,
};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

const SHA: &str = "0";

fn resnet(depth: usize) -> ResNet {
    ResNet {
        depth,
        strides: Strides::V15,
    }
}

fn pixels(side: usize, seed: usize) -> Vec<u8> {
    (0..side * side * 3)
        .map(|i| ((i + seed) * 7919 / 13 % 251) as u8)
        .collect()
}

fn features(model: &Model, pixels: &[u8]) -> Vec<f32> {
    extract(&mut *model.worker(), pixels)
}

fn extract(worker: &mut dyn Backbone, pixels: &[u8]) -> Vec<f32> {
    let mut features = vec![f32::NAN; worker.spec().features];
    worker.extract(pixels, &mut features).unwrap();
    features
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn relative_l2(got: &[f32], want: &[f32]) -> f64 {
    let difference: Vec<f32> = got.iter().zip(want).map(|(g, w)| g - w).collect();
    (dot(&difference, &difference) / dot(want, want)).sqrt()
}

/// A file of the shared references or weights; says so where there is none.
fn data(variable: &str, default: Option<&str>, file: &str) -> Option<Vec<u8>> {
    let root = std::env::var_os(variable)
        .map(PathBuf::from)
        .or_else(|| default.map(|d| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(d)));
    let bytes = root.and_then(|root| std::fs::read(root.join(file)).ok());
    if bytes.is_none() {
        eprintln!("SKIPPED: {file} not found; set {variable}");
    }
    bytes
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Worst relative L2 error and least cosine to PyTorch's features of the same pixels.
fn against_pytorch(arch: ResNet, family: Family, precision: Precision) -> Option<(f64, f64)> {
    let name = arch.name();
    let weights = data("EIGENFLOW_WEIGHTS", None, &format!("{name}.safetensors"))?;
    let reference = data(
        "EIGENFLOW_SHARED",
        Some("../shared"),
        "reference/from_pixels.safetensors",
    )?;
    let reference = SafeTensors::deserialize(&reference).unwrap();
    let images = reference.tensor("pixels").unwrap();
    let want = floats(
        reference
            .tensor(&format!("{name}.features"))
            .unwrap()
            .data(),
    );
    let side = images.shape()[1];
    let sha: String = Sha256::digest(&weights)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let model = Model::resnet_on(family, arch, &weights, &sha, side, precision);
    let Ok(model) = model else {
        eprintln!("SKIPPED: no {family} kernels for {precision} on this CPU");
        return None;
    };
    let mut worker = model.worker();
    let images = images.data().chunks(side * side * 3);
    let each = images
        .zip(want.chunks(arch.features()))
        .map(|(pixels, want)| {
            let got = extract(&mut *worker, pixels);
            (relative_l2(&got, want), cosine(&got, want))
        });
    let (worst, least) = each.fold((0.0f64, 1.0f64), |a, b| (a.0.max(b.0), a.1.min(b.1)));
    println!("{arch} {family} {precision}: worst relative L2 {worst:.2e}, least cosine {least:.7}");
    Some((worst, least))
}

#[test]
fn f32_features_of_real_networks_are_pytorchs() {
    let keras = ResNet {
        depth: 50,
        strides: Strides::V1,
    };
    for family in Family::ALL {
        for arch in [keras, resnet(18)] {
            if let Some((worst, _)) = against_pytorch(arch, family, Precision::F32) {
                assert!(worst <= 1e-5, "{arch} {family}: {worst:e}");
            }
        }
    }
}

#[test]
fn bf16_features_of_real_networks_point_where_pytorchs_do() {
    let keras = ResNet {
        depth: 50,
        strides: Strides::V1,
    };
    for arch in [keras, resnet(18)] {
        if let Some((_, least)) = against_pytorch(arch, Family::Avx512, Precision::Bf16) {
            assert!(least >= 0.9995, "{arch}: {least}");
        }
    }
}

#[test]
fn features_depend_on_the_image_alone() {
    for precision in [Precision::F32, Precision::Bf16] {
        let Ok(model) = Model::random(resnet(18), 1, 96, precision) else {
            eprintln!("SKIPPED: no {precision} on this CPU");
            continue;
        };
        let images: Vec<_> = (0..3).map(|i| pixels(96, i * 31)).collect();
        let alone: Vec<_> = images.iter().map(|p| features(&model, p)).collect();
        assert!(alone[0] != alone[1]);
        let mut worker = model.worker();
        for i in [0, 1, 2, 2, 0, 1] {
            assert!(extract(&mut *worker, &images[i]) == alone[i]);
        }
        let threads = [0, 1].map(|_| {
            let (model, images) = (model.clone(), images.clone());
            std::thread::spawn(move || {
                let mut worker = model.worker();
                images
                    .iter()
                    .map(|p| extract(&mut *worker, p))
                    .collect::<Vec<_>>()
            })
        });
        for thread in threads {
            assert!(thread.join().unwrap() == alone);
        }
    }
}

#[test]
fn batch_through_candle_is_its_images_one_by_one() {
    let model = Model::random(resnet(18), 4, 64, Precision::F32).unwrap();
    let forward = model.forward().unwrap();
    let images: Vec<_> = (0..3).map(|i| pixels(64, i * 17)).collect();
    let batch = Tensor::from_vec(images.concat(), (3, 64, 64, 3), &Device::Cpu).unwrap();
    let got = Tensor::zeros((3, 512), DType::F32, &Device::Cpu).unwrap();
    got.inplace_op2(&batch, &forward).unwrap();
    let alone: Vec<_> = images.iter().map(|p| features(&model, p)).collect();
    assert!(got.to_vec2::<f32>().unwrap() == alone);
    // What is not such a batch is refused, not misread.
    let turned = batch.transpose(1, 2).unwrap();
    let narrow = Tensor::zeros((3, 511), DType::F32, &Device::Cpu).unwrap();
    assert!(got.inplace_op2(&turned, &forward).is_err());
    assert!(narrow.inplace_op2(&batch, &forward).is_err());
    assert!(got.inplace_op2(&got.copy().unwrap(), &forward).is_err());
}

#[test]
fn all_depths_agree_between_families_and_precisions() {
    for depth in ResNet::DEPTHS {
        let sides: &[usize] = if depth == 50 || depth == 18 {
            &[32, 64]
        } else {
            &[32]
        };
        for &side in sides {
            let image = pixels(side, depth);
            let on = |family| {
                Model::random_on(family, resnet(depth), 5, side, Precision::F32)
                    .map(|model| features(&model, &image))
            };
            let portable = on(Family::Portable).unwrap();
            assert!(portable.iter().all(|v| v.is_finite()) && dot(&portable, &portable) > 0.0);
            let fused: Vec<_> = [Family::Avx512, Family::Avx2]
                .into_iter()
                .flat_map(on)
                .collect();
            for fused in &fused {
                let error = relative_l2(fused, &portable);
                assert!(error <= 1e-5, "resnet{depth} at {side}: {error:e}");
            }
            if let [a, b] = &fused[..] {
                assert!(a == b, "AVX-512 and AVX2 round alike");
            }
            if let Ok(half) = Model::random(resnet(depth), 5, side, Precision::Bf16) {
                let cosine = cosine(&features(&half, &image), &portable);
                assert!(cosine >= 0.999, "resnet{depth} at {side}: {cosine}");
            }
        }
    }
}

#[test]
fn all_depths_run_at_full_size() {
    for depth in ResNet::DEPTHS {
        let model = Model::random(resnet(depth), 2, 224, Precision::F32).unwrap();
        let features = features(&model, &pixels(224, 0));
        assert_eq!(features.len(), if depth < 50 { 512 } else { 2048 });
        assert!(features.iter().all(|v| v.is_finite() && *v >= 0.0));
        assert!(dot(&features, &features) > 0.0);
    }
}

#[test]
fn pixels_are_their_own_features() {
    let model = Model::pixels();
    let image: Vec<u8> = (0..768).map(|i| (i % 256) as u8).collect();
    let features = features(&model, &image);
    assert!(
        features
            .iter()
            .zip(&image)
            .all(|(f, p)| *f == f32::from(*p) / 255.0)
    );
    assert_eq!((model.spec().side, model.spec().features), (16, 768));
}

/// The tensors of a whole random ResNet-18, some of them spoilt.
fn file(spoil: impl Fn(&str, &mut Vec<usize>, &mut Vec<u8>, &mut Dtype) -> bool) -> Vec<u8> {
    let mut shapes = vec![("conv1".to_string(), "bn1".to_string(), [64, 3, 7])];
    for (stage, width) in [64, 128, 256, 512].into_iter().enumerate() {
        for block in 0..2 {
            let name = format!("layer{}.{block}", stage + 1);
            let cin = if block == 0 && stage > 0 {
                width / 2
            } else {
                width
            };
            shapes.push((
                format!("{name}.conv1"),
                format!("{name}.bn1"),
                [width, cin, 3],
            ));
            shapes.push((
                format!("{name}.conv2"),
                format!("{name}.bn2"),
                [width, width, 3],
            ));
            if cin != width {
                let (conv, norm) = (
                    format!("{name}.downsample.0"),
                    format!("{name}.downsample.1"),
                );
                shapes.push((conv, norm, [width, cin, 1]));
            }
        }
    }
    let mut tensors = Vec::new();
    for (conv, norm, [cout, cin, k]) in shapes {
        tensors.push((format!("{conv}.weight"), vec![cout, cin, k, k]));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            tensors.push((format!("{norm}.{part}"), vec![cout]));
        }
    }
    let mut kept = Vec::new();
    for (name, mut shape) in tensors {
        let count: usize = shape.iter().product();
        let mut bytes = 0.01f32.to_le_bytes().repeat(count);
        let mut dtype = Dtype::F32;
        if spoil(&name, &mut shape, &mut bytes, &mut dtype) {
            kept.push((name, shape, bytes, dtype));
        }
    }
    let views = kept.iter().map(|(name, shape, bytes, dtype)| {
        (
            name.clone(),
            TensorView::new(*dtype, shape.clone(), bytes).unwrap(),
        )
    });
    safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap()
}

fn load(bytes: &[u8]) -> Result<Model, BackboneError> {
    Model::resnet_on(Family::Portable, resnet(18), bytes, SHA, 32, Precision::F32)
}

#[test]
fn spoilt_weights_are_named() {
    const NAME: &str = "layer2.0.conv1.weight";
    let whole = file(|_, _, _, _| true);
    load(&whole).unwrap();
    let cut = load(&whole[..whole.len() / 2]).err().unwrap();
    assert!(matches!(cut, BackboneError::Malformed(_)), "{cut}");
    let noise = load(b"\x07\0\0\0\0\0\0\0not json").err().unwrap();
    assert!(matches!(noise, BackboneError::Malformed(_)), "{noise}");
    let missing = load(&file(|name, _, _, _| name != NAME)).err().unwrap();
    assert!(
        matches!(&missing, BackboneError::MissingTensor(n) if n == NAME),
        "{missing}"
    );
    let turned = load(&file(|name, shape, _, _| {
        if name == NAME {
            shape.swap(0, 1);
        }
        true
    }));
    let turned = turned.err().unwrap();
    assert!(
        matches!(&turned, BackboneError::TensorShape { name, .. } if name == NAME),
        "{turned}"
    );
    let halves = load(&file(|name, shape, bytes, dtype| {
        if name == NAME {
            *dtype = Dtype::F16;
            bytes.truncate(shape.iter().product::<usize>() * 2);
        }
        true
    }));
    let halves = halves.err().unwrap();
    assert!(
        matches!(&halves, BackboneError::TensorType { name, .. } if name == NAME),
        "{halves}"
    );
    for value in [f32::NAN, f32::INFINITY] {
        let odd = load(&file(|name, _, bytes, _| {
            if name == NAME {
                bytes[4..8].copy_from_slice(&value.to_le_bytes());
            }
            true
        }));
        let odd = odd.err().unwrap();
        assert!(
            matches!(&odd, BackboneError::NotFinite(n) if n == NAME),
            "{odd}"
        );
    }
    let imaginary = load(&file(|name, _, bytes, _| {
        if name == "bn1.running_var" {
            bytes[..4].copy_from_slice(&(-1f32).to_le_bytes());
        }
        true
    }));
    assert!(matches!(imaginary, Err(BackboneError::NotFinite(_))));
    let other = Model::resnet_on(
        Family::Portable,
        resnet(50),
        &whole,
        SHA,
        32,
        Precision::F32,
    );
    assert!(matches!(
        other,
        Err(BackboneError::TensorShape { .. } | BackboneError::MissingTensor(_))
    ));
}

#[test]
fn what_cannot_be_computed_is_refused() {
    for side in [0, 16, 100, 4096] {
        let refused = Model::random(resnet(18), 0, side, Precision::F32);
        assert!(matches!(refused, Err(BackboneError::Side(s)) if s == side));
    }
    let unknown = Model::random(resnet(19), 0, 32, Precision::F32);
    assert!(matches!(unknown, Err(BackboneError::UnknownNetwork(n)) if n == "resnet19"));
    let slow = Model::random_on(Family::Portable, resnet(18), 0, 32, Precision::Bf16);
    assert!(matches!(slow, Err(BackboneError::Unsupported { .. })));
    assert!(matches!(
        "f16".parse::<Precision>(),
        Err(BackboneError::UnknownPrecision(_))
    ));
    for name in ["resnet", "resnet51", "vgg16", "50"] {
        assert!(ResNet::parse(name, Strides::V1).is_err(), "{name}");
    }
    let mut worker = Model::pixels().worker();
    let short = worker.extract(&[0; 767], &mut [0.0; 768]);
    assert!(matches!(
        short,
        Err(BackboneError::PixelCount {
            found: 767,
            expected: 768
        })
    ));
    let narrow = worker.extract(&[0; 768], &mut [0.0; 1]);
    assert!(matches!(
        narrow,
        Err(BackboneError::FeatureCount {
            found: 1,
            expected: 768
        })
    ));
}

#[test]
fn identity_tells_computations_apart() {
    let family = Family::Portable;
    let of = |depth, strides, side, seed| {
        let arch = ResNet { depth, strides };
        let model = Model::random_on(family, arch, seed, side, Precision::F32).unwrap();
        model.spec().identity.clone()
    };
    let first = of(18, Strides::V15, 32, 0);
    assert_eq!(first, of(18, Strides::V15, 32, 0));
    let mut all = vec![
        first,
        of(18, Strides::V1, 32, 0),
        of(34, Strides::V15, 32, 0),
        of(18, Strides::V15, 64, 0),
        of(18, Strides::V15, 32, 1),
        load(&file(|_, _, _, _| true))
            .unwrap()
            .spec()
            .identity
            .clone(),
        Model::pixels().spec().identity.clone(),
    ];
    if Family::detect() != family {
        let model = Model::random(resnet(18), 0, 32, Precision::F32).unwrap();
        all.push(model.spec().identity.clone());
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "{all:#?}");
}

#[test]
fn bench_speaks_the_peers_protocol() {
    let mut output = Vec::new();
    bench::serve(&Model::pixels(), 2, &b"b 3 0\nq\nb 1 0\n"[..], &mut output).unwrap();
    let output = String::from_utf8(output).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert!(
        lines[0].starts_with("ready ") && lines.len() == 2,
        "{output}"
    );
    let (images, seconds) = lines[1].split_once(' ').unwrap();
    assert_eq!(images, "6", "three by each of two workers");
    assert!(seconds.parse::<f64>().unwrap() >= 0.0);
    let nonsense = bench::serve(&Model::pixels(), 1, &b"b many 1\n"[..], Vec::new());
    assert!(matches!(nonsense, Err(BackboneError::Bench(_))));
}

#[test]
fn every_layer_is_timed_once() {
    let model = Model::random(resnet(18), 0, 32, Precision::F32).unwrap();
    let times = bench::layers(&model, 2);
    assert_eq!(
        times.len(),
        1 + 16 + 3 + 1,
        "stem, 3x3s, shortcuts, average"
    );
    assert!(times.iter().all(|t| t.seconds.is_finite()));
    // 1.8 GMAC at 224, without the classifier, by 49.
    let flops: f64 = times.iter().map(|t| t.flops).sum();
    assert!(
        (flops / (2.0 * 1.814e9 / 49.0) - 1.0).abs() < 0.01,
        "{flops}"
    );
}
