//! Data beyond the repository that results are compared with: photographs, hostile files, references of other programs.
//! One finder for unit tests and for every test binary.

use std::path::{Path, PathBuf};

/// `name` in the folder of shared data, or a loud word that the test does nothing.
pub fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("EIGENFLOW_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!(
        "SKIPPED: {} is not there; set EIGENFLOW_SHARED to have this tested",
        path.display()
    );
    None
}
