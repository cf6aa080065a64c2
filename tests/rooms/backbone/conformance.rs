//! What every backbone must do, whichever it is: one suite for all.

use super::{cosine, dot, extract, features, of_side, pixels, relative_l2, resnet};
use crate::shared::loud;
use crate::support::allocated_bytes;
use candle_core::{DType, Device, Tensor};
use eigenflow::backbone::{
    Architecture, BackboneError, Calibration, Family, Head, Model, Options, Parameters, Pooling,
    Precision, Strides,
};

/// Side of the suite's images: the last maps have four pixels.
const SIDE: usize = 64;

/// What Candle takes for its own bookkeeping of an image. Nothing else is allocated once a worker is there.
const CANDLES_BYTES: usize = 256;

/// Holds a backbone to its trait.
fn conforms(model: &Model) {
    let spec = model.spec();
    let (side, width) = (spec.side, spec.features);
    let images: Vec<_> = (0..3).map(|i| pixels(side, i * 31)).collect();
    let alone: Vec<_> = images.iter().map(|p| features(model, p)).collect();
    assert!(alone[0] != alone[1], "features tell images apart");
    for features in &alone {
        assert!(features.iter().all(|v| v.is_finite()) && dot(features, features) > 0.0);
    }
    // The image alone decides: not what was computed before or beside it, nor on which thread.
    let mut worker = model.worker();
    for i in [0, 1, 2, 2, 0, 1] {
        assert!(extract(&mut *worker, &images[i]) == alone[i]);
    }
    for order in [&[0, 1][..], &[1, 0, 2], &[2, 2, 1, 0, 1]] {
        let pixels: Vec<u8> = order.iter().flat_map(|i| images[*i].clone()).collect();
        let mut together = vec![0.0; order.len() * width];
        worker.extract(&pixels, &mut together).unwrap();
        let apart: Vec<f32> = order.iter().flat_map(|i| alone[*i].clone()).collect();
        assert!(together == apart, "{} beside each other", order.len());
    }
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut worker = model.worker();
                let again: Vec<_> = images.iter().map(|p| extract(&mut *worker, p)).collect();
                assert!(again == alone);
            });
        }
    });
    let (mut room, all) = (vec![0.0; images.len() * width], images.concat());
    let before = allocated_bytes();
    worker.extract(&all, &mut room).unwrap();
    let bytes = allocated_bytes() - before;
    assert!(
        bytes <= images.len() * CANDLES_BYTES,
        "{bytes} bytes are allocated for {} images",
        images.len()
    );
    // Other lengths are refused, not misread.
    let short = worker.extract(&images[0][1..], &mut room[..width]);
    assert!(
        matches!(short, Err(BackboneError::PixelCount { expected, .. }) if expected == side * side * 3)
    );
    let narrow = worker.extract(&images[0], &mut room[1..width]);
    assert!(
        matches!(narrow, Err(BackboneError::FeatureCount { expected, .. }) if expected == width)
    );
    let fewer = worker.extract(&images[0], &mut room[..2 * width]);
    assert!(matches!(fewer, Err(BackboneError::FeatureCount { .. })));
}

/// The suite on a network of random weights in each precision of this CPU.
fn network_conforms(architecture: Architecture, pooling: Pooling) {
    for side in [SIDE, SIDE + 9] {
        side_conforms(architecture, pooling, side);
    }
}

fn side_conforms(architecture: Architecture, pooling: Pooling, side: usize) {
    for precision in [Precision::F32, Precision::Bf16] {
        let options = Options {
            precision,
            pooling,
            ..of_side(side)
        };
        match Model::random(architecture, 1, &options) {
            Ok(model) => {
                let width = architecture.features(side, pooling);
                assert_eq!(model.spec().features, width);
                conforms(&model);
            }
            Err(_) => loud(&format!("SKIPPED: no {precision} on this CPU")),
        }
    }
    if architecture.quantises() {
        let options = Options {
            pooling,
            ..of_side(side)
        };
        let (weights, images) = (Parameters::Random(1), [pixels(side, 0)]);
        let calibration = Calibration::of(architecture, &weights, &options, images, "a pattern");
        let model = Model::int8(architecture, &weights, &calibration.unwrap(), &options);
        conforms(&model.unwrap());
    }
}

#[test]
fn pixels_conform_and_are_their_own_features() {
    let model = Model::pixels();
    conforms(&model);
    assert_eq!((model.spec().side, model.spec().features), (16, 768));
    let image: Vec<u8> = (0..768).map(|i| (i % 256) as u8).collect();
    let features = features(&model, &image);
    let pairs = features.iter().zip(&image);
    assert!(pairs.into_iter().all(|(f, p)| *f == f32::from(*p) / 255.0));
}

