//! What `verify` has to check, as the last commit names it, and what it found.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::models::{read_classifier, read_clustering, read_moments, read_projection};
use super::state::{JobState, decode_tombstones, version_of};
use super::{Failure, Tables};
use crate::moments::Moments;
use crate::operators::{Epoch, Host};
use crate::table::state::{CLASSIFIERS, CLUSTERS, Objects, PROJECTIONS};
use crate::table::{DataFile, Form, Row};
use crate::tensors::StoredError;
use crate::{classifier, clusters, projection};

/// An object to read whole.
#[derive(Clone, Debug)]
pub enum Check {
    /// A file of the main table.
    Rows(DataFile),
    /// A file of the rejects table.
    Rejects(DataFile),
    /// The removals that are remembered.
    Tombstones(String),
}

/// Something that is not as it was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The object, relative to its table or beside it.
    pub object: String,
    /// What differs, in a sentence that names the object.
    pub what: String,
}

/// What was read, and what was found in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Data files that were read whole.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Rejects in them.
    pub rejects: u64,
    /// Removals that are remembered.
    pub tombstones: u64,
    /// Rows whose reduced features were computed again.
    pub reduced_checked: u64,
    /// Rows whose projection is no longer there.
    pub reduced_unchecked: u64,
    /// Rows whose predicted labels were computed again.
    pub predicted_checked: u64,
    /// Rows whose classifier is no longer there.
    pub predicted_unchecked: u64,
    /// Rows whose clusters were computed again.
    pub clusters_checked: u64,
    /// Rows whose clustering is no longer there.
    pub clusters_unchecked: u64,
    /// Rows are missing from the sums: their file can't be read, or their features are none.
    pub incomplete: bool,
    /// What is not as it was published.
    pub differences: Vec<Difference>,
}

impl Findings {
    /// Takes another one in.
    pub fn add(&mut self, other: Findings) {
        self.files += other.files;
        self.rows += other.rows;
        self.rejects += other.rejects;
        self.tombstones += other.tombstones;
        self.reduced_checked += other.reduced_checked;
        self.reduced_unchecked += other.reduced_unchecked;
        self.predicted_checked += other.predicted_checked;
        self.predicted_unchecked += other.predicted_unchecked;
        self.clusters_checked += other.clusters_checked;
        self.clusters_unchecked += other.clusters_unchecked;
        self.incomplete |= other.incomplete;
        self.differences.extend(other.differences);
    }

    /// What was read of `object`, or a difference where it can't be.
    fn readable<T>(&mut self, object: &str, read: Result<T>) -> Option<T> {
        read.inspect_err(|error| self.differs(object, format!("{error:#}")))
            .ok()
    }

    /// Notes a difference.
    pub fn differs(&mut self, object: &str, what: impl ToString) {
        self.differences.push(Difference {
            object: object.to_owned(),
            what: what.to_string(),
        });
    }
}

/// What `verify` did and found.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The main table's version.
    pub commit: u64,
    /// Its epoch.
    pub epoch: Epoch,
    /// What was read.
    #[serde(flatten)]
    pub tally: Findings,
    /// Of what was recomputed.
    #[serde(flatten)]
    pub digests: Digests,
}

/// SHA-256 of what the rows have.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Digests {
    /// Of the moments of the rows; `None` if some could not be read.
    pub moments_sha256: Option<String>,
    /// Of the projection fitted from them; `None` also where there are too few rows for one.
    pub projection_sha256: Option<String>,
    /// Of the classifier fitted from them, where the commit names one.
    pub classifier_sha256: Option<String>,
}

/// What the workers of `verify` share.
pub struct Verification {
    /// The last commit's state.
    pub state: JobState,
    /// The moments that it names, if they can be read.
    pub moments: Option<Moments>,
    /// The first error that ends the work; what differs is none.
    pub failure: Failure,
    tables: Tables,
    runtime: Handle,
    commit: u64,
    checks: Vec<Check>,
    projections: Kept<projection::Stored>,
    classifiers: Kept<classifier::Stored>,
    clusterings: Kept<clusters::Stored>,
    /// What was found before the workers began.
    opening: Findings,
    verdict: Mutex<Option<Verdict>>,
}

