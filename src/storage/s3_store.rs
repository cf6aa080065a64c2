//! A bucket as an `object_store` backend over the AWS SDK, so that tables use the same client, credentials
//! and retries as the images.
//!
//! The write that matters is `PutMode::Create`: it becomes `If-None-Match: *`, of which S3 lets exactly
//! one of several racing writers win. 412 means another one won (or we did, and the answer was lost: the
//! table's commit finds out which); 409 `ConditionalRequestConflict` means undecided, ask again.
//!
//! A PUT carries at most [`PART_BYTES`]; larger payloads go in parts. A conditional payload must fit one
//! PUT (5 GiB on AWS): commits are kilobytes.

use std::fmt;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

use super::patience::Backoff;
use super::s3_error::{STORE, is_conflict, map_error};
use super::s3_multipart::Multipart;

/// Bytes of one part of a multipart upload, and of the largest unconditional single PUT.
pub const PART_BYTES: usize = 16 << 20;
const PARTS_IN_FLIGHT: usize = 4;
const DELETES_IN_FLIGHT: usize = 8;
/// AWS answers 409 while a rival's conditional PUT of the same key is being decided, which takes milliseconds.
const CONFLICT_RETRIES: usize = 6;

/// One bucket.
#[derive(Clone, Debug)]
pub struct S3Store {
    pub(super) client: Client,
    pub(super) bucket: String,
}

impl S3Store {
    /// The bucket through that client.
    #[must_use]
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self {
            client,
            bucket: bucket.into(),
        }
    }

    async fn put_once(&self, location: &Path, body: Bytes, mode: &PutMode) -> Result<PutResult> {
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(location.as_ref())
            .body(ByteStream::from(body));
        let request = match mode {
            PutMode::Overwrite => request,
            PutMode::Create => request.if_none_match("*"),
            PutMode::Update(version) => request.set_if_match(version.e_tag.clone()),
        };
        let answer = request.send().await.map_err(|error| {
            match (map_error(location.as_ref(), error), mode) {
                (Error::Precondition { path, source }, PutMode::Create) => {
                    Error::AlreadyExists { path, source }
                }
                // Servers differ on If-Match of a missing key: 404 or 412. Either way it doesn't match.
                (Error::NotFound { path, source }, PutMode::Update(_)) => {
                    Error::Precondition { path, source }
                }
                (error, _) => error,
            }
        })?;
        Ok(PutResult {
            e_tag: answer.e_tag,
            version: answer.version_id,
            extensions: Default::default(),
        })
    }

    async fn put_parts(&self, location: &Path, body: Bytes) -> Result<PutResult> {
        let mut upload = self.put_multipart(location).await?;
        let parts: Vec<_> = (0..body.len())
            .step_by(PART_BYTES)
            .map(|at| {
                let end = body.len().min(at + PART_BYTES);
                upload.put_part(body.slice(at..end).into())
            })
            .collect();
        let sent = stream::iter(parts)
            .buffer_unordered(PARTS_IN_FLIGHT)
            .try_collect::<()>()
            .await;
        if let Err(error) = sent {
            // The failure to report is the first one; parts of an aborted upload cost only storage.
            if let Err(error) = upload.abort().await {
                tracing::warn!(%error, %location, "the parts of a failed upload stay behind");
            }
            return Err(error);
        }
        upload.complete().await
    }

    /// Pages of a listing of keys that start with `prefix`.
    fn pages(
        &self,
        prefix: Option<&Path>,
        after: Option<&Path>,
        delimiter: Option<&'static str>,
    ) -> BoxStream<'static, Result<ListObjectsV2Output>> {
        let prefix = match prefix {
            Some(prefix) if !prefix.as_ref().is_empty() => format!("{prefix}/"),
            _ => String::new(),
        };
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(&prefix)
            .set_delimiter(delimiter.map(Into::into))
            .set_start_after(after.map(ToString::to_string));
        let first: Option<Option<String>> = Some(None);
        stream::try_unfold((request, first), move |(request, token)| {
            let prefix = prefix.clone();
            async move {
                let Some(token) = token else { return Ok(None) };
                let page = request
                    .clone()
                    .set_continuation_token(token)
                    .send()
                    .await
                    .map_err(|error| map_error(&prefix, error))?;
                let next = page.next_continuation_token.clone().map(Some);
                Ok(Some((page, (request, next))))
            }
        })
        .boxed()
    }

    fn objects(
        &self,
        prefix: Option<&Path>,
        after: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pages(prefix, after, None)
            .map_ok(|page| stream::iter(metas(&page)))
            .try_flatten()
            .boxed()
    }
}

