//! The table of keys as an annotated file and as documentation.

use std::fmt::Write;

use super::keys::{KEYS, Key, SECTIONS, Unsaid};

/// `config example`.
pub(super) fn example() -> String {
    let mut out = String::from(
        "# A job of eigenflow. Keys that are commented out show their default, or a sample where `optional` stands.\n\
         # Every key can be overridden by a variable: EIGENFLOW__PUBLISH__INTERVAL_MS=5000.\n",
    );
    for (section, about) in SECTIONS {
        line(&mut out, format_args!("\n# {about}\n[{section}]"));
        for key in keys_of(section) {
            let (name, sample) = (key.name, key.unsaid.sample());
            line(&mut out, format_args!("# {}", key.doc));
            match key.unsaid {
                Unsaid::Required(_) => line(&mut out, format_args!("{name} = {sample}")),
                Unsaid::Default(_) => line(&mut out, format_args!("#{name} = {sample}")),
                Unsaid::Derived(_) => {
                    line(&mut out, format_args!("#{name} = {sample}  # optional"))
                }
            }
        }
    }
    out
}

/// The reference of all keys, as a markdown table.
pub(super) fn docs() -> String {
    let mut out = String::from(
        "| key | takes | default | |\n\
         |---|---|---|---|\n",
    );
    for (section, _) in SECTIONS {
        for key in keys_of(section) {
            let default = match key.unsaid {
                Unsaid::Required(_) => "required".into(),
                Unsaid::Default(text) => format!("`{text}`"),
                Unsaid::Derived(_) => "derived".into(),
            };
            let (path, kind) = (key.path(), key.kind.describe());
            line(
                &mut out,
                format_args!("| `{path}` | {kind} | {default} | {} |", key.doc),
            );
        }
    }
    out.push_str(
        "\nEvery key can be overridden by the environment as `EIGENFLOW__SECTION__KEY`, a list separated by commas, and a \
         single Kafka property as `EIGENFLOW__KAFKA__PROPERTIES__SASL_PASSWORD` for `sasl.password`. Flags override both.\n",
    );
    out
}

fn keys_of(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == section)
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}
