//! What `vacuum` may delete: the objects of a job's six folders that nothing retained needs.
//!
//! | folder | stays as long as |
//! |---|---|
//! | the table's | a retained version has the file |
//! | `rejects` | a retained version has the file, or a commit of the main table holds it written ahead |
//! | `state` | the state of a retained version names it |
//! | `projections`, `classifiers`, `clusters` | the same, or a row of a retained version is under it |
//!
//! *Retained* is what [`vacuum`] calls so. Whatever a job at work has written and not yet committed is young, and stays.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Result;

use super::{JobState, Tables, opened};
use crate::job::state::version_of;
use crate::job::statistics::{Kind, versions};
use crate::operators::Epoch;
use crate::storage::Place;
use crate::table::state::{CLASSIFIERS, CLUSTERS, PROJECTIONS, STATE};
use crate::table::vacuum::{self, Swept};

/// A folder that was looked through.
pub struct Sweep {
    /// Where.
    pub place: Place,
    /// What was found.
    pub swept: Swept,
}

impl Tables {
    /// Looks through everything that belongs to the tables, which must be there. A version is retained for `older_than`
    /// after the next one replaced it.
    ///
    /// # Errors
    /// A store that fails; a log that can't be read whole.
    pub async fn garbage(&mut self, older_than: Duration) -> Result<Vec<Sweep>> {
        self.open_existing().await?;
        let logs = self.logs.lock().await;
        let logs = opened(logs.as_ref())?;
        // The main table's log is read first: what its later commits write ahead is too young to go.
        let main = logs.main.table.retained(&logs.main.base, older_than);
        let main = main.await?;
        let rejects = logs.rejects.table.retained(&logs.rejects.base, older_than);
        let rejects = rejects.await?;
        let states = main.jobs.iter().map(|json| JobState::parse(json));
        let states = states.collect::<Result<Vec<_>>>()?;
        let named: BTreeSet<&str> = states.iter().flat_map(objects).collect();
        let ahead: BTreeSet<&str> = states
            .iter()
            .flat_map(|state| &state.rejects_commit.adds)
            .map(|file| file.name.as_str())
            .collect();
        let under = |kind| -> Result<Vec<_>> {
            let files = main.files.values();
            let ranges = files.map(|stats| versions(stats, kind));
            Ok(ranges
                .collect::<Result<Vec<_>>>()?
                .into_iter()
                .flatten()
                .collect())
        };
        let folders = [
            (STATE, None),
            (PROJECTIONS, Some(under(Kind::Projection)?)),
            (CLASSIFIERS, Some(under(Kind::Classifier)?)),
            (CLUSTERS, Some(under(Kind::Clustering)?)),
        ];

        let place = self.place.clone();
        let in_main = |name: &str| main.files.contains_key(name);
        let swept = main.sweep(&place, vacuum::is_data_file, in_main).await?;
        let mut sweeps = vec![Sweep { place, swept }];

        let place = self.place.beside("rejects")?;
        let in_rejects = |name: &str| rejects.files.contains_key(name) || ahead.contains(name);
        let swept = rejects.sweep(&place, vacuum::is_data_file, in_rejects);
        let swept = swept.await?;
        sweeps.push(Sweep { place, swept });

        for (folder, ranges) in folders {
            let place = self.place.beside(folder)?;
            let is_named = |name: &str| {
                let in_use = |ranges: &Vec<RangeInclusive<Epoch>>| {
                    let holds = |version| ranges.iter().any(|range| range.contains(&version));
                    version_of(name).is_none_or(holds)
                };
                named.contains(format!("{folder}/{name}").as_str())
                    || ranges.as_ref().is_some_and(in_use)
            };
            let swept = main.sweep(&place, |_| true, is_named).await?;
            sweeps.push(Sweep { place, swept });
        }
        Ok(sweeps)
    }
}

/// The objects that a commit names.
fn objects(state: &JobState) -> impl Iterator<Item = &str> {
    let moments = state.moments.as_ref().map(|moments| &moments.object);
    let projection = state.projection.as_ref().map(|named| &named.object);
    let classifier = state.classifier.as_ref().map(|named| &named.object);
    let clustering = state.clustering.as_ref().map(|named| &named.object);
    let models = projection.into_iter().chain(classifier).chain(clustering);
    let named = moments.into_iter().chain(models);
    named.chain(&state.tombstones).map(String::as_str)
}
