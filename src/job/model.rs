//! The network that a configuration names, ready to run.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::backbone::weights::{self, Network};
use crate::backbone::{Model, Precision, ResNet, Strides};
use crate::config;

/// Input side of the networks unless configured.
const SIDE: usize = 224;

/// Reads, checks and packs the weights. `cache` is where fetched weights are kept.
///
/// # Errors
/// Absent, damaged or unsuitable weights, with the ways to get them.
pub fn load(config: &config::Backbone, cache: &Path) -> Result<Model> {
    if config.name == "pixels" {
        ensure!(
            config.input_side.is_none(),
            "backbone.input_side can't be set for pixels, which scales every image to 16x16"
        );
        return Ok(Model::pixels());
    }
    let side = config.input_side.unwrap_or(SIDE);
    let precision = match config.precision {
        config::Precision::F32 => Precision::F32,
        config::Precision::Bf16 => Precision::Bf16,
    };
    let named = match &config.weights {
        config::Weights::Random(seed) => {
            let network = ResNet::parse(&config.name, Strides::V15)?;
            return Ok(Model::random(network, *seed, side, precision)?);
        }
        config::Weights::Named(name) => name.clone(),
        config::Weights::File(path) => path.to_string_lossy().into_owned(),
    };
    let weights =
        weights::load(&named, cache).with_context(|| format!("weights of {}", config.name))?;
    let Network::ResNet(network) = weights.network else {
        bail!(
            "weights {named} are of {}, which has no extraction engine yet: choose a resnet",
            weights.network
        )
    };
    ensure!(
        network.name() == config.name,
        "weights {named} are of {}, backbone.name is {}: name the same network",
        network.name(),
        config.name
    );
    Ok(Model::resnet(
        network,
        weights.bytes(),
        &weights.sha256,
        side,
        precision,
    )?)
}
