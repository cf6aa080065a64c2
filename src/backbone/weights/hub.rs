//! A file of the Hugging Face hub: one GET, with redirects to wherever the hub keeps the bytes.
//!
//! On the way to a large file's bytes the hub names their sha256 (`x-linked-etag`); a download that differs is refused.
//! The client is reqwest on a thread of its own, for it is async and callers need not be.

use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Client, Response, StatusCode, Url, redirect};

use super::error::WeightsError;
use super::hash::{Hasher, expect_hash};

/// The public hub; the environment's `HF_ENDPOINT`, the hub's own convention, overrides it.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

const FILE_BYTES_MAX: u64 = 2 << 30;
const REDIRECTS_MAX: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two pieces of a body, not for the whole of it: slow lines are no error, silent ones are.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const PROGRESS_EVERY_BYTES: u64 = 8 << 20;

/// The address of a file's newest revision.
pub(super) fn url(endpoint: Option<&str>, repo: &str, file: &str) -> String {
    let set = std::env::var("HF_ENDPOINT")
        .ok()
        .filter(|set| !set.is_empty());
    let endpoint = endpoint.or(set.as_deref()).unwrap_or(DEFAULT_ENDPOINT);
    format!(
        "{}/{repo}/resolve/main/{file}",
        endpoint.trim_end_matches('/')
    )
}

/// Downloads `url` into `to` and returns the sha256 of what came.
pub(super) fn download(
    url: &str,
    to: &mut (impl Write + Send),
    progress: &dyn Fn(&str),
) -> Result<String, WeightsError> {
    let (messages, said) = mpsc::channel();
    thread::scope(|scope| {
        let download = scope.spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|cause| failed(url, cause))?
                .block_on(stream(url, to, messages))
        });
        for message in said {
            progress(&message);
        }
        download
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

async fn stream(
    url: &str,
    to: &mut impl Write,
    messages: mpsc::Sender<String>,
) -> Result<String, WeightsError> {
    let client = Client::builder()
        .user_agent(concat!("eigenflow/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build()
        .map_err(|cause| failed(url, chain(&cause)))?;
    let (mut response, declared) = follow(&client, url).await?;
    let expected_bytes = response.content_length();
    if expected_bytes.is_some_and(|bytes| bytes > FILE_BYTES_MAX) {
        return Err(failed(url, "larger than any weights are"));
    }

    let mut hasher = Hasher::default();
    let mut received_bytes = 0;
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|cause| failed(url, chain(&cause)))?
    {
        let before = received_bytes;
        received_bytes += piece.len() as u64;
        if received_bytes > FILE_BYTES_MAX {
            return Err(failed(url, "larger than any weights are"));
        }
        hasher.update(&piece);
        to.write_all(&piece).map_err(|cause| failed(url, cause))?;
        if before / PROGRESS_EVERY_BYTES != received_bytes / PROGRESS_EVERY_BYTES {
            let of = expected_bytes.map_or(String::new(), |bytes| format!(" of {}", bytes >> 20));
            // Nobody listening is no reason to stop.
            let _ = messages.send(format!("fetched {}{of} MiB", received_bytes >> 20));
        }
    }
    let found = hasher.finish();
    if let Some(declared) = declared {
        expect_hash(url, &declared, &found)?;
    }
    Ok(found)
}

/// The answer that holds the bytes, and the sha256 that the hub named on the way.
async fn follow(client: &Client, url: &str) -> Result<(Response, Option<String>), WeightsError> {
    let mut at = Url::parse(url).map_err(|cause| failed(url, cause))?;
    let mut declared = None;
    for _ in 0..=REDIRECTS_MAX {
        let response = client
            .get(at.clone())
            .send()
            .await
            .map_err(|cause| failed(url, chain(&cause)))?;
        declared = declared.or_else(|| declared_sha256(response.headers()));
        let status = response.status();
        if status.is_success() {
            return Ok((response, declared));
        }
        if !status.is_redirection() {
            return Err(failed(url, explain(status)));
        }
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|to| to.to_str().ok());
        let next = location.and_then(|to| at.join(to).ok());
        let next = next.ok_or_else(|| failed(url, "a redirect to nowhere"))?;
        if at.scheme() == "https" && next.scheme() != "https" {
            return Err(failed(url, "a redirect away from https"));
        }
        at = next;
    }
    Err(failed(url, "too many redirects"))
}

/// The hub's own etag of a large file is its sha256 (the etag of whoever keeps the bytes may be anything).
fn declared_sha256(headers: &HeaderMap) -> Option<String> {
    let etag = headers
        .get("x-linked-etag")?
        .to_str()
        .ok()?
        .trim_matches('"');
    let is_sha256 = etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_sha256.then(|| etag.to_ascii_lowercase())
}

fn explain(status: StatusCode) -> String {
    match status {
        StatusCode::NOT_FOUND => format!("{status}: no such repository or file"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            format!("{status}: the repository is private, gated, or not there")
        }
        _ => status.to_string(),
    }
}

fn failed(url: &str, cause: impl ToString) -> WeightsError {
    WeightsError::Hub {
        url: url.to_owned(),
        cause: cause.to_string(),
    }
}

/// reqwest's own message says only that sending failed; why stands in its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        said = format!("{said}: {cause}");
        source = cause.source();
    }
    said
}
