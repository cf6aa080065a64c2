//! Every backend keeps the same promises.

use std::sync::Arc;
use std::time::Duration;

use crate::real::real_s3;
use crate::support::{self, BUCKET, EmbeddedS3};
use aws_sdk_s3::presigning::PresigningConfig;
use bytes::Bytes;
use eigenflow::storage::{
    Credentials, FetchError, FolderUploads, S3Config, S3Store, S3Uploads, Uploads,
};
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};

/// Keys that are easily damaged on their way.
const AWKWARD_KEYS: [&str; 7] = [
    "keys/Apple Golden 1/with space.jpg",
    "keys/100%25 juice.jpg",
    "keys/a+b.jpg",
    "keys/pomme_é.jpg",
    "keys/苹果_🍎.jpg",
    "keys/a=b&c=d;e,f$g@h:i.jpg",
    "keys/no_extension",
];

// ---- our own objects: object_store backends ----

async fn a_store_keeps_its_promises(store: Arc<dyn ObjectStore>) {
    round_trips(&store).await;
    ranges_are_exact(&store).await;
    lists(&store).await;
    only_one_of_racing_creators_wins(&store).await;
    large_objects_arrive_whole(&store).await;
}

async fn round_trips(store: &Arc<dyn ObjectStore>) {
    let path = Path::from("round/trip é/a b.txt");
    let absent = store.get(&path).await.unwrap_err();
    assert!(matches!(absent, Error::NotFound { .. }), "{absent}");
    let absent = store.head(&path).await.unwrap_err();
    assert!(matches!(absent, Error::NotFound { .. }), "{absent}");
    for text in ["first", "", "second"] {
        store.put(&path, text.into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), text);
        assert_eq!(store.head(&path).await.unwrap().size, text.len() as u64);
    }
    let create = store
        .put_opts(&path, "third".into(), PutMode::Create.into())
        .await
        .unwrap_err();
    assert!(matches!(create, Error::AlreadyExists { .. }), "{create}");
    let copy = Path::from("round/copy");
    store.copy(&path, &copy).await.unwrap();
    assert_eq!(
        store.get(&copy).await.unwrap().bytes().await.unwrap(),
        "second"
    );
    store.delete(&path).await.unwrap();
    assert!(matches!(
        store.get(&path).await,
        Err(Error::NotFound { .. })
    ));
}

async fn ranges_are_exact(store: &Arc<dyn ObjectStore>) {
    let path = Path::from("ranges/x");
    let bytes: Vec<u8> = (0..=255).collect();
    store.put(&path, bytes.clone().into()).await.unwrap();
    for (start, end) in [(0, 1), (10, 20), (255, 256), (0, 256)] {
        let got = store.get_range(&path, start..end).await.unwrap();
        assert_eq!(got, bytes[start as usize..end as usize]);
    }
    let parts = store.get_ranges(&path, &[3..5, 100..101]).await.unwrap();
    assert_eq!(parts, [Bytes::from(vec![3, 4]), Bytes::from(vec![100])]);
}

async fn lists(store: &Arc<dyn ObjectStore>) {
    for name in ["l/a/1", "l/a/2", "l/b/c/3", "l/4", "lx/5"] {
        store.put(&Path::from(name), "x".into()).await.unwrap();
    }
    let names = |metas: Vec<object_store::ObjectMeta>| {
        let mut names: Vec<_> = metas
            .into_iter()
            .map(|meta| meta.location.to_string())
            .collect();
        names.sort();
        names
    };
    let prefix = Path::from("l");
    let all = store.list(Some(&prefix)).try_collect().await.unwrap();
    assert_eq!(names(all), ["l/4", "l/a/1", "l/a/2", "l/b/c/3"]);
    let after = store.list_with_offset(Some(&prefix), &Path::from("l/a/1"));
    assert_eq!(
        names(after.try_collect().await.unwrap()),
        ["l/a/2", "l/b/c/3"]
    );
    let level = store.list_with_delimiter(Some(&prefix)).await.unwrap();
    assert_eq!(names(level.objects), ["l/4"]);
    let mut folders = level.common_prefixes;
    folders.sort();
    assert_eq!(folders, [Path::from("l/a"), Path::from("l/b")]);
}

