//! Whose fault a failure is: the object's, or that of all who ask.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::Uploads;

/// Witnesses of a bucket: enough that some are left when others are removed.
const WITNESSES: usize = 4;

/// Of each bucket, some objects that could be read.
///
/// A store that refuses an object says the same words whether that object is private, the credentials have expired, or the
/// policy gives nothing at all; and one that breaks off tells as little. So another object is asked for, which could be read before.
#[derive(Debug, Default)]
pub struct Witnesses(Mutex<HashMap<String, VecDeque<String>>>);

impl Witnesses {
    /// This object was read, in this run or before.
    pub fn read(&self, bucket: &str, key: &str) {
        let mut witnesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(keys) = witnesses.get_mut(bucket) else {
            witnesses.insert(bucket.to_owned(), [key.to_owned()].into());
            return;
        };
        if keys.iter().any(|known| known == key) {
            return;
        }
        if keys.len() == WITNESSES {
            keys.pop_front();
        }
        keys.push_back(key.to_owned());
    }

    /// Whether another object of `bucket` than `key` can be read whole at this moment; not, where none was read yet. Objects beyond
    /// `limit_bytes` are no witnesses.
    pub async fn vouch_for(
        &self,
        uploads: &dyn Uploads,
        bucket: &str,
        key: &str,
        limit_bytes: u64,
    ) -> bool {
        let witnesses = {
            let witnesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            witnesses.get(bucket).cloned().unwrap_or_default()
        };
        // The latest are the likeliest to be there.
        for witness in witnesses.iter().rev().filter(|witness| *witness != key) {
            if uploads.get(bucket, witness, limit_bytes).await.is_ok() {
                return true;
            }
        }
        false
    }
}
