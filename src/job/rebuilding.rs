//! A table made anew by another network, or with labels by another rule: its rows go, in one commit, and events bring them back.
//!
//! Features of two networks can't share sums, so no row of before may stay. What tells which images there were is the table
//! itself: an event of each goes to the topic first, then one commit takes all rows away and names the new network. It keeps the
//! Kafka offsets of before, so a job that starts from it meets the events. A job that meets them earlier, because it still runs,
//! has to commit to go past them, and then this commit is fenced out and changes nothing; sent twice they do no harm.

use anyhow::Result;
use futures::{Stream, StreamExt, stream};

use super::origin::check_topic;
use super::state::{FileList, JobState};
use super::{Extraction, Tables};
use crate::config::LabelRule;
use crate::operators::Which;
use crate::table::{Author, CommitError, DataFile, KeyRow};

/// A table whose rows are to be of another network, or to have labels by another rule.
pub struct Rebuilding {
    tables: Tables,
    version: u64,
    state: JobState,
    label: String,
    rows: Vec<DataFile>,
}

/// What a rebuild came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// The last version with the rows of before.
    pub before: u64,
    /// How many they were.
    pub rows: u64,
    /// What they were made with.
    pub backbone: String,
}

impl Rebuilding {
    /// Opens `tables`, which a job of this `topic` made. `None` if that was with the network of `extraction` and this rule of labels. A rejects
    /// commit that a crash left undone is carried out; nothing else is written yet.
    ///
    /// # Errors
    /// Where there is no table, or no job has committed to it; another topic; logs that can't be read.
    pub async fn open(
        mut tables: Tables,
        extraction: &Extraction,
        label: &LabelRule,
        topic: &str,
    ) -> Result<Option<Self>> {
        let found = tables.open_to_rewrite(Author::Rebuild).await;
        let found = found.map_err(explained)?;
        let state = JobState::committed(found.state)?;
        check_topic(&state, topic)?;
        let label = label.to_string();
        let other_label = state.label.as_ref().is_some_and(|before| *before != label);
        let other = state.backbone != extraction.identity || other_label;
        Ok(other.then_some(Rebuilding {
            tables,
            version: found.version,
            state,
            label,
            rows: found.rows,
        }))
    }

    /// The keys of all rows, a file's at a time.
    pub fn keys(&self) -> impl Stream<Item = Result<Vec<KeyRow>>> {
        stream::iter(&self.rows).then(|file| self.tables.read_keys(Which::Main, file))
    }

    /// Takes all rows away and names the network of `extraction`, in one commit. Rejects, remembered removals and offsets stay.
    ///
    /// # Errors
    /// [`CommitError::Fenced`] where a job was faster; then nothing has changed.
    pub async fn empty(self, extraction: &Extraction) -> Result<Rebuilt> {
        let JobState {
            format,
            epoch,
            topic,
            offsets,
            tombstones,
            backbone,
            ..
        } = self.state;
        let state = JobState {
            format,
            epoch: epoch + 1,
            writer: uuid::Uuid::new_v4().simple().to_string(),
            backbone: extraction.identity.clone(),
            features: extraction.model.spec().features,
            label: Some(self.label),
            topic,
            offsets,
            tombstones,
            ..JobState::default()
        };
        let removes = self.rows.iter().map(|file| file.name.clone()).collect();
        let files = FileList {
            adds: Vec::new(),
            removes,
        };
        let emptied = self.tables.commit(&state, files).await;
        emptied.map_err(explained)?;
        Ok(Rebuilt {
            before: self.version,
            rows: self.rows.iter().map(|file| file.rows).sum(),
            backbone,
        })
    }
}

/// Says what the loss of a race means here.
fn explained(error: anyhow::Error) -> anyhow::Error {
    CommitError::explained(
        error,
        "the table is as it was: a job wrote to it meanwhile. Stop the job, and say this again",
    )
}
