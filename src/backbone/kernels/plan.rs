//! A network in the making: layers in the order of their use, and the buffers between them.
//!
//! Buffers of one shape and use are shared by all layers. Channels are filled up to whole panels of outputs; what is behind the
//! last is zero, written as such and mostly not read.
//! The networks themselves are in `networks`, each as its paper has it.

use super::conv::{Activation, Direct, Epilogue, Folded, Grid};
use super::convert::Convert;
use super::depthwise::Depthwise;
use super::input::Input;
use super::isa::Isa;
use super::network::{Operator, Step};
use super::pool::Max2;
use super::quantise::{Factors, Levels, Ranges, quantise};
use super::source::Source;
use super::stem::Stem;
use super::winograd::{self, Winograd};
use crate::backbone::BackboneError;
use std::collections::BTreeMap;

pub(super) const RELU: Epilogue = ending(Activation::Relu);
pub(super) const RELU6: Epilogue = ending(Activation::Relu6);
pub(super) const LINEAR: Epilogue = ending(Activation::None);

const fn ending(activation: Activation) -> Epilogue {
    Epilogue {
        accumulate: false,
        activation,
    }
}

/// The same, with what the output holds added before.
pub(super) const fn residual(epilogue: Epilogue) -> Epilogue {
    Epilogue {
        accumulate: true,
        ..epilogue
    }
}

/// What a buffer is for: several of one shape may be in use at a time.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Role {
    Wide,
    Narrow,
    Middle,
}

/// The maps between two layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Maps {
    buffer: usize,
    pub(super) channels: usize,
    pub(super) side: usize,
}

/// A convolution as the weights name it.
pub(super) struct Layer {
    pub(super) conv: String,
    /// The BatchNorm behind it; without one it has a bias.
    pub(super) norm: Option<String>,
    pub(super) k: usize,
    pub(super) epilogue: Epilogue,
}

/// Index of the buffer that holds the input.
const IMAGE: usize = 0;

pub(super) struct Plan<'a> {
    /// Of the layers that come next.
    isa: Isa,
    /// Of the last ones.
    last: Isa,
    source: &'a Source<'a>,
    pub(super) input: &'a Input,
    steps: Vec<Step>,
    /// Those behind the input's.
    buffers: Vec<(Grid, Role)>,
    ranges: &'a Ranges,
    /// What the bytes of each buffer stand for behind the last step so far; empty where activations are floats.
    levels: BTreeMap<usize, Levels>,
}

impl<'a> Plan<'a> {
    /// The first layers are the first `isa`'s, those behind [`Plan::converted`] the second's. `ranges` are not looked at unless
    /// it computes in integers.
    pub(super) fn new(
        [isa, last]: [Isa; 2],
        source: &'a Source<'a>,
        input: &'a Input,
        ranges: &'a Ranges,
    ) -> Self {
        let image = isa.integers().then_some((IMAGE, Levels::IMAGE));
        Self {
            isa,
            last,
            source,
            input,
            steps: Vec::new(),
            buffers: Vec::new(),
            ranges,
            levels: image.into_iter().collect(),
        }
    }

    /// The steps, and the shapes of the buffers behind the input's.
    pub(super) fn finish(self) -> (Vec<Step>, Vec<Grid>) {
        let grids = self.buffers.into_iter().map(|(grid, _)| grid);
        (self.steps, grids.collect())
    }

    /// A buffer of that shape and use, made where there is none. `bordered` where a 3x3 reads it.
    pub(super) fn maps(
        &mut self,
        channels: usize,
        side: usize,
        bordered: bool,
        role: Role,
    ) -> Maps {
        let border = if bordered {
            winograd::border(self.isa.winograd(side), side)
        } else {
            0
        };
        let grid = Grid::new(self.isa, [channels, side, side], border);
        let known = self.buffers.iter().position(|b| *b == (grid, role));
        let index = known.unwrap_or_else(|| {
            self.buffers.push((grid, role));
            self.buffers.len() - 1
        });
        Maps {
            buffer: IMAGE + 1 + index,
            channels,
            side,
        }
    }

    /// The index of a buffer, for [`super::network::Network`].
    pub(super) fn buffer(maps: Maps) -> usize {
        maps.buffer
    }

    /// What a unit of a byte of these maps is, in integers.
    pub(super) fn step(&self, maps: Maps) -> Option<f64> {
        self.levels.get(&maps.buffer).map(|levels| levels.step)
    }

    fn grid(&self, maps: Maps) -> Grid {
        self.buffers[maps.buffer - IMAGE - 1].0
    }

    fn folded(&self, layer: &Layer, cin: usize, to: Maps) -> Result<Folded, BackboneError> {
        let shape = [to.channels, cin, layer.k];
        self.source
            .folded(&layer.conv, layer.norm.as_deref(), shape)
    }

    /// The same as `isa` computes it from buffer to buffer: in integers, or as it is, which no factors change.
    fn scaled(
        &mut self,
        layer: &Layer,
        folded: Folded,
        [from, to]: [usize; 2],
    ) -> Result<(Folded, Option<Factors>), BackboneError> {
        if !self.isa.integers() {
            return Ok((folded, None));
        }
        let range = self.ranges.get(&layer.conv);
        let range = range.ok_or_else(|| BackboneError::Uncalibrated(layer.conv.clone()))?;
        let levels = Levels::of(*range, layer.epilogue.activation);
        let held = layer.epilogue.accumulate.then(|| self.levels[&to]);
        let (folded, factors) = quantise(&folded, [self.levels[&from], levels], held);
        self.levels.insert(to, levels);
        Ok((folded, Some(factors)))
    }

