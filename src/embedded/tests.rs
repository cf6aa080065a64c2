//! What the job and the tests rely on, asked over TCP with the production clients.

use crate::storage::Credentials;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::*;

const BUCKET: &str = "eigenflow";

struct Store {
    server: EmbeddedS3,
    client: Client,
    folder: tempfile::TempDir,
}

fn credentials() -> Credentials {
    Credentials {
        access_key: "demo".into(),
        secret_key: "demo-secret".into(),
    }
}

fn client(endpoint: &str, credentials: &Credentials) -> Client {
    let (access_key, secret_key) = (&credentials.access_key, &credentials.secret_key);
    let keys = aws_sdk_s3::config::Credentials::new(access_key, secret_key, None, None, "test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(keys)
        .force_path_style(true)
        .retry_config(RetryConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}

async fn store() -> Store {
    let folder = tempfile::tempdir().unwrap();
    let server = EmbeddedS3::start(folder.path(), &credentials()).unwrap();
    let client = client(server.endpoint(), &credentials());
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    Store {
        server,
        client,
        folder,
    }
}

impl Store {
    async fn put(&self, key: &str, body: &[u8]) -> String {
        let put = self.client.put_object().bucket(BUCKET).key(key);
        let put = put.body(ByteStream::from(body.to_vec())).send().await;
        put.unwrap().e_tag.unwrap()
    }

    async fn get(&self, key: &str) -> Result<GetObjectOutput, u16> {
        let got = self
            .client
            .get_object()
            .bucket(BUCKET)
            .key(key)
            .send()
            .await;
        got.map_err(|error| status(&error))
    }
}

async fn bytes(got: GetObjectOutput) -> Vec<u8> {
    got.body.collect().await.unwrap().to_vec()
}

fn status<E>(error: &SdkError<E>) -> u16 {
    error.raw_response().map_or(0, |r| r.status().as_u16())
}

const AWKWARD: &[&str] = &[
    "keys/Apple Golden 1/with space.jpg",
    "keys/100%25 juice.jpg",
    "keys/100% juice.jpg",
    "keys/one+one two.jpg",
    "keys/pomme_é.jpg",
    "keys/pomme_e\u{301}.jpg",
    "keys/苹果_🍎.jpg",
    "keys/no_extension",
    "keys/a=b&c=d;e,f$g@h:i.jpg",
    "keys/tab\there.jpg",
    "keys/quote'\"<>&amp;.jpg",
    "keys/~(a)!*#?.jpg",
];

#[tokio::test(flavor = "multi_thread")]
async fn awkward_keys_are_kept_verbatim_in_object_file_and_listing() {
    let store = store().await;
    for key in AWKWARD {
        store.put(key, key.as_bytes()).await;
    }
    for key in AWKWARD {
        let got = store.get(key).await.unwrap();
        assert_eq!(bytes(got).await, key.as_bytes(), "{key:?}");
        let on_disk = std::fs::read(store.folder.path().join(BUCKET).join(key)).unwrap();
        assert_eq!(on_disk, key.as_bytes(), "{key:?}");
    }
    let listed = store
        .client
        .list_objects_v2()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    let listed: Vec<&str> = listed.contents().iter().filter_map(|o| o.key()).collect();
    let mut expected = AWKWARD.to_vec();
    expected.sort_unstable();
    assert_eq!(listed, expected, "in the order of their UTF-8 bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_a_folder_cannot_hold_are_refused_and_change_nothing() {
    let store = store().await;
    let long = "k".repeat(200);
    for key in ["a//b", "a/./b", "a/../b", "/a", long.as_str()] {
        let put = store.client.put_object().bucket(BUCKET).key(key);
        let error = put
            .body(ByteStream::from_static(b"x"))
            .send()
            .await
            .unwrap_err();
        assert_eq!(status(&error), 400, "{key}: {error:?}");
    }
    let longest = "k".repeat(150);
    store.put(&longest, b"x").await;
    let left = store
        .client
        .list_objects_v2()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(left.key_count(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_etag_is_the_md5_wherever_it_is_told() {
    const MD5_OF_HELLO: &str = "\"5d41402abc4b2a76b9719d911017c592\"";
    let store = store().await;
    assert_eq!(store.put("a/hello", b"hello").await, MD5_OF_HELLO);
    assert_eq!(
        store.get("a/hello").await.unwrap().e_tag(),
        Some(MD5_OF_HELLO)
    );
    let head = store
        .client
        .head_object()
        .bucket(BUCKET)
        .key("a/hello")
        .send()
        .await
        .unwrap();
    assert_eq!(head.e_tag(), Some(MD5_OF_HELLO));
    // A file that nobody uploaded is an object all the same.
    std::fs::write(store.folder.path().join(BUCKET).join("a/by hand"), b"hello").unwrap();
    let listed = store
        .client
        .list_objects_v2()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    let etags: Vec<_> = listed.contents().iter().filter_map(|o| o.e_tag()).collect();
    assert_eq!(etags, [MD5_OF_HELLO, MD5_OF_HELLO]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_conditional_creations_one_wins() {
    let store = store().await;
    for round in 0..15 {
        let key = format!("table/_delta_log/{round:020}.json");
        let writers = (0..8).map(|writer| {
            let put = store
                .client
                .put_object()
                .bucket(BUCKET)
                .key(&key)
                .if_none_match("*");
            let body = ByteStream::from(format!("writer {writer}").into_bytes());
            tokio::spawn(put.body(body).send())
        });
        let mut winners = Vec::new();
        for (writer, put) in writers.collect::<Vec<_>>().into_iter().enumerate() {
            match put.await.unwrap() {
                Ok(_) => winners.push(writer),
                Err(error) => assert_eq!(status(&error), 412, "{error:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        let kept = bytes(store.get(&key).await.unwrap()).await;
        assert_eq!(kept, format!("writer {}", winners[0]).into_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_overwrite_needs_the_current_etag() {
    let store = store().await;
    let first = store.put("state", b"1").await;
    let put = |etag: &str| {
        let put = store
            .client
            .put_object()
            .bucket(BUCKET)
            .key("state")
            .if_match(etag);
        put.body(ByteStream::from_static(b"2")).send()
    };
    let second = put(&first).await.unwrap().e_tag.unwrap();
    let error = put(&first).await.unwrap_err();
    assert_eq!(status(&error), 412, "{error:?}");
    assert_eq!(error.code(), Some("PreconditionFailed"));
    assert_eq!(
        store.get("state").await.unwrap().e_tag(),
        Some(second.as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_read_answers_412_or_304() {
    let store = store().await;
    let old = store.put("a", b"1").await;
    let new = store.put("a", b"2").await;
    let get = || store.client.get_object().bucket(BUCKET).key("a");
    assert_eq!(status(&get().if_match(&old).send().await.unwrap_err()), 412);
    assert_eq!(
        bytes(get().if_match(&new).send().await.unwrap()).await,
        b"2"
    );
    assert_eq!(
        status(&get().if_none_match(&new).send().await.unwrap_err()),
        304
    );
    assert_eq!(
        bytes(get().if_none_match(&old).send().await.unwrap()).await,
        b"2"
    );
    let head = store
        .client
        .head_object()
        .bucket(BUCKET)
        .key("a")
        .if_match(&old);
    assert_eq!(status(&head.send().await.unwrap_err()), 412);
}

#[tokio::test(flavor = "multi_thread")]
async fn body_and_etag_belong_together_while_an_object_is_overwritten() {
    let store = store().await;
    let etags = [
        store.put("a", &[0; 9000]).await,
        store.put("a", &[1; 9000]).await,
    ];
    let writing = {
        let client = store.client.clone();
        tokio::spawn(async move {
            for round in 0..60u8 {
                let put = client.put_object().bucket(BUCKET).key("a");
                put.body(ByteStream::from(vec![round % 2; 9000]))
                    .send()
                    .await
                    .unwrap();
            }
        })
    };
    let mut reads = 0;
    while !writing.is_finished() {
        let got = store.get("a").await.unwrap();
        let etag = got.e_tag().unwrap().to_owned();
        let body = bytes(got).await;
        assert_eq!(body, vec![body[0]; 9000]);
        assert_eq!(etag, etags[usize::from(body[0])]);
        reads += 1;
    }
    writing.await.unwrap();
    assert!(reads > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_served() {
    let store = store().await;
    store.put("digits", b"0123456789").await;
    for (range, expected) in [
        ("bytes=2-4", "234"),
        ("bytes=7-", "789"),
        ("bytes=-2", "89"),
        ("bytes=8-99", "89"),
    ] {
        let got = store
            .client
            .get_object()
            .bucket(BUCKET)
            .key("digits")
            .range(range)
            .send()
            .await
            .unwrap();
        assert_eq!(bytes(got).await, expected.as_bytes(), "{range}");
    }
    let beyond = store
        .client
        .get_object()
        .bucket(BUCKET)
        .key("digits")
        .range("bytes=10-");
    assert_eq!(status(&beyond.send().await.unwrap_err()), 416);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_comes_in_pages_without_gaps_or_repeats() {
    let store = store().await;
    let keys: Vec<String> = (0..25).map(|i| format!("p/{}/{i:02}", i % 3)).collect();
    for key in &keys {
        store.put(key, b"x").await;
    }
    store.put("q/other", b"x").await;
    let mut pages = store
        .client
        .list_objects_v2()
        .bucket(BUCKET)
        .prefix("p/")
        .max_keys(10)
        .into_paginator()
        .send();
    let (mut sizes, mut listed) = (Vec::new(), Vec::new());
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        sizes.push(page.contents().len());
        listed.extend(
            page.contents()
                .iter()
                .filter_map(|o| o.key().map(str::to_owned)),
        );
    }
    let mut expected = keys.clone();
    expected.sort();
    assert_eq!(listed, expected);
    assert_eq!(sizes, [10, 10, 5]);
    let folders = store
        .client
        .list_objects_v2()
        .bucket(BUCKET)
        .prefix("p/")
        .delimiter("/")
        .send()
        .await
        .unwrap();
    let folders: Vec<_> = folders
        .common_prefixes()
        .iter()
        .filter_map(|p| p.prefix())
        .collect();
    assert_eq!(folders, ["p/0/", "p/1/", "p/2/"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_or_a_folder_is_not_found() {
    let store = store().await;
    store.put("a/b", b"x").await;
    assert_eq!(store.get("a").await.unwrap_err(), 404);
    let head = store
        .client
        .head_object()
        .bucket(BUCKET)
        .key("a")
        .send()
        .await;
    assert_eq!(status(&head.unwrap_err()), 404);
    for _ in 0..2 {
        store
            .client
            .delete_object()
            .bucket(BUCKET)
            .key("a/b")
            .send()
            .await
            .unwrap();
        assert_eq!(store.get("a/b").await.unwrap_err(), 404);
    }
    assert_eq!(
        store.put("a/b", b"y").await,
        "\"415290769594460e2e485922904f345d\""
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_go_up_in_parts() {
    let store = store().await;
    let client = &store.client;
    let upload = client
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("big")
        .send()
        .await
        .unwrap();
    let id = upload.upload_id.unwrap();
    let parts = [vec![1u8; 5 * 1024 * 1024], vec![2u8; 100]];
    let mut completed = CompletedMultipartUpload::builder();
    for (number, part) in (1..).zip(&parts) {
        let sent = client
            .upload_part()
            .bucket(BUCKET)
            .key("big")
            .upload_id(&id)
            .part_number(number);
        let etag = sent
            .body(ByteStream::from(part.clone()))
            .send()
            .await
            .unwrap()
            .e_tag
            .unwrap();
        completed = completed.parts(
            CompletedPart::builder()
                .part_number(number)
                .e_tag(etag)
                .build(),
        );
    }
    let finish = client
        .complete_multipart_upload()
        .bucket(BUCKET)
        .key("big")
        .upload_id(&id);
    finish
        .multipart_upload(completed.build())
        .send()
        .await
        .unwrap();
    let got = store.get("big").await.unwrap();
    assert!(got.e_tag().unwrap().ends_with("-2\""));
    assert_eq!(bytes(got).await, parts.concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_signature_and_an_unsigned_request_are_refused() {
    let store = store().await;
    store.put("a", b"x").await;
    let wrong = Credentials {
        secret_key: "guessed".into(),
        ..credentials()
    };
    let get = client(store.server.endpoint(), &wrong)
        .get_object()
        .bucket(BUCKET)
        .key("a")
        .send()
        .await;
    assert_eq!(status(&get.unwrap_err()), 403);
    let address = store
        .server
        .endpoint()
        .trim_start_matches("http://")
        .to_owned();
    let answer = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        let request = format!("GET /{BUCKET}/a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(!format!("{:?}", credentials()).contains("demo-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_hold_only_plain_objects_and_survive_a_restart() {
    let store = store().await;
    let etag = store.put("table/part-0.parquet", b"PAR1").await;
    let Store { server, folder, .. } = store;
    server.shutdown().unwrap();
    let names = |path: &std::path::Path| {
        let entries = std::fs::read_dir(path).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&folder.path().join(BUCKET)), ["table"]);
    assert_eq!(
        names(&folder.path().join(BUCKET).join("table")),
        ["part-0.parquet"]
    );
    for beside in names(folder.path()) {
        assert!(
            beside == BUCKET || beside.starts_with(".bucket-"),
            "{beside}"
        );
    }
    let server = EmbeddedS3::start(folder.path(), &credentials()).unwrap();
    let client = client(server.endpoint(), &credentials());
    let got = client
        .get_object()
        .bucket(BUCKET)
        .key("table/part-0.parquet")
        .if_match(etag);
    assert_eq!(bytes(got.send().await.unwrap()).await, b"PAR1");
}

#[test]
fn a_root_that_is_a_file_is_refused_with_a_cure() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = EmbeddedS3::start(file.path(), &credentials())
        .err()
        .unwrap();
    assert!(error.to_string().contains("--out"), "{error}");
}

#[test]
fn events_produced_are_consumed_in_order_from_each_partition() {
    let kafka = EmbeddedKafka::start("uploads", 3).unwrap();
    let timeout = Duration::from_secs(30);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .create()
        .unwrap();
    for i in 0..30 {
        let payload = i.to_string();
        let record = BaseRecord::<(), _>::to("uploads")
            .partition(i % 3)
            .payload(&payload);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(timeout).unwrap();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .set("group.id", "test")
        .create()
        .unwrap();
    for partition in 0..3 {
        assert_eq!(
            consumer
                .fetch_watermarks("uploads", partition, timeout)
                .unwrap(),
            (0, 10)
        );
    }
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset("uploads", 1, Offset::Offset(4))
        .unwrap();
    consumer.assign(&assignment).unwrap();
    for offset in 4..10 {
        let message = consumer.poll(timeout).expect("a message in time").unwrap();
        assert_eq!(message.offset(), offset);
        assert_eq!(
            message.payload().unwrap(),
            (offset * 3 + 1).to_string().as_bytes()
        );
    }
}

#[test]
fn a_topic_without_partitions_is_refused() {
    assert!(EmbeddedKafka::start("uploads", 0).is_err());
}

#[test]
fn enough_partitions_are_advised_to_keep_every_message() {
    assert_eq!(EmbeddedKafka::partitions_for(0, 0), 1);
    assert_eq!(EmbeddedKafka::partitions_for(70_000, 1), 1);
    assert_eq!(EmbeddedKafka::partitions_for(1_000_000, 1), 14);
    assert_eq!(EmbeddedKafka::partitions_for(70_000, 70_000 * 600), 11);
}
