//! Timing: beside other engines, by a line protocol that lets them take turns; layer by layer, for a roofline; and one precision beside
//! another.

use super::{Architecture, Backbone, BackboneError, Model, Options, Precision, kernels};
use std::io::{BufRead, Error, Write};
use std::time::{Duration, Instant};

/// Answers a benchmark's driver. Prints `ready …`; then for each line `b BATCH SECONDS` every one of `threads` independent
/// workers runs batches of BATCH images for about that long, and `IMAGES SECONDS` is printed: the
/// sum of images and the time of all. Any other line ends it.
///
/// # Errors
/// [`BackboneError::Bench`] if input or output fail or a number can't be read.
pub fn serve(
    model: &Model,
    threads: usize,
    input: impl BufRead,
    mut output: impl Write,
) -> Result<(), BackboneError> {
    let mut workers: Vec<_> = (0..threads.max(1)).map(|_| Timed::new(model)).collect();
    for worker in &mut workers {
        worker.run(3, Duration::ZERO)?;
    }
    let identity = &model.spec().identity;
    writeln!(
        output,
        "ready eigenflow {identity} threads={}",
        workers.len()
    )?;
    output.flush()?;
    for line in input.lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let (Some("b"), Some(batch), Some(seconds)) = (words.next(), words.next(), words.next())
        else {
            break;
        };
        let batch = batch.parse().map_err(Error::other)?;
        let seconds: f64 = seconds.parse().map_err(Error::other)?;
        let span = Duration::try_from_secs_f64(seconds).map_err(Error::other)?;
        let start = Instant::now();
        let counts: Vec<Result<usize, BackboneError>> = std::thread::scope(|scope| {
            let (first, others) = workers.split_first_mut().expect("there is one at least");
            let others: Vec<_> = (others.iter_mut())
                .map(|worker| scope.spawn(move || worker.run(batch, span)))
                .collect();
            let first = first.run(batch, span);
            let others = others
                .into_iter()
                .map(|o| o.join().expect("workers do not panic"));
            std::iter::once(first).chain(others).collect()
        });
        let images = counts.into_iter().sum::<Result<usize, _>>()?;
        writeln!(output, "{images} {}", start.elapsed().as_secs_f64())?;
        output.flush()?;
    }
    Ok(())
}

/// A worker with an image to repeat. Speed does not depend on what is in it.
struct Timed {
    backbone: Box<dyn Backbone>,
    image: Vec<u8>,
}

impl Timed {
    fn new(model: &Model) -> Self {
        let spec = model.spec();
        Self {
            backbone: model.worker(),
            image: pattern(spec.side),
        }
    }

    /// Whole batches until `span` is over, one at least. Returns the images.
    fn run(&mut self, batch: usize, span: Duration) -> Result<usize, BackboneError> {
        let batch = batch.max(1);
        let pixels = self.image.repeat(batch);
        let mut features = vec![0.0; batch * self.backbone.spec().features];
        let start = Instant::now();
        let mut images = 0;
        loop {
            self.backbone.extract(&pixels, &mut features)?;
            images += batch;
            if start.elapsed() >= span {
                return Ok(images);
            }
        }
    }
}

fn pattern(side: usize) -> Vec<u8> {
    (0..side * side * 3)
        .map(|i| (i * 7919 % 255) as u8)
        .collect()
}

/// The best time of one layer, for an image.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerTime {
    /// The weights' name and the algorithm.
    pub name: String,
    /// Of the fastest of all passes, by the images in it.
    pub seconds: f64,
    /// Floating-point operations of the direct algorithm; 0 where there are none to speak of. Winograd's are fewer, so it may exceed the peak.
    pub flops: f64,
}

/// Times each layer of a model over `rounds` passes of as many images as it takes together. Empty for `pixels`.
pub fn layers(model: &Model, rounds: usize) -> Vec<LayerTime> {
    let Some((network, mut arena, mut features)) = model.network() else {
        return Vec::new();
    };
    let pixels = pattern(model.spec().side).repeat(model.together());
    let mut times: Vec<LayerTime> = Vec::new();
    for _ in 0..rounds {
        let mut start = Instant::now();
        network.forward(&mut arena, &pixels, &mut features, |lap| {
            let seconds = start.elapsed().as_secs_f64() / lap.images as f64;
            match times.get_mut(lap.place) {
                Some(time) => time.seconds = time.seconds.min(seconds),
                None => times.push(LayerTime {
                    name: lap.name.into(),
                    seconds,
                    flops: lap.flops,
                }),
            }
            start = Instant::now();
        });
    }
    times
}

/// Floating-point operations a second of a model's micro-kernel on data in the first-level cache: the ceiling of a core. None for
/// `pixels`.
pub fn peak(model: &Model) -> Option<f64> {
    model.peak()
}

/// How many times the floating-point operations of f32 a core makes in the precision of `options`, by the kernels that these choose for
/// `architecture`. Of bf16 it is less than one where a CPU has tiles neither to see nor to use, and halves its pace for bf16.
/// Takes some milliseconds.
///
/// # Errors
/// [`BackboneError::Unsupported`] where this CPU has not the precision, or the family that was asked for.
pub fn beside_f32(architecture: Architecture, options: &Options) -> Result<f64, BackboneError> {
    let in_f32 = Options {
        precision: Precision::F32,
        ..*options
    };
    Ok(kernels::pace(architecture, options)? / kernels::pace(architecture, &in_f32)?)
}
