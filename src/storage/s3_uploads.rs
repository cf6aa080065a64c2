//! Uploads in S3.

use std::error::Error;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::EncodingType;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::error::chain;
use super::name::path_of;
use super::s3_error::{is_broken_off, passing_refusal};
use super::s3_store::length;
use super::uploads::{FetchError, Upload, UploadMeta, Uploads};

const HEADS_IN_FLIGHT: usize = 8;

/// All buckets that a client reaches. Which of them may be read is the caller's configuration.
#[derive(Clone, Debug)]
pub struct S3Uploads {
    client: Client,
}

impl S3Uploads {
    /// Through that client (see [`S3Config::client`](super::S3Config::client)).
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

impl S3Uploads {
    /// Small servers list objects without their tags, so these are asked for; `None` if the object is gone by then.
    async fn with_etag(
        self,
        bucket: String,
        listed: Result<UploadMeta, FetchError>,
    ) -> Result<Option<UploadMeta>, FetchError> {
        match listed {
            Ok(meta) if meta.etag.is_empty() => self.head(&bucket, &meta.key).await,
            listed => listed.map(Some),
        }
    }
}

#[async_trait]
impl Uploads for S3Uploads {
    async fn get(&self, bucket: &str, key: &str, limit_bytes: u64) -> Result<Upload, FetchError> {
        let object = path_of(bucket, key);
        let mut answer = self
            .client
            .get_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
            .map_err(|error| sort(&object, error))?;

        let too_large = |bytes| FetchError::TooLarge {
            object: object.clone(),
            bytes,
            limit: limit_bytes,
        };
        let broken = |reason: String| FetchError::Transient {
            object: object.clone(),
            reason,
        };
        let announced = answer.content_length().and_then(|n| u64::try_from(n).ok());
        if let Some(bytes) = announced.filter(|bytes| *bytes > limit_bytes) {
            return Err(too_large(bytes));
        }
        let mut bytes = BytesMut::with_capacity(announced.unwrap_or(0) as usize);
        while let Some(chunk) = answer.body.next().await {
            let chunk = chunk.map_err(|error| broken(chain(&error)))?;
            let length = bytes.len() as u64 + chunk.len() as u64;
            if length > limit_bytes {
                return Err(too_large(length));
            }
            bytes.extend_from_slice(&chunk);
        }
        let size = bytes.len() as u64;
        if let Some(announced) = announced.filter(|announced| *announced != size) {
            return Err(broken(format!("{size} of {announced} bytes came")));
        }
        Ok(Upload {
            bytes: bytes.freeze(),
            meta: UploadMeta {
                key: key.into(),
                etag: unquoted(answer.e_tag()),
                version_id: version_id(answer.version_id()),
                size,
                last_modified_ms: millis(answer.last_modified()),
            },
        })
    }

