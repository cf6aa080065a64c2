//! The first stage: what was said, by whom.
//!
//! A [`Said`] gathers typed values from the file, the environment and the flags; a later voice overrides an earlier one.
//! Nothing is decided here: defaults and meaning are the second stage's ([`Said::resolve`]). What cannot be understood
//! is kept as a [`Problem`], so that one run reports all of them.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::error::{ConfigError, Problem};
use super::keys::{self, KEYS, Key, Kind, SECTIONS, VARIABLE_PREFIX};

/// A value of the kind that its key takes.
#[derive(Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Count(u64),
    Ratio(f64),
    Flag(bool),
    List(Vec<String>),
    Properties(BTreeMap<String, String>),
}

/// A value and where it was said.
#[derive(Clone)]
pub(super) struct Statement {
    pub(super) value: Value,
    pub(super) place: String,
}

/// What was said about the job, and what of it could not be understood.
#[derive(Clone, Default)]
pub struct Said {
    pub(super) statements: BTreeMap<String, Statement>,
    pub(super) problems: Vec<Problem>,
}

impl Said {
    /// What the file and the environment say. `environment` may hold any variables; those of eigenflow and
    /// `AWS_ENDPOINT_URL(_S3)` are heard ([`super::environment`] gives the process's own).
    ///
    /// # Errors
    /// Only if the file is unreadable or no TOML; all else waits for [`Said::resolve`].
    pub fn load(
        path: &Path,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let mut said = Said::default();
        said.hear_file(&text, &format!("{}:", path.display()))?;
        said.hear_environment(environment);
        Ok(said)
    }

    /// As [`Said::load`], from a text.
    ///
    /// # Errors
    /// If the text is no TOML.
    pub fn parse(
        text: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut said = Said::default();
        said.hear_file(text, "line ")?;
        said.hear_environment(environment);
        Ok(said)
    }

    /// Says `section.name` once more, from text as in an environment variable. `place` names the speaker in errors,
    /// as `--components`.
    pub fn set(&mut self, path: &str, text: &str, place: &str) {
        let (section, name) = path.split_once('.').unwrap_or((path, ""));
        match known(section, name) {
            Ok(key) => self.state(key, place, from_text(key.kind, text)),
            Err(message) => self.complain(place, message),
        }
    }

    fn hear_file(&mut self, text: &str, place_prefix: &str) -> Result<(), ConfigError> {
        let place = |offset: usize| format!("{place_prefix}{}", line_of(text, offset));
        let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            place: place(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        for (section, content) in document.get_ref() {
            let place_of_section = place(section.span().start);
            let section = section.get_ref().as_ref();
            if let Err(message) = known_section(section) {
                self.complain(&place_of_section, message);
                continue;
            }
            let Some(entries) = content.get_ref().as_table() else {
                let found = content.get_ref().type_str();
                let message =
                    format!("`{section}` is a section, written [{section}]; found {found}");
                self.complain(&place_of_section, message);
                continue;
            };
            for (name, value) in entries {
                let place = place(name.span().start);
                match known(section, name.get_ref()) {
                    Ok(key) => self.state(key, &place, from_toml(key.kind, value.get_ref())),
                    Err(message) => self.complain(&place, message),
                }
            }
        }
        Ok(())
    }

    fn hear_environment(&mut self, environment: impl Iterator<Item = (String, String)>) {
        // Sorted, so that a whole table is heard before its single properties, and errors keep their order.
        let environment: BTreeMap<String, String> = environment.collect();
        let aws = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]
            .into_iter()
            .find(|name| environment.get(*name).is_some_and(|url| !url.is_empty()));
        if let Some(variable) = aws
            && !self.statements.contains_key("s3.endpoint")
        {
            self.set("s3.endpoint", &environment[variable], variable);
        }
        for (variable, text) in &environment {
            let Some(path) = variable.strip_prefix(VARIABLE_PREFIX) else {
                continue;
            };
            let path = path.to_lowercase();
            match path.strip_prefix("kafka__properties__") {
                Some(property) => self.set_property(&property.replace('_', "."), text, variable),
                None => self.set(&path.replacen("__", ".", 1), text, variable),
            }
        }
    }