impl Host for Verification {
    fn runtime(&self) -> &Handle {
        &self.runtime
    }
    fn failure(&self) -> &Failure {
        &self.failure
    }
    fn tables(&self) -> &Tables {
        &self.tables
    }
}

impl Verification {
    /// Reads the last commit of `tables`, and the moments and the projection that it names. Nothing is ever written.
    ///
    /// # Errors
    /// Where there is no table, or its logs can't be read.
    pub async fn open(mut tables: Tables) -> Result<Self> {
        let found = tables.open_existing().await?;
        let state = JobState::committed(found.state)?;
        let mut opening = Findings::default();
        let object = state.moments.as_ref().map(|named| &*named.object);
        let moments = read_moments(&tables, &state).await;
        let moments = opening.readable(object.unwrap_or("moments"), moments);
        let named = state.projection.as_ref();
        let named = named.map(|named| (named.version, &*named.object));
        let read = read_projection(&tables, &state).await;
        let newest = opening.readable(named.map_or(PROJECTIONS, |(_, object)| object), read);
        let projections = Kept::list(&tables, PROJECTIONS, named, newest.flatten()).await?;
        let named = state.classifier.as_ref();
        let named = named.map(|named| (named.version, &*named.object));
        let read = read_classifier(&tables, &state).await;
        let newest = opening.readable(named.map_or(CLASSIFIERS, |(_, object)| object), read);
        let classifiers = Kept::list(&tables, CLASSIFIERS, named, newest.flatten()).await?;
        let named = state.clustering.as_ref();
        let named = named.map(|named| (named.version, &*named.object));
        let read = read_clustering(&tables, &state).await;
        let newest = opening.readable(named.map_or(CLUSTERS, |(_, object)| object), read);
        let clusterings = Kept::list(&tables, CLUSTERS, named, newest.flatten()).await?;
        let checks = found.rows.into_iter().map(Check::Rows);
        let checks = checks
            .chain(found.rejects.into_iter().map(Check::Rejects))
            .chain(state.tombstones.clone().map(Check::Tombstones));
        Ok(Verification {
            checks: checks.collect(),
            moments,
            failure: Failure::default(),
            runtime: Handle::current(),
            commit: found.version,
            verdict: Mutex::new(None),
            state,
            tables,
            projections,
            classifiers,
            clusterings,
            opening,
        })
    }

    /// The share of one worker.
    pub fn checks(&self, worker: usize, workers: usize) -> Vec<Check> {
        let mine = self.checks.iter().skip(worker).step_by(workers);
        mine.cloned().collect()
    }

    /// Reads an object whole; the rows that are to be recomputed, with the models that they may be under.
    pub async fn read(&self, check: Check) -> (Findings, Option<Opened>) {
        let mut tally = Findings::default();
        match check {
            Check::Rows(file) => match self.tables.rows.read(&file).await {
                Ok(rows) => {
                    tally.files = 1;
                    tally.rows = rows.len() as u64;
                    count(&mut tally, &file, rows.len());
                    let objects = &self.tables.objects;
                    let named = rows.iter().filter_map(|row| row.projection_version);
                    let read = projection::Stored::from_safetensors;
                    let projections = self.projections.of(named, objects, read, &mut tally).await;
                    let named = rows.iter().filter_map(|row| row.classifier_version);
                    let read = classifier::Stored::from_safetensors;
                    let classifiers = self.classifiers.of(named, objects, read, &mut tally).await;
                    let named = rows.iter().filter_map(|row| row.clustering_version);
                    let read = clusters::Stored::from_safetensors;
                    let clusterings = self.clusterings.of(named, objects, read, &mut tally).await;
                    let opened = Opened {
                        file: file.name,
                        projections,
                        classifiers,
                        clusterings,
                        rows,
                        form: self.tables.rows.form().clone(),
                    };
                    return (tally, Some(opened));
                }
                Err(error) => {
                    tally.incomplete = true;
                    tally.differs(&file.name, error);
                }
            },
            Check::Rejects(file) => match self.tables.rejects.read(&file).await {
                Ok(rejects) => {
                    tally.files = 1;
                    tally.rejects = rejects.len() as u64;
                    count(&mut tally, &file, rejects.len());
                }
                Err(error) => tally.differs(&file.name, error),
            },
            Check::Tombstones(name) => {
                let bytes = self.tables.objects.get(&name).await;
                let bytes = bytes.map_err(anyhow::Error::from);
                let tombstones = tally.readable(&name, bytes.and_then(decode_tombstones));
                tally.tombstones = tombstones.map_or(0, |tombstones| tombstones.len() as u64);
            }
        }
        (tally, None)
    }

