//! What makes wide features narrow before they are summed: a random projection, or fully connected layers of the user's.
//!
//! A head is part of the network: its identity is in the model's, so a table made with one is never gone on with another.

#[cfg(test)]
mod tests;

use super::kernels::{Dense, DenseArena, DenseLayer, Signs, tensor};
use super::{Backbone, BackboneError, Family, Spec};
use safetensors::SafeTensors;
use std::sync::Arc;

/// From a backbone's features to fewer. Immutable; workers share it.
pub struct Head {
    inputs: usize,
    outputs: usize,
    identity: String,
    kind: Kind,
}

enum Kind {
    Signs(Signs),
    Dense(Dense),
}

impl Head {
    /// A random projection by signs, from `inputs` features to `outputs`, with the matrix of `seed`: `y = S x / √outputs`.
    /// The same features give the same bits on every CPU.
    ///
    /// # Errors
    /// [`BackboneError::HeadWidth`] unless it makes features fewer, but not none.
    pub fn random(inputs: usize, outputs: usize, seed: u64) -> Result<Self, BackboneError> {
        if outputs == 0 || outputs >= inputs {
            return Err(BackboneError::HeadWidth { inputs, outputs });
        }
        Ok(Self {
            inputs,
            outputs,
            identity: format!("random signs, seed {seed}, to {outputs}"),
            kind: Kind::Signs(Signs::new(inputs, outputs, seed)?),
        })
    }

    /// Fully connected layers, each followed by ReLU, from a safetensors file: `dense.0.kernel` `[inputs, outputs]` and
    /// `dense.0.bias` `[outputs]` in f32, as Keras keeps them, then `dense.1` and so on. `weights_sha256` is the bytes' hash;
    /// it becomes part of the identity, and so does whether the family of kernels has a fused multiply-add, on which bits depend.
    ///
    /// # Errors
    /// One for each way in which the file can be wrong, and [`BackboneError::Unsupported`].
    pub fn dense(
        family: Family,
        inputs: usize,
        bytes: &[u8],
        weights_sha256: &str,
    ) -> Result<Self, BackboneError> {
        let layers = layers(inputs, bytes)?;
        let dense = Dense::new(family, inputs, &layers)?;
        let widths: Vec<_> = layers.iter().map(|layer| layer.bias.len()).collect();
        Ok(Self {
            inputs,
            outputs: dense.outputs(),
            // Beside pixels or int8, whose own identity names no family.
            identity: format!(
                "dense {} {widths:?} sha256:{weights_sha256}",
                family.rounding()
            ),
            kind: Kind::Dense(dense),
        })
    }

    /// Features that it takes.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Features that it gives.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// All that its bits depend on besides the features.
    pub fn identity(&self) -> &str {
        &self.identity
    }
}

/// The layers of a file, whose shapes follow from one another.
fn layers(inputs: usize, bytes: &[u8]) -> Result<Vec<DenseLayer>, BackboneError> {
    let file = SafeTensors::deserialize(bytes).map_err(BackboneError::Malformed)?;
    let (mut width, mut layers) = (inputs, Vec::new());
    let mut unread = file.names();
    while layers.is_empty() || !unread.is_empty() {
        let names = ["bias", "kernel"].map(|part| format!("dense.{}.{part}", layers.len()));
        let Ok(bias) = file.tensor(&names[0]) else {
            let stray = unread.first().filter(|_| !layers.is_empty());
            return Err(match stray {
                Some(stray) => BackboneError::StrayTensor((*stray).to_owned()),
                None => BackboneError::MissingTensor(names[0].clone()),
            });
        };
        let outputs = bias.shape().iter().product();
        if outputs == 0 {
            return Err(BackboneError::HeadWidth { inputs, outputs });
        }
        layers.push(DenseLayer {
            bias: tensor(&file, &names[0], &[outputs])?,
            kernel: tensor(&file, &names[1], &[width, outputs])?,
        });
        unread.retain(|name| !names.iter().any(|known| known == name));
        width = outputs;
    }
    Ok(layers)
}

/// A backbone with a head on it.
pub(super) struct Headed {
    spec: Spec,
    body: Box<dyn Backbone>,
    head: Arc<Head>,
    /// Images that the body takes together.
    together: usize,
    /// The body's features of these.
    wide: Vec<f32>,
    /// Empty for signs.
    arena: DenseArena,
}

impl Headed {
    /// `spec` is that of both; `together` is how many images the body takes at once.
    pub(super) fn new(
        spec: Spec,
        body: Box<dyn Backbone>,
        together: usize,
        head: Arc<Head>,
    ) -> Self {
        let arena = match &head.kind {
            Kind::Signs(_) => DenseArena::default(),
            Kind::Dense(dense) => dense.arena(),
        };
        Self {
            spec,
            together,
            wide: vec![0.0; together * head.inputs],
            body,
            head,
            arena,
        }
    }
}

impl Backbone for Headed {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn extract(&mut self, pixels: &[u8], features: &mut [f32]) -> Result<(), BackboneError> {
        self.spec.check_lengths(pixels, features)?;
        for (pixels, features) in self.spec.passes(self.together, pixels, features) {
            let images = features.len() / self.head.outputs;
            let wide = &mut self.wide[..images * self.head.inputs];
            self.body.extract(pixels, wide)?;
            let wide = wide.chunks_exact(self.head.inputs);
            for (wide, features) in wide.zip(features.chunks_exact_mut(self.head.outputs)) {
                match &self.head.kind {
                    Kind::Signs(signs) => signs.run(wide, features),
                    Kind::Dense(dense) => dense.run(&mut self.arena, wide, features),
                }
            }
        }
        Ok(())
    }
}