    /// One Kafka property alone, so that a password can come from the environment and the rest from the file.
    fn set_property(&mut self, property: &str, text: &str, place: &str) {
        let said = self
            .statements
            .entry("kafka.properties".into())
            .or_insert_with(|| Statement {
                value: Value::Properties(BTreeMap::new()),
                place: place.into(),
            });
        if let Value::Properties(properties) = &mut said.value {
            properties.insert(property.into(), text.into());
        }
    }

    /// Says a default, which is TOML.
    pub(super) fn set_toml(&mut self, key: &Key, text: &str) {
        let value = match DeValue::parse(text) {
            Ok(value) => from_toml(key.kind, value.get_ref()),
            Err(error) => Err(error.message().to_owned()),
        };
        self.state(key, "the default", value);
    }

    fn state(&mut self, key: &Key, place: &str, value: Result<Value, String>) {
        let place = place.to_owned();
        match value {
            Ok(value) => {
                self.statements
                    .insert(key.path(), Statement { value, place });
            }
            Err(found) => {
                let (path, expected) = (key.path(), key.kind.describe());
                let example = key.unsaid.sample();
                self.complain(
                    &place,
                    format!("`{path}` takes {expected}, such as {example}; found {found}"),
                );
            }
        }
    }

    pub(super) fn complain(&mut self, place: &str, message: String) {
        let place = place.to_owned();
        self.problems.push(Problem { place, message });
    }
}

/// 1-based line of a byte offset.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|b| *b == b'\n').count()
}

fn known_section(section: &str) -> Result<(), String> {
    let names = || SECTIONS.iter().map(|(name, _)| *name);
    if names().any(|name| name == section) {
        return Ok(());
    }
    if let Some(key) = KEYS.iter().find(|key| key.name == section) {
        return Err(format!(
            "`{section}` stands outside of every section; it belongs under [{}]",
            key.section
        ));
    }
    let hint = keys::nearest(section, names()).unwrap_or_default();
    Err(format!(
        "there is no section [{section}]; did you mean [{hint}]?"
    ))
}

fn known(section: &str, name: &str) -> Result<&'static Key, String> {
    known_section(section)?;
    if let Some(key) = keys::find(section, name) {
        return Ok(key);
    }
    let unknown = format!("there is no key `{section}.{name}`");
    if let Some(elsewhere) = KEYS.iter().find(|key| key.name == name) {
        return Err(format!("{unknown}; did you mean `{}`?", elsewhere.path()));
    }
    let names = KEYS
        .iter()
        .filter(|key| key.section == section)
        .map(|key| key.name);
    let hint = keys::nearest(name, names).unwrap_or_default();
    Err(format!("{unknown}; did you mean `{section}.{hint}`?"))
}

