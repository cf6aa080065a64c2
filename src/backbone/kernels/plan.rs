//! A network in the making: layers in the order of their use, and the buffers between them.
//!
//! Buffers of one shape and use are shared by all layers. Channels are filled up to whole panels of outputs; what is behind the
//! last is zero, written as such and mostly not read.
//! What the buffers are is settled layer by layer; the weights are folded and packed afterwards, on as many threads as there are
//! cores, each with one layer at hand.
//! The networks themselves are in `networks`, each as its paper has it.

use super::conv::Direct;
use super::convert::Convert;
use super::depthwise::Depthwise;
use super::grid::Grid;
use super::input::Input;
use super::isa::Isa;
use super::layer::{Epilogue, Folded};
use super::polyphase::Strided;
use super::pool::Max2;
use super::quantise::{Factors, Levels, Ranges, quantise};
use super::source::Source;
use super::stem::Stem;
use super::step::{Operator, Step};
use super::winograd::{self, Winograd};
use crate::backbone::BackboneError;
use std::collections::BTreeMap;
use std::iter;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, available_parallelism};

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

/// A step whose weights are yet to be read and packed.
type Packing<'a> = Box<dyn FnOnce() -> Result<Step, BackboneError> + Send + 'a>;

/// What the bytes of a convolution's input and output stand for; of the output also before, where sums are added to it.
type Scale = ([Levels; 2], Option<Levels>);

pub(super) struct Plan<'a> {
    /// Of the layers that come next.
    isa: Isa,
    /// Of the last ones.
    last: Isa,
    source: &'a Source<'a>,
    pub(super) input: &'a Input,
    steps: Vec<Packing<'a>>,
    /// Those behind the input's.
    buffers: Vec<(Grid, Role)>,
    ranges: &'a Ranges,
    /// What the bytes of each buffer stand for behind the last step so far; empty where activations are floats.
    levels: BTreeMap<usize, Levels>,
}

impl<'a> Plan<'a> {
    /// The first convolution is the `input`'s, the layers behind it are the first `isa`'s, those behind [`Plan::converted`] the second's.
    /// `ranges` are not looked at unless it computes in integers.
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

    /// The steps, with their weights packed, and the shapes of the buffers behind the input's.
    ///
    /// # Errors
    /// Those of the weights: of the first layer that has one.
    pub(super) fn finish(self) -> Result<(Vec<Step>, Vec<Grid>), BackboneError> {
        let grids = self.buffers.into_iter().map(|(grid, _)| grid);
        Ok((packed(self.steps)?, grids.collect()))
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
            winograd::border(winograd::chosen(self.isa, side), side)
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

    /// What reads the weights of a layer, from `cin` channels to those of `to`.
    fn weights(
        &self,
        layer: &Layer,
        cin: usize,
        to: Maps,
    ) -> impl FnOnce() -> Result<Folded, BackboneError> + Send + use<'a> {
        let (source, shape) = (self.source, [to.channels, cin, layer.k]);
        let (conv, norm) = (layer.conv.clone(), layer.norm.clone());
        move || source.folded(&conv, norm.as_deref(), shape)
    }

    /// What the bytes of both buffers stand for around this layer; `None` where it does not compute in integers.
    fn scale(
        &mut self,
        layer: &Layer,
        [from, to]: [usize; 2],
    ) -> Result<Option<Scale>, BackboneError> {
        if !self.isa.integers() {
            return Ok(None);
        }
        let range = self.ranges.get(&layer.conv);
        let range = range.ok_or_else(|| BackboneError::Uncalibrated(layer.conv.clone()))?;
        let levels = Levels::of(*range, layer.epilogue.activation);
        let held = layer.epilogue.accumulate.then(|| self.levels[&to]);
        let scale = ([self.levels[&from], levels], held);
        self.levels.insert(to, levels);
        Ok(Some(scale))
    }

    /// Appends a step of weights: `pack` tells its operations and what computes it.
    fn push(
        &mut self,
        name: String,
        [input, output]: [usize; 2],
        pack: impl FnOnce() -> Result<(f64, Operator), BackboneError> + Send + 'a,
    ) {
        assert!(input != output, "{name} cannot work in place");
        self.steps.push(Box::new(move || {
            let (flops, operator) = pack()?;
            Ok(Step {
                name,
                flops,
                operator,
                input,
                output,
            })
        }));
    }

    /// Appends a step without any.
    fn push_plain(&mut self, name: &str, operator: Operator, way: [Maps; 2]) {
        let way = way.map(|maps| maps.buffer);
        self.push(name.into(), way, move || Ok((0.0, operator)));
    }

    /// The 7x7 of a ResNet on the image, with the maximum behind it. It halves the side twice, each time rounding up.
    pub(super) fn stem(&mut self, layer: &Layer, to: Maps) -> Result<(), BackboneError> {
        let (input, grid) = (self.input, self.grid(to));
        let (weights, way) = (self.weights(layer, 3, to), [IMAGE, to.buffer]);
        let scale = self.scale(layer, way)?;
        let name = format!("{} 7x7/2 and maximum", layer.conv);
        self.push(name, way, move || {
            let (folded, factors) = scaled(input.folded(weights()?), scale);
            let stem = Stem::new(&folded, input, grid);
            let flops = folded.flops(input.side().div_ceil(2).pow(2));
            Ok((flops, Operator::Stem(stem.scaled(factors.as_ref()))))
        });
        Ok(())
    }

