//! Whose fault a refusal is: the object's, or that of all who ask.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Uploads;

/// Of each bucket, the object that was read last.
///
/// A store that refuses an object says the same words whether that object is private, the credentials have expired, or the
/// policy gives nothing at all. So another object is asked for, which could be read before.
#[derive(Debug, Default)]
pub struct Witnesses(Mutex<HashMap<String, String>>);

impl Witnesses {
    /// This object was read.
    pub fn read(&self, bucket: &str, key: &str) {
        let mut witnesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match witnesses.get_mut(bucket) {
            Some(witness) => key.clone_into(witness),
            None => {
                witnesses.insert(bucket.to_owned(), key.to_owned());
            }
        }
    }

    /// Whether `bucket` is open to us at this moment; not, where none of its objects was read yet.
    pub async fn vouch_for(&self, uploads: &dyn Uploads, bucket: &str) -> bool {
        let witness = {
            let witnesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            witnesses.get(bucket).cloned()
        };
        match witness {
            // Small servers call a missing bucket a missing key.
            Some(key) => matches!(uploads.head(bucket, &key).await, Ok(Some(_))),
            None => false,
        }
    }
}
