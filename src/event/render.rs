//! ObjectEvent -> the AWS 2.1 message that `replay`, `demo` and `reconcile` send.

use std::ops::RangeInclusive;

use chrono::{DateTime, SecondsFormat};
use serde_json::json;

use super::{Change, Dialect, ObjectEvent, key};

/// 0000-01-01 and 9999-12-31T23:59:59.999Z: the times that RFC 3339 can write.
pub const TIME_MS_RANGE: RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// One AWS 2.1 notification with this event as its only record.
///
/// [`parse()`](super::parse()) gives the same event back, but for an EventBridge event, whose dialect becomes AWS, and for
/// times outside the years 0 to 9999, which RFC 3339 can't write and which are brought to the nearest that it can.
pub fn render(event: &ObjectEvent) -> Vec<u8> {
    let time_ms = event
        .version
        .time_ms
        .clamp(*TIME_MS_RANGE.start(), *TIME_MS_RANGE.end());
    let time = DateTime::from_timestamp_millis(time_ms)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true);
    let name = match event.change {
        Change::Created => "ObjectCreated:Put",
        Change::Removed => "ObjectRemoved:Delete",
    };
    let source = match event.dialect {
        Dialect::MinIo => "minio:s3",
        Dialect::Ceph => "ceph:s3",
        Dialect::Aws | Dialect::Sns | Dialect::EventBridge => "aws:s3",
    };
    let key = match event.dialect {
        Dialect::Ceph => event.key.clone(),
        _ => key::encode(&event.key),
    };
    let mut object = json!({
        "key": key,
        "sequencer": format!("{:032X}", event.version.sequencer),
    });
    if let Some(etag) = &event.etag {
        object["eTag"] = json!(etag);
    }
    if let Some(version_id) = &event.version_id {
        object["versionId"] = json!(version_id);
    }
    if let Some(size) = event.size {
        object["size"] = json!(size);
    }
    let message = json!({ "Records": [{
        "eventVersion": "2.1",
        "eventSource": source,
        "eventTime": time,
        "eventName": name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": { "name": event.bucket },
            "object": object,
        },
    }]});
    message.to_string().into_bytes()
}
