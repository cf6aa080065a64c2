//! A network as a list of steps over a fixed set of buffers: planned once per model (`plan`), run for some images at a time.
//!
//! The first steps take image by image, whose maps then stay in the nearest caches. The last ones often have small maps and most of
//! the weights: those take all images side by side, so that the weights come from memory once for all of them.

use super::grid::{Grid, TOGETHER};
use super::input::Input;
use super::isa::Isa;
use super::memory::Block;
use super::networks::{first_isa, first_kernel, image_isa};
use super::peak::peak;
use super::plan::Plan;
use super::pool::Pool;
use super::quantise::Ranges;
use super::source::Source;
use super::step::Step;
use crate::backbone::architecture::Architecture;
use crate::backbone::{BackboneError, Options, Pooling};
use std::ops::Range;

/// From the layer on whose maps, and those of all behind it, have no more pixels than this, images go side by side.
const FEW_PIXELS: usize = 64;
/// The same where numbers are split, and weights are half as large again.
const FEW_PIXELS_OF_SPLIT: usize = 256;

/// Folded and packed weights with the order of their use. Immutable; workers share it.
pub(in crate::backbone) struct Network {
    /// Of the last layers.
    isa: Isa,
    input: Input,
    steps: Vec<Step>,
    /// Images of a pass at most.
    together: usize,
    /// Steps that take one image at a time.
    alone: usize,
    /// Those behind the input's.
    buffers: Vec<Buffer>,
    scratch_bytes: usize,
    /// The buffer that is pooled to features, and its shape.
    last: (usize, Grid),
    pooling: Pooling,
    /// What a unit of the last maps is, where they are integers.
    unit: Option<f32>,
}

/// What holds the maps of one image, or of as many as are computed together.
#[derive(Clone, Copy)]
struct Buffer {
    image_bytes: usize,
    images: usize,
}

impl Buffer {
    /// From one image to the next; where there is room for one, all of a pass take turns in it.
    fn pitch(&self) -> usize {
        match self.images {
            1 => 0,
            _ => self.image_bytes,
        }
    }
}

