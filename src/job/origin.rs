//! What a job goes on from: the last commit, as worker 0 found it.

use std::collections::HashMap;

use anyhow::{Result, bail};

use super::models::{read_classifier, read_moments, read_projection};
use super::state::{FORMAT, JobState, decode_tombstones};
use super::{Contradiction, Job};
use crate::event::Version;
use crate::operators::commit::Ledger;
use crate::operators::project::{Published, State};
use crate::operators::{Placed, Slot, Which};
use crate::storage::Key;

/// Worker 0's beginning. The default is that of the workers which learn all through the dataflow.
#[derive(Default)]
pub struct Origin {
    /// Files of both tables.
    pub placed: Vec<Placed>,
    /// (partition, next offset).
    pub offsets: Vec<(i32, i64)>,
    /// Removals that are remembered.
    pub tombstones: Vec<(Key, Version)>,
}

/// [`Origin`], and what the operators of worker 0 go on from.
pub struct Beginning {
    /// For `restore`.
    pub origin: Origin,
    /// For `project`.
    pub state: State,
    /// For `commit`.
    pub ledger: Ledger,
}

impl Beginning {
    /// Opens the tables of `job`, creating them if need be, and reads the last commit.
    pub async fn read(job: &Job) -> Result<Self> {
        let found = job.tables.open().await?;
        let label = job.config.label.to_string();
        let state = match found.state {
            Some(state) => {
                check(&state, &job.identity, &label, &job.config.kafka.topic)?;
                JobState {
                    label: Some(label),
                    ..state
                }
            }
            None => JobState {
                format: FORMAT,
                backbone: job.identity.clone(),
                features: job.features,
                label: Some(label),
                topic: job.config.kafka.topic.clone(),
                ..JobState::default()
            },
        };
        let slots = |which| {
            move |file| Placed {
                slot: Slot::new(which),
                file: Some(file),
            }
        };
        let placed = found.rows.into_iter().map(slots(Which::Main));
        let placed = placed
            .chain(found.rejects.into_iter().map(slots(Which::Rejects)))
            .collect();
        job.tell_of(&state, &job.tables.summary().await?, true);
        let moments = read_moments(&job.tables, &state).await?;
        let projection = read_projection(&job.tables, &state).await?;
        let classifier = read_classifier(&job.tables, &state).await?;
        let tombstones = match &state.tombstones {
            Some(object) => decode_tombstones(job.tables.objects.get(object).await?)?,
            None => HashMap::new(),
        };
        let offsets = state
            .offsets
            .iter()
            .map(|(partition, next)| (*partition, *next))
            .collect();
        let published = Published {
            moments: state.moments.clone(),
            projection: state.projection.clone(),
            classifier: state.classifier.clone(),
        };
        Ok(Beginning {
            origin: Origin {
                placed,
                offsets,
                tombstones: tombstones
                    .iter()
                    .map(|(key, version)| (*key, *version))
                    .collect(),
            },
            state: State::new(moments, projection, classifier, published),
            ledger: Ledger { state, tombstones },
        })
    }
}

/// Refuses to go on with a state that a job of this backbone, label rule and topic would corrupt.
fn check(state: &JobState, identity: &str, label: &str, topic: &str) -> Result<()> {
    if state.backbone != identity {
        bail!(Contradiction(format!(
            "the table was made with the backbone {}, this job has {identity}: features of both can't share a table. Go back to \
             the old backbone, or tell the table to be rebuilt: `eigenflow rebuild --config FILE`, then start the job again; or \
             choose another table.uri, start the job, and bring in what Kafka no longer holds by `eigenflow replay \
             s3://BUCKET/PREFIX --config FILE`",
            state.backbone
        )));
    }
    if let Some(before) = state.label.as_deref()
        && before != label
    {
        bail!(Contradiction(format!(
            "the table's labels are by label.rule = {before}, this job has {label}: labels of both can't share a table. Go back to the old \
             rule, or tell the table to be rebuilt: `eigenflow rebuild --config FILE`, then start the job again; or choose another table.uri"
        )));
    }
    check_topic(state, topic)
}

/// Refuses to go on with offsets of another topic.
pub(super) fn check_topic(state: &JobState, topic: &str) -> Result<()> {
    if state.topic != topic {
        bail!(Contradiction(format!(
            "the table's offsets are of topic {}, this job reads {topic}: choose another table.uri, or go back to the topic",
            state.topic
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::{Architecture, Family, Model, Options, Strides};

    /// What a network of random weights says of itself.
    fn identity(family: Family, side: usize) -> String {
        let options = Options {
            family: Some(family),
            side,
            ..Options::default()
        };
        let model = Model::random(Architecture::resnet(18, Strides::V15), 1, &options);
        model.unwrap().spec().identity.clone()
    }

    #[test]
    fn a_job_goes_on_with_the_very_backbone_and_topic_of_its_table() {
        let before = identity(Family::Portable, 32);
        let state = JobState {
            backbone: before.clone(),
            topic: "uploads".into(),
            ..JobState::default()
        };
        assert!(check(&state, &before, "parent", "uploads").is_ok());
        let others = [
            identity(Family::Portable, 33),
            before.replace("; f32; ", "; bf16; "),
            before.replace(" portable, ", " avx512, "),
        ];
        for other in others {
            let refused = check(&state, &other, "parent", "uploads").unwrap_err();
            assert!(refused.is::<Contradiction>());
            let said = refused.to_string();
            assert!(said.contains(&before) && said.contains(&other), "{said}");
            assert!(said.contains("eigenflow replay"), "{said}");
        }
        assert!(check(&state, &before, "parent", "others").is_err());
    }

    #[test]
    fn labels_of_two_rules_share_no_table() {
        let by = |label: Option<&str>| JobState {
            label: label.map(str::to_owned),
            ..JobState::default()
        };
        assert!(
            check(&by(None), "", "parent", "").is_ok(),
            "a table from before"
        );
        assert!(check(&by(Some("parent")), "", "parent", "").is_ok());
        let refused = check(&by(Some("parent")), "", "regex ^(a)", "").unwrap_err();
        assert!(refused.is::<Contradiction>() && refused.to_string().contains("eigenflow rebuild"));
    }
}
