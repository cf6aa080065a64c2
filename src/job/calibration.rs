//! What int8 is calibrated on where nobody says otherwise: rendered pictures. They are the same on every machine, and so is all that
//! follows from them: a job's processes need no common file to agree.

use std::path::Path;

use anyhow::{Context, Result};

use crate::backbone::weights::{self, Weights};
use crate::backbone::{Architecture, Calibration, Options, Parameters};
use crate::image::{Filter, Fit, Picture, Preprocess, Resizer};
use crate::pictures;

/// Pictures of each class.
const EACH: usize = 2;
const SEED: u64 = 20_261_120;

/// The calibration on rendered pictures.
///
/// # Errors
/// Unsuitable weights.
pub fn calibrate(
    architecture: Architecture,
    parameters: &Parameters,
    options: &Options,
) -> Result<Calibration> {
    let classes = pictures::classes().len();
    let pictures = (0..EACH * classes).map(|i| Picture {
        width: pictures::SIDE as u32,
        height: pictures::SIDE as u32,
        rgb: pictures::pixels(SEED, i % classes, i / classes),
    });
    let said = format!("{} rendered pictures, seed {SEED}", EACH * classes);
    calibrate_on(architecture, parameters, options, pictures, &said)
}

/// The calibration on these pictures, stretched to the network's input; `said` tells people which they are.
///
/// # Errors
/// Unsuitable weights; no pictures.
pub fn calibrate_on(
    architecture: Architecture,
    parameters: &Parameters,
    options: &Options,
    pictures: impl IntoIterator<Item = Picture>,
    said: &str,
) -> Result<Calibration> {
    let preprocess = Preprocess {
        side: options.side as u32,
        fit: Fit::Stretch,
        filter: Filter::Bilinear,
    };
    preprocess.check()?;
    let mut resizer = Resizer::new();
    let pictures = pictures.into_iter().map(|picture| {
        let mut pixels = Vec::new();
        let fitted = resizer.apply(&picture, &preprocess, &mut pixels);
        fitted.expect("a picture that is one, and a square that was checked");
        pixels
    });
    let calibration = Calibration::of(architecture, parameters, options, pictures, said);
    Ok(calibration?)
}

/// The calibration that lies beside the weights `named`; made on rendered pictures and, where that folder can be written, laid there, if
/// there is none.
///
/// # Errors
/// A file that is damaged, of other weights, or can't be read; unsuitable weights.
pub fn calibration(
    named: &str,
    weights: &Weights,
    options: &Options,
    cache: &Path,
) -> Result<Calibration> {
    let path = weights::calibration_path(named, cache)?;
    if let Some(calibration) = weights::load_calibration(&path)? {
        let checked = calibration.check(&weights.parameters(), options.preprocessing);
        checked.with_context(|| path.display().to_string())?;
        return Ok(calibration);
    }
    let kept = path.display();
    tracing::info!("calibrating {named} for int8, once; the result is kept in {kept}");
    let options = Options {
        side: Options::default().side,
        ..*options
    };
    let calibration = calibrate(weights.network, &weights.parameters(), &options)?;
    // Whoever makes it again gets the same, so that a cache which can't be written costs time only.
    if let Err(error) = weights::store_calibration(&path, &calibration) {
        tracing::warn!(%error, "the calibration can't be kept, and is made again at every start");
    }
    Ok(calibration)
}
