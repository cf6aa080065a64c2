//! Files that are written whole, or not at all.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::Builder;

/// Has `file` written by `write`; what is there is replaced once the new one is whole, and where it is a symbolic link to a file, that one.
/// Who may read it, the umask says, as of any new file. Devices and pipes are written to as they are.
///
/// # Errors
/// A folder or file that can't be written, and what `write` fails by.
pub fn replacing(file: &Path, write: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    let unwritable = || format!("{} can't be written", file.display());
    let special = fs::metadata(file).is_ok_and(|there| !there.is_file() && !there.is_dir());
    if special {
        let there = File::options().write(true).open(file);
        return write(&there.with_context(unwritable)?);
    }
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let partial = Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .with_context(unwritable)?;
    write(partial.as_file())?;
    let persisted = partial.persist(&file).map_err(|error| error.error);
    persisted.with_context(unwritable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn put(file: &Path, text: &str) -> Result<()> {
        replacing(file, |mut file| Ok(file.write_all(text.as_bytes())?))
    }

    #[test]
    fn what_a_link_leads_to_is_replaced_and_a_device_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        put(&file, "one").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        put(&link, "two").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        assert!(link.is_symlink());
        // A device of this process's own: its end of a terminal would do as well.
        put(Path::new("/dev/null"), "nothing").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn what_fails_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        put(&file, "one").unwrap();
        let failed = replacing(&file, |mut file| {
            file.write_all(b"half")?;
            anyhow::bail!("broken off")
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "one");
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1);
    }
}
