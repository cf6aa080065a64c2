//! Files that are written whole, or not at all.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::{Builder, NamedTempFile};

/// Has `file` written by `write`; what is there is replaced once the new one is whole. Who may read it, the umask says, as of any new file.
///
/// # Errors
/// A folder or file that can't be written, and what `write` fails by.
pub fn replacing(file: &Path, write: impl FnOnce(&NamedTempFile) -> Result<()>) -> Result<()> {
    let unwritable = || format!("{} can't be written", file.display());
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let partial = Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .with_context(unwritable)?;
    write(&partial)?;
    let persisted = partial.persist(file).map_err(|error| error.error);
    persisted.with_context(unwritable)?;
    Ok(())
}
