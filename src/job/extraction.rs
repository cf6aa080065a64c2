//! The network that a configuration names, ready to run.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::Contradiction;
use super::calibration::{calibrate, calibration};
use crate::backbone::bench::beside_f32;
use crate::backbone::weights;
use crate::backbone::{
    Architecture, Family, Head, Model, Options, Parameters, Pooling, Precision, Preprocessing,
};
use crate::config;
use crate::image::{Filter, Fit, Preprocess};
use crate::moments::MAX_WIDTH;

/// A network, and how images are fitted to its input.
pub struct Extraction {
    /// The network with its head.
    pub model: Model,
    /// Fitting of images to the network's input.
    pub preprocess: Preprocess,
    /// What the bits of the features depend on.
    pub identity: String,
}

impl Extraction {
    /// Reads, checks and packs the weights. `cache` is where fetched weights are kept.
    ///
    /// # Errors
    /// Absent, damaged or unsuitable weights, with the ways to get them; more features than can be summed exactly; a crop beyond the
    /// input.
    pub fn load(backbone: &config::Backbone, head: &config::Head, cache: &Path) -> Result<Self> {
        let model = load(backbone, head, cache)?;
        let spec = model.spec();
        let preprocess = Preprocess {
            side: spec.side as u32,
            fit: match backbone.fit {
                config::Fit::Stretch => Fit::Stretch,
                config::Fit::CenterCrop { resize } => Fit::CenterCrop {
                    resize: resize as u32,
                },
            },
            filter: match backbone.filter {
                config::Filter::Bilinear => Filter::Bilinear,
                config::Filter::Bicubic => Filter::Bicubic,
                config::Filter::Nearest => Filter::Nearest,
            },
        };
        preprocess.check()?;
        let fitting = match preprocess.fit {
            Fit::Stretch => "stretch".to_owned(),
            Fit::CenterCrop { resize } => format!("center-crop {resize}"),
        };
        // Tables from before there was a choice say nothing of the default.
        let filter = match preprocess.filter {
            Filter::Bilinear => "",
            Filter::Bicubic => ", bicubic",
            Filter::Nearest => ", nearest",
        };
        Ok(Extraction {
            // The pixels that the network sees depend on how an image is fitted, so the features do.
            identity: format!("{}; {fitting}{filter}", spec.identity),
            preprocess,
            model,
        })
    }
}

fn load(backbone: &config::Backbone, head: &config::Head, cache: &Path) -> Result<Model> {
    let body = body(backbone, cache)?;
    let features = body.spec().features;
    let model = match head {
        config::Head::None => body,
        config::Head::RandomProjection {
            features: few,
            seed,
        } => {
            let head = Head::random(features, *few, *seed).context("head.features")?;
            body.with_head(head)?
        }
        config::Head::Dense(path) => {
            let named = || format!("head.weights {}", path.display());
            let bytes = std::fs::read(path).with_context(named)?;
            let sha256: String = Sha256::digest(&bytes)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let family = family(backbone).unwrap_or_else(Family::registers);
            let head = Head::dense(family, features, &bytes, &sha256).with_context(named)?;
            body.with_head(head)?
        }
    };
    let features = model.spec().features;
    ensure!(
        features <= MAX_WIDTH,
        Contradiction(format!(
            "{features} features of an image are more than the {MAX_WIDTH} whose moments are kept exactly: make them fewer by \
             head.kind = \"random-projection\", or by your own layers with head.kind = \"dense\"; or choose \
             backbone.pooling = \"avg\""
        ))
    );
    Ok(model)
}

/// The kernels that are asked for by name.
fn family(backbone: &config::Backbone) -> Option<Family> {
    backbone.kernels.map(|kernels| match kernels {
        config::Kernels::Amx => Family::Amx,
        config::Kernels::Avx512 => Family::Avx512,
        config::Kernels::Avx2 => Family::Avx2,
        config::Kernels::Portable => Family::Portable,
    })
}

fn body(config: &config::Backbone, cache: &Path) -> Result<Model> {
    if config.name == "pixels" {
        ensure!(
            config.input_side.is_none()
                && config.preprocessing.is_none()
                && config.pooling == config::Pooling::Avg,
            Contradiction(
                "backbone.input_side, preprocessing and pooling can't be set for pixels, which scales every image to 16x16 and \
                 takes the levels as they are"
                    .to_owned()
            )
        );
        return Ok(Model::pixels());
    }
    let mut options = Options {
        family: family(config),
        precision: match config.precision {
            config::Precision::F32 => Precision::F32,
            config::Precision::Bf16 => Precision::Bf16,
            config::Precision::Int8 => Precision::Int8,
        },
        pooling: match config.pooling {
            config::Pooling::Avg => Pooling::Avg,
            config::Pooling::Max => Pooling::Max,
            config::Pooling::Flatten => Pooling::Flatten,
        },
        ..Options::default()
    };
    options.side = config.input_side.unwrap_or(options.side);
    let preprocessing = config
        .preprocessing
        .map(|preprocessing| match preprocessing {
            config::Preprocessing::Torchvision => Preprocessing::Torchvision,
            config::Preprocessing::Caffe => Preprocessing::Caffe,
            config::Preprocessing::Tf => Preprocessing::Tf,
        });
    let named = match &config.weights {
        config::Weights::Random(seed) => {
            options.preprocessing = preprocessing.unwrap_or_default();
            let network = Architecture::parse(&config.name)?;
            if options.precision == Precision::Int8 {
                let parameters = Parameters::Random(*seed);
                let calibration = calibrate(network, &parameters, &options)?;
                return Ok(Model::int8(network, &parameters, &calibration, &options)?);
            }
            say_if_slow(network, &options)?;
            return Ok(Model::random(network, *seed, &options)?);
        }
        config::Weights::Named(name) => name.clone(),
        config::Weights::File(path) => path.to_string_lossy().into_owned(),
    };
    let weights =
        weights::load(&named, cache).with_context(|| format!("weights of {}", config.name))?;
    let network = weights.network;
    ensure!(
        network.name() == config.name,
        Contradiction(format!(
            "weights {named} are of {}, backbone.name is {}: name the same network",
            network.name(),
            config.name
        ))
    );
    options.preprocessing = preprocessing.unwrap_or(weights.preprocessing);
    if options.precision == Precision::Int8 {
        let calibration = calibration(&named, &weights, &options, cache)?;
        return Ok(Model::int8(
            network,
            &weights.parameters(),
            &calibration,
            &options,
        )?);
    }
    let (bytes, sha256) = (weights.bytes(), &weights.sha256);
    say_if_slow(network, &options)?;
    Ok(Model::load(network, bytes, sha256, &options)?)
}

/// bf16 is asked for to be fast, which it is not everywhere: tiles make it several times f32, the instruction of registers from half to
/// twice.
fn say_if_slow(network: Architecture, options: &Options) -> Result<()> {
    if options.precision != Precision::Bf16 {
        return Ok(());
    }
    let pace = beside_f32(network, options)?;
    // Two measurements of some milliseconds differ by a few percent.
    if pace < 0.9 {
        let family = options.chosen_family(network);
        tracing::warn!(
            "backbone.precision = \"bf16\" is slower than f32 by this CPU's {family} kernels, at {pace:.2} of its pace: \"f32\" would be \
             faster and more exact, for a table of its own"
        );
    }
    Ok(())
}