    /// Sets the verdict: what was read by all workers, and the digests of what was recomputed.
    pub fn conclude(&self, mut tally: Findings, recomputed: Digests) {
        tally.add(self.opening.clone());
        let differences = &mut tally.differences;
        differences.sort_unstable_by(|a, b| (&a.object, &a.what).cmp(&(&b.object, &b.what)));
        differences.dedup();
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        *verdict = Some(Verdict {
            commit: self.commit,
            epoch: self.state.epoch,
            tally,
            digests: recomputed,
        });
    }

    /// The verdict, once.
    pub(super) fn verdict(&self) -> Result<Verdict> {
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        verdict
            .take()
            .ok_or_else(|| anyhow!("the workers ended without a verdict"))
    }
}

/// A kind of model: the objects of each version, several where an epoch was begun more than once; of the version that the last commit
/// names, its own only.
struct Kept<M> {
    objects: BTreeMap<Epoch, Vec<String>>,
    /// The one that the last commit names, if it can be read.
    newest: Option<(Epoch, M)>,
}

impl<M: Clone> Kept<M> {
    /// Those in `folder`; `named` is the last commit's, and `newest` what is in it.
    async fn list(
        tables: &Tables,
        folder: &str,
        named: Option<(Epoch, &str)>,
        newest: Option<M>,
    ) -> Result<Self> {
        let mut objects: BTreeMap<Epoch, Vec<String>> = BTreeMap::new();
        for name in tables.objects.list(folder).await? {
            if let Some(version) = version_of(&name) {
                objects.entry(version).or_default().push(name);
            }
        }
        objects.extend(named.map(|(version, object)| (version, vec![object.to_owned()])));
        let newest = named.map(|(version, _)| version).zip(newest);
        Ok(Kept { objects, newest })
    }

    /// Every one of the versions that rows have `named`, as far as they are still there.
    async fn of(
        &self,
        named: impl Iterator<Item = Epoch>,
        objects: &Objects,
        read: impl Fn(&[u8]) -> Result<M, StoredError>,
        found: &mut Findings,
    ) -> BTreeMap<Epoch, Vec<M>> {
        let mut models: BTreeMap<Epoch, Vec<M>> = BTreeMap::new();
        for version in named {
            if models.contains_key(&version) {
                continue;
            }
            let mut there = Vec::new();
            match self.newest.as_ref().filter(|newest| newest.0 == version) {
                Some((_, newest)) => there.push(newest.clone()),
                None => {
                    for name in self.objects.get(&version).into_iter().flatten() {
                        let bytes = objects.get(name).await.map_err(anyhow::Error::from);
                        let model =
                            bytes.and_then(|bytes| read(&bytes).with_context(|| name.clone()));
                        there.extend(found.readable(name, model));
                    }
                }
            }
            models.insert(version, there);
        }
        models
    }
}

/// Rows of a file, and the models that may have made what they hold.
pub struct Opened {
    /// The file.
    pub file: String,
    /// Its rows.
    pub rows: Vec<Row>,
    /// The projections that the rows name, as far as they are still there.
    pub projections: BTreeMap<Epoch, Vec<projection::Stored>>,
    /// The classifiers that they name, as far as they are still there.
    pub classifiers: BTreeMap<Epoch, Vec<classifier::Stored>>,
    /// The clusterings that they name, as far as they are still there.
    pub clusterings: BTreeMap<i64, Vec<clusters::Stored>>,
    /// What the table shows.
    pub form: Form,
}

/// Holds the number of records in a file against the log's.
fn count(tally: &mut Findings, file: &DataFile, found: usize) {
    if file.rows != found as u64 {
        let (name, said) = (&file.name, file.rows);
        let what = format!("{name} holds {found} rows, the table's log says {said}");
        tally.differs(name, what);
    }
}
