//! The SDK's errors as `object_store`'s: a variant per meaning.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use object_store::Error;

use super::error::chain;

/// The store's name in generic errors.
pub(super) const STORE: &str = "S3";

/// The server hasn't decided between rivals yet.
#[derive(Debug, thiserror::Error)]
#[error("conditional request conflict: {0}")]
struct Conflict(String);

pub(super) fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Generic { source, .. } if source.is::<Conflict>())
}

/// What a refusal of the credentials comes from that passes by itself, or as soon as somebody sees it.
pub(super) fn passing_refusal(code: &str) -> Option<&'static str> {
    match code {
        "ExpiredToken" => Some("the credentials have expired; they are asked for anew"),
        "RequestTimeTooSkewed" => {
            Some("the clocks of this machine and of the store differ: set them")
        }
        _ => None,
    }
}

/// Whether the answer broke off, so that what it begins with says nothing: a 404 may have been to say that the bucket isn't
/// there, a 403 that the clocks differ.
pub(super) fn is_broken_off<E>(error: &SdkError<E>) -> bool {
    matches!(error, SdkError::ResponseError(_))
}

/// Sorts an SDK error by what its status means: `Generic` is what may pass by itself (no answer or half of one, 408, 409, 429,
/// 5xx, and [`passing_refusal`]s), all else is final.
pub(super) fn map_error<E>(path: &str, error: SdkError<E>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let answer = error.raw_response().filter(|_| !is_broken_off(&error));
    let status = answer.map(|answer| answer.status().as_u16());
    let code = error.code().unwrap_or_default().to_string();
    let path = path.to_string();
    let source: Box<dyn std::error::Error + Send + Sync> = match passing_refusal(&code) {
        Some(cause) => {
            let source = format!("{cause}; {}", chain(&error)).into();
            return Error::Generic {
                store: STORE,
                source,
            };
        }
        None => Box::new(error),
    };
    match (status, code.as_str()) {
        // AWS's answer to a body that came too slowly; the only 400 that time cures.
        (Some(400), "RequestTimeout") | (None | Some(408 | 429 | 500..), _) => Error::Generic {
            store: STORE,
            source,
        },
        (Some(409), _) => Error::Generic {
            store: STORE,
            source: Box::new(Conflict(chain(source.as_ref()))),
        },
        (Some(404), _) => Error::NotFound { path, source },
        (Some(412), _) => Error::Precondition { path, source },
        (Some(304), _) => Error::NotModified { path, source },
        (Some(401), _) => Error::Unauthenticated { path, source },
        (Some(403), _) => Error::PermissionDenied { path, source },
        (Some(_), _) => Error::NotSupported { source },
    }
}
