//! Spans as OTLP/JSON: the protobuf messages of OpenTelemetry in their JSON form, where ids are hexadecimal and 64-bit
//! integers are texts (opentelemetry.io, "OTLP Specification", JSON Protobuf Encoding).

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};

use super::{Span, Value};

const SERVICE: &str = "eigenflow";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;

/// Who sends.
#[derive(Clone, Debug)]
pub struct Resource(Json);

impl Resource {
    /// A process of a job; `writer` tells its runs apart.
    pub fn new(process: usize, writer: &str) -> Self {
        Resource(json!({ "attributes": [
            attribute("service.name", &SERVICE.into()),
            attribute("service.version", &VERSION.into()),
            attribute("service.instance.id", &writer.into()),
            attribute("eigenflow.process", &process.into()),
        ]}))
    }
}

/// The body of a request that brings these spans.
pub fn request(resource: &Resource, spans: &[Span]) -> Vec<u8> {
    let spans: Vec<Json> = spans.iter().map(span).collect();
    let scope = json!({ "name": SERVICE, "version": VERSION });
    let body = json!({ "resourceSpans": [{
        "resource": resource.0,
        "scopeSpans": [{ "scope": scope, "spans": spans }],
    }]});
    body.to_string().into_bytes()
}

fn span(span: &Span) -> Json {
    let attributes = span.attributes.iter();
    let attributes: Vec<Json> = attributes
        .map(|(name, value)| attribute(&format!("{SERVICE}.{name}"), value))
        .collect();
    let mut json = json!({
        "traceId": format!("{:032x}", span.trace),
        "spanId": format!("{:016x}", span.id),
        "name": span.name,
        "kind": INTERNAL,
        "startTimeUnixNano": nanoseconds(span.began),
        "endTimeUnixNano": nanoseconds(span.ended),
        "attributes": attributes,
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = format!("{parent:016x}").into();
    }
    json
}

fn attribute(key: &str, value: &Value) -> Json {
    let value = match value {
        Value::Count(count) => json!({ "intValue": count.to_string() }),
        Value::Number(number) => json!({ "doubleValue": number }),
        Value::Text(text) => json!({ "stringValue": text }),
    };
    json!({ "key": key, "value": value })
}

/// Since 1970 UTC.
fn nanoseconds(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_span_is_written_as_the_specification_has_it() {
        let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
        let whole = Span {
            trace: 0x5b8e_fff7_9803_8103_d269_b633_813f_c60c,
            id: 0xeee1_9b7e_c3c1_b174,
            parent: None,
            name: "epoch",
            began: at(1_544_712_660_000),
            ended: at(1_544_712_661_250),
            attributes: vec![("rows", 7u64.into()), ("explained", 0.5.into())],
        };
        let part = Span {
            id: 1,
            parent: Some(whole.id),
            name: "write",
            attributes: vec![("table", "s3://a/\"b\"".into())],
            ..whole.clone()
        };
        let body = request(&Resource::new(3, "me"), &[whole, part]);
        let body: Json = serde_json::from_slice(&body).unwrap();
        let sent = &body["resourceSpans"][0];
        let process = &sent["resource"]["attributes"][3];
        let expected = json!({ "key": "eigenflow.process", "value": { "intValue": "3" } });
        assert_eq!(process, &expected);
        let spans = &sent["scopeSpans"][0]["spans"];
        let expected = json!({
            "traceId": "5b8efff798038103d269b633813fc60c",
            "spanId": "eee19b7ec3c1b174",
            "name": "epoch",
            "kind": 1,
            "startTimeUnixNano": "1544712660000000000",
            "endTimeUnixNano": "1544712661250000000",
            "attributes": [
                { "key": "eigenflow.rows", "value": { "intValue": "7" } },
                { "key": "eigenflow.explained", "value": { "doubleValue": 0.5 } },
            ],
        });
        assert_eq!(spans[0], expected);
        assert_eq!(spans[1]["parentSpanId"], "eee19b7ec3c1b174");
        assert_eq!(spans[1]["spanId"], "0000000000000001");
        let text = &spans[1]["attributes"][0]["value"]["stringValue"];
        assert_eq!(text, "s3://a/\"b\"");
    }
}
