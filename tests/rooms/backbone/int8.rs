//! int8: calibrated, then as good as promised; and a calibration is of what it says, or refused.

use super::{cosine, extract, features, of_side, pixels, resnet};
use crate::shared::{loud, shared};
use eigenflow::backbone::{
    Architecture, BackboneError, Calibration, Family, Model, Options, Parameters, Preprocessing,
    weights,
};
use eigenflow::job;
use safetensors::SafeTensors;

const SIDE: usize = 32;
const WEIGHTS: Parameters = Parameters::Random(6);

fn calibrated(options: &Options, parameters: &Parameters) -> Calibration {
    let images = (0..2).map(|i| pixels(SIDE, i * 77));
    Calibration::of(resnet(18), parameters, options, images, "two patterns").unwrap()
}

#[test]
fn features_of_real_networks_point_where_pytorchs_do() {
    let Some(file) = shared("reference/from_pixels.safetensors") else {
        return;
    };
    let file = std::fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let images = file.tensor("pixels").unwrap();
    let cache = weights::cache_dir().unwrap();
    for (name, reference) in [
        ("resnet18", "resnet18"),
        ("resnet50", "resnet50"),
        ("vgg16", "vgg16_avg"),
    ] {
        let weights = match weights::load(name, &cache) {
            Ok(weights) => weights,
            Err(cause) => {
                loud(&format!("SKIPPED: {name} in int8: {cause}"));
                continue;
            }
        };
        let (network, parameters) = (weights.network, weights.parameters());
        let options = Options::default();
        let calibration = job::calibrate(network, &parameters, &options).unwrap();
        let model = Model::int8(network, &parameters, &calibration, &options).unwrap();
        let mut worker = model.worker();
        let wanted = file.tensor(&format!("{reference}.features")).unwrap();
        let (wanted, _) = wanted.data().as_chunks::<4>();
        let wanted: Vec<f32> = wanted.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let images = images.data().chunks_exact(options.side * options.side * 3);
        let cosines = images
            .zip(wanted.chunks_exact(network.channels()))
            .map(|(pixels, want)| cosine(&extract(&mut *worker, pixels), want));
        let least = cosines.fold(1.0, f64::min);
        println!("{name} int8: least cosine {least:.5}");
        assert!(least >= 0.99, "{name}: {least}");
    }
}

#[test]
fn every_family_gives_the_same_features_under_the_same_identity() {
    let options = of_side(SIDE);
    let calibration = calibrated(&options, &WEIGHTS);
    let models = Family::ALL.into_iter().filter_map(|family| {
        let options = Options {
            family: Some(family),
            ..options
        };
        Model::int8(resnet(18), &WEIGHTS, &calibration, &options).ok()
    });
    let all: Vec<_> = models
        .map(|model| {
            (
                model.spec().identity.clone(),
                features(&model, &pixels(SIDE, 3)),
            )
        })
        .collect();
    assert!(all.iter().all(|one| *one == all[0]));
    assert!(all[0].0.contains("; int8; ") && all[0].0.contains(&calibration.to_string()));
}

#[test]
fn a_calibration_comes_back_from_its_file_and_is_part_of_the_identity() {
    let options = of_side(SIDE);
    let calibration = calibrated(&options, &WEIGHTS);
    assert_eq!(calibration, calibrated(&options, &WEIGHTS));
    let json = calibration.to_json();
    assert_eq!(
        calibration,
        Calibration::from_json(json.as_bytes()).unwrap()
    );
    let images = [pixels(SIDE, 1)];
    let other = Calibration::of(resnet(18), &WEIGHTS, &options, images, "another").unwrap();
    let identity = |calibration| {
        let model = Model::int8(resnet(18), &WEIGHTS, calibration, &options).unwrap();
        model.spec().identity.clone()
    };
    assert_ne!(identity(&calibration), identity(&other));
    for damaged in [
        "",
        "{}",
        &json[1..],
        &json.replace("conv1\": ", "conv1\": -"),
    ] {
        let refused = Calibration::from_json(damaged.as_bytes());
        assert!(
            matches!(refused, Err(BackboneError::Calibration(_))),
            "{damaged}"
        );
    }
}

#[test]
fn a_calibration_of_something_else_is_refused() {
    let options = of_side(SIDE);
    let calibration = calibrated(&options, &WEIGHTS);
    let other = Parameters::Random(7);
    let refused = Model::int8(resnet(18), &other, &calibration, &options);
    assert!(matches!(refused, Err(BackboneError::Calibration(_))));
    let caffe = Options {
        preprocessing: Preprocessing::Caffe,
        ..options
    };
    let refused = Model::int8(resnet(18), &WEIGHTS, &calibration, &caffe);
    assert!(matches!(refused, Err(BackboneError::Calibration(_))));
    // Deeper than what was calibrated.
    let refused = Model::int8(resnet(34), &WEIGHTS, &calibration, &options);
    assert!(matches!(refused, Err(BackboneError::Uncalibrated(_))));
    let none: [Vec<u8>; 0] = [];
    let refused = Calibration::of(resnet(18), &WEIGHTS, &options, none, "nothing");
    assert!(matches!(refused, Err(BackboneError::Calibration(_))));
    let mobilenet = Architecture::MobileNetV2;
    let refused = Calibration::of(mobilenet, &WEIGHTS, &options, [pixels(SIDE, 0)], "");
    assert!(matches!(refused, Err(BackboneError::NotInIntegers(_))));
}
