//! A job of a benchmark: its arguments, and the configuration of the `pixels` network on folders.

use std::path::{Path, PathBuf};

pub const TOPIC: &str = "uploads";

/// The number behind an argument of this name.
pub fn number(name: &str, default: usize) -> usize {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == name);
    at.map_or(default, |at| arguments[at + 1].parse().expect("a number"))
}

/// Writes the configuration of a job whose bucket is `dir/store/landing`, which it makes, and whose table is `dir/name/table`; its file.
pub fn config(dir: &Path, name: &str, brokers: &str, more: &str) -> PathBuf {
    std::fs::create_dir_all(dir.join("store/landing")).expect("a bucket");
    let text = format!(
        "[kafka]\nbrokers = \"{brokers}\"\ntopic = \"{TOPIC}\"\n[s3]\nendpoint = \"file://{0}/store\"\n\
         buckets = [\"landing\"]\n[table]\nuri = \"{0}/{name}/table\"\n[backbone]\nname = \"pixels\"\n\
         [log]\nfilter = \"warn\"\n{more}",
        dir.display()
    );
    let file = dir.join(format!("{name}.toml"));
    std::fs::write(&file, text).expect("a configuration");
    file
}
