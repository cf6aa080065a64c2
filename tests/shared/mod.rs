//! Data beyond the repository that results are compared with: photographs, hostile files, references of other programs.
//! One finder for unit tests and for every test binary.

use std::io::Write;
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
    loud(&format!(
        "SKIPPED: {} is not there; set EIGENFLOW_SHARED to have this tested",
        path.display()
    ));
    None
}

/// Says a line past the harness, which hides what a test that passes prints.
pub fn loud(line: &str) {
    // Nobody to hear it is no failure.
    let _ = writeln!(std::io::stderr(), "{line}");
}
