//! The moments of a commit and the models that were made of them, each checked against the digest that the commit names.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use super::Tables;
use super::state::{JobState, decode_moments};
use crate::moments::Moments;
use crate::{classifier, clusters, projection};

/// The moments that a commit names; none yet are empty ones.
pub async fn read_moments(tables: &Tables, state: &JobState) -> Result<Moments> {
    let Some(named) = &state.moments else {
        return Ok(Moments::empty(state.features)?);
    };
    let named = Named::new("moments", &named.object, &named.sha256);
    let decode = |bytes| decode_moments(state.features, bytes);
    named.read(tables, decode, Moments::sha256).await
}

/// The projection that a commit names.
pub async fn read_projection(
    tables: &Tables,
    state: &JobState,
) -> Result<Option<projection::Stored>> {
    let Some(named) = &state.projection else {
        return Ok(None);
    };
    let named = Named::new("projection", &named.object, &named.sha256);
    let decode = |bytes: Bytes| Ok(projection::Stored::from_safetensors(&bytes)?);
    let read = named.read(tables, decode, |stored| stored.projection.sha256());
    read.await.map(Some)
}

/// The classifier that a commit names.
pub async fn read_classifier(
    tables: &Tables,
    state: &JobState,
) -> Result<Option<classifier::Stored>> {
    let Some(named) = &state.classifier else {
        return Ok(None);
    };
    let named = Named::new("classifier", &named.object, &named.sha256);
    let decode = |bytes: Bytes| Ok(classifier::Stored::from_safetensors(&bytes)?);
    let read = named.read(tables, decode, |stored| stored.classifier.sha256());
    read.await.map(Some)
}

/// The clustering that a commit names.
pub async fn read_clustering(
    tables: &Tables,
    state: &JobState,
) -> Result<Option<clusters::Stored>> {
    let Some(named) = &state.clustering else {
        return Ok(None);
    };
    let named = Named::new("clustering", &named.object, &named.sha256);
    let decode = |bytes: Bytes| Ok(clusters::Stored::from_safetensors(&bytes)?);
    let read = named.read(tables, decode, |stored| stored.clustering.sha256());
    read.await.map(Some)
}

/// An object beside the table, and the digest of what is in it.
struct Named<'a> {
    what: &'static str,
    object: &'a str,
    sha256: &'a str,
}

impl<'a> Named<'a> {
    fn new(what: &'static str, object: &'a str, sha256: &'a str) -> Self {
        Named {
            what,
            object,
            sha256,
        }
    }

    async fn read<M>(
        &self,
        tables: &Tables,
        decode: impl FnOnce(Bytes) -> Result<M>,
        digest: impl FnOnce(&M) -> String,
    ) -> Result<M> {
        let bytes = tables.objects.get(self.object).await?;
        let decoded = decode(bytes).with_context(|| self.object.to_owned())?;
        let (
            Named {
                what,
                object,
                sha256,
            },
            found,
        ) = (self, digest(&decoded));
        ensure!(
            found == *sha256,
            "{object} is damaged: its {what} has sha256 {found}, the commit names {sha256}"
        );
        Ok(decoded)
    }
}
