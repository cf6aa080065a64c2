//! What a browser may keep, and how it asks whether that is still so.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A validator of what does not differ but by these two numbers: one of the process (its start), one of the content. Weak, as the same content may be
/// sent compressed or not.
pub fn etag(started_ms: i64, content: u64) -> String {
    format!("W/\"{started_ms:x}-{content:x}\"")
}

/// Whether who asks has just this.
pub fn has(headers: &HeaderMap, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    listed(headers, header::IF_NONE_MATCH).any(|tag| opaque(tag) == opaque(etag))
}

/// What a header lists, over all its lines.
pub fn listed(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
}

/// What has this validator, or with `None` that nothing has changed.
pub fn answer(etag: &str, keep: &'static str, content: Option<Response>) -> Response {
    let mut response = content.unwrap_or_else(|| StatusCode::NOT_MODIFIED.into_response());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_has_what_it_was_given_and_nothing_else() {
        let etag = etag(17, 255);
        for (asked, known) in [
            (etag.as_str(), true),
            ("\"11-ff\"", true),
            ("\"other\", W/\"11-ff\"", true),
            ("W/\"12-ff\"", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, asked.parse().unwrap());
            assert_eq!(has(&headers, &etag), known, "{asked}");
        }
        assert!(!has(&HeaderMap::new(), &etag));
        assert_eq!(answer(&etag, "private", None).status(), 304);
    }
}
