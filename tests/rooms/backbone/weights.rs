//! Weights that are not what they should be, computations that are not to be had, and identities.

use super::{of_side, resnet};
use eigenflow::backbone::{
    Architecture, BackboneError, Family, Head, Model, Options, Parameters, Pooling, Precision,
    Preprocessing, Strides,
};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

const SHA: &str = "0";

fn on_portable() -> Options {
    Options {
        family: Some(Family::Portable),
        ..of_side(32)
    }
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
    load_as(resnet(18), bytes)
}

fn load_as(network: Architecture, bytes: &[u8]) -> Result<Model, BackboneError> {
    let parameters = Parameters::Safetensors { bytes, sha256: SHA };
    Model::load(network, &parameters, &on_portable())
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
    let other = load_as(resnet(50), &whole);
    assert!(matches!(
        other,
        Err(BackboneError::TensorShape { .. } | BackboneError::MissingTensor(_))
    ));
}

#[test]
fn what_cannot_be_computed_is_refused() {
    for side in [0, 16, 31, 2049] {
        let refused = Model::random(resnet(18), 0, &of_side(side));
        assert!(matches!(refused, Err(BackboneError::Side(s)) if s == side));
    }
    let unknown = Model::random(resnet(19), 0, &of_side(32));
    assert!(matches!(unknown, Err(BackboneError::UnknownNetwork(n)) if n == "resnet19"));
    let slow = Options {
        precision: Precision::Bf16,
        ..on_portable()
    };
    let slow = Model::random(resnet(18), 0, &slow);
    assert!(matches!(slow, Err(BackboneError::Unsupported { .. })));
    assert!(matches!(
        "f16".parse::<Precision>(),
        Err(BackboneError::UnknownPrecision(_))
    ));
    for name in Architecture::NAMES {
        assert_eq!(Architecture::parse(name).unwrap().name(), name);
    }
    for name in ["resnet", "resnet51", "vgg19", "50"] {
        assert!(Architecture::parse(name).is_err(), "{name}");
    }
}

#[test]
fn identity_tells_computations_apart() {
    let of = |architecture, seed, options: &Options| {
        let model = Model::random(architecture, seed, options).unwrap();
        model.spec().identity.clone()
    };
    let plain = on_portable();
    let first = of(resnet(18), 0, &plain);
    assert_eq!(first, of(resnet(18), 0, &plain));
    let with_head = |seed| {
        let head = Head::random(768, 10, seed).unwrap();
        let model = Model::pixels().with_head(head).unwrap();
        model.spec().identity.clone()
    };
    let mut all = vec![
        first,
        of(Architecture::resnet(18, Strides::V1), 0, &plain),
        of(resnet(34), 0, &plain),
        of(Architecture::MobileNetV2, 0, &plain),
        of(resnet(18), 0, &Options { side: 64, ..plain }),
        of(resnet(18), 1, &plain),
        load(&file(|_, _, _, _| true))
            .unwrap()
            .spec()
            .identity
            .clone(),
        Model::pixels().spec().identity.clone(),
        with_head(1),
        with_head(2),
    ];
    for pooling in [Pooling::Max, Pooling::Flatten] {
        all.push(of(resnet(18), 0, &Options { pooling, ..plain }));
    }
    for preprocessing in [Preprocessing::Caffe, Preprocessing::Tf] {
        let options = Options {
            preprocessing,
            ..plain
        };
        all.push(of(resnet(18), 0, &options));
    }
    if Family::detect(resnet(18), Precision::F32) != Family::Portable {
        all.push(of(resnet(18), 0, &of_side(32)));
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "{all:#?}");
}
