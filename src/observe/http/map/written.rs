//! All points as they are sent: put into words, and compressed, once for all who ask.

use std::io::Write;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::points::Points;
use crate::observe::http::cached::listed;
use crate::observe::http::json;

/// The points of one revision as JSON.
#[derive(Clone, Default)]
pub struct Written {
    revision: u64,
    plain: Bytes,
    gzip: Bytes,
}

impl Written {
    pub fn new(points: &Points) -> serde_json::Result<Self> {
        let plain = serde_json::to_vec(&points.all())?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&plain).map_err(serde_json::Error::io)?;
        let gzip = gzip.finish().map_err(serde_json::Error::io)?;
        Ok(Written {
            revision: points.revision(),
            plain: plain.into(),
            gzip: gzip.into(),
        })
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether it was written, and of this revision.
    pub fn is_of(&self, revision: u64) -> bool {
        self.revision == revision && !self.plain.is_empty()
    }

    /// In the encoding that who asks takes.
    pub fn answer(&self, headers: &HeaderMap) -> Response {
        let mut response = if takes_gzip(headers) {
            let encoding = [(header::CONTENT_ENCODING, "gzip")];
            (encoding, json(self.gzip.clone())).into_response()
        } else {
            json(self.plain.clone())
        };
        let differs = HeaderValue::from_static("accept-encoding");
        response.headers_mut().insert(header::VARY, differs);
        response
    }
}

/// Whether gzip is among the encodings that are taken, and not by a weight of 0.
fn takes_gzip(headers: &HeaderMap) -> bool {
    listed(headers, header::ACCEPT_ENCODING).any(|encoding| {
        let (name, weight) = encoding.split_once(';').unwrap_or((encoding, "q=1"));
        let weight = weight.trim().strip_prefix("q=");
        let is_taken = weight.is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q > 0.0));
        name.trim().eq_ignore_ascii_case("gzip") && is_taken
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn the_compressed_answer_is_the_plain_one_and_only_for_who_takes_it() {
        let written = Written::new(&Points::default()).unwrap();
        let mut plain = Vec::new();
        let mut gzip = GzDecoder::new(&written.gzip[..]);
        gzip.read_to_end(&mut plain).unwrap();
        assert_eq!(plain, written.plain);
        for (asked, taken) in [
            ("gzip, deflate, br, zstd", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("br", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, asked.parse().unwrap());
            let answer = written.answer(&headers);
            let encoded = answer.headers().contains_key(header::CONTENT_ENCODING);
            assert_eq!(encoded, taken, "{asked}");
        }
    }
}