    /// The first convolution of the other networks, on the image.
    pub(super) fn first(&mut self, layer: &Layer, to: Maps) -> Result<(), BackboneError> {
        let (input, grid) = (self.input, self.grid(to));
        let (weights, way) = (self.weights(layer, 3, to), [IMAGE, to.buffer]);
        let (scale, epilogue) = (self.scale(layer, way)?, layer.epilogue);
        let stride = input.side().div_ceil(to.side);
        let name = format!("{} {2}x{2}/{1}", layer.conv, stride, layer.k);
        self.push(name, way, move || {
            let (folded, factors) = scaled(input.folded(weights()?), scale);
            let strides = [stride, input.row_bytes()];
            let direct = Direct::interleaved(input.isa(), &folded, strides, epilogue, grid);
            let direct = direct.scaled(factors.as_ref());
            Ok((folded.flops(grid.area()), Operator::Direct(direct)))
        });
        Ok(())
    }

    /// A convolution over all channels; the algorithm depends on nothing but the shape, so neither do the bits.
    pub(super) fn convolution(
        &mut self,
        layer: &Layer,
        [from, to]: [Maps; 2],
    ) -> Result<(), BackboneError> {
        let (weights, way) = (
            self.weights(layer, from.channels, to),
            [from.buffer, to.buffer],
        );
        let (scale, epilogue) = (self.scale(layer, way)?, layer.epilogue);
        let (isa, [source, target]) = (self.isa, [from, to].map(|maps| self.grid(maps)));
        let stride = from.side.div_ceil(to.side);
        let m = winograd::chosen(isa, to.side).filter(|_| layer.k == 3 && stride == 1);
        let algorithm = match m {
            Some(m) => format!("winograd {m}"),
            None => format!("{0}x{0}/{stride}", layer.k),
        };
        self.push(format!("{} {algorithm}", layer.conv), way, move || {
            let (folded, factors) = scaled(weights()?, scale);
            let operator = match m {
                Some(m) => {
                    let winograd = Winograd::new(isa, &folded, m, epilogue, source, target);
                    Operator::Winograd(winograd.scaled(factors.as_ref()))
                }
                None if stride == 2 && Strided::pays(isa, &folded, source) => {
                    let strided = Strided::new(isa, &folded, epilogue, source, target);
                    Operator::Strided(strided.scaled(factors.as_ref()))
                }
                None => {
                    let direct = Direct::blocked(isa, &folded, stride, epilogue, source, target);
                    Operator::Direct(direct.scaled(factors.as_ref()))
                }
            };
            Ok((folded.flops(target.area()), operator))
        });
        Ok(())
    }

    /// A 3x3 of each channel by itself.
    pub(super) fn depthwise(&mut self, layer: &Layer, [from, to]: [Maps; 2]) {
        let (isa, epilogue, weights) = (self.isa, layer.epilogue, self.weights(layer, 1, to));
        let [source, target] = [from, to].map(|maps| self.grid(maps));
        let stride = from.side.div_ceil(to.side);
        let name = format!("{} depthwise/{stride}", layer.conv);
        self.push(name, [from.buffer, to.buffer], move || {
            let folded = weights()?;
            let depthwise = Depthwise::new(isa, &folded, stride, epilogue, source, target);
            Ok((folded.flops(target.area()), Operator::Depthwise(depthwise)))
        });
    }

    /// The 2x2 maximum, which halves the side and leaves out what is odd.
    pub(super) fn maximum(&mut self, [from, to]: [Maps; 2]) {
        if let Some(levels) = self.levels.get(&from.buffer) {
            self.levels.insert(to.buffer, *levels);
        }
        let operator = Operator::Max2(Max2 {
            isa: self.isa,
            from: self.grid(from),
            to: self.grid(to),
        });
        self.push_plain("maximum", operator, [from, to]);
    }

    /// The maps as the layers behind store them, `bordered` where a 3x3 reads them; they themselves where nothing changes.
    pub(super) fn converted(&mut self, from: Maps, bordered: bool) -> Maps {
        let before = std::mem::replace(&mut self.isa, self.last);
        if before.value_bytes() == self.isa.value_bytes() {
            return from;
        }
        let to = self.maps(from.channels, from.side, bordered, Role::Wide);
        let convert = Convert::new(self.grid(from), self.grid(to));
        self.push_plain("rounding", Operator::Convert(convert), [from, to]);
        to
    }
}

/// The same as it is computed from bytes to bytes; as it is where there is no scale, and no factors change it.
fn scaled(folded: Folded, scale: Option<Scale>) -> (Folded, Option<Factors>) {
    match scale {
        None => (folded, None),
        Some((levels, held)) => {
            let (folded, factors) = quantise(&folded, levels, held);
            (folded, Some(factors))
        }
    }
}

/// What each of these makes, in their order. Clearing pages and copying weights is what starting a job waits for, so all cores
/// have a part in it.
fn packed(steps: Vec<Packing>) -> Result<Vec<Step>, BackboneError> {
    let threads = available_parallelism().map_or(1, NonZero::get);
    let threads = threads.min(steps.len());
    let queue = Mutex::new(steps.into_iter().enumerate());
    let work = || {
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let packed = iter::from_fn(next).map(|(place, pack)| (place, pack()));
        packed.collect::<Vec<_>>()
    };
    let mut steps = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut steps = work();
        for other in others {
            steps.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        steps
    });
    steps.sort_unstable_by_key(|(place, _)| *place);
    steps.into_iter().map(|(_, step)| step).collect()
}
