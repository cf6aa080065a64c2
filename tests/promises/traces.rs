//! What a collector of traces is told: each epoch once, whole, from all processes. And what the job loses by one that fails: nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::world::{Layout, SMALL_EPOCHS, World, picture};

/// A span as it arrived.
#[derive(Clone, Debug)]
struct Span {
    trace: String,
    id: String,
    parent: Option<String>,
    name: String,
    /// In ns since 1970 UTC.
    began: u64,
    ended: u64,
    /// Its own, and those of its process.
    attributes: BTreeMap<String, Value>,
}

impl Span {
    fn count(&self, name: &str) -> i64 {
        let number = &self.attributes[name]["intValue"];
        let number = number.as_str().expect("64 bits are a text in JSON");
        number.parse().expect("a number")
    }
}

/// The attributes of a resource or a span.
fn attributes(of: &Value) -> BTreeMap<String, Value> {
    let list = of["attributes"].as_array().expect("attributes").iter();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    list.map(|attribute| (text(&attribute["key"]), attribute["value"].clone()))
        .collect()
}

fn spans(request: &Value) -> Vec<Span> {
    let mut spans = Vec::new();
    for sent in request["resourceSpans"].as_array().expect("resources") {
        let process = attributes(&sent["resource"]);
        assert_eq!(process["service.name"]["stringValue"], "eigenflow");
        for scope in sent["scopeSpans"].as_array().expect("scopes") {
            for span in scope["spans"].as_array().expect("spans") {
                let text = |name: &str| span[name].as_str().map(str::to_owned);
                let time = |name: &str| text(name)?.parse().ok();
                let mut all = process.clone();
                all.extend(attributes(span));
                spans.push(Span {
                    trace: text("traceId").expect("a trace"),
                    id: text("spanId").expect("an id"),
                    parent: text("parentSpanId"),
                    name: text("name").expect("a name"),
                    began: time("startTimeUnixNano").expect("a time"),
                    ended: time("endTimeUnixNano").expect("a time"),
                    attributes: all,
                });
            }
        }
    }
    spans
}

/// An OpenTelemetry collector, as far as traces by OTLP/JSON need one.
struct Collector {
    endpoint: String,
    spans: Arc<Mutex<Vec<Span>>>,
    _runtime: Runtime,
}

impl Collector {
    /// One that answers with this status.
    fn start(status: StatusCode) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = runtime.block_on(listener).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = received.clone();
        let take = move |body: Bytes| async move {
            let request: Value = serde_json::from_slice(&body).expect("JSON");
            kept.lock().expect("spans").extend(spans(&request));
            (status, "{}")
        };
        let router = Router::new().route("/v1/traces", post(take));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Collector {
            endpoint: format!("http://{address}"),
            spans: received,
            _runtime: runtime,
        }
    }

    fn spans(&self) -> Vec<Span> {
        self.spans.lock().expect("spans").clone()
    }
}

fn traced_by(endpoint: &str) -> String {
    format!("{SMALL_EPOCHS}[observe]\notlp_endpoint = \"{endpoint}\"\n")
}

#[test]
fn an_epoch_is_one_trace_of_all_processes() {
    let collector = Collector::start(StatusCode::OK);
    let more = traced_by(&collector.endpoint);
    let world = World::new(2);
    for i in 0..16 {
        world.upload(i % 2, 1, &format!("a/{i}.png"), picture(i as u64));
    }
    world.run(Layout::PROCESSES, &more);
    world.upload(0, 2, "a/0.png", picture(99));
    world.remove(1, 2, "a/1.png");
    world.run(Layout::PROCESSES, &more);

    let spans = collector.spans();
    let roots: BTreeMap<&str, &Span> = spans
        .iter()
        .filter(|span| span.name == "epoch")
        .map(|span| (span.trace.as_str(), span))
        .collect();
    let epochs: BTreeSet<i64> = roots
        .values()
        .map(|root| root.count("eigenflow.epoch"))
        .collect();
    let last = world.inspect()["epoch"].as_i64().expect("an epoch");
    assert!(epochs.into_iter().eq(1..=last), "{spans:#?}");
    for span in &spans {
        let root = roots[span.trace.as_str()];
        let parent = (span.name != "epoch").then(|| root.id.clone());
        assert_eq!(span.parent, parent, "{span:?}");
        assert!(span.began <= span.ended, "{span:?}");
        let first = ["gather", "project", "commit", "epoch"].contains(&span.name.as_str());
        if first {
            assert_eq!(span.count("eigenflow.process"), 0, "{span:?}");
        }
    }
    let names: BTreeSet<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    let all = [
        "commit", "epoch", "extract", "gather", "moments", "project", "rewrite", "write",
    ];
    assert!(names.into_iter().eq(all), "{spans:#?}");

    // What the spans say is what was done.
    let sum = |name: &str, attribute: &str| -> i64 {
        let named = spans.iter().filter(|span| span.name == name);
        named.map(|span| span.count(attribute)).sum()
    };
    assert_eq!(sum("extract", "eigenflow.images"), 17);
    assert_eq!(sum("gather", "eigenflow.changes"), 18);
    assert_eq!(sum("write", "eigenflow.rows"), 17);
    assert_eq!(sum("rewrite", "eigenflow.edits"), 2);
    assert_eq!(sum("epoch", "eigenflow.added"), 17);
    assert_eq!(sum("epoch", "eigenflow.removed"), 2);
    let whole = |root: &Span| {
        let parts = spans.iter().filter(|span| span.trace == root.trace);
        let written = parts.filter(|span| span.name == "write");
        let processes: BTreeSet<i64> = written
            .map(|span| span.count("eigenflow.process"))
            .collect();
        processes.len() == 2
    };
    assert!(roots.values().any(|root| whole(root)), "{spans:#?}");
}

#[test]
fn a_collector_that_fails_disturbs_nothing() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let gone_at = gone.local_addr().expect("its address");
    drop(gone);
    let refusing = Collector::start(StatusCode::BAD_REQUEST);
    let away = Collector::start(StatusCode::SERVICE_UNAVAILABLE);
    // Takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent_at = silent.local_addr().expect("its address");
    for (endpoint, told) in [
        (format!("http://{gone_at}"), true),
        (refusing.endpoint.clone(), true),
        (away.endpoint.clone(), true),
        (format!("http://{silent_at}"), false),
    ] {
        let world = World::new(1);
        for i in 0..12 {
            world.upload(0, 1, &format!("a/{i}.png"), picture(i));
        }
        let mut job = world.start(Layout::ONE, &traced_by(&endpoint), &["--until-end"]);
        let output = job.remove(0).wait();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{endpoint}: {log}");
        assert_eq!(world.rows().len(), 12);
        let unwell = log.matches("the collector of traces is unwell").count();
        assert_eq!(unwell, usize::from(told), "{endpoint}: {log}");
    }
}
