//! Fully connected layers behind a network. A vector is a grid of one pixel, so a layer is a 1x1 convolution of it.

use super::conv::Direct;
use super::grid::Grid;
use super::isa::{Family, Isa};
use super::layer::{Folded, RELU};
use super::memory::Block;
use crate::backbone::{BackboneError, Precision};

/// A layer as Keras keeps it: `relu(x · kernel + bias)`.
pub(in crate::backbone) struct DenseLayer {
    /// `[inputs][outputs]`.
    pub(in crate::backbone) kernel: Vec<f32>,
    /// `[outputs]`.
    pub(in crate::backbone) bias: Vec<f32>,
}

/// Layers in turn, each followed by ReLU, in f32. Immutable; workers share it.
pub(in crate::backbone) struct Dense {
    inputs: usize,
    outputs: usize,
    layers: Vec<Direct>,
    /// Of the input and of each layer's output.
    grids: Vec<Grid>,
}

/// All memory that one vector at a time needs.
#[derive(Default)]
pub(in crate::backbone) struct DenseArena(Vec<Block>);

impl Dense {
    /// Packs the layers; the first takes `inputs` numbers, each other what the one before gives.
    ///
    /// # Errors
    /// [`BackboneError::Unsupported`] where this CPU has no kernels of the family.
    pub(in crate::backbone) fn new(
        family: Family,
        inputs: usize,
        layers: &[DenseLayer],
    ) -> Result<Self, BackboneError> {
        let isa = Isa::new(family, Precision::F32)?.of_f32();
        let vector = |length| Grid::new(isa, [length, 1, 1], 0);
        let (mut cin, mut grids) = (inputs, vec![vector(inputs)]);
        let mut packed = Vec::new();
        for DenseLayer { kernel, bias } in layers {
            let cout = bias.len();
            assert!(kernel.len() == cin * cout, "a kernel is [inputs][outputs]");
            let row = |o| kernel.iter().skip(o).step_by(cout).copied();
            let folded = Folded {
                weights: (0..cout).flat_map(row).collect(),
                bias: bias.clone(),
                cin,
                cout,
                k: 1,
            };
            let (from, to) = (vector(cin), vector(cout));
            packed.push(Direct::blocked(isa, &folded, 1, RELU, from, to));
            grids.push(to);
            cin = cout;
        }
        Ok(Self {
            inputs,
            outputs: cin,
            layers: packed,
            grids,
        })
    }

    /// Length of the result.
    pub(in crate::backbone) fn outputs(&self) -> usize {
        self.outputs
    }

    /// The memory of one worker.
    pub(in crate::backbone) fn arena(&self) -> DenseArena {
        let zeroed = |grid: &Grid| Block::zeroed(grid.bytes());
        DenseArena(self.grids.iter().map(zeroed).collect())
    }

    /// `[inputs]` to `[outputs]`.
    pub(in crate::backbone) fn run(&self, arena: &mut DenseArena, from: &[f32], to: &mut [f32]) {
        let DenseArena(vectors) = arena;
        vectors[0].words_mut()[..self.inputs].copy_from_slice(from);
        for (index, layer) in self.layers.iter().enumerate() {
            let [input, output] = vectors
                .get_disjoint_mut([index, index + 1])
                .expect("neighbours differ");
            // Registers need no memory beside these.
            layer.run(1, input, output, &mut []);
        }
        let last = vectors[self.layers.len()].words_mut();
        to.copy_from_slice(&last[..self.outputs]);
    }
}
