//! An object in parts: what one PUT can't or shouldn't carry. It appears whole with the last request, or not at all.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use super::s3_error::{STORE, map_error};
use super::s3_store::S3Store;

/// An upload that was begun. Parts may be sent in any order and side by side.
#[derive(Debug)]
pub(super) struct Multipart {
    store: S3Store,
    key: String,
    id: String,
    next_part: i32,
    parts: Arc<Mutex<Vec<CompletedPart>>>,
}

impl Multipart {
    /// Begins an upload of that key.
    pub(super) async fn start(store: &S3Store, key: &Path) -> Result<Self> {
        let upload = store
            .client
            .create_multipart_upload()
            .bucket(&store.bucket)
            .key(key.as_ref())
            .send()
            .await
            .map_err(|error| map_error(key.as_ref(), error))?;
        let id = upload.upload_id.ok_or_else(|| Error::Generic {
            store: STORE,
            source: format!("{key}: a multipart upload without id").into(),
        })?;
        Ok(Self {
            store: store.clone(),
            key: key.to_string(),
            id,
            next_part: 1,
            parts: Arc::default(),
        })
    }
}

#[async_trait]
impl MultipartUpload for Multipart {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let number = self.next_part;
        self.next_part += 1;
        let parts = Arc::clone(&self.parts);
        let key = self.key.clone();
        let request = self
            .store
            .client
            .upload_part()
            .bucket(&self.store.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .part_number(number)
            .body(ByteStream::from(Bytes::from(data)));
        Box::pin(async move {
            let answer = request
                .send()
                .await
                .map_err(|error| map_error(&key, error))?;
            let part = CompletedPart::builder()
                .part_number(number)
                .set_e_tag(answer.e_tag)
                .build();
            parts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(part);
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let mut parts = {
            let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *parts)
        };
        parts.sort_by_key(CompletedPart::part_number);
        let answer = self
            .store
            .client
            .complete_multipart_upload()
            .bucket(&self.store.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .multipart_upload(
                CompletedMultipartUpload::builder()
                    .set_parts(Some(parts))
                    .build(),
            )
            .send()
            .await
            .map_err(|error| map_error(&self.key, error))?;
        Ok(PutResult {
            e_tag: answer.e_tag,
            version: answer.version_id,
            extensions: Default::default(),
        })
    }

    async fn abort(&mut self) -> Result<()> {
        self.store
            .client
            .abort_multipart_upload()
            .bucket(&self.store.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .send()
            .await
            .map_err(|error| map_error(&self.key, error))?;
        Ok(())
    }
}
