//! Real weights on real pixels, beside PyTorch's features of them, on every family that this CPU has.

use super::{cosine, extract, relative_l2};
use crate::shared::{loud, shared};
use eigenflow::backbone::{Family, Model, Options, Pooling, Precision, weights};
use eigenflow::image::{Filter, Fit, Limits, Preprocess, Resizer, decode};
use safetensors::SafeTensors;

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// How far the features of the cached weights `name` are from `reference`'s tensor, row by row after `arranged` has brought
/// PyTorch's into our order: the worst relative L2 error and the least cosine. None where something is not there.
fn against_pytorch(
    name: &str,
    reference: &str,
    options: &Options,
    arranged: impl Fn(&[f32]) -> Vec<f32>,
) -> Option<(f64, f64)> {
    let file = std::fs::read(shared("reference/from_pixels.safetensors")?).unwrap();
    let weights = weights::cache_dir().and_then(|cache| weights::load(name, &cache));
    let weights = match weights {
        Ok(weights) => weights,
        Err(cause) => {
            loud(&format!("SKIPPED: {name} beside PyTorch: {cause}"));
            return None;
        }
    };
    let file = SafeTensors::deserialize(&file).unwrap();
    let images = file.tensor("pixels").unwrap();
    let tensor = file.tensor(&format!("{reference}.features")).unwrap();
    let side = images.shape()[1];
    let options = Options {
        side,
        preprocessing: weights.preprocessing,
        ..*options
    };
    let Ok(model) = Model::load(weights.network, &weights.parameters(), &options) else {
        let (family, precision) = (options.chosen_family(weights.network), options.precision);
        loud(&format!(
            "SKIPPED: no {family} kernels for {precision} on this CPU"
        ));
        return None;
    };
    let mut worker = model.worker();
    let images = images.data().chunks(side * side * 3);
    let wanted = floats(tensor.data());
    let wanted = wanted.chunks(tensor.shape()[1]).map(arranged);
    // Plain Rust takes a second an image; a few show it as well.
    let family = options.chosen_family(weights.network);
    let count = match family {
        Family::Portable => 2,
        Family::Amx | Family::Avx512 | Family::Avx2 => usize::MAX,
    };
    let each = images.zip(wanted).take(count).map(|(pixels, want)| {
        let got = extract(&mut *worker, pixels);
        (relative_l2(&got, &want), cosine(&got, &want))
    });
    let (worst, least) = each.fold((0.0f64, 1.0f64), |a, b| (a.0.max(b.0), a.1.min(b.1)));
    let Options {
        precision, pooling, ..
    } = options;
    println!(
        "{name} {pooling} {family} {precision}: worst relative L2 {worst:.1e}, least cosine {least:.7}"
    );
    Some((worst, least))
}

const NETWORKS: [(&str, &str); 4] = [
    ("resnet50", "resnet50"),
    ("resnet18", "resnet18"),
    ("mobilenet_v2", "mobilenet_v2"),
    ("vgg16", "vgg16_avg"),
];

#[test]
fn f32_features_of_real_networks_are_pytorchs() {
    for (name, reference) in NETWORKS {
        for family in Family::ALL {
            let options = Options {
                family: Some(family),
                ..Options::default()
            };
            let found = against_pytorch(name, reference, &options, <[f32]>::to_vec);
            if let Some((worst, _)) = found {
                assert!(worst <= 1e-5, "{name} {family}: {worst:e}");
            }
        }
    }
}

#[test]
fn bf16_features_of_real_networks_point_where_pytorchs_do() {
    let families = [Family::Amx, Family::Avx512];
    for ((name, reference), family) in NETWORKS.into_iter().flat_map(|n| families.map(|f| (n, f))) {
        let options = Options {
            family: Some(family),
            precision: Precision::Bf16,
            ..Options::default()
        };
        let found = against_pytorch(name, reference, &options, <[f32]>::to_vec);
        if let Some((_, least)) = found {
            assert!(least >= 0.9995, "{name} {family}: {least}");
        }
    }
}

/// PyTorch flattens channel, row, column; Keras, as we do, row, column, channel.
#[test]
fn flattened_and_maximal_features_are_pytorchs_in_our_order() {
    const CHANNELS: usize = 512;
    let pooled = |pooling| Options {
        pooling,
        ..Options::default()
    };
    let flatten = |theirs: &[f32]| {
        let pixels = theirs.len() / CHANNELS;
        let at = |i| theirs[i % CHANNELS * pixels + i / CHANNELS];
        (0..theirs.len()).map(at).collect()
    };
    let max = |theirs: &[f32]| {
        let channels = theirs.chunks(theirs.len() / CHANNELS);
        let most = channels.map(|c| c.iter().fold(f32::MIN, |a, b| a.max(*b)));
        most.collect()
    };
    let found = [
        against_pytorch("vgg16", "vgg16_flatten", &pooled(Pooling::Flatten), flatten),
        against_pytorch("vgg16", "vgg16_flatten", &pooled(Pooling::Max), max),
    ];
    for (worst, _) in found.into_iter().flatten() {
        assert!(worst <= 1e-5, "{worst:e}");
    }
}

/// The whole way of an image: our decoder and scaler beside Pillow's, our kernels beside PyTorch's.
#[test]
fn features_of_jpeg_files_are_those_of_pillow_and_pytorch() {
    const EACH: usize = 48;
    const SIDE: u32 = 224;
    let Some(reference) = shared("reference/resnet18.safetensors") else {
        return;
    };
    let Some(images) = shared("data/fruits-dev") else {
        return;
    };
    let weights = weights::cache_dir().and_then(|cache| weights::load("resnet18", &cache));
    let weights = match weights {
        Ok(weights) => weights,
        Err(cause) => {
            eprintln!("SKIPPED: files of JPEG beside PyTorch: {cause}");
            return;
        }
    };
    let bytes = std::fs::read(reference).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let paths = &metadata.metadata().as_ref().unwrap()["paths"];
    let paths: Vec<String> = serde_json::from_str(paths).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor("features").unwrap();
    let wanted = floats(tensor.data());
    let wanted = wanted.chunks(tensor.shape()[1]);
    let (network, parameters) = (weights.network, weights.parameters());
    let model = Model::load(network, &parameters, &Options::default()).unwrap();
    let (mut worker, mut resizer) = (model.worker(), Resizer::new());
    let preprocess = Preprocess {
        side: SIDE,
        fit: Fit::Stretch,
        filter: Filter::Bilinear,
    };
    let (mut least, mut pixels) = (1.0f64, Vec::new());
    for (path, want) in paths.iter().zip(wanted).step_by(EACH) {
        let bytes = std::fs::read(images.join(path)).unwrap();
        let picture = decode(&bytes, &Limits::default()).unwrap();
        resizer.apply(&picture, &preprocess, &mut pixels).unwrap();
        let found = cosine(&extract(&mut *worker, &pixels), want);
        assert!(found >= 0.9999, "{path}: {found}");
        least = least.min(found);
    }
    println!("JPEG to features beside PyTorch: least cosine {least:.7}");
}