async fn only_one_of_racing_creators_wins(store: &Arc<dyn ObjectStore>) {
    for round in 0..10 {
        let path = Path::from(format!("race/{round}"));
        let rivals = (0..8).map(|rival| {
            let (store, path) = (Arc::clone(store), path.clone());
            tokio::spawn(async move {
                let body = format!("rival {rival}").into();
                store.put_opts(&path, body, PutMode::Create.into()).await
            })
        });
        let results = futures::future::join_all(rivals).await;
        let mut winners = Vec::new();
        for (rival, result) in results.into_iter().enumerate() {
            match result.unwrap() {
                Ok(_) => winners.push(rival),
                Err(Error::AlreadyExists { .. }) => {}
                Err(error) => panic!("rival {rival}: {error}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        let body = store.get(&path).await.unwrap().bytes().await.unwrap();
        assert_eq!(body, format!("rival {}", winners[0]));
    }
}

async fn large_objects_arrive_whole(store: &Arc<dyn ObjectStore>) {
    // More than one part, the last one short.
    let bytes: Vec<u8> = (0..(40u32 << 20) + 7)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let path = Path::from("large/x");
    store.put(&path, bytes.clone().into()).await.unwrap();
    assert!(store.get(&path).await.unwrap().bytes().await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_a_store() {
    a_store_keeps_its_promises(Arc::new(InMemory::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_folder_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    a_store_keeps_its_promises(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_s3_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let server = EmbeddedS3::start(folder.path()).await;
    a_store_keeps_its_promises(Arc::new(S3Store::new(server.client(), BUCKET))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_s3_is_a_store() {
    if let Some((client, bucket)) = real_s3().await {
        a_store_keeps_its_promises(Arc::new(S3Store::new(client, bucket))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undecided_conditional_write_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = EmbeddedS3::start(folder.path()).await;
    let store = S3Store::new(server.client(), BUCKET);
    let mut conflicts = 2;
    server.set_fault(move |method, _| {
        (method == "PUT" && conflicts > 0).then(|| {
            conflicts -= 1;
            409
        })
    });
    let path = Path::from("x");
    store
        .put_opts(&path, "mine".into(), PutMode::Create.into())
        .await
        .unwrap();
    let again = store
        .put_opts(&path, "late".into(), PutMode::Create.into())
        .await
        .unwrap_err();
    assert!(matches!(again, Error::AlreadyExists { .. }), "{again}");
}

// ---- other people's objects ----

async fn uploads_keep_their_promises(uploads: &dyn Uploads, bucket: &str) {
    keys_are_verbatim(uploads, bucket).await;
    tags_follow_the_bytes(uploads, bucket).await;
    limits_hold(uploads, bucket).await;
    listings_are_complete_and_resumable(uploads, bucket).await;
    a_missing_bucket_is_not_an_empty_one(uploads).await;
}

async fn keys_are_verbatim(uploads: &dyn Uploads, bucket: &str) {
    for key in AWKWARD_KEYS {
        uploads.put(bucket, key, key.into()).await.unwrap();
    }
    for key in AWKWARD_KEYS {
        let upload = uploads.get(bucket, key, 1000).await.unwrap();
        assert_eq!((upload.bytes, &*upload.meta.key), (Bytes::from(key), key));
    }
    let mut wanted = AWKWARD_KEYS.to_vec();
    wanted.sort_unstable();
    let listed: Vec<_> = uploads
        .list(bucket, "keys/", None)
        .try_collect()
        .await
        .unwrap();
    let listed: Vec<_> = listed.iter().map(|meta| meta.key.as_str()).collect();
    assert_eq!(listed, wanted);
}

async fn tags_follow_the_bytes(uploads: &dyn Uploads, bucket: &str) {
    let key = "tags/x";
    assert_eq!(uploads.head(bucket, key).await, Ok(None));
    let absent = uploads.get(bucket, key, 10).await;
    assert_eq!(
        absent,
        Err(FetchError::NotFound {
            object: format!("s3://{bucket}/{key}")
        })
    );

    let first = uploads.put(bucket, key, "a".into()).await.unwrap().etag;
    let second = uploads.put(bucket, key, "b".into()).await.unwrap().etag;
    assert_ne!(first, second);
    assert!(!first.is_empty() && !first.contains('"'), "{first}");
    let read = uploads.get(bucket, key, 10).await.unwrap().meta;
    assert_eq!((&read.etag, read.size), (&second, 1));
    assert!(read.last_modified_ms > 1_700_000_000_000);
    let head = uploads.head(bucket, key).await.unwrap().unwrap();
    assert_eq!((&head.etag, head.size), (&second, 1));
    let listed: Vec<_> = uploads.list(bucket, key, None).try_collect().await.unwrap();
    assert_eq!(
        listed.iter().map(|meta| &meta.etag).collect::<Vec<_>>(),
        [&second]
    );
    assert_eq!(
        uploads.put(bucket, key, "a".into()).await.unwrap().etag,
        first
    );

    uploads.delete(bucket, key).await.unwrap();
    uploads.delete(bucket, key).await.unwrap();
    assert_eq!(uploads.head(bucket, key).await, Ok(None));
}

async fn limits_hold(uploads: &dyn Uploads, bucket: &str) {
    let key = "limits/x";
    uploads
        .put(bucket, key, vec![7; 1000].into())
        .await
        .unwrap();
    assert_eq!(
        uploads.get(bucket, key, 1000).await.unwrap().bytes.len(),
        1000
    );
    let object = format!("s3://{bucket}/{key}");
    assert_eq!(
        uploads.get(bucket, key, 999).await,
        Err(FetchError::TooLarge {
            object,
            bytes: 1000,
            limit: 999
        })
    );
    uploads
        .put(bucket, "limits/empty", Bytes::new())
        .await
        .unwrap();
    assert!(
        uploads
            .get(bucket, "limits/empty", 0)
            .await
            .unwrap()
            .bytes
            .is_empty()
    );
}

async fn listings_are_complete_and_resumable(uploads: &dyn Uploads, bucket: &str) {
    let mut keys: Vec<_> = (0..1_100).map(|i| format!("many/{i}")).collect();
    // Around the slash: '!' and '.' sort before it, '0' behind.
    keys.extend(["many.a", "many/a/b", "many/a.jpg", "many/a!", "many0"].map(String::from));
    for key in &keys {
        uploads.put(bucket, key, Bytes::new()).await.unwrap();
    }
    keys.sort();
    let list = async |prefix, after| {
        let metas: Vec<_> = uploads
            .list(bucket, prefix, after)
            .try_collect()
            .await
            .unwrap();
        metas.into_iter().map(|meta| meta.key).collect::<Vec<_>>()
    };
    // SeaweedFS lists folder by folder, AWS and the others in the byte order of the keys.
    let all = list("many", None).await;
    let mut sorted = all.clone();
    sorted.sort();
    assert_eq!(sorted, keys);
    for at in [0, 700, 999, 1000] {
        assert_eq!(
            list("many", Some(all[at].as_str())).await,
            all[at + 1..],
            "after {}",
            all[at]
        );
    }
    let mut some = list("many/a", None).await;
    some.sort();
    assert_eq!(some, ["many/a!", "many/a.jpg", "many/a/b"]);
    assert!(list("nothing/here", None).await.is_empty());
}

async fn a_missing_bucket_is_not_an_empty_one(uploads: &dyn Uploads) {
    let first = uploads.list("no-such-bucket", "", None).next().await;
    assert!(
        matches!(first, Some(Err(FetchError::Denied { .. }))),
        "{first:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_folder_holds_uploads() {
    let folder = tempfile::tempdir().unwrap();
    let uploads = FolderUploads::new(BUCKET, folder.path()).unwrap();
    uploads_keep_their_promises(&uploads, BUCKET).await;
    let listed: Vec<_> = uploads.list(BUCKET, "", None).try_collect().await.unwrap();
    assert!(listed.is_sorted_by(|a, b| a.key < b.key));
    let other = uploads.get("other", "x", 10).await;
    assert!(matches!(other, Err(FetchError::Denied { .. })), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_s3_holds_uploads() {
    let folder = tempfile::tempdir().unwrap();
    let server = EmbeddedS3::start(folder.path()).await;
    uploads_keep_their_promises(&S3Uploads::new(server.client()), BUCKET).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_s3_holds_uploads() {
    if let Some((client, bucket)) = real_s3().await {
        let uploads = S3Uploads::new(client);
        uploads_keep_their_promises(&uploads, &bucket).await;
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_never_left() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "a").unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), folder.path().join("file")).unwrap();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("circle")).unwrap();
    let uploads = FolderUploads::new(BUCKET, folder.path()).unwrap();
    let secret = outside.path().join("secret");
    let up = format!(
        "../{}/secret",
        outside.path().file_name().unwrap().display()
    );
    for key in [
        "link/secret",
        "file",
        "circle/a",
        &up,
        "./a",
        "a/../a",
        "//a",
        "",
        secret.to_str().unwrap(),
    ] {
        let got = uploads.get(BUCKET, key, 100).await;
        let refused = matches!(
            got,
            Err(FetchError::NotFound { .. } | FetchError::Invalid { .. })
        );
        assert!(refused, "{key}: {got:?}");
    }
    let put = uploads.put(BUCKET, "link/new", "x".into()).await;
    assert!(matches!(put, Err(FetchError::Denied { .. })), "{put:?}");
    assert!(!outside.path().join("new").exists());
    let listed: Vec<_> = uploads.list(BUCKET, "", None).try_collect().await.unwrap();
    assert_eq!(
        listed.iter().map(|meta| &*meta.key).collect::<Vec<_>>(),
        ["a"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_sorted_by_whether_waiting_helps() {
    let folder = tempfile::tempdir().unwrap();
    let server = EmbeddedS3::start(folder.path()).await;
    let uploads = S3Uploads::new(server.client());
    uploads.put(BUCKET, "x", "x".into()).await.unwrap();
    for (status, transient) in [
        (500, true),
        (503, true),
        (429, true),
        (408, true),
        (403, false),
        (400, false),
    ] {
        server.set_fault(move |_, _| Some(status));
        let error = uploads.get(BUCKET, "x", 10).await.unwrap_err();
        assert_eq!(error.is_transient(), transient, "{status}: {error}");
        assert!(error.to_string().contains("s3://landing/x"), "{error}");
    }
    let client = server.client();
    drop(server);
    // Nobody answers any more.
    let error = S3Uploads::new(client)
        .get(BUCKET, "x", 10)
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn buckets_are_in_the_path_or_in_the_host_and_no_checksum_is_sent_unasked() {
    let styles = [
        (
            "http://store.example:9000",
            None,
            "http://store.example:9000/landing/k?",
        ),
        (
            "http://store.example:9000",
            Some(false),
            "http://landing.store.example:9000/k?",
        ),
        (
            "https://s3.eu-west-1.amazonaws.com",
            Some(false),
            "https://landing.s3.eu-west-1.amazonaws.com/k?",
        ),
    ];
    for (endpoint, path_style, expected) in styles {
        let credentials = Credentials {
            access_key: "any".to_owned(),
            secret_key: "any".to_owned(),
        };
        let config = S3Config {
            endpoint: Some(endpoint.to_owned()),
            region: Some("eu-west-1".to_owned()),
            path_style,
            credentials: Some(credentials),
        };
        let client = config.client().await.unwrap();
        let hour = PresigningConfig::expires_in(Duration::from_secs(3600)).unwrap();
        let put = client
            .put_object()
            .bucket(BUCKET)
            .key("k")
            .body(Bytes::from("x").into());
        let request = put.presigned(hour).await.unwrap();
        assert!(request.uri().starts_with(expected), "{}", request.uri());
        let mut headers = request.headers().map(|(name, _)| name);
        assert!(!headers.any(|name| name.contains("checksum")));
        assert!(!request.uri().contains("checksum"), "{}", request.uri());
    }
}

/// A server that answers every request with these bytes and hangs up.
async fn answering(answer: &'static str) -> S3Uploads {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 8192];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    S3Uploads::new(support::client(&endpoint, "any", "any"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_tried_again_and_never_taken_for_whole() {
    let uploads =
        answering("HTTP/1.1 200 OK\r\nContent-Length: 100\r\nETag: \"e\"\r\n\r\nhalf").await;
    let error = uploads.get("b", "k", 1000).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_flood_is_refused_before_it_comes() {
    let uploads = answering("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n").await;
    let error = uploads.get("b", "k", 1000).await.unwrap_err();
    let object = "s3://b/k".to_string();
    assert_eq!(
        error,
        FetchError::TooLarge {
            object,
            bytes: 1_000_000_000_000,
            limit: 1000
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unannounced_flood_is_cut_at_the_limit() {
    let flood = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n0123456789abcdef\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
    let error = answering(flood).await.get("b", "k", 20).await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::TooLarge {
                bytes: 21..=32,
                limit: 20,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_an_archived_object_and_a_wrong_clock_are_no_missing_objects() {
    let answer = |code: &str| -> &'static str {
        let body = format!("<Error><Code>{code}</Code></Error>");
        let status = if code == "NoSuchBucket" { 404 } else { 403 };
        let length = body.len();
        format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n{body}").leak()
    };
    let error = answering(answer("NoSuchBucket"))
        .await
        .get("b", "k", 1)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Denied { .. }), "{error}");
    for code in ["RequestTimeTooSkewed", "ExpiredToken"] {
        let error = answering(answer(code)).await.get("b", "k", 1).await;
        let error = error.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
    let error = answering(answer("InvalidObjectState"))
        .await
        .get("b", "k", 1)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Invalid { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_said_of_the_object_is_no_answer_about_it() {
    let get = async |answer: &'static str| answering(answer).await.get("b", "k", 1).await;
    let coded = |status: u16, code: &str| -> &'static str {
        let body = format!("<Error><Code>{code}</Code></Error>");
        let length = body.len();
        format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n{body}").leak()
    };
    // A proxy that has lost its store, and a store that says nothing more than that there is nothing.
    let proxy = "HTTP/1.1 404 Not Found\r\nContent-Length: 18\r\n\r\n404 page not found";
    let error = get(proxy).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    for absent in [
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        coded(404, "NoSuchKey"),
    ] {
        let error = get(absent).await.unwrap_err();
        assert!(matches!(error, FetchError::NotFound { .. }), "{error}");
    }
    let plain = "HTTP/1.1 400 Bad Request\r\nContent-Length: 48\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    for request in [plain, coded(400, "AuthorizationHeaderMalformed")] {
        let error = get(request).await.unwrap_err();
        assert!(matches!(error, FetchError::Denied { .. }), "{error}");
    }
    for object in [
        coded(400, "KeyTooLongError"),
        coded(400, "KMS.DisabledException"),
    ] {
        let error = get(object).await.unwrap_err();
        assert!(matches!(error, FetchError::Invalid { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_folder_that_is_gone_says_nothing_of_its_files() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("nas");
    std::fs::create_dir(&root).unwrap();
    let uploads = FolderUploads::new(BUCKET, &root).unwrap();
    let absent = uploads.get(BUCKET, "a", 10).await.unwrap_err();
    assert!(matches!(absent, FetchError::NotFound { .. }), "{absent}");
    std::fs::remove_dir(&root).unwrap();
    let lost = uploads.get(BUCKET, "a", 10).await.unwrap_err();
    assert!(matches!(lost, FetchError::Denied { .. }), "{lost}");
}
