//! The moments of a commit and the models that were made of them, each checked against the digest that the commit names.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use super::Tables;
use super::state::{JobState, decode_moments};
use crate::moments::Moments;
use crate::{classifier, clusters, projection};

/// The moments that a commit names; none yet are empty ones.
pub async fn read_moments(tables: &Tables, state: &JobState) -> Result<Moments> {
    let named = state.moments.as_ref();
    let named = named.map(|named| [&*named.object, &*named.sha256]);
    let decode = |bytes| decode_moments(state.features, bytes);
    match read(tables, "moments", named, decode, Moments::sha256).await? {
        Some(moments) => Ok(moments),
        None => Ok(Moments::empty(state.features)?),
    }
}

/// The projection that a commit names.
pub async fn read_projection(
    tables: &Tables,
    state: &JobState,
) -> Result<Option<projection::Stored>> {
    let named = state.projection.as_ref();
    let named = named.map(|named| [&*named.object, &*named.sha256]);
    let decode = |bytes: Bytes| Ok(projection::Stored::from_safetensors(&bytes)?);
    let digest = |stored: &projection::Stored| stored.projection.sha256();
    read(tables, "projection", named, decode, digest).await
}

/// The classifier that a commit names.
pub async fn read_classifier(
    tables: &Tables,
    state: &JobState,
) -> Result<Option<classifier::Stored>> {
    let named = state.classifier.as_ref();
    let named = named.map(|named| [&*named.object, &*named.sha256]);
    let decode = |bytes: Bytes| Ok(classifier::Stored::from_safetensors(&bytes)?);
    let digest = |stored: &classifier::Stored| stored.classifier.sha256();
    read(tables, "classifier", named, decode, digest).await
}

/// The clustering that a commit names.
pub async fn read_clustering(
    tables: &Tables,
    state: &JobState,
) -> Result<Option<clusters::Stored>> {
    let named = state.clustering.as_ref();
    let named = named.map(|named| [&*named.object, &*named.sha256]);
    let decode = |bytes: Bytes| Ok(clusters::Stored::from_safetensors(&bytes)?);
    let digest = |stored: &clusters::Stored| stored.clustering.sha256();
    read(tables, "clustering", named, decode, digest).await
}

/// What is in the object that is `named`, with the digest of that.
async fn read<M>(
    tables: &Tables,
    what: &str,
    named: Option<[&str; 2]>,
    decode: impl FnOnce(Bytes) -> Result<M>,
    digest: impl FnOnce(&M) -> String,
) -> Result<Option<M>> {
    let Some([object, sha256]) = named else {
        return Ok(None);
    };
    let bytes = tables.objects.get(object).await?;
    let decoded = decode(bytes).with_context(|| object.to_owned())?;
    let found = digest(&decoded);
    ensure!(
        found == sha256,
        "{object} is damaged: its {what} has sha256 {found}, the commit names {sha256}"
    );
    Ok(Some(decoded))
}
