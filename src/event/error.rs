//! Why a message or a record is not an object event.

use super::limits::{KEY_BYTES_MAX, MESSAGE_BYTES_MAX, NESTING_MAX, RECORDS_MAX};

/// Why a message, or one record of it, is rejected. Texts from the message are cut to a readable length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The message is longer than [`MESSAGE_BYTES_MAX`].
    #[error(
        "the message has {bytes} bytes, more than the {MESSAGE_BYTES_MAX} an object event may have"
    )]
    MessageTooLarge {
        /// Length of the message.
        bytes: usize,
    },
    /// The message is not JSON, or nested deeper than a parser should follow.
    #[error("the message is not JSON: {0}")]
    NotJson(String),
    /// JSON, but of none of the shapes we know.
    #[error("the message is no object event of AWS S3, SNS, MinIO, Ceph or EventBridge: {0}")]
    UnknownDialect(String),
    /// More than [`RECORDS_MAX`] records in one message.
    #[error("the message has {records} records, more than {RECORDS_MAX}")]
    TooManyRecords {
        /// How many there are.
        records: usize,
    },
    /// SNS envelopes inside SNS envelopes, more than [`NESTING_MAX`].
    #[error("the event is wrapped in more than {NESTING_MAX} SNS envelopes")]
    NestedTooDeep,
    /// An event version whose major number is not 2.
    #[error("event version {0:?} is not 2.x")]
    UnsupportedVersion(String),
    /// An event name that says neither that content changed nor that it did not.
    #[error("unknown event name {0:?}")]
    UnknownEvent(String),
    /// A field that every event needs is absent or empty.
    #[error("the record has no {field}")]
    MissingField {
        /// Path of the field within the record, as a JSON pointer.
        field: &'static str,
    },
    /// A field has a value of the wrong type or form.
    #[error("{field} is {found}, not {wanted}")]
    BadField {
        /// Path of the field within the record, as a JSON pointer.
        field: &'static str,
        /// What is there.
        found: String,
        /// What should be there.
        wanted: &'static str,
    },
    /// The object key is not form-encoded UTF-8.
    #[error("the object key {0:?} is not form-encoded UTF-8")]
    BadKeyEncoding(String),
    /// The decoded key is longer than S3 allows.
    #[error("the object key has {bytes} bytes, more than the {KEY_BYTES_MAX} that S3 allows")]
    KeyTooLong {
        /// Length of the decoded key.
        bytes: usize,
    },
    /// The event time is not RFC 3339.
    #[error("the event time {0:?} is not RFC 3339")]
    BadTime(String),
    /// The sequencer is not hexadecimal.
    #[error("the sequencer {0:?} is not hexadecimal")]
    BadSequencer(String),
}

impl EventError {
    /// A stable word for the rejects table and the metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::MessageTooLarge { .. } => "message-too-large",
            Self::NotJson(_) => "not-json",
            Self::UnknownDialect(_) => "unknown-dialect",
            Self::TooManyRecords { .. } => "too-many-records",
            Self::NestedTooDeep => "nested-too-deep",
            Self::UnsupportedVersion(_) => "unsupported-version",
            Self::UnknownEvent(_) => "unknown-event",
            Self::MissingField { .. } => "missing-field",
            Self::BadField { .. } => "bad-field",
            Self::BadKeyEncoding(_) => "bad-key-encoding",
            Self::KeyTooLong { .. } => "key-too-long",
            Self::BadTime(_) => "bad-time",
            Self::BadSequencer(_) => "bad-sequencer",
        }
    }
}

/// The head of a text from outside, short enough for a log line.
pub(super) fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
