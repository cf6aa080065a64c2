//! Where calibrations are kept: beside the weights, as `NAME.int8.json`.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::cache::{Slot, place};
use super::{WeightsError, entry};
use crate::backbone::Calibration;

/// The file for the calibration of weights by name, or of a path that ends in `.safetensors`.
///
/// # Errors
/// `UnknownName`.
pub fn calibration_path(name_or_path: &str, cache_dir: &Path) -> Result<PathBuf, WeightsError> {
    let weights = if name_or_path.ends_with(".safetensors") {
        PathBuf::from(name_or_path)
    } else {
        Slot::new(cache_dir, entry(name_or_path)?).path()
    };
    Ok(weights.with_extension("int8.json"))
}

/// The calibration in a file; `None` where there is no file.
///
/// # Errors
/// `Io`, and `Calibration` for what is none.
pub fn load_calibration(path: &Path) -> Result<Option<Calibration>, WeightsError> {
    let json = match fs::read(path) {
        Ok(json) => json,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(WeightsError::io(path)(cause)),
    };
    let calibration = Calibration::from_json(&json);
    calibration
        .map(Some)
        .map_err(|source| WeightsError::Calibration {
            path: path.to_owned(),
            source,
        })
}

/// Writes a calibration, instead of the one that may be there. It appears whole.
///
/// # Errors
/// `Io`.
pub fn store_calibration(path: &Path, calibration: &Calibration) -> Result<(), WeightsError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut file = NamedTempFile::new_in(folder).map_err(WeightsError::io(path))?;
    let written = file.write_all(calibration.to_json().as_bytes());
    written.map_err(WeightsError::io(path))?;
    place(file, path)
}
