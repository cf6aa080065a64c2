//! How large an event may be.

/// Longest message that is looked at. Producers stay far below: SNS and EventBridge end at 256 KiB.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Most records in one message. AWS sends one, and says that there may be more.
pub const RECORDS_MAX: usize = 10_000;
/// Most SNS envelopes around one event.
pub const NESTING_MAX: usize = 4;
/// Longest object key, in bytes of UTF-8: the limit of S3.
pub const KEY_BYTES_MAX: usize = 1024;
