//! The store: s3s-fs, made safe for what eigenflow asks of a store.
//!
//! s3s-fs 0.14 by itself
//! - checks the condition of a write, then writes: two writers may both win. Here writes take turns;
//! - reads body and ETag of an object at two moments: a GET beside an overwrite may pair the old body with the new ETag.
//!   Here reads wait for writes, though not for each other, and not longer than until the file is open;
//! - ignores `If-Match` and `If-None-Match` of GET and HEAD. Here they hold;
//! - lists objects without their ETags. Here they are filled in;
//! - answers 500 for a GET of a folder's name. Here there is no such key (404);
//! - normalises `a//b`, `a/./b` and `a/../b` as paths, and fails half-way for keys of more than some 160 bytes (130 in parts), whose notes
//!   get too long a file name. Here both are refused before anything is written.
//!
//! What remains: `a` and `a/b` cannot both be objects, and a page of a listing walks the whole bucket.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::sync::RwLock;

/// Longest file name on the usual file systems, in bytes.
const FILE_NAME_BYTES: usize = 255;

/// What s3s-fs puts around bucket and key (each in base64) in the longest of its hidden file names, for an object …
const NOTE_AFFIXES_BYTES: usize = ".bucket-.object-.metadata.json".len();

/// … and for a multipart upload.
const UPLOAD_NOTE_AFFIXES_BYTES: usize =
    NOTE_AFFIXES_BYTES + ".upload-00000000-0000-0000-0000-000000000000".len();

/// A folder whose sub-folders are buckets.
pub(super) struct Folder {
    files: FileSystem,
    root: PathBuf,
    /// Held for writing by every change, for reading by every read until its file is open.
    turn: RwLock<()>,
}

impl Folder {
    /// Opens the folder, making it if needed. The error is a reason for people.
    pub(super) fn open(root: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(root).map_err(|error| error.to_string())?;
        let files = FileSystem::new(root).map_err(|error| s3s::S3Error::from(error).to_string())?;
        Ok(Folder {
            files,
            root: root.to_owned(),
            turn: RwLock::new(()),
        })
    }

    /// A folder's own name is no object, though its path exists.
    fn check_is_no_folder(&self, bucket: &str, key: &str) -> S3Result<()> {
        if !key.ends_with('/') && self.root.join(bucket).join(key).is_dir() {
            return Err(s3_error!(NoSuchKey));
        }
        Ok(())
    }

    /// The ETag by which the store itself knows an object.
    async fn etag(&self, bucket: &str, key: &str) -> S3Result<Option<ETag>> {
        let input = HeadObjectInput {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            ..Default::default()
        };
        let request = S3Request {
            input,
            method: Default::default(),
            uri: Default::default(),
            headers: Default::default(),
            extensions: Default::default(),
            credentials: None,
            region: None,
            service: None,
            trailing_headers: None,
        };
        Ok(self.files.head_object(request).await?.output.e_tag)
    }
}

/// Refuses keys that the folder could only hold under another name, or not at all.
fn check_new_key(bucket: &str, key: &str, affixes_bytes: usize) -> S3Result<()> {
    let base64_bytes = |text: &str| (text.len() * 4).div_ceil(3);
    let note_bytes = base64_bytes(bucket) + base64_bytes(key) + affixes_bytes;
    let longest_part = key.split('/').map(str::len).max().unwrap_or_default();
    if note_bytes.max(longest_part) > FILE_NAME_BYTES {
        let room = (FILE_NAME_BYTES - affixes_bytes).saturating_sub(base64_bytes(bucket)) / 4 * 3;
        return Err(s3_error!(
            KeyTooLongError,
            "the embedded store takes keys of at most {room} bytes in this bucket, this one has {}",
            key.len()
        ));
    }
    check_key(key)
}

/// A path must not be another spelling of a shorter one. The last part may be empty: `a/` is a folder's marker.
fn check_key(key: &str) -> S3Result<()> {
    let parts = key.strip_suffix('/').unwrap_or(key).split('/');
    for part in parts {
        if matches!(part, "" | "." | "..") {
            return Err(s3_error!(
                InvalidArgument,
                "the embedded store keeps objects as files and has no place for a key with the part {part:?}: {key:?}"
            ));
        }
    }
    Ok(())
}

