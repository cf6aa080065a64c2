//! A ResNet as a list of steps over a fixed set of buffers: planned once per model, run once per image.
//!
//! The residual is added in place, so a stage has one wide buffer: the shortcut (or the block before) wrote it, the last
//! convolution of the block accumulates into it. Buffers of one shape and use are shared by all blocks.

use super::conv::{Direct, Epilogue, Folded, Grid};
use super::isa::{Family, Isa};
use super::memory::Block;
use super::pool::Average;
use super::source::Source;
use super::stem::{Stem, StemBuffers};
use super::winograd::{self, Winograd};
use crate::backbone::architecture::{ResNet, Strides};
use crate::backbone::{BackboneError, Precision};

const RELU: Epilogue = Epilogue {
    accumulate: false,
    relu: true,
};
const RESIDUAL_RELU: Epilogue = Epilogue {
    accumulate: true,
    relu: true,
};
const LINEAR: Epilogue = Epilogue {
    accumulate: false,
    relu: false,
};

enum Operator {
    Direct(Direct),
    Winograd(Winograd),
}

struct Step {
    name: String,
    flops: f64,
    operator: Operator,
    /// Indices of buffers, never equal.
    input: usize,
    output: usize,
}

/// What a buffer is for: two of one shape may be in use at a time.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Wide,
    Narrow,
    Middle,
}

/// Folded and packed weights with the order of their use. Immutable; workers share it.
pub(in crate::backbone) struct Network {
    isa: Isa,
    stem: Stem,
    stem_flops: f64,
    steps: Vec<Step>,
    buffers: Vec<(Grid, Role)>,
    scratch_bytes: usize,
    /// The buffer that is averaged to features.
    last: usize,
}

/// All memory that one image at a time needs.
pub(in crate::backbone) struct Arena {
    stem: StemBuffers,
    buffers: Vec<Block>,
    scratch: Block,
}

impl Network {
    /// Reads, folds and packs the weights of `arch` for inputs of `side` x `side` pixels, a multiple of 32.
    ///
    /// # Errors
    /// Of [`Isa::new`], and those of a missing, misshapen or non-finite tensor.
    pub(in crate::backbone) fn load(
        arch: ResNet,
        source: &Source,
        side: usize,
        family: Family,
        precision: Precision,
    ) -> Result<Self, BackboneError> {
        let isa = Isa::new(family, precision)?;
        let mut plan = Plan {
            isa,
            steps: Vec::new(),
            buffers: Vec::new(),
        };
        let folded = source.folded("conv1", "bn1", [64, 3, 7])?;
        let mut last = plan.buffer(64, side / 4, !arch.bottleneck(), Role::Wide);
        let stem = Stem::new(isa, &folded, side, plan.buffers[last].0);
        for (stage, blocks) in arch.blocks().into_iter().enumerate() {
            for block in 0..blocks {
                let stride = if block == 0 && stage > 0 { 2 } else { 1 };
                let name = format!("layer{}.{block}", stage + 1);
                let block = BlockShape {
                    name,
                    width: 64 << stage,
                    stride,
                    reshapes: block == 0 && (stage > 0 || arch.bottleneck()),
                };
                last = if arch.bottleneck() {
                    plan.bottleneck(source, &block, arch.strides, last)?
                } else {
                    plan.basic(source, &block, last)?
                };
            }
        }
        let scratch = plan.steps.iter().map(|step| match &step.operator {
            Operator::Winograd(winograd) => winograd.scratch_bytes(),
            Operator::Direct(_) => 0,
        });
        Ok(Self {
            isa,
            stem,
            stem_flops: folded.flops(side / 2 * (side / 2)),
            scratch_bytes: scratch.max().unwrap_or(0),
            steps: plan.steps,
            buffers: plan.buffers,
            last,
        })
    }

    /// The memory of one worker.
    pub(in crate::backbone) fn arena(&self) -> Arena {
        Arena {
            stem: self.stem.buffers(),
            buffers: (self.buffers.iter())
                .map(|(grid, _)| Block::zeroed(grid.bytes()))
                .collect(),
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
        self.stem
            .run(&mut arena.stem, pixels, &mut arena.buffers[0]);
        lap("stem and maximum", self.stem_flops);
        for step in &self.steps {
            let [input, output] = arena
                .buffers
                .get_disjoint_mut([step.input, step.output])
                .expect("a step's buffers differ, as planned");
            match &step.operator {
                Operator::Direct(direct) => direct.run(input, output),
                Operator::Winograd(winograd) => winograd.run(input, output, &mut arena.scratch),
            }
            lap(&step.name, step.flops);
        }
        Average {
            from: self.buffers[self.last].0,
            input: &arena.buffers[self.last],
            features,
        }
        .run(self.isa);
        lap("average", 0.0);
    }
}

struct BlockShape {
    name: String,
    /// Channels of its 3x3 convolutions.
    width: usize,
    stride: usize,
    /// Whether the shortcut is a convolution.
    reshapes: bool,
}

/// A network in the making.
struct Plan {
    isa: Isa,
    steps: Vec<Step>,
    buffers: Vec<(Grid, Role)>,
}

impl Plan {
    /// The buffer of that shape and use, made where there is none. `bordered` where a 3x3 reads it.
    fn buffer(&mut self, channels: usize, side: usize, bordered: bool, role: Role) -> usize {
        let border = if bordered { winograd::border(side) } else { 0 };
        let grid = Grid {
            blocks: channels / self.isa.block_channels(),
            height: side,
            width: side,
            border,
        };
        let known = self.buffers.iter().position(|b| *b == (grid, role));
        known.unwrap_or_else(|| {
            self.buffers.push((grid, role));
            self.buffers.len() - 1
        })
    }

