//! Who made a commit: a stamp in its metadata, found again in the commit file.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The metadata domain that says who made a commit.
pub(super) const STAMP_DOMAIN: &str = "eigenflow.commit";

/// On whose behalf a commit is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// A job, which owns the table as long as it runs.
    #[default]
    Job,
    /// The command `reproject`, which makes one commit and goes: whoever it overtakes may start again.
    Reproject,
    /// The command `rebuild`, which likewise makes one commit.
    Rebuild,
}

/// Who made a commit: unique for a call, repeated by its retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) writer: Uuid,
    pub(super) commit: Uuid,
    pub(super) epoch: i64,
    #[serde(default)]
    pub(super) author: Author,
}

/// What a commit file says about its writer.
#[derive(Debug)]
pub(super) struct Winner {
    pub(super) stamp: Option<Stamp>,
    engine: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    commit_info: Option<CommitInfo>,
    domain_metadata: Option<Domain>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommitInfo {
    engine_info: Option<String>,
}

#[derive(Deserialize)]
struct Domain {
    domain: String,
    configuration: String,
}

impl Winner {
    /// Reads a commit file. Lines that aren't understood are another writer's business: they prove that it isn't us.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut winner = Self {
            stamp: None,
            engine: None,
        };
        for line in bytes.split(|byte| *byte == b'\n') {
            let Ok(action) = serde_json::from_slice::<Action>(line) else {
                continue;
            };
            if let Some(info) = action.commit_info {
                winner.engine = info.engine_info;
            }
            if let Some(domain) = action.domain_metadata.filter(|d| d.domain == STAMP_DOMAIN) {
                winner.stamp = serde_json::from_str(&domain.configuration).ok();
            }
        }
        winner
    }

    /// For a person to find the other writer by.
    pub(super) fn name(&self) -> String {
        let engine = self.engine.as_deref().unwrap_or("an unknown program");
        let Some(stamp) = &self.stamp else {
            return engine.into();
        };
        let command = match stamp.author {
            Author::Job => "",
            Author::Reproject => " reproject",
            Author::Rebuild => " rebuild",
        };
        let Stamp { writer, epoch, .. } = stamp;
        format!("{engine}{command} (writer {writer}, epoch {epoch})")
    }

    /// Whether it was a command that made one commit, and not a job that goes on.
    pub(super) fn is_command(&self) -> bool {
        let author = self.stamp.map(|stamp| stamp.author);
        matches!(author, Some(Author::Reproject | Author::Rebuild))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_among_other_lines() {
        let stamp = Stamp {
            writer: Uuid::new_v4(),
            commit: Uuid::new_v4(),
            epoch: 7,
            author: Author::Reproject,
        };
        let domain = serde_json::json!({"domainMetadata": {
            "domain": STAMP_DOMAIN,
            "configuration": serde_json::to_string(&stamp).unwrap(),
            "removed": false,
        }});
        let info = r#"{"commitInfo":{"engineInfo":"eigenflow/9"}}"#;
        let file = format!("{info}\nnot json\n{{\"add\":{{\"path\":\"x\"}}}}\n{domain}\n");
        let winner = Winner::read(file.as_bytes());
        assert_eq!(winner.stamp, Some(stamp));
        assert!(winner.name().starts_with("eigenflow/9 reproject (writer "));
        assert!(winner.is_command());
    }

    #[test]
    fn a_stamp_without_an_author_is_a_jobs() {
        let id = Uuid::nil();
        let stamp = serde_json::json!({"writer": id, "commit": id, "epoch": 1});
        let stamp: Stamp = serde_json::from_value(stamp).unwrap();
        assert_eq!(stamp.author, Author::Job);
    }

    #[test]
    fn a_foreign_commit_has_no_stamp_but_a_name() {
        let winner = Winner::read(br#"{"commitInfo":{"engineInfo":"Apache-Spark/4.0"}}"#);
        assert_eq!(
            (winner.stamp, winner.name().as_str()),
            (None, "Apache-Spark/4.0")
        );
        assert_eq!(Winner::read(b"").name(), "an unknown program");
    }
}
