//! What the parser promises, dialect by dialect and under mutation.

use proptest::prelude::*;

use super::*;
use crate::shared::shared;

fn only_event(message: &[u8]) -> ObjectEvent {
    let message = parse(message).expect("a known dialect");
    assert_eq!(message.records.len(), 1);
    message.records[0].clone().expect("a readable record")
}

fn time_ms(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text)
        .expect("RFC 3339")
        .timestamp_millis()
}

fn sequencer(hex: &str) -> u128 {
    Version::sequencer_from_hex(hex).expect("hexadecimal")
}

/// An AWS record, with `change` applied to it.
fn message_with(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut message = serde_json::json!({ "Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3",
        "eventTime": "2026-11-03T09:15:27.912Z", "eventName": "ObjectCreated:Put",
        "s3": { "bucket": { "name": "fruits" }, "object": { "key": "a.jpg", "sequencer": "00B1" } },
    }]});
    change(&mut message["Records"][0]);
    message.to_string().into_bytes()
}

fn reason_with(change: impl FnOnce(&mut serde_json::Value)) -> &'static str {
    let message = parse(&message_with(change)).expect("a notification");
    message.records[0]
        .as_ref()
        .expect_err("a bad record")
        .reason()
}

#[test]
fn every_documented_sample_reads_as_its_producer_means_it() {
    let Some(folder) = shared("events") else {
        return;
    };
    let read = |name: &str| std::fs::read(folder.join(name)).expect(name);
    let event = |change, key: &str, time: &str, hex: &str, dialect| ObjectEvent {
        change,
        bucket: "fruits".into(),
        key: key.into(),
        etag: None,
        version_id: None,
        size: None,
        version: Version {
            time_ms: time_ms(time),
            sequencer: sequencer(hex),
        },
        dialect,
    };

    let awkward = "Training/Apple Golden 1/a+b é.jpg";
    assert_eq!(
        only_event(&read("aws-put-2.1.json")),
        ObjectEvent {
            etag: Some("bee8e11690c13dc7ad6db054a8375b44".into()),
            size: Some(4639),
            ..event(
                Change::Created,
                awkward,
                "2026-11-03T09:15:27.912Z",
                "0063C80FF1CE707C44",
                Dialect::Aws
            )
        }
    );
    let big = "Training/Kiwi/big.jpg";
    assert_eq!(
        only_event(&read("aws-put-versioned-multipart-2.5.json")),
        ObjectEvent {
            etag: Some("9b2cf535f27731c974343645a3985328-2".into()),
            version_id: Some("l3.JslQw24diHQP7VIOSx4zcAug".into()),
            size: Some(8_388_608),
            ..event(
                Change::Created,
                big,
                "2026-11-03T09:15:28.001Z",
                "0063C80FF1CE707C45",
                Dialect::Aws
            )
        }
    );
    assert_eq!(
        only_event(&read("aws-delete.json")),
        event(
            Change::Removed,
            big,
            "2026-11-03T09:16:00Z",
            "0063C80FF1CE707D01",
            Dialect::Aws
        )
    );
    assert_eq!(
        only_event(&read("aws-delete-marker.json")),
        ObjectEvent {
            etag: Some("d41d8cd98f00b204e9800998ecf8427e".into()),
            version_id: Some("1t0f2".into()),
            ..event(
                Change::Removed,
                big,
                "2026-11-03T09:16:01Z",
                "0063C80FF1CE707D02",
                Dialect::Aws
            )
        }
    );
    assert_eq!(
        only_event(&read("minio-put.json")),
        ObjectEvent {
            etag: Some("ebed21f6f77b0a64673a3c96b0c623ba".into()),
            size: Some(324),
            ..event(
                Change::Created,
                awkward,
                "2026-11-03T08:55:07.400Z",
                "1754D5802CCFEDA0",
                Dialect::MinIo
            )
        }
    );
    assert_eq!(
        only_event(&read("minio-delete.json")),
        event(
            Change::Removed,
            "Training/Kiwi/1.jpg",
            "2026-11-03T08:56:07.400Z",
            "1754D58E7A1B2C00",
            Dialect::MinIo
        )
    );
    assert_eq!(
        only_event(&read("ceph-put.json")),
        ObjectEvent {
            etag: Some("37b51d194a7513e45b56f6524f2d51f2".into()),
            size: Some(1024),
            ..event(
                Change::Created,
                "Training/Kiwi/1.jpg",
                "2026-11-03T09:15:27.912Z",
                "F7E6D75DC742D108",
                Dialect::Ceph
            )
        }
    );
    assert_eq!(
        only_event(&read("eventbridge-created.json")),
        ObjectEvent {
            etag: Some("b1946ac92492d2347c6235b4d2611184".into()),
            version_id: Some("IYV3p45BT0ac8hjHg1houSdS1a.Mro8e".into()),
            size: Some(5),
            ..event(
                Change::Created,
                "raw/2026-11-03T09:15:27+01:00 é.jpg",
                "2026-11-03T09:15:27Z",
                "617f08299329d189",
                Dialect::EventBridge
            )
        }
    );
    let wrapped = parse(&read("sns-wrapped.json")).expect("SNS");
    assert_eq!(wrapped.dialect, Dialect::Sns);
    let inside = wrapped.records[0].clone().expect("a readable record");
    assert_eq!(
        (inside.key.as_str(), inside.dialect),
        ("c.jpg", Dialect::Aws)
    );

    let two = parse(&read("aws-two-records.json")).expect("AWS");
    let keys: Vec<_> = two
        .records
        .iter()
        .map(|r| r.clone().expect("readable").key)
        .collect();
    assert_eq!(keys, ["a.jpg", "b.jpg"]);

    let set_up = parse(&read("aws-test-event.json")).expect("AWS");
    assert!(set_up.set_up && set_up.records.is_empty());

    for entry in std::fs::read_dir(&folder).expect("events folder") {
        let path = entry.expect("entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let message = parse(&std::fs::read(&path).expect("sample")).expect("a known dialect");
            assert!(
                message.records.iter().all(Result::is_ok),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn awkward_keys_survive_every_encoding() {
    let Some(file) = shared("data/bad-inputs/KEYS.json") else {
        return;
    };
    let keys: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file).expect("KEYS.json")).expect("JSON");
    for key in keys["keys"].as_array().expect("keys") {
        let key = key.as_str().expect("text");
        let aws = key::encode(key);
        let every_byte: String = key.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for (source, encoded) in [
            ("aws:s3", aws.clone()),
            ("ceph:s3", key.to_owned()),
            ("minio:s3", aws.replace('/', "%2F")),
            ("aws:s3", aws.replace('+', "%20")),
            ("aws:s3", every_byte),
        ] {
            let message = message_with(|record| {
                record["eventSource"] = source.into();
                record["s3"]["object"]["key"] = encoded.into();
            });
            assert_eq!(only_event(&message).key, key);
        }
        let bridge = serde_json::json!({
            "detail-type": "Object Deleted", "source": "aws.s3", "time": "2026-11-03T09:15:27Z",
            "detail": { "bucket": { "name": "fruits" }, "object": { "key": key } },
        });
        let bridge = bridge.to_string();
        assert_eq!(only_event(bridge.as_bytes()).key, key);
        let wrapped = serde_json::json!({ "Type": "Notification", "Message": bridge }).to_string();
        assert_eq!(only_event(wrapped.as_bytes()).key, key);
    }
}

#[test]
fn a_bad_record_does_not_lose_its_siblings() {
    let mut message: serde_json::Value =
        serde_json::from_slice(&message_with(|_| {})).expect("JSON");
    let good = message["Records"][0].clone();
    let mut bad = good.clone();
    bad["s3"]["object"]["key"] = "100%-juice.jpg".into();
    message["Records"] = serde_json::json!([good, 7, bad, good]);
    let message = parse(message.to_string().as_bytes()).expect("a notification");
    let reasons: Vec<_> = message
        .records
        .iter()
        .map(|r| r.as_ref().map_or_else(EventError::reason, |_| "ok"))
        .collect();
    assert_eq!(reasons, ["ok", "missing-field", "bad-key-encoding", "ok"]);
}

#[test]
fn each_fault_of_a_record_has_its_own_reason() {
    let object = |record: &mut serde_json::Value, field: &str, value: serde_json::Value| {
        record["s3"]["object"][field] = value;
    };
    assert_eq!(
        reason_with(|r| r["eventVersion"] = "3.0".into()),
        "unsupported-version"
    );
    assert_eq!(
        reason_with(|r| r["eventVersion"] = "20.1".into()),
        "unsupported-version"
    );
    assert_eq!(
        reason_with(|r| r["eventSource"] = "aws:sqs".into()),
        "unknown-dialect"
    );
    assert_eq!(
        reason_with(|r| r["eventName"] = "ObjectFolded:Twice".into()),
        "unknown-event"
    );
    assert_eq!(
        reason_with(|r| r["eventTime"] = "yesterday".into()),
        "bad-time"
    );
    assert_eq!(
        reason_with(|r| r["s3"]["bucket"]["name"] = "".into()),
        "missing-field"
    );
    assert_eq!(
        reason_with(|r| object(r, "key", "".into())),
        "missing-field"
    );
    assert_eq!(reason_with(|r| object(r, "key", 5.into())), "bad-field");
    assert_eq!(
        reason_with(|r| object(r, "key", "%ff".into())),
        "bad-key-encoding"
    );
    assert_eq!(
        reason_with(|r| object(r, "key", "%+1".into())),
        "bad-key-encoding"
    );
    assert_eq!(
        reason_with(|r| object(r, "key", "k".repeat(1025).into())),
        "key-too-long"
    );
    assert_eq!(reason_with(|r| object(r, "size", (-1).into())), "bad-field");
    assert_eq!(
        reason_with(|r| object(r, "sequencer", "0x12".into())),
        "bad-sequencer"
    );
}

#[test]
fn each_fault_of_a_message_has_its_own_reason() {
    let reason = |message: &[u8]| parse(message).expect_err("a bad message").reason();
    assert_eq!(reason(b""), "not-json");
    assert_eq!(reason(b"\xff\xfe"), "not-json");
    assert_eq!(reason("[".repeat(100_000).as_bytes()), "not-json");
    assert_eq!(reason(b"[]"), "unknown-dialect");
    assert_eq!(reason(br#"{"hello":"world"}"#), "unknown-dialect");
    assert_eq!(reason(br#"{"Records":{}}"#), "unknown-dialect");
    assert_eq!(reason(br#"{"Message":"hello"}"#), "not-json");
    assert_eq!(
        reason(&vec![b' '; MESSAGE_BYTES_MAX + 1]),
        "message-too-large"
    );
    let many = serde_json::json!({ "Records": vec![0; RECORDS_MAX + 1] }).to_string();
    assert_eq!(reason(many.as_bytes()), "too-many-records");

    let wrap = |document: String| serde_json::json!({ "Message": document }).to_string();
    let mut wrapped = String::from_utf8(message_with(|_| {})).expect("JSON");
    for _ in 0..NESTING_MAX {
        wrapped = wrap(wrapped);
        assert_eq!(only_event(wrapped.as_bytes()).key, "a.jpg");
    }
    assert_eq!(reason(wrap(wrapped).as_bytes()), "nested-too-deep");
}

#[test]
fn fields_that_stores_add_or_spell_their_way_are_no_fault() {
    let event = only_event(&message_with(|record| {
        record["eventVersion"] = "2.99".into();
        record["newField"] = serde_json::json!({ "deep": [1, 2] });
        record["s3"]["object"]["eTag"] = "\"abc\"".into();
        record["s3"]["object"]["versionId"] = serde_json::Value::Null;
        record["s3"]["object"]["size"] = "".into();
    }));
    assert_eq!(
        (event.etag.as_deref(), event.version_id, event.size),
        (Some("abc"), None, None)
    );
}

#[test]
fn events_that_change_no_content_are_counted_and_skipped() {
    for name in [
        "ObjectRestore:Post",
        "ObjectTagging:Put",
        "ReducedRedundancyLostObject",
        "s3:ObjectAccessed:Get",
        "s3:ObjectCreated:PutTagging",
    ] {
        let message = parse(&message_with(|r| r["eventName"] = name.into())).expect("AWS");
        assert_eq!((message.unchanged, message.records.len()), (1, 0), "{name}");
    }
    let restored = only_event(&message_with(|r| {
        r["eventName"] = "ObjectRestore:Completed".into();
    }));
    assert_eq!(restored.change, Change::Created, "it can be read again");
    for name in [
        "s3:LifecycleExpiration:Delete",
        "s3:LifecycleExpiration:DeleteMarkerCreated",
    ] {
        let event = only_event(&message_with(|r| r["eventName"] = name.into()));
        assert_eq!(event.change, Change::Removed, "{name}");
    }
}

#[test]
fn a_subscription_to_sns_is_a_set_up_message() {
    let message =
        br#"{"Type":"SubscriptionConfirmation","Message":"You have chosen to subscribe"}"#;
    assert!(parse(message).expect("SNS").set_up);
}

#[test]
fn sequencers_of_different_lengths_compare_as_aws_defines() {
    let ascending = [
        "",
        "00",
        "0063C8",
        "0063c80ff1",
        "0063C80FF1CE707C44",
        "00A1",
        "1",
        "F",
    ];
    for pair in ascending.windows(2) {
        assert!(sequencer(pair[0]) <= sequencer(pair[1]), "{pair:?}");
    }
    assert!(sequencer("0063C8") < sequencer("0063C80FF1"));
    assert_eq!(sequencer("ab"), sequencer("AB000"));
    assert_eq!(sequencer(&"f".repeat(32)), sequencer(&"f".repeat(50)));
    assert_eq!(Version::sequencer_from_hex("0x1"), None);
}

#[test]
fn only_one_text_names_a_version() {
    for text in [
        "",
        "-",
        "0-0",
        "+000000000000000-00000000000000000000000000000000",
    ] {
        assert!(text.parse::<Version>().is_err(), "{text}");
    }
    let version = Version {
        time_ms: 1,
        sequencer: 0xAB,
    };
    assert!(
        version
            .to_string()
            .to_uppercase()
            .parse::<Version>()
            .is_err()
    );
}

fn any_version() -> impl Strategy<Value = Version> {
    (any::<i64>(), any::<u128>()).prop_map(|(time_ms, sequencer)| Version { time_ms, sequencer })
}

fn any_event() -> impl Strategy<Value = ObjectEvent> {
    let key = prop_oneof![
        ".{1,40}",
        "[ +%/&=?#\\\\\"é苹🍎\t]{1,40}",
        "(%[0-9A-F]{2}){1,9}"
    ];
    (
        (
            prop_oneof![Just(Change::Created), Just(Change::Removed)],
            "[a-z0-9.-]{3,63}",
            key,
        ),
        proptest::option::of("[0-9a-f]{32}(-[0-9]{1,4})?"),
        proptest::option::of("[A-Za-z0-9._]{1,32}"),
        any::<Option<u64>>(),
        (-62_167_219_200_000_i64..=253_402_300_799_999, any::<u128>()),
        prop_oneof![
            Just(Dialect::Aws),
            Just(Dialect::MinIo),
            Just(Dialect::Ceph)
        ],
    )
        .prop_map(
            |((change, bucket, key), etag, version_id, size, (time_ms, sequencer), dialect)| {
                let version = Version { time_ms, sequencer };
                ObjectEvent {
                    change,
                    bucket,
                    key,
                    etag,
                    version_id,
                    size,
                    version,
                    dialect,
                }
            },
        )
}

proptest! {
    #[test]
    fn what_is_rendered_parses_back(event in any_event()) {
        prop_assert_eq!(only_event(&render(&event)), event);
    }

    #[test]
    fn a_versions_text_orders_as_the_version(a in any_version(), b in any_version()) {
        prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        prop_assert_eq!(a.to_string().parse(), Ok(a));
    }

    #[test]
    fn a_version_without_bounds_renders_and_parses(version in any_version()) {
        let event = ObjectEvent { version, ..only_event(&message_with(|_| {})) };
        prop_assert_eq!(only_event(&render(&event)).version.sequencer, version.sequencer);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn arbitrary_texts_are_never_a_version_or_are_their_own(text in ".{0,60}") {
        if let Ok(version) = text.parse::<Version>() {
            prop_assert_eq!(version.to_string(), text);
        }
    }
}

/// A message of each shape: a notification, one in an envelope, a document of EventBridge.
fn own_samples() -> Vec<Vec<u8>> {
    let notification = message_with(|record| {
        record["s3"]["object"]["key"] = "a%2Bb+%C3%A9.jpg".into();
        record["s3"]["object"]["size"] = 4639.into();
    });
    let text = String::from_utf8(notification.clone()).expect("JSON");
    let envelope = serde_json::json!({ "Type": "Notification", "Message": text });
    let document = serde_json::json!({
        "source": "aws.s3", "detail-type": "Object Deleted", "time": "2026-11-03T09:15:27Z",
        "detail": { "bucket": { "name": "fruits" }, "object": { "key": "a+b é.jpg", "sequencer": "00B1" } },
    });
    let documents = [envelope, document].map(|document| document.to_string().into_bytes());
    [notification].into_iter().chain(documents).collect()
}

/// Flips, cuts, doubles and splices samples, and holds the parser to its bounds.
#[test]
fn mutated_samples_never_panic_and_what_reads_renders_back() {
    let mut samples = own_samples();
    if let Some(folder) = shared("events") {
        for entry in std::fs::read_dir(folder).expect("events folder") {
            samples.push(std::fs::read(entry.expect("entry").path()).expect("sample"));
        }
    }
    samples.sort();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let telling = b"\"{}[]:,\\%+0Aeu\xff\x00";
    let iterations = if cfg!(debug_assertions) {
        10_000
    } else {
        1_000_000
    };
    let (mut read, mut rejected) = (0, 0);
    for _ in 0..iterations {
        let mut message = samples[random(samples.len())].clone();
        for _ in 0..1 + random(4) {
            let at = random(message.len());
            match random(5) {
                0 if !message.is_empty() => message[at] ^= 1 << random(8),
                1 if !message.is_empty() => message[at] = telling[random(telling.len())],
                2 => message.truncate(at),
                3 => {
                    let end = at + random(message.len() - at);
                    let part = message[at..end].to_vec();
                    message.splice(at..at, part);
                }
                _ => {
                    let other = &samples[random(samples.len())];
                    message.truncate(at);
                    message.extend_from_slice(&other[random(other.len())..]);
                }
            }
        }
        match parse(&message) {
            Err(_) => rejected += 1,
            Ok(message) => {
                for event in message.records.into_iter().flatten() {
                    read += 1;
                    assert!((1..=KEY_BYTES_MAX).contains(&event.key.len()));
                    let again = only_event(&render(&event));
                    assert_eq!(
                        ObjectEvent {
                            dialect: event.dialect,
                            ..again
                        },
                        event
                    );
                }
            }
        }
    }
    assert!(
        read > 0 && rejected > 0,
        "the mutations should be neither harmless nor hopeless"
    );
}