    async fn head(&self, bucket: &str, key: &str) -> Result<Option<UploadMeta>, FetchError> {
        let answer = self.client.head_object().bucket(bucket).key(key).send();
        match answer.await {
            Ok(answer) => Ok(Some(UploadMeta {
                key: key.into(),
                etag: unquoted(answer.e_tag()),
                version_id: version_id(answer.version_id()),
                size: length(answer.content_length()),
                last_modified_ms: millis(answer.last_modified()),
            })),
            Err(error) => match sort(&path_of(bucket, key), error) {
                FetchError::NotFound { .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> BoxStream<'static, Result<UploadMeta, FetchError>> {
        let object = path_of(bucket, prefix);
        let (uploads, owned_bucket) = (self.clone(), bucket.to_string());
        let request = self
            .client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            .set_start_after(after.map(Into::into));
        let first: Option<Option<String>> = Some(None);
        stream::try_unfold((request, first), move |(request, token)| {
            let object = object.clone();
            async move {
                let Some(token) = token else { return Ok(None) };
                let request = request.set_continuation_token(token);
                let page = match request.clone().send().await {
                    // A key may hold characters that XML can't. Only then are encoded keys asked for: some servers
                    // say that they encode and don't, which would turn `a+b` into `a b`.
                    Err(SdkError::ResponseError(_)) => {
                        let encoded = request.clone().encoding_type(EncodingType::Url);
                        encoded.send().await
                    }
                    page => page,
                };
                let page = page.map_err(|error| sort(&object, error))?;
                let next = page.next_continuation_token.clone().map(Some);
                Ok(Some((stream::iter(metas(&object, &page)), (request, next))))
            }
        })
        .try_flatten()
        .map(move |listed| uploads.clone().with_etag(owned_bucket.clone(), listed))
        .buffered(HEADS_IN_FLIGHT)
        .try_filter_map(|listed| async move { Ok(listed) })
        .boxed()
    }

    async fn put(&self, bucket: &str, key: &str, bytes: Bytes) -> Result<UploadMeta, FetchError> {
        let size = bytes.len() as u64;
        let answer = self
            .client
            .put_object()
            .bucket(bucket)
            .key(key)
            .body(ByteStream::from(bytes))
            .send()
            .await
            .map_err(|error| sort(&path_of(bucket, key), error))?;
        Ok(UploadMeta {
            key: key.into(),
            etag: unquoted(answer.e_tag()),
            version_id: version_id(answer.version_id()),
            size,
            last_modified_ms: chrono::Utc::now().timestamp_millis(),
        })
    }

    async fn delete(&self, bucket: &str, key: &str) -> Result<(), FetchError> {
        let answer = self.client.delete_object().bucket(bucket).key(key).send();
        match answer.await {
            Ok(_) => Ok(()),
            Err(error) => match sort(&path_of(bucket, key), error) {
                FetchError::NotFound { .. } => Ok(()),
                error => Err(error),
            },
        }
    }
}

/// Sorts an SDK error by the answer's status and code.
fn sort<E>(object: &str, error: SdkError<E>) -> FetchError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let object = object.to_string();
    let reason = chain(&error);
    let Some(answer) = error.raw_response().filter(|_| !is_broken_off(&error)) else {
        return match error {
            SdkError::ConstructionFailure(_) => FetchError::Invalid { object, reason },
            _ => FetchError::Transient { object, reason },
        };
    };
    let code = error.code().unwrap_or_default();
    if let Some(cause) = passing_refusal(code) {
        let reason = format!("{cause}; {reason}");
        return FetchError::Transient { object, reason };
    }
    match (answer.status().as_u16(), code) {
        // The bucket's absence is a wrong endpoint or name, and no proof that its objects were deleted.
        (404, "NoSuchBucket") => FetchError::Denied { object, reason },
        // No store's answer, which has a code, but that of a proxy before it whose way to the store is gone.
        (404, "") => FetchError::Transient { object, reason },
        (404, _) => FetchError::NotFound { object },
        (403, "InvalidObjectState") => FetchError::Invalid {
            object,
            reason: format!("it is archived, restore it first ({reason})"),
        },
        (_, "RequestTimeout") => FetchError::Transient { object, reason },
        (301 | 307 | 401 | 403, _) => FetchError::Denied { object, reason },
        (408 | 409 | 429 | 500.., _) => FetchError::Transient { object, reason },
        // What these say is said of one key, or of how its object is encrypted.
        (400, "KeyTooLongError" | "InvalidURI" | "InvalidRequest" | "InvalidArgument") => {
            FetchError::Invalid { object, reason }
        }
        (400, code) if code.starts_with("KMS.") => FetchError::Invalid { object, reason },
        // Anything else is refused to whoever asks in this way: by another protocol, region or token.
        _ => FetchError::Denied { object, reason },
    }
}

fn metas(listing: &str, page: &ListObjectsV2Output) -> Vec<Result<UploadMeta, FetchError>> {
    let encoded = page.encoding_type() == Some(&EncodingType::Url);
    page.contents()
        .iter()
        .map(|object| {
            let key = object.key().unwrap_or_default();
            let key = if encoded {
                form_decoded(key).ok_or_else(|| FetchError::Invalid {
                    object: listing.into(),
                    reason: format!("its listing has the key «{key}», which can't be decoded"),
                })?
            } else {
                key.to_string()
            };
            Ok(UploadMeta {
                key,
                etag: unquoted(object.e_tag()),
                version_id: None,
                size: length(object.size()),
                last_modified_ms: millis(object.last_modified()),
            })
        })
        .collect()
}

/// Decodes `%XX` and `+`, as S3 encodes the keys of a listing.
fn form_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn unquoted(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_string()
}

/// Of a bucket without versions a store may say an empty one.
fn version_id(said: Option<&str>) -> Option<String> {
    said.filter(|id| !id.is_empty()).map(Into::into)
}

fn millis(time: Option<&DateTime>) -> i64 {
    time.and_then(|time| time.to_millis().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::form_decoded;

    #[test]
    fn listed_keys_are_decoded_once() {
        assert_eq!(form_decoded("a+b%2Bc").as_deref(), Some("a b+c"));
        assert_eq!(form_decoded("100%2525").as_deref(), Some("100%25"));
        assert_eq!(form_decoded("%E8%8B%B9").as_deref(), Some("苹"));
        for bad in ["%", "%2", "%zz", "%FF", "%+1"] {
            assert_eq!(form_decoded(bad), None, "{bad}");
        }
    }
}
