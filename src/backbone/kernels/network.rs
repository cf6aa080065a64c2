//! A network as a list of steps over a fixed set of buffers: planned once per model (`plan`), run once per image.

use super::conv::{Direct, Grid};
use super::convert::Convert;
use super::depthwise::Depthwise;
use super::input::Input;
use super::isa::Isa;
use super::memory::Block;
use super::networks::{first_isa, first_kernel};
use super::plan::Plan;
use super::pool::{Max2, Pool};
use super::quantise::Ranges;
use super::source::Source;
use super::stem::Stem;
use super::winograd::Winograd;
use crate::backbone::architecture::Architecture;
use crate::backbone::{BackboneError, Options, Pooling};

pub(super) enum Operator {
    Stem(Stem),
    Direct(Direct),
    Winograd(Winograd),
    Depthwise(Depthwise),
    Max2(Max2),
    Convert(Convert),
}

impl Operator {
    /// Working memory that it needs.
    fn scratch_bytes(&self) -> usize {
        match self {
            Self::Stem(stem) => stem.scratch_bytes(),
            Self::Winograd(winograd) => winograd.scratch_bytes(),
            Self::Direct(_) | Self::Depthwise(_) | Self::Max2(_) | Self::Convert(_) => 0,
        }
    }
}

pub(super) struct Step {
    /// Where it has weights their name, and the algorithm.
    pub(super) name: String,
    pub(super) flops: f64,
    pub(super) operator: Operator,
    /// Indices of buffers, never equal.
    pub(super) input: usize,
    pub(super) output: usize,
}

impl Step {
    /// The name of its weights, if it has any.
    fn layer(&self) -> Option<&str> {
        let (layer, _algorithm) = self.name.split_once(' ')?;
        Some(layer)
    }
}

/// Folded and packed weights with the order of their use. Immutable; workers share it.
pub(in crate::backbone) struct Network {
    /// Of the last layers.
    isa: Isa,
    input: Input,
    steps: Vec<Step>,
    /// Those behind the input's.
    buffers_bytes: Vec<usize>,
    scratch_bytes: usize,
    /// The buffer that is pooled to features, and its shape.
    last: (usize, Grid),
    pooling: Pooling,
    /// What a unit of the last maps is, where they are integers.
    unit: Option<f32>,
}

/// All memory that one image at a time needs.
pub(in crate::backbone) struct Arena {
    /// The first holds the input.
    buffers: Vec<Block>,
    scratch: Block,
}

impl Network {
    /// Reads, folds and packs the weights of `architecture` for inputs of a side that is at least 32. In int8 every layer needs
    /// its range.
    ///
    /// # Errors
    /// Of [`Isa::new`], those of a missing, misshapen or non-finite tensor, and of a missing range.
    pub(in crate::backbone) fn load(
        architecture: Architecture,
        source: &Source,
        options: &Options,
        ranges: &Ranges,
    ) -> Result<Self, BackboneError> {
        let isa = Isa::new(options.chosen_family(), options.precision)?;
        if isa.integers() && !architecture.quantises() {
            return Err(BackboneError::NotInIntegers(architecture.name()));
        }
        let k = first_kernel(architecture);
        let first = first_isa(architecture, isa);
        let input = Input::new(first, options.preprocessing, options.side, k);
        let mut plan = Plan::new([first, isa], source, &input, ranges);
        let maps = plan.network(architecture)?;
        let (last, unit) = (Plan::buffer(maps), plan.step(maps));
        let (steps, grids) = plan.finish()?;
        let scratch = steps.iter().map(|step| step.operator.scratch_bytes());
        Ok(Self {
            isa,
            scratch_bytes: scratch.max().unwrap_or(0),
            buffers_bytes: grids.iter().map(Grid::bytes).collect(),
            input,
            steps,
            last: (last, grids[last - 1]),
            pooling: options.pooling,
            unit: unit.map(|unit| unit as f32),
        })
    }

    /// The memory of one worker.
    pub(in crate::backbone) fn arena(&self) -> Arena {
        let zeroed = self.buffers_bytes.iter().map(|bytes| Block::zeroed(*bytes));
        Arena {
            buffers: std::iter::once(self.input.memory()).chain(zeroed).collect(),
            scratch: Block::zeroed(self.scratch_bytes),
        }
    }

    /// Features `[d]` of one image of `[side, side, 3]` RGB. After each step `lap` is told its name and operations.
    pub(in crate::backbone) fn forward(
        &self,
        arena: &mut Arena,
        pixels: &[u8],
        features: &mut [f32],
        mut lap: impl FnMut(&str, f64),
    ) {
        self.input.fill(&mut arena.buffers[0], pixels);
        lap("pixels", 0.0);
        self.maps(arena, |step, _| lap(&step.name, step.flops));
        let (last, from) = self.last;
        Pool {
            pooling: self.pooling,
            from,
            input: &arena.buffers[last],
            features,
        }
        .run(self.isa);
        if let Some(unit) = self.unit {
            features.iter_mut().for_each(|feature| *feature *= unit);
        }
        lap("pooling", 0.0);
    }

    /// Runs one image for what lies between: `seen` is told each layer's name and all its outputs, with zeros among them where
    /// borders and channels behind the last are. The network computes in f32.
    pub(in crate::backbone) fn show(
        &self,
        arena: &mut Arena,
        pixels: &[u8],
        mut seen: impl FnMut(&str, &[f32]),
    ) {
        assert!(self.isa.value_bytes() == 4);
        self.input.fill(&mut arena.buffers[0], pixels);
        self.maps(arena, |step, output| {
            if let Some(layer) = step.layer() {
                seen(layer, output.words_mut());
            }
        });
    }

    /// Carries out all steps on the pixels in the first buffer; `done` is told each with what it wrote.
    fn maps(&self, arena: &mut Arena, mut done: impl FnMut(&Step, &mut Block)) {
        for step in &self.steps {
            let [input, output] = arena
                .buffers
                .get_disjoint_mut([step.input, step.output])
                .expect("a step's buffers differ, as planned");
            match &step.operator {
                Operator::Stem(stem) => stem.run(input, output, &mut arena.scratch),
                Operator::Direct(direct) => direct.run(input, output),
                Operator::Winograd(winograd) => winograd.run(input, output, &mut arena.scratch),
                Operator::Depthwise(depthwise) => depthwise.run(input, output),
                Operator::Max2(maximum) => maximum.run(self.isa, input, output),
                Operator::Convert(convert) => convert.run(self.isa, input, output),
            }
            done(step, output);
        }
    }
}