/// All memory that a worker needs.
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
        let (family, precision) = (options.chosen_family(architecture), options.precision);
        if !family.suits(architecture, precision) {
            return Err(BackboneError::Unsupported { family, precision });
        }
        let isa = Isa::new(family, precision)?;
        if isa.integers() && !architecture.quantises() {
            return Err(BackboneError::NotInIntegers(architecture.name()));
        }
        let k = first_kernel(architecture);
        let first = first_isa(architecture, isa);
        let image = image_isa(architecture, isa);
        let input = Input::new(image, options.preprocessing, options.side, k);
        let mut plan = Plan::new([first, isa], source, &input, ranges);
        let maps = plan.network(architecture)?;
        let (last, unit) = (Plan::buffer(maps), plan.step(maps));
        let (steps, grids) = plan.finish()?;
        let few = match isa.splits() {
            true => FEW_PIXELS_OF_SPLIT,
            false => FEW_PIXELS,
        };
        let large = |step: &Step| grids[step.output - 1].area() > few;
        // The first reads pixels, of which there is one image.
        let alone = steps.iter().rposition(large).map_or(1, |last| last + 1);
        let side_by_side = &steps[alone..];
        let together = match side_by_side.iter().any(|step| step.operator.shares()) {
            true => TOGETHER,
            false => 1,
        };
        let scratch = (steps.iter().enumerate()).map(|(i, step)| {
            let images = if i < alone { 1 } else { together };
            step.operator.scratch_bytes(images)
        });
        let scratch_bytes = scratch.max().unwrap_or(0);
        let shared = |index| {
            let mut steps = side_by_side.iter();
            steps.any(|step| step.input == index || step.output == index)
        };
        let buffer = |(i, grid): (usize, &Grid)| Buffer {
            image_bytes: grid.bytes(),
            images: if shared(i + 1) { together } else { 1 },
        };
        Ok(Self {
            isa,
            scratch_bytes,
            buffers: grids.iter().enumerate().map(buffer).collect(),
            input,
            together,
            alone,
            steps,
            last: (last, grids[last - 1]),
            pooling: options.pooling,
            unit: unit.map(|unit| unit as f32),
        })
    }

    /// How many images a pass takes at most; one by one where they would share nothing.
    pub(in crate::backbone) fn together(&self) -> usize {
        self.together
    }

    /// Operations a second of the last layers' micro-kernel on data in the nearest cache.
    pub(in crate::backbone) fn peak(&self) -> f64 {
        const ROUNDS: usize = 200;
        peak(self.isa, ROUNDS)
    }

    /// The memory of one worker.
    pub(in crate::backbone) fn arena(&self) -> Arena {
        let zeroed = |buffer: &Buffer| Block::zeroed(buffer.images * buffer.image_bytes);
        let zeroed = self.buffers.iter().map(zeroed);
        Arena {
            buffers: std::iter::once(self.input.memory()).chain(zeroed).collect(),
            scratch: Block::zeroed(self.scratch_bytes),
        }
    }

    /// Features `[n, d]` of images `[n, side, side, 3]` RGB, [`Network::together`] at most. `lap` is told each step that was carried
    /// out.
    pub(in crate::backbone) fn forward(
        &self,
        arena: &mut Arena,
        pixels: &[u8],
        features: &mut [f32],
        mut lap: impl FnMut(Lap),
    ) {
        let images = pixels.len() / self.input.pixel_bytes();
        assert!((1..=self.together).contains(&images) && features.len().is_multiple_of(images));
        let (alone, together) = self.steps.split_at(self.alone);
        let mut lap = |place, name: &str, flops, images| {
            lap(Lap {
                place,
                name,
                flops,
                images,
            });
        };
        for (image, pixels) in pixels.chunks_exact(self.input.pixel_bytes()).enumerate() {
            self.input.fill(&mut arena.buffers[0], pixels);
            lap(0, "pixels", 0.0, 1);
            for (i, step) in alone.iter().enumerate() {
                self.step(step, arena, image..image + 1);
                lap(1 + i, &step.name, step.flops, 1);
            }
        }
        for (i, step) in together.iter().enumerate() {
            self.step(step, arena, 0..images);
            lap(1 + self.alone + i, &step.name, step.flops, images);
        }
        let (last, from) = self.last;
        let width = features.len() / images;
        for (image, features) in features.chunks_exact_mut(width).enumerate() {
            Pool {
                pooling: self.pooling,
                from,
                input: &arena.buffers[last][image * self.buffers[last - 1].pitch()..],
                features,
            }
            .run(self.isa);
            if let Some(unit) = self.unit {
                features.iter_mut().for_each(|feature| *feature *= unit);
            }
        }
        lap(1 + self.steps.len(), "pooling", 0.0, images);
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
        for step in &self.steps {
            self.step(step, arena, 0..1);
            if let Some(layer) = step.layer() {
                let values = self.buffers[step.output - 1].image_bytes / 4;
                seen(layer, &arena.buffers[step.output].words_mut()[..values]);
            }
        }
    }

    /// Carries out a step on some images.
    fn step(&self, step: &Step, arena: &mut Arena, images: Range<usize>) {
        let Arena { buffers, scratch } = arena;
        let [input, output] = buffers
            .get_disjoint_mut([step.input, step.output])
            .expect("a step's buffers differ, as planned");
        // The input's buffer has one image.
        let from = step.input.checked_sub(1);
        let from = from.map_or(0, |i| self.buffers[i].pitch());
        let to = self.buffers[step.output - 1].pitch();
        let input = (&input[images.start * from..], from);
        let output = (&mut output[images.start * to..], to);
        let images = images.len();
        step.operator.run(self.isa, images, input, output, scratch);
    }
}

/// A step that was carried out.
#[derive(Clone, Copy, Debug)]
pub(in crate::backbone) struct Lap<'a> {
    /// Its place in the order of steps.
    pub(in crate::backbone) place: usize,
    pub(in crate::backbone) name: &'a str,
    /// Floating-point operations an image.
    pub(in crate::backbone) flops: f64,
    /// How many images it was for.
    pub(in crate::backbone) images: usize,
}