    fn push(&mut self, name: String, folded: &Folded, operator: Operator, [from, to]: [usize; 2]) {
        assert!(from != to, "{name} cannot work in place");
        let side = self.buffers[to - IMAGE - 1].0.height;
        self.steps.push(Step {
            name,
            flops: folded.flops(side * side),
            operator,
            input: from,
            output: to,
        });
    }

    /// The 7x7 of a ResNet on the image, with the maximum behind it. It halves the side twice, each time rounding up.
    pub(super) fn stem(&mut self, layer: &Layer, to: Maps) -> Result<(), BackboneError> {
        let folded = self.input.folded(self.folded(layer, 3, to)?);
        let (folded, factors) = self.scaled(layer, folded, [IMAGE, to.buffer])?;
        let stem = Stem::new(self.isa, &folded, self.input, self.grid(to));
        let stem = stem.scaled(factors.as_ref());
        self.steps.push(Step {
            name: format!("{} 7x7/2 and maximum", layer.conv),
            flops: folded.flops(self.input.side().div_ceil(2).pow(2)),
            operator: Operator::Stem(stem),
            input: IMAGE,
            output: to.buffer,
        });
        Ok(())
    }

    /// The first convolution of the other networks, on the image.
    pub(super) fn first(&mut self, layer: &Layer, to: Maps) -> Result<(), BackboneError> {
        let folded = self.input.folded(self.folded(layer, 3, to)?);
        let (folded, factors) = self.scaled(layer, folded, [IMAGE, to.buffer])?;
        let stride = self.input.side().div_ceil(to.side);
        let strides = [stride, self.input.row_bytes()];
        let grid = self.grid(to);
        let direct = Direct::interleaved(self.isa, &folded, strides, layer.epilogue, grid);
        let direct = direct.scaled(factors.as_ref());
        let name = format!("{} {2}x{2}/{1}", layer.conv, stride, layer.k);
        self.push(name, &folded, Operator::Direct(direct), [IMAGE, to.buffer]);
        Ok(())
    }

    /// A convolution over all channels; the algorithm depends on nothing but the shape, so neither do the bits.
    pub(super) fn convolution(
        &mut self,
        layer: &Layer,
        [from, to]: [Maps; 2],
    ) -> Result<(), BackboneError> {
        let folded = self.folded(layer, from.channels, to)?;
        let (folded, factors) = self.scaled(layer, folded, [from.buffer, to.buffer])?;
        let (grids, stride) = (
            [from, to].map(|m| self.grid(m)),
            from.side.div_ceil(to.side),
        );
        let (isa, epilogue, [source, target]) = (self.isa, layer.epilogue, grids);
        let m = isa
            .winograd(to.side)
            .filter(|_| layer.k == 3 && stride == 1);
        let (algorithm, operator) = match m {
            Some(m) => {
                let winograd = Winograd::new(isa, &folded, m, epilogue, source, target);
                (format!("winograd {m}"), Operator::Winograd(winograd))
            }
            None => {
                let direct = Direct::blocked(isa, &folded, stride, epilogue, source, target);
                let direct = direct.scaled(factors.as_ref());
                (
                    format!("{0}x{0}/{stride}", layer.k),
                    Operator::Direct(direct),
                )
            }
        };
        let name = format!("{} {algorithm}", layer.conv);
        self.push(name, &folded, operator, [from.buffer, to.buffer]);
        Ok(())
    }

    /// A 3x3 of each channel by itself.
    pub(super) fn depthwise(
        &mut self,
        layer: &Layer,
        [from, to]: [Maps; 2],
    ) -> Result<(), BackboneError> {
        let folded = self.folded(layer, 1, to)?;
        let (grids, stride) = (
            [from, to].map(|m| self.grid(m)),
            from.side.div_ceil(to.side),
        );
        let operator = Depthwise::new(
            self.isa,
            &folded,
            stride,
            layer.epilogue,
            grids[0],
            grids[1],
        );
        let name = format!("{} depthwise/{stride}", layer.conv);
        let operator = Operator::Depthwise(operator);
        self.push(name, &folded, operator, [from.buffer, to.buffer]);
        Ok(())
    }

    /// The 2x2 maximum, which halves the side and leaves out what is odd.
    pub(super) fn maximum(&mut self, [from, to]: [Maps; 2]) {
        if let Some(levels) = self.levels.get(&from.buffer) {
            self.levels.insert(to.buffer, *levels);
        }
        let operator = Operator::Max2(Max2 {
            from: self.grid(from),
            to: self.grid(to),
        });
        self.steps.push(Step {
            name: "maximum".into(),
            flops: 0.0,
            operator,
            input: from.buffer,
            output: to.buffer,
        });
    }

    /// The maps as the layers behind store them; they themselves where nothing changes.
    pub(super) fn converted(&mut self, from: Maps) -> Maps {
        let before = std::mem::replace(&mut self.isa, self.last);
        if before.value_bytes() == self.isa.value_bytes() {
            return from;
        }
        let to = self.maps(from.channels, from.side, false, Role::Wide);
        let convert = Convert::new(self.grid(from), self.grid(to));
        self.steps.push(Step {
            name: "rounding".into(),
            flops: 0.0,
            operator: Operator::Convert(convert),
            input: from.buffer,
            output: to.buffer,
        });
        to
    }
}
