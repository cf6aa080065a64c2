//! The network that a configuration names, ready to run.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::Contradiction;
use super::calibration::{calibrate, calibration};
use crate::backbone::bench::beside_f32;
use crate::backbone::weights;
use crate::backbone::{
    Architecture, Calibration, Family, Head, Model, Options, Parameters, Pooling, Precision,
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
            fit: backbone.fit,
            filter: backbone.filter,
        };
        preprocess.check()?;
        let fitting = match preprocess.fit {
            Fit::Stretch => "stretch".to_owned(),
            Fit::CenterCrop { resize } => format!("center-crop {resize}"),
        };
        // Tables from before there was a choice say nothing of the default.
        let filter = match preprocess.filter {
            Filter::Bilinear => String::new(),
            other => format!(", {other}"),
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
            let sha256 = hex::encode(Sha256::digest(&bytes));
            let family = backbone.kernels.unwrap_or_else(Family::registers);
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

fn body(config: &config::Backbone, cache: &Path) -> Result<Model> {
    if config.name == "pixels" {
        ensure!(
            config.input_side.is_none()
                && config.preprocessing.is_none()
                && config.pooling == Pooling::Avg,
            Contradiction(
                "backbone.input_side, preprocessing and pooling can't be set for pixels, which scales every image to 16x16 and \
                 takes the levels as they are"
                    .to_owned()
            )
        );
        return Ok(Model::pixels());
    }
    let mut options = Options {
        family: config.kernels,
        precision: config.precision,
        pooling: config.pooling,
        ..Options::default()
    };
    options.side = config.input_side.unwrap_or(options.side);
    let named = match &config.weights {
        config::Weights::Random(seed) => {
            options.preprocessing = config.preprocessing.unwrap_or_default();
            let network = Architecture::parse(&config.name)?;
            let parameters = Parameters::Random(*seed);
            let calibration = || calibrate(network, &parameters, &options);
            return computed(network, &parameters, &options, calibration);
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
    options.preprocessing = config.preprocessing.unwrap_or(weights.preprocessing);
    computed(network, &weights.parameters(), &options, || {
        calibration(&named, &weights, &options, cache)
    })
}

/// The network in the precision that is asked for, bytes by `calibration`.
fn computed(
    network: Architecture,
    parameters: &Parameters,
    options: &Options,
    calibration: impl FnOnce() -> Result<Calibration>,
) -> Result<Model> {
    match options.precision {
        Precision::Int8 => {
            return Ok(Model::int8(network, parameters, &calibration()?, options)?);
        }
        Precision::Bf16 => say_if_slow(network, options)?,
        Precision::F32 => {}
    }
    Ok(Model::load(network, parameters, options)?)
}

/// bf16 is asked for to be fast, which it is not everywhere: tiles make it several times f32, the instruction of registers from half to
/// twice.
fn say_if_slow(network: Architecture, options: &Options) -> Result<()> {
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
