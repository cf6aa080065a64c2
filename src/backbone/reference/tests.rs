use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};

use super::*;
use crate::backbone::{Architecture, weights};
use crate::shared::shared;

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    values
        .iter()
        .map(|&value| f32::from_le_bytes(value))
        .collect()
}

/// The largest relative L2 error of a feature vector against PyTorch's.
fn worst_error(arch: ResNet, weights: &[u8], reference: &[u8], name: &str) -> f64 {
    let network = ReferenceResNet::load(arch, weights, &Device::Cpu).unwrap();
    let channels = Architecture::ResNet(arch).channels();
    let reference = SafeTensors::deserialize(reference).unwrap();
    let pixels = reference.tensor("pixels").unwrap();
    let &[n, side, _, _] = pixels.shape() else {
        panic!("pixels: {:?}", pixels.shape())
    };
    let wanted = floats(
        reference
            .tensor(&format!("{name}.features"))
            .unwrap()
            .data(),
    );
    let batch = 4;
    let found: Vec<f32> = pixels
        .data()
        .chunks(batch * side * side * 3)
        .flat_map(|pixels| {
            network
                .forward(pixels, pixels.len() / (side * side * 3), side)
                .unwrap()
        })
        .collect();
    assert_eq!(found.len(), n * channels);
    let rows = found.chunks(channels).zip(wanted.chunks(channels));
    rows.map(|(found, wanted)| {
        let square = |value: f32| f64::from(value).powi(2);
        let error: f64 = found.iter().zip(wanted).map(|(f, w)| square(f - w)).sum();
        (error / wanted.iter().copied().map(square).sum::<f64>()).sqrt()
    })
    .fold(0.0, f64::max)
}

fn agrees_with_pytorch(name: &str, arch: ResNet) {
    let Some(reference) = shared("reference/from_pixels.safetensors") else {
        return;
    };
    let reference = std::fs::read(reference).unwrap();
    match weights::cache_dir().and_then(|cache| weights::load(name, &cache)) {
        Ok(weights) => {
            let error = worst_error(arch, weights.bytes(), &reference, name);
            eprintln!("{name}: relative L2 error {error:.2e}");
            assert!(error <= 1e-4, "{name}: relative L2 error {error:.2e}");
        }
        Err(cause) => eprintln!("SKIPPED: {name} beside PyTorch: {cause}"),
    }
}

#[test]
fn resnet50_v1_agrees_with_pytorch() {
    agrees_with_pytorch(
        "resnet50",
        ResNet {
            depth: 50,
            strides: Strides::V1,
        },
    );
}

#[test]
fn resnet18_agrees_with_pytorch() {
    agrees_with_pytorch(
        "resnet18",
        ResNet {
            depth: 18,
            strides: Strides::V15,
        },
    );
}

/// The tensors that torchvision's network of this depth has, all zero but for what a BatchNorm must not divide by.
fn zeros(arch: ResNet) -> Vec<u8> {
    let mut shapes: Vec<(String, Vec<usize>)> = Vec::new();
    let mut conv = |conv: String, norm: String, inputs: usize, outputs: usize, kernel: usize| {
        shapes.push((
            format!("{conv}.weight"),
            vec![outputs, inputs, kernel, kernel],
        ));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            shapes.push((format!("{norm}.{part}"), vec![outputs]));
        }
    };
    conv("conv1".into(), "bn1".into(), 3, 64, 7);
    let mut channels = 64;
    for (stage, count) in arch.blocks().into_iter().enumerate() {
        let width = 64 << stage;
        for index in 0..count {
            let block = format!("layer{}.{index}", stage + 1);
            let layers = if arch.bottleneck() {
                vec![
                    (channels, width, 1),
                    (width, width, 3),
                    (width, 4 * width, 1),
                ]
            } else {
                vec![(channels, width, 3), (width, width, 3)]
            };
            let outputs = if arch.bottleneck() { 4 * width } else { width };
            for (i, (inputs, outputs, kernel)) in (1..).zip(layers) {
                conv(
                    format!("{block}.conv{i}"),
                    format!("{block}.bn{i}"),
                    inputs,
                    outputs,
                    kernel,
                );
            }
            if index == 0 && channels != outputs {
                conv(
                    format!("{block}.downsample.0"),
                    format!("{block}.downsample.1"),
                    channels,
                    outputs,
                    1,
                );
            }
            channels = outputs;
        }
    }
    let longest = shapes
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .max()
        .unwrap();
    let zeros = vec![0; 4 * longest];
    let views = shapes.iter().map(|(name, shape)| {
        let len = 4 * shape.iter().product::<usize>();
        (
            name,
            TensorView::new(Dtype::F32, shape.clone(), &zeros[..len]).unwrap(),
        )
    });
    serialize(views, None).unwrap()
}

#[test]
fn every_depth_loads_torchvisions_tensors() {
    for depth in [18, 34, 50, 101, 152] {
        let arch = ResNet {
            depth,
            strides: Strides::V15,
        };
        let network = ReferenceResNet::load(arch, &zeros(arch), &Device::Cpu).unwrap();
        let features = network.forward(&[7; 32 * 32 * 3], 1, 32).unwrap();
        assert_eq!(features, vec![0.0; Architecture::ResNet(arch).channels()]);
    }
}

#[test]
fn missing_tensors_are_named() {
    let shallow = ResNet {
        depth: 18,
        strides: Strides::V15,
    };
    let deep = ResNet {
        depth: 34,
        strides: Strides::V15,
    };
    let error = ReferenceResNet::load(deep, &zeros(shallow), &Device::Cpu).unwrap_err();
    assert!(
        error.to_string().contains("layer1.2.conv1.weight"),
        "{error}"
    );
}

#[test]
fn pixels_of_another_size_are_refused() {
    let arch = ResNet {
        depth: 18,
        strides: Strides::V15,
    };
    let network = ReferenceResNet::load(arch, &zeros(arch), &Device::Cpu).unwrap();
    let error = network.forward(&[0; 100], 1, 32).unwrap_err();
    assert!(
        matches!(error, ReferenceError::Pixels { found: 100, .. }),
        "{error}"
    );
}