/// The value, or what was found in its place.
fn from_toml(kind: Kind, value: &DeValue<'_>) -> Result<Value, String> {
    let found = || match value {
        // Properties are where secrets live: their content is never repeated.
        _ if matches!(kind, Kind::Properties | Kind::Secret) => {
            format!("a value of type {}", value.type_str())
        }
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        _ => format!("a value of type {}", value.type_str()),
    };
    let understood = match (kind, value) {
        (
            Kind::Text | Kind::Secret | Kind::Choice(_) | Kind::Column | Kind::ShareOr(_),
            DeValue::String(text),
        ) => text_of(kind, text),
        (Kind::Column, DeValue::Boolean(false)) => Some(Value::Flag(false)),
        (Kind::Milliseconds, DeValue::String(text)) => milliseconds(text),
        (Kind::Count { .. } | Kind::Milliseconds | Kind::Components, DeValue::Integer(number)) => {
            whole(number).and_then(|number| count(kind, number))
        }
        (Kind::Components, DeValue::Float(number)) => number.as_str().parse().ok().and_then(ratio),
        (Kind::ShareOr(_), DeValue::Float(number)) => number.as_str().parse().ok().and_then(share),
        (Kind::ShareOr(_), DeValue::Integer(number)) => whole(number).and_then(|n| share(n as f64)),
        (Kind::Flag, DeValue::Boolean(flag)) => Some(Value::Flag(*flag)),
        (Kind::List, DeValue::Array(items)) => items
            .iter()
            .map(|item| item.get_ref().as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(Value::List),
        (Kind::Properties, DeValue::Table(entries)) => {
            let mut properties = BTreeMap::new();
            flatten("", entries, &mut properties)?;
            Some(Value::Properties(properties))
        }
        _ => None,
    };
    understood.ok_or_else(found)
}

/// Dotted property names need no quotes in TOML: `sasl.username = "me"` is a table within a table there, and one
/// property here.
fn flatten(
    prefix: &str,
    entries: &DeTable<'_>,
    into: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    for (name, value) in entries {
        let name = format!("{prefix}{}", name.get_ref());
        let text = match Spanned::get_ref(value) {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => whole_or_negative(number),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Table(inner) => {
                flatten(&format!("{name}."), inner, into)?;
                continue;
            }
            other => return Err(format!("`{name}` of type {}", other.type_str())),
        };
        into.insert(name, text);
    }
    Ok(())
}

/// The value of an environment variable or a flag, or what was found in its place.
fn from_text(kind: Kind, text: &str) -> Result<Value, String> {
    let found = || match kind {
        Kind::Secret => "an empty text".to_owned(),
        _ => format!("{text:?}"),
    };
    let understood = match kind {
        Kind::Text | Kind::Secret | Kind::Choice(_) => text_of(kind, text),
        Kind::Column if text == "false" => Some(Value::Flag(false)),
        Kind::Column => text_of(kind, text),
        Kind::Milliseconds => milliseconds(text),
        Kind::Count { .. } => text.parse().ok().and_then(|number| count(kind, number)),
        Kind::Components => match text.parse() {
            Ok(number) => count(kind, number),
            Err(_) => text.parse().ok().and_then(ratio),
        },
        Kind::ShareOr(_) => match text.parse() {
            Ok(number) => share(number),
            Err(_) => text_of(kind, text),
        },
        Kind::Flag => text.parse().ok().map(Value::Flag),
        Kind::List => Some(Value::List(
            text.split(',')
                .map(|item| item.trim().to_owned())
                .filter(|item| !item.is_empty())
                .collect(),
        )),
        Kind::Properties => {
            let table = DeValue::parse(text).map_err(|_| "something that is no TOML table")?;
            return from_toml(kind, table.get_ref());
        }
    };
    understood.ok_or_else(found)
}

fn text_of(kind: Kind, text: &str) -> Option<Value> {
    let accepted = match kind {
        Kind::Choice(words) | Kind::ShareOr(words) => words.contains(&text),
        _ => !text.is_empty(),
    };
    accepted.then(|| Value::Text(text.to_owned()))
}

fn whole(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn whole_or_negative(number: &DeInteger<'_>) -> String {
    whole(number).map_or_else(|| number.to_string(), |number| number.to_string())
}

fn count(kind: Kind, number: u64) -> Option<Value> {
    let (min, max) = match kind {
        Kind::Count { min, max } => (min, max),
        _ => (1, u64::MAX),
    };
    (min..=max)
        .contains(&number)
        .then_some(Value::Count(number))
}

fn ratio(share: f64) -> Option<Value> {
    (share > 0.0 && share < 1.0).then_some(Value::Ratio(share))
}

fn share(number: f64) -> Option<Value> {
    (number > 0.0 && number <= 1.0).then_some(Value::Ratio(number))
}

fn milliseconds(text: &str) -> Option<Value> {
    count(Kind::Milliseconds, parse_milliseconds(text)?)
}

/// A time such as `500ms`, `30s`, `5m`, `12h` or `7d`, in milliseconds; a number alone counts them.
pub fn parse_milliseconds(text: &str) -> Option<u64> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit_ms: u64 = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_ms)
}
