//! Who is answered, and what every answer carries.
//!
//! Probes are for anybody. Metrics and the page's data are for who shows the token. Where there is none, metrics (numbers) are for
//! anybody who reaches the address, and the page's data (paths, pictures) for this machine alone: the server listens on the
//! loopback, and the request names it so, which a foreign page that had its own name resolved to 127.0.0.1 would not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::Site;
use crate::config::Token;

/// What a server asks of its callers.
pub struct Admission {
    /// The token's SHA-256.
    token: Option<[u8; 32]>,
    /// The server listens on the loopback.
    here: bool,
}

impl Admission {
    pub fn new(token: Option<&Token>, address: SocketAddr) -> Self {
        Admission {
            token: token.map(|token| digest(token.0.as_bytes())),
            here: address.ip().is_loopback(),
        }
    }

    fn metrics(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match &self.token {
            Some(token) if !shows(headers, token) => Err(Refusal::Token),
            _ => Ok(()),
        }
    }

    fn page(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.metrics(headers)?;
        if self.token.is_some() || (self.here && names_loopback(headers)) {
            Ok(())
        } else {
            Err(Refusal::Elsewhere)
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Token,
    Elsewhere,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Refusal::Token => {
                let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
                let text = "send the header `Authorization: Bearer TOKEN` with the token of observe.token\n";
                (StatusCode::UNAUTHORIZED, challenge, text).into_response()
            }
            Refusal::Elsewhere => {
                let text = "without a token the page is shown to this machine alone, as 127.0.0.1 or localhost: set \
                            observe.token to see it from elsewhere\n";
                (StatusCode::FORBIDDEN, text).into_response()
            }
        }
    }
}

/// Lets through who may see metrics.
pub async fn metrics(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    match site.admission.metrics(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Lets through who may see the page's data.
pub async fn page(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    match site.admission.page(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// What a browser may do with the page: nothing but show it, with what comes from here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Gives an answer the headers that all have.
pub async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let always: [(HeaderName, &str); 4] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in always {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn digest(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Whether the token of a request has this digest. What differs where is not told by the time it takes.
fn shows(headers: &HeaderMap, token: &[u8; 32]) -> bool {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
    });
    let shown = digest(shown.unwrap_or_default());
    shown
        .iter()
        .zip(token)
        .fold(0, |difference, (a, b)| difference | (a ^ b))
        == 0
}

/// Whether the request is addressed to this machine by a name that only it has for itself.
fn names_loopback(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let host = authority.host().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(HeaderName, &'static str)| {
            (name.clone(), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    fn admission(token: Option<&str>, address: &str) -> Admission {
        let token = token.map(|token| Token(token.to_owned()));
        Admission::new(token.as_ref(), address.parse().unwrap())
    }

    #[test]
    fn with_a_token_only_who_shows_it_is_let_in() {
        let here = admission(Some("s3cret"), "127.0.0.1:1");
        for (shown, admitted) in [
            ("Bearer s3cret", true),
            ("bearer s3cret", true),
            ("Bearer s3cre", false),
            ("Bearer s3crets", false),
            ("Bearer ", false),
            ("Basic s3cret", false),
            ("s3cret", false),
        ] {
            let headers = headers(&[(header::AUTHORIZATION, shown), (header::HOST, "localhost")]);
            assert_eq!(here.page(&headers).is_ok(), admitted, "{shown}");
            assert_eq!(here.metrics(&headers).is_ok(), admitted, "{shown}");
        }
        assert_eq!(here.metrics(&HeaderMap::new()), Err(Refusal::Token));
        let token = headers(&[(header::AUTHORIZATION, "Bearer s3cret")]);
        assert_eq!(admission(Some("s3cret"), "0.0.0.0:1").page(&token), Ok(()));
    }

    #[test]
    fn without_a_token_the_page_is_for_this_machine() {
        let (here, open) = (admission(None, "127.0.0.1:1"), admission(None, "0.0.0.0:1"));
        for (host, local) in [
            ("localhost:8080", true),
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("localhost.evil.example:8080", false),
            ("rebound.example", false),
            ("10.0.0.1:8080", false),
        ] {
            let headers = headers(&[(header::HOST, host)]);
            assert_eq!(here.page(&headers).is_ok(), local, "{host}");
            // Any caller can name itself local.
            assert_eq!(open.page(&headers), Err(Refusal::Elsewhere), "{host}");
            assert_eq!(open.metrics(&headers), Ok(()));
        }
        assert_eq!(here.page(&HeaderMap::new()), Err(Refusal::Elsewhere));
    }
}