/// The conditions of a read against what is there, as RFC 9110, section 13.2.2 orders them.
fn check_conditions(
    etag: Option<&ETag>,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    let is = |condition: &ETagCondition| match (condition.as_etag(), etag) {
        (None, _) => true,
        (Some(expected), Some(etag)) => etag.weak_cmp(expected),
        (Some(_), None) => false,
    };
    if if_match.is_some_and(|condition| !is(condition)) {
        return Err(s3_error!(PreconditionFailed, "the object has another ETag"));
    }
    if if_none_match.is_some_and(is) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

/// Passes operations on, each holding the turn in the way given.
macro_rules! pass_on {
    ($($turn:ident $operation:ident($input:ty) -> $output:ty;)*) => {
        $(
            fn $operation<'me, 'async_trait>(
                &'me self,
                request: S3Request<$input>,
            ) -> Answer<'async_trait, $output>
            where
                'me: 'async_trait,
                Self: 'async_trait,
            {
                Box::pin(async move {
                    let _turn = self.turn.$turn().await;
                    self.files.$operation(request).await
                })
            }
        )*
    };
}

/// What `async_trait` makes of the trait's functions.
type Answer<'a, Output> =
    std::pin::Pin<Box<dyn Future<Output = S3Result<S3Response<Output>>> + Send + 'a>>;

#[async_trait]
impl S3 for Folder {
    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let (if_match, if_none_match) = (
            request.input.if_match.clone(),
            request.input.if_none_match.clone(),
        );
        check_key(&request.input.key).map_err(|_| s3_error!(NoSuchKey))?;
        self.check_is_no_folder(&request.input.bucket, &request.input.key)?;
        let _turn = self.turn.read().await;
        let response = self.files.get_object(request).await?;
        let etag = response.output.e_tag.as_ref();
        check_conditions(etag, if_match.as_ref(), if_none_match.as_ref())?;
        Ok(response)
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let (if_match, if_none_match) = (
            request.input.if_match.clone(),
            request.input.if_none_match.clone(),
        );
        check_key(&request.input.key).map_err(|_| s3_error!(NoSuchKey))?;
        self.check_is_no_folder(&request.input.bucket, &request.input.key)?;
        let _turn = self.turn.read().await;
        let response = self.files.head_object(request).await?;
        let etag = response.output.e_tag.as_ref();
        check_conditions(etag, if_match.as_ref(), if_none_match.as_ref())?;
        Ok(response)
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = &request.input;
        check_new_key(&input.bucket, &input.key, NOTE_AFFIXES_BYTES)?;
        let _turn = self.turn.write().await;
        self.files.put_object(request).await
    }

    async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = &request.input;
        check_new_key(&input.bucket, &input.key, NOTE_AFFIXES_BYTES)?;
        let _turn = self.turn.write().await;
        self.files.copy_object(request).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = &request.input;
        check_new_key(&input.bucket, &input.key, UPLOAD_NOTE_AFFIXES_BYTES)?;
        let _turn = self.turn.write().await;
        self.files.create_multipart_upload(request).await
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        check_key(&request.input.key)?;
        let _turn = self.turn.write().await;
        self.files.delete_object(request).await
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        for object in &request.input.delete.objects {
            check_key(&object.key)?;
        }
        let _turn = self.turn.write().await;
        self.files.delete_objects(request).await
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let bucket = request.input.bucket.clone();
        let _turn = self.turn.read().await;
        let mut response = self.files.list_objects_v2(request).await?;
        for object in response.output.contents.iter_mut().flatten() {
            if let Some(key) = &object.key {
                object.e_tag = self.etag(&bucket, key).await?;
            }
        }
        Ok(response)
    }

    pass_on! {
        read list_buckets(ListBucketsInput) -> ListBucketsOutput;
        read head_bucket(HeadBucketInput) -> HeadBucketOutput;
        read get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
        read list_parts(ListPartsInput) -> ListPartsOutput;
        write create_bucket(CreateBucketInput) -> CreateBucketOutput;
        write delete_bucket(DeleteBucketInput) -> DeleteBucketOutput;
        write upload_part(UploadPartInput) -> UploadPartOutput;
        write complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
        write abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
    }
}