#[test]
fn resnets_conform() {
    network_conforms(resnet(18), Pooling::Avg);
    network_conforms(Architecture::resnet(50, Strides::V1), Pooling::Max);
}

#[test]
fn large_images_conform_whose_last_maps_are_not_small() {
    side_conforms(resnet(18), Pooling::Avg, 270);
}

#[test]
fn mobilenet_conforms() {
    network_conforms(Architecture::MobileNetV2, Pooling::Avg);
}

#[test]
fn vgg_conforms() {
    network_conforms(Architecture::Vgg16, Pooling::Flatten);
}

#[test]
fn backbones_with_heads_conform() {
    let options = Options {
        pooling: Pooling::Flatten,
        ..of_side(SIDE)
    };
    let body = Model::random(resnet(18), 1, &options).unwrap();
    for body in [Model::pixels(), body] {
        let head = Head::random(body.spec().features, 100, 7).unwrap();
        let model = body.with_head(head).unwrap();
        assert_eq!(model.spec().features, 100);
        conforms(&model);
    }
}

/// Features of one image by each family that this CPU has, the last of which is the portable one.
fn by_family(architecture: Architecture, options: &Options) -> Vec<(Family, Vec<f32>)> {
    let image = pixels(options.side, 5);
    let on = |family| {
        let options = Options {
            family: Some(family),
            ..*options
        };
        let model = Model::random(architecture, 5, &options).ok()?;
        Some((family, features(&model, &image)))
    };
    Family::ALL.into_iter().filter_map(on).collect()
}

#[test]
fn families_and_precisions_agree_on_every_network() {
    let resnets = [18, 34, 50, 101, 152].map(resnet);
    let others = [Architecture::MobileNetV2, Architecture::Vgg16];
    for architecture in resnets.into_iter().chain(others) {
        let options = of_side(32);
        let found = by_family(architecture, &options);
        let ((_, portable), others) = found.split_last().unwrap();
        for (family, other) in others {
            // Split activations keep 17 bits, and no mean of pixels makes up for it here.
            let bound = if *family == Family::Amx { 2e-5 } else { 1e-5 };
            let error = relative_l2(other, portable);
            assert!(error <= bound, "{architecture} {family}: {error:e}");
        }
        let fused = |family: &Family| matches!(family, Family::Avx512 | Family::Avx2);
        let mut fused = others.iter().filter(|(family, _)| fused(family));
        if let (Some((_, a)), Some((_, b))) = (fused.next(), fused.next()) {
            assert!(a == b, "AVX-512 and AVX2 round alike: {architecture}");
        }
        let precision = Precision::Bf16;
        if let Ok(half) = Model::random(
            architecture,
            5,
            &Options {
                precision,
                ..options
            },
        ) {
            let cosine = cosine(&features(&half, &pixels(32, 5)), portable);
            assert!(cosine >= 0.999, "{architecture}: {cosine}");
        }
    }
}

#[test]
fn all_networks_run_at_full_size() {
    let resnets = [18, 34, 50, 101, 152].map(resnet);
    let others = [Architecture::MobileNetV2, Architecture::Vgg16];
    for architecture in resnets.into_iter().chain(others) {
        let model = Model::random(architecture, 2, &Options::default()).unwrap();
        let features = features(&model, &pixels(224, 0));
        assert_eq!(features.len(), architecture.channels());
        assert!(features.iter().all(|v| v.is_finite() && *v >= 0.0));
        assert!(dot(&features, &features) > 0.0);
    }
}

#[test]
fn poolings_are_of_the_same_maps() {
    let of = |pooling| {
        let options = Options {
            pooling,
            ..of_side(SIDE)
        };
        let model = Model::random(resnet(18), 3, &options).unwrap();
        features(&model, &pixels(SIDE, 1))
    };
    let maps = of(Pooling::Flatten);
    let [avg, max] = [Pooling::Avg, Pooling::Max].map(of);
    assert_eq!((maps.len(), avg.len(), max.len()), (4 * 512, 512, 512));
    for c in 0..512 {
        let pixels = maps.iter().skip(c).step_by(512);
        let most = pixels.clone().fold(f32::MIN, |a, b| a.max(*b));
        assert!(max[c] == most && avg[c] == pixels.sum::<f32>() / 4.0);
    }
}

#[test]
fn batch_through_candle_is_its_images_one_by_one() {
    let model = Model::random(resnet(18), 4, &of_side(64)).unwrap();
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