impl fmt::Display for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let body: Bytes = payload.into();
        if options.mode == PutMode::Overwrite && body.len() > PART_BYTES {
            return self.put_parts(location, body).await;
        }
        let mut backoff = Backoff::default();
        for _ in 0..CONFLICT_RETRIES {
            match self.put_once(location, body.clone(), &options.mode).await {
                Err(error) if is_conflict(&error) => {
                    tokio::time::sleep(backoff.next_delay()).await;
                }
                result => return result,
            }
        }
        self.put_once(location, body, &options.mode).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Multipart::start(self, location).await?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let key = location.as_ref();
        if options.head {
            let answer = self
                .client
                .head_object()
                .bucket(&self.bucket)
                .key(key)
                .set_version_id(options.version)
                .set_if_match(options.if_match)
                .set_if_none_match(options.if_none_match)
                .send()
                .await
                .map_err(|error| map_error(key, error))?;
            let meta = ObjectMeta {
                location: location.clone(),
                last_modified: utc(answer.last_modified()),
                size: length(answer.content_length()),
                e_tag: answer.e_tag,
                version: answer.version_id,
            };
            return Ok(GetResult {
                payload: GetResultPayload::Stream(stream::empty().boxed()),
                range: 0..meta.size,
                meta,
                attributes: Default::default(),
                extensions: Default::default(),
            });
        }
        let answer = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .set_version_id(options.version)
            .set_if_match(options.if_match)
            .set_if_none_match(options.if_none_match)
            .set_range(options.range.as_ref().map(ToString::to_string))
            .send()
            .await
            .map_err(|error| map_error(key, error))?;
        let sent = length(answer.content_length());
        let (range, size) = match answer.content_range() {
            Some(text) => parse_content_range(text).ok_or_else(|| Error::Generic {
                store: STORE,
                source: format!("{key}: Content-Range «{text}» can't be read").into(),
            })?,
            None => (0..sent, sent),
        };
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: utc(answer.last_modified()),
            size,
            e_tag: answer.e_tag,
            version: answer.version_id,
        };
        let body = stream::try_unfold(answer.body, |mut body| async move {
            match body.next().await {
                None => Ok(None),
                Some(Ok(chunk)) => Ok(Some((chunk, body))),
                Some(Err(error)) => Err(Error::Generic {
                    store: STORE,
                    source: Box::new(error),
                }),
            }
        });
        Ok(GetResult {
            payload: GetResultPayload::Stream(body.boxed()),
            meta,
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .map(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    store
                        .client
                        .delete_object()
                        .bucket(&store.bucket)
                        .key(location.as_ref())
                        .send()
                        .await
                        .map_err(|error| map_error(location.as_ref(), error))?;
                    Ok(location)
                }
            })
            .buffered(DELETES_IN_FLIGHT)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut pages = self.pages(prefix, None, Some("/"));
        let mut result = ListResult {
            common_prefixes: Vec::new(),
            objects: Vec::new(),
            extensions: Default::default(),
        };
        while let Some(page) = pages.try_next().await? {
            for prefix in page.common_prefixes() {
                result
                    .common_prefixes
                    .push(Path::parse(prefix.prefix().unwrap_or_default())?);
            }
            for object in metas(&page) {
                result.objects.push(object?);
            }
        }
        Ok(result)
    }

    /// Through this machine: S3's own copy has no «only if absent», and our objects are small.
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let bytes = self.get(from).await?.bytes().await?;
        let mode = match options.mode {
            CopyMode::Create => PutMode::Create,
            CopyMode::Overwrite => PutMode::Overwrite,
        };
        self.put_opts(to, bytes.into(), mode.into()).await?;
        Ok(())
    }
}

fn metas(page: &ListObjectsV2Output) -> Vec<Result<ObjectMeta>> {
    page.contents()
        .iter()
        .map(|object| {
            Ok(ObjectMeta {
                location: Path::parse(object.key().unwrap_or_default())?,
                last_modified: utc(object.last_modified()),
                size: length(object.size()),
                e_tag: object.e_tag.clone(),
                version: None,
            })
        })
        .collect()
}

/// A size that the store may leave out.
pub(super) fn length(bytes: Option<i64>) -> u64 {
    u64::try_from(bytes.unwrap_or(0)).unwrap_or(0)
}

fn utc(time: Option<&DateTime>) -> chrono::DateTime<chrono::Utc> {
    time.and_then(|time| time.to_millis().ok())
        .and_then(chrono::DateTime::from_timestamp_millis)
        .unwrap_or_default()
}

/// `bytes a-b/size`, b included, as the half-open range and the size of the whole.
fn parse_content_range(text: &str) -> Option<(std::ops::Range<u64>, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let size = size.parse().ok()?;
    (first <= last && last < size).then_some((first..last + 1, size))
}

#[cfg(test)]
mod tests {
    use super::parse_content_range;

    #[test]
    fn content_ranges_are_read_or_refused() {
        assert_eq!(parse_content_range("bytes 2-5/10"), Some((2..6, 10)));
        for bad in ["bytes 5-2/10", "bytes 0-10/10", "bytes 1-/5", "2-5/10", ""] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }
}
