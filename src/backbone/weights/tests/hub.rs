//! The hub, played by a server of a few lines that can also misbehave.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;

/// What the server answers: status and headers, then the body.
type Answer = (String, Vec<u8>);

fn answer(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    (
        format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n"),
        body.to_vec(),
    )
}

fn whole(body: &[u8]) -> Answer {
    answer(
        "200 OK",
        &[("Content-Length", &body.len().to_string())],
        body,
    )
}

struct Hub {
    endpoint: String,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    /// Answers each path by `answers` until the test's process ends.
    fn start(answers: impl Fn(&str) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let paths = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&paths);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let request = lines.next().unwrap().unwrap();
                lines
                    .take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()))
                    .for_each(drop);
                let path = request.split(' ').nth(1).unwrap().to_owned();
                let (head, body) = answers(&path);
                seen.lock().unwrap().push(path);
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(&body).unwrap();
            }
        });
        Self { endpoint, paths }
    }

    fn source(&self) -> Source {
        Source::Hub {
            endpoint: Some(self.endpoint.clone()),
            repo: "timm/resnet34.tv_in1k".into(),
            file: "model.safetensors".into(),
        }
    }
}

/// The message of a fetch that must fail, and must leave nothing behind.
fn refusal(hub: &Hub, name: &str) -> String {
    let cache = tempfile::tempdir().unwrap();
    let error = get(name, &hub.source(), cache.path(), &silent).unwrap_err();
    assert!(matches!(error, WeightsError::Unavailable { .. }), "{error}");
    assert_eq!(files_below(cache.path()), Vec::<String>::new());
    let message = error.to_string();
    assert!(message.contains("ways to get them"), "{message}");
    message
}

#[test]
fn first_download_is_recorded_and_later_loads_are_held_to_it() {
    let bytes = miniature_resnet34();
    let hash = sha256(&bytes);
    let body = bytes.clone();
    let hub = Hub::start(move |path| match path {
        "/timm/resnet34.tv_in1k/resolve/main/model.safetensors" => answer(
            "302 Found",
            &[
                ("Location", "/cdn/blob"),
                ("X-Linked-Etag", &format!("\"{}\"", sha256(&body))),
                ("Content-Length", "0"),
            ],
            b"",
        ),
        _ => whole(&body),
    });
    let cache = tempfile::tempdir().unwrap();
    let weights = get("resnet34", &hub.source(), cache.path(), &silent).unwrap();
    assert_eq!(
        (weights.sha256.as_str(), weights.bytes()),
        (hash.as_str(), bytes.as_slice())
    );
    assert_eq!(weights.network.to_string(), "ResNet-34 v1.5");
    assert_eq!(hub.paths.lock().unwrap().len(), 2);

    let json = fs::read(cache.path().join("eigenflow/weights/resnet34.json")).unwrap();
    let record: Record = serde_json::from_slice(&json).unwrap();
    assert_eq!((record.sha256, record.pinned), (hash, false));
    assert!(
        record.source.contains("timm/resnet34.tv_in1k"),
        "{}",
        record.source
    );

    get("resnet34", &hub.source(), cache.path(), &silent).unwrap();
    assert_eq!(
        hub.paths.lock().unwrap().len(),
        2,
        "what is cached is not fetched again"
    );

    let other = miniature_resnet([3, 4, 6, 3], false, Some(("strides", "v1.5")));
    fs::write(
        cache.path().join("eigenflow/weights/resnet34.safetensors"),
        other,
    )
    .unwrap();
    let error = load("resnet34", cache.path()).unwrap_err();
    assert!(matches!(error, WeightsError::Corrupt { .. }), "{error}");
}

#[test]
fn download_that_breaks_off_leaves_nothing() {
    let bytes = miniature_resnet34();
    let hub = Hub::start(move |_| {
        answer(
            "200 OK",
            &[("Content-Length", &bytes.len().to_string())],
            &bytes[..bytes.len() / 2],
        )
    });
    let message = refusal(&hub, "resnet34");
    assert!(
        message.contains("/resolve/main/model.safetensors"),
        "{message}"
    );
}

/// Without a declared length the transport can't tell; the file itself can.
#[test]
fn short_download_of_unknown_length_is_refused() {
    let bytes = miniature_resnet34();
    let hub = Hub::start(move |_| answer("200 OK", &[], &bytes[..bytes.len() - 3]));
    let message = refusal(&hub, "resnet34");
    assert!(message.contains("no whole safetensors file"), "{message}");
}

#[test]
fn missing_repository_is_said_to_be_missing() {
    let hub = Hub::start(|_| answer("404 Not Found", &[("Content-Length", "0")], b""));
    let message = refusal(&hub, "resnet34");
    assert!(
        message.contains("404 Not Found: no such repository or file"),
        "{message}"
    );
}

#[test]
fn download_that_is_not_what_the_hub_declared_is_refused() {
    let bytes = miniature_resnet34();
    let hub = Hub::start(move |_| {
        let length = bytes.len().to_string();
        answer(
            "200 OK",
            &[
                ("Content-Length", &length),
                ("X-Linked-Etag", &format!("\"{}\"", "ab".repeat(32))),
            ],
            &bytes,
        )
    });
    let message = refusal(&hub, "resnet34");
    assert!(
        message.contains(&format!("expected {}", "ab".repeat(32))),
        "{message}"
    );
}

#[test]
fn pinned_name_refuses_what_a_hub_has_instead() {
    let bytes = miniature_resnet([2, 2, 2, 2], false, None);
    let hub = Hub::start(move |_| whole(&bytes));
    let message = refusal(&hub, "resnet18");
    assert!(message.contains("expected 5d7faa9a"), "{message}");
}

#[test]
fn another_network_and_no_network_at_all_are_refused() {
    let bytes = miniature_resnet([2, 2, 2, 2], false, None);
    let hub = Hub::start(move |_| whole(&bytes));
    let message = refusal(&hub, "resnet34");
    assert!(
        message.contains("holds ResNet-18 v1.5, not ResNet-34 v1.5"),
        "{message}"
    );
    let hub = Hub::start(|_| whole(b"<html>a captive portal</html>"));
    let message = refusal(&hub, "resnet34");
    assert!(message.contains("no whole safetensors file"), "{message}");
}

#[test]
fn circle_of_redirects_ends() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let hub = Hub::start(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        answer(
            "302 Found",
            &[("Location", "/again"), ("Content-Length", "0")],
            b"",
        )
    });
    let message = refusal(&hub, "resnet34");
    assert!(message.contains("too many redirects"), "{message}");
    assert!(asked.load(Ordering::Relaxed) < 20);
}

#[test]
fn unreachable_hub_names_the_other_ways() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let hub = Hub {
        endpoint: format!("http://{closed}"),
        paths: Arc::default(),
    };
    let message = refusal(&hub, "resnet34");
    assert!(
        message.contains("--from FILE") && message.contains("HF_ENDPOINT"),
        "{message}"
    );
}

/// A caller may sit on an async runtime: the download must not care.
#[test]
fn fetching_works_within_a_runtime() {
    let bytes = miniature_resnet34();
    let hub = Hub::start(move |_| whole(&bytes));
    let cache = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let weights = runtime.block_on(async { get("resnet34", &hub.source(), cache.path(), &silent) });
    assert_eq!(weights.unwrap().name, "resnet34");
}
