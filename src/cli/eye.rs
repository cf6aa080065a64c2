//! Image files seen through a table's network.

use std::path::Path;

use anyhow::Result;

use super::Failure;
use crate::backbone::{Architecture, Backbone, weights};
use crate::config::{self, Said, keys};
use crate::image::{self, Limits, Resizer};
use crate::job::{Contradiction, Extraction};

/// From a file to features, as the job goes about it.
pub struct Eye {
    extraction: Extraction,
    backbone: Box<dyn Backbone>,
    resizer: Resizer,
}

impl Eye {
    /// With the network that a table's `identity` names; of the job's file `config`, if it has more options than its name and precision.
    ///
    /// # Errors
    /// Weights that are not there, and a network that turns out to be another.
    pub fn new(identity: &str, config: Option<&Path>) -> Result<Self, Failure> {
        let extraction = extraction(identity, config)?;
        if extraction.identity != identity {
            return Err(Failure::Usage(anyhow::anyhow!(
                "the table was made with the backbone {identity}, here it would be {}: their features can't be compared. Give the \
                 job's file by --config, or ask on a machine like the job's",
                extraction.identity
            )));
        }
        Ok(Eye {
            backbone: extraction.model.worker(),
            resizer: Resizer::default(),
            extraction,
        })
    }

    /// Of an image file.
    ///
    /// # Errors
    /// A file that can't be read, or is no image.
    pub fn features(&mut self, path: &Path) -> Result<Vec<f32>> {
        let bytes = std::fs::read(path)?;
        let picture = image::decode(&bytes, &Limits::default())?;
        let mut pixels = Vec::new();
        self.resizer
            .apply(&picture, &self.extraction.preprocess, &mut pixels)?;
        let mut features = vec![0.0; self.backbone.spec().features];
        self.backbone.extract(&pixels, &mut features)?;
        Ok(features)
    }
}

/// The network of the job's file, or else the one that an identity begins with.
fn extraction(identity: &str, config: Option<&Path>) -> Result<Extraction, Failure> {
    let mut said = match config {
        Some(file) => Said::load(file, config::environment())?,
        None => Said::parse("", config::environment())?,
    };
    if config.is_none() {
        said.set("backbone.name", network_of(identity)?, "the table");
        for precision in ["bf16", "int8"] {
            if identity.contains(&format!("; {precision}; ")) {
                said.set("backbone.precision", precision, "the table");
            }
        }
        // "kernels REVISION FAMILY, …", which int8 does not depend on.
        let kernels = identity
            .split("; ")
            .find_map(|part| part.strip_prefix("kernels "));
        let family = kernels.and_then(|said| said.split([' ', ',']).nth(1));
        if let Some(family) = family.filter(|_| !identity.contains("; int8; ")) {
            said.set("backbone.kernels", family, "the table");
        }
    }
    let (backbone, head) = said.resolve_network()?;
    Ok(Extraction::load(
        &backbone,
        &head,
        &weights::cache_dir().map_err(anyhow::Error::from)?,
    )?)
}

/// The configuration's name of the network that an identity begins with.
fn network_of(identity: &str) -> Result<&'static str> {
    let words = match keys::find("backbone", "name").map(|key| key.kind) {
        Some(keys::Kind::Choice(words)) => words,
        _ => &[],
    };
    let network = identity.split(';').next().unwrap_or_default();
    let names = |word: &&&str| match Architecture::variants(word) {
        Ok(variants) => variants
            .iter()
            .any(|variant| variant.to_string() == network),
        Err(_) => network.starts_with(**word),
    };
    let word = words.iter().find(names).copied();
    word.ok_or_else(|| {
        Contradiction(format!(
            "the table was made with the backbone {identity}, which is none of this release: give the job's file by --config"
        ))
        .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_is_known_by_what_a_table_says_of_it() {
        for name in Architecture::NAMES {
            for network in Architecture::variants(name).expect("a name") {
                let identity = format!("{network}; f32; kernels 1 avx512");
                assert_eq!(network_of(&identity).expect("a network"), name);
            }
        }
        assert_eq!(network_of("pixels; side 16").expect("pixels"), "pixels");
        assert!(network_of("LeNet-5; f32").is_err());
    }
}