    fn side(&self, buffer: usize) -> usize {
        self.buffers[buffer].0.height
    }

    fn channels(&self, buffer: usize) -> usize {
        self.buffers[buffer].0.blocks * self.isa.block_channels()
    }

    /// Appends the convolution `conv` with BatchNorm `norm`, a `k` x `k`, between two buffers.
    fn convolution(
        &mut self,
        source: &Source,
        [conv, norm]: [String; 2],
        k: usize,
        epilogue: Epilogue,
        [input, output]: [usize; 2],
    ) -> Result<(), BackboneError> {
        let (from, to) = (self.buffers[input].0, self.buffers[output].0);
        let shape = [self.channels(output), self.channels(input), k];
        let folded = source.folded(&conv, &norm, shape)?;
        let stride = from.height / to.height;
        let (name, operator) = convolution(self.isa, &folded, stride, epilogue, from, to);
        self.steps.push(Step {
            name: format!("{conv} {name}"),
            flops: folded.flops(to.height * to.width),
            operator,
            input,
            output,
        });
        Ok(())
    }

    /// Where the block's sum is formed: in place, or where the shortcut's convolution goes.
    fn shortcut(
        &mut self,
        source: &Source,
        block: &BlockShape,
        input: usize,
        wide: usize,
    ) -> Result<(), BackboneError> {
        if !block.reshapes {
            assert!(input == wide, "a block that keeps the shape works in place");
            return Ok(());
        }
        let names = [0, 1].map(|i| format!("{}.downsample.{i}", block.name));
        self.convolution(source, names, 1, LINEAR, [input, wide])
    }

    /// 1x1, 3x3, 1x1 (He et al. 2015, figure 5 right). Returns the buffer of its output.
    fn bottleneck(
        &mut self,
        source: &Source,
        block: &BlockShape,
        strides: Strides,
        input: usize,
    ) -> Result<usize, BackboneError> {
        let inner = self.side(input) / block.stride;
        let before = match strides {
            Strides::V1 => inner,
            Strides::V15 => self.side(input),
        };
        let narrow = self.buffer(block.width, before, true, Role::Narrow);
        let middle = self.buffer(block.width, inner, false, Role::Middle);
        let wide = self.buffer(4 * block.width, inner, false, Role::Wide);
        let names = |i: usize| {
            [
                format!("{}.conv{i}", block.name),
                format!("{}.bn{i}", block.name),
            ]
        };
        self.shortcut(source, block, input, wide)?;
        self.convolution(source, names(1), 1, RELU, [input, narrow])?;
        self.convolution(source, names(2), 3, RELU, [narrow, middle])?;
        self.convolution(source, names(3), 1, RESIDUAL_RELU, [middle, wide])?;
        Ok(wide)
    }

    /// 3x3, 3x3 (He et al. 2015, figure 5 left). Returns the buffer of its output.
    fn basic(
        &mut self,
        source: &Source,
        block: &BlockShape,
        input: usize,
    ) -> Result<usize, BackboneError> {
        let inner = self.side(input) / block.stride;
        let middle = self.buffer(block.width, inner, true, Role::Middle);
        let wide = self.buffer(block.width, inner, true, Role::Wide);
        let names = |i: usize| {
            [
                format!("{}.conv{i}", block.name),
                format!("{}.bn{i}", block.name),
            ]
        };
        self.shortcut(source, block, input, wide)?;
        self.convolution(source, names(1), 3, RELU, [input, middle])?;
        self.convolution(source, names(2), 3, RESIDUAL_RELU, [middle, wide])?;
        Ok(wide)
    }
}

/// The algorithm for a convolution, and its name. It depends on nothing but the shape, so neither do the bits.
fn convolution(
    isa: Isa,
    folded: &Folded,
    stride: usize,
    epilogue: Epilogue,
    from: Grid,
    to: Grid,
) -> (String, Operator) {
    let m = winograd::tile_side(to.height).filter(|_| folded.k == 3 && stride == 1);
    match m {
        Some(m) => {
            let winograd = Winograd::new(isa, folded, m, epilogue, from, to);
            (format!("winograd {m}"), Operator::Winograd(winograd))
        }
        None => {
            let direct = Direct::blocked(isa, folded, stride, epilogue, from, to);
            (
                format!("{0}x{0}/{stride}", folded.k),
                Operator::Direct(direct),
            )
        }
    }
}
