//! One message of any dialect -> object events.
//!
//! A dialect is recognised by the document's own words, most telling first: `detail-type` (EventBridge), `Records`
//! (AWS, MinIO, Ceph, told apart by `eventSource`), `Event` (AWS's set-up message), `Message` (SNS, whose text is again
//! such a document). A record that can't be read does not lose its siblings.

use serde_json::Value;

use super::error::excerpt;
use super::limits::{KEY_BYTES_MAX, MESSAGE_BYTES_MAX, NESTING_MAX, RECORDS_MAX};
use super::{Change, Dialect, EventError, ObjectEvent, Version, key};

/// What one message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The outermost dialect; of several records, the first one's.
    pub dialect: Dialect,
    /// The message only announces that notifications are set up. It has no records then.
    pub set_up: bool,
    /// How many records say something that changes no content (tagging, access, restore …). They are not in `records`.
    pub unchanged: usize,
    /// The changes, in the message's order, each by itself readable or not.
    pub records: Vec<Result<ObjectEvent, EventError>>,
}

impl Message {
    fn set_up(dialect: Dialect) -> Self {
        Self {
            dialect,
            set_up: true,
            unchanged: 0,
            records: Vec::new(),
        }
    }

    fn new(
        dialect: Dialect,
        records: impl IntoIterator<Item = Result<Option<ObjectEvent>, EventError>>,
    ) -> Self {
        let mut message = Self {
            dialect,
            set_up: false,
            unchanged: 0,
            records: Vec::new(),
        };
        for record in records {
            match record.transpose() {
                Some(record) => message.records.push(record),
                None => message.unchanged += 1,
            }
        }
        message
    }
}

/// Reads one Kafka message.
///
/// # Errors
/// When the message as a whole is no object event: too long, not JSON, of no known dialect, too many records or too
/// many envelopes. What is wrong with one record only stands in [`Message::records`].
pub fn parse(message: &[u8]) -> Result<Message, EventError> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(EventError::MessageTooLarge {
            bytes: message.len(),
        });
    }
    parse_document(message, 0)
}

fn parse_document(document: &[u8], envelopes: usize) -> Result<Message, EventError> {
    let document: Value = serde_json::from_slice(document)
        .map_err(|error| EventError::NotJson(excerpt(&error.to_string())))?;
    let fields = document.as_object().ok_or_else(|| {
        EventError::UnknownDialect(format!("the document is {}", kind(&document)))
    })?;
    if fields.contains_key("detail-type") {
        return Ok(Message::new(
            Dialect::EventBridge,
            [event_bridge(&document)],
        ));
    }
    if let Some(records) = fields.get("Records") {
        return notification(records);
    }
    if fields.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return Ok(Message::set_up(Dialect::Aws));
    }
    if let Some(inner) = fields.get("Message").and_then(Value::as_str) {
        let envelope = fields.get("Type").and_then(Value::as_str);
        if matches!(
            envelope,
            Some("SubscriptionConfirmation" | "UnsubscribeConfirmation")
        ) {
            return Ok(Message::set_up(Dialect::Sns));
        }
        if envelopes == NESTING_MAX {
            return Err(EventError::NestedTooDeep);
        }
        let inner = parse_document(inner.as_bytes(), envelopes + 1)?;
        return Ok(Message {
            dialect: Dialect::Sns,
            ..inner
        });
    }
    let names: Vec<_> = fields.keys().map(String::as_str).take(8).collect();
    Err(EventError::UnknownDialect(format!(
        "it has the fields {}",
        excerpt(&names.join(", "))
    )))
}

/// The shape of AWS, MinIO and Ceph: `{"Records": [...]}`.
fn notification(records: &Value) -> Result<Message, EventError> {
    let Value::Array(records) = records else {
        return Err(EventError::UnknownDialect(format!(
            "Records is {}",
            kind(records)
        )));
    };
    if records.len() > RECORDS_MAX {
        return Err(EventError::TooManyRecords {
            records: records.len(),
        });
    }
    let dialect = records.first().and_then(|record| dialect(record).ok());
    Ok(Message::new(
        dialect.unwrap_or(Dialect::Aws),
        records.iter().map(record),
    ))
}

fn dialect(record: &Value) -> Result<Dialect, EventError> {
    match required(record, "/eventSource")? {
        "aws:s3" => Ok(Dialect::Aws),
        "minio:s3" => Ok(Dialect::MinIo),
        "ceph:s3" => Ok(Dialect::Ceph),
        other => Err(EventError::UnknownDialect(format!(
            "eventSource is {:?}",
            excerpt(other)
        ))),
    }
}

/// One record of a notification. `None`: it changes no content.
fn record(record: &Value) -> Result<Option<ObjectEvent>, EventError> {
    let dialect = dialect(record)?;
    let schema = required(record, "/eventVersion")?;
    if schema.split('.').next() != Some("2") {
        return Err(EventError::UnsupportedVersion(excerpt(schema)));
    }
    let Some(change) = change(required(record, "/eventName")?)? else {
        return Ok(None);
    };
    let said = required(record, "/s3/object/key")?;
    let key = match dialect {
        // RGW says the key as it is.
        Dialect::Ceph => said.to_owned(),
        _ => key::decode(said).ok_or_else(|| EventError::BadKeyEncoding(excerpt(said)))?,
    };
    Ok(Some(ObjectEvent {
        change,
        bucket: required(record, "/s3/bucket/name")?.to_owned(),
        key: checked_key(key)?,
        etag: etag(record, "/s3/object/eTag")?,
        version_id: text(record, "/s3/object/versionId")?.map(str::to_owned),
        size: size(record, "/s3/object/size")?,
        version: version(record, "/eventTime", "/s3/object/sequencer")?,
        dialect,
    }))
}

/// An EventBridge document: other names, and a key that is not encoded. `None`: it changes no content.
fn event_bridge(document: &Value) -> Result<Option<ObjectEvent>, EventError> {
    let source = required(document, "/source")?;
    if source != "aws.s3" {
        return Err(EventError::UnknownDialect(format!(
            "source is {:?}",
            excerpt(source)
        )));
    }
    let change = match required(document, "/detail-type")? {
        // What is restored from an archive can be read again.
        "Object Created" | "Object Restore Completed" => Change::Created,
        "Object Deleted" => Change::Removed,
        "Object Restore Initiated"
        | "Object Restore Expired"
        | "Object Tags Added"
        | "Object Tags Deleted"
        | "Object ACL Updated"
        | "Object Storage Class Changed"
        | "Object Access Tier Changed" => return Ok(None),
        other => return Err(EventError::UnknownEvent(excerpt(other))),
    };
    Ok(Some(ObjectEvent {
        change,
        bucket: required(document, "/detail/bucket/name")?.to_owned(),
        key: checked_key(required(document, "/detail/object/key")?.to_owned())?,
        etag: etag(document, "/detail/object/etag")?,
        version_id: text(document, "/detail/object/version-id")?.map(str::to_owned),
        size: size(document, "/detail/object/size")?,
        version: version(document, "/time", "/detail/object/sequencer")?,
        dialect: Dialect::EventBridge,
    }))
}

/// What an event name says about the content. `None`: nothing. A name that we don't know is an error: guessing
/// either way would lose an upload or invent one.
fn change(name: &str) -> Result<Option<Change>, EventError> {
    let bare = name.strip_prefix("s3:").unwrap_or(name);
    let (family, kind) = bare.split_once(':').unwrap_or((bare, ""));
    match (family, kind) {
        // MinIO files the metadata of an object under its creation.
        ("ObjectCreated", "PutRetention" | "PutLegalHold" | "PutTagging" | "DeleteTagging") => {
            Ok(None)
        }
        ("ObjectCreated", _) | ("ObjectSynced", "Create") => Ok(Some(Change::Created)),
        // What is restored from an archive can be read again.
        ("ObjectRestore", "Completed") => Ok(Some(Change::Created)),
        // MinIO: a delete that found nothing.
        ("ObjectRemoved", "NoOP") => Ok(None),
        ("ObjectRemoved" | "LifecycleExpiration", _)
        | ("ObjectLifecycle", "Expiration:Current" | "Expiration:DeleteMarker")
        | ("ObjectSynced", "Delete" | "DeletionMarkerCreated") => Ok(Some(Change::Removed)),
        (
            "ObjectRestore"
            | "ObjectTagging"
            | "ObjectAcl"
            | "ObjectAccessed"
            | "ObjectTransition"
            | "ObjectLifecycle"
            | "ObjectSynced"
            | "LifecycleTransition"
            | "IntelligentTiering"
            | "Replication"
            | "ReducedRedundancyLostObject"
            | "Scanner",
            _,
        ) => Ok(None),
        _ => Err(EventError::UnknownEvent(excerpt(name))),
    }
}

fn checked_key(key: String) -> Result<String, EventError> {
    match key.len() {
        0..=KEY_BYTES_MAX => Ok(key),
        bytes => Err(EventError::KeyTooLong { bytes }),
    }
}

/// An entity tag; some stores send the quotes of the HTTP header along.
fn etag(record: &Value, field: &'static str) -> Result<Option<String>, EventError> {
    let etag = text(record, field)?.map(|etag| etag.trim_matches('"').to_owned());
    Ok(etag.filter(|etag| !etag.is_empty()))
}

/// A size in bytes; Ceph sends it as a text.
fn size(record: &Value, field: &'static str) -> Result<Option<u64>, EventError> {
    let Some(found) = record.pointer(field) else {
        return Ok(None);
    };
    let size = match found {
        Value::Null => return Ok(None),
        Value::String(digits) if digits.is_empty() => return Ok(None),
        Value::String(digits) => digits.parse().ok(),
        number => number.as_u64(),
    };
    size.map(Some)
        .ok_or_else(|| bad_field(field, found, "a number of bytes"))
}

fn version(
    record: &Value,
    time: &'static str,
    sequencer: &'static str,
) -> Result<Version, EventError> {
    let time = required(record, time)?;
    let time_ms = chrono::DateTime::parse_from_rfc3339(time)
        .map_err(|_| EventError::BadTime(excerpt(time)))?
        .timestamp_millis();
    let digits = text(record, sequencer)?.unwrap_or_default();
    let sequencer = Version::sequencer_from_hex(digits)
        .ok_or_else(|| EventError::BadSequencer(excerpt(digits)))?;
    Ok(Version { time_ms, sequencer })
}

/// The text at a JSON pointer. `None`: absent, null or empty, which stores use interchangeably.
fn text<'a>(record: &'a Value, field: &'static str) -> Result<Option<&'a str>, EventError> {
    match record.pointer(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(other) => Err(bad_field(field, other, "a text")),
    }
}

fn required<'a>(record: &'a Value, field: &'static str) -> Result<&'a str, EventError> {
    text(record, field)?.ok_or(EventError::MissingField { field })
}

fn bad_field(field: &'static str, found: &Value, wanted: &'static str) -> EventError {
    let found = match found {
        Value::String(text) => format!("{:?}", excerpt(text)),
        other => kind(other).to_owned(),
    };
    EventError::BadField {
        field,
        found,
        wanted,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
