//! What the report shows, from the table.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::counts::{Refusals, Refused, Table, Told};
use super::pictures::{Images, Thumbnails, thumbnails};
use super::tsne::{STEPS, tsne};
use crate::classifier;
use crate::clusters::{Agreement, ClusterError, Clustering};
use crate::job::statistics::{Kind, all_have};
use crate::job::{self, Clusterer, FILES_IN_FLIGHT, View};
use crate::storage::{Key, key_of};
use crate::table::{DataFile, Point, Row};

/// Commits whose projections are told of.
const HISTORY_MAX: usize = 200;

/// How it is made.
pub struct Options {
    /// Rows on the maps at most.
    pub sample: usize,
    /// Threads that find clusters, where the table has none.
    pub workers: usize,
    /// Where images are that the table does not show.
    pub images: Images,
}

/// All that the page shows, as it reads it.
#[derive(Debug, Serialize)]
pub struct Report {
    table: String,
    version: u64,
    backbone: String,
    rows: u64,
    /// Different labels of all rows.
    labels: usize,
    rejected: u64,
    projection: Projection,
    sample: Sample,
    clusters: Option<Clusters>,
    classifier: Option<Classifier>,
    rejects: Vec<Refused>,
    /// How many of the sample have no thumbnail, and why the first of them has none.
    #[serde(skip)]
    pub without_picture: (u64, Option<String>),
}

#[derive(Debug, Serialize)]
struct Projection {
    version: i64,
    explained_variance_ratio: Vec<f64>,
    /// Oldest first.
    history: Vec<Past>,
}

#[derive(Debug, Serialize)]
struct Past {
    version: i64,
    /// In ms since 1970 UTC.
    at: i64,
    rows: u64,
    drift_degrees: Option<f64>,
    explained: f64,
}

/// Of each row of the sample, in one order.
#[derive(Debug, Serialize)]
struct Sample {
    labels: Vec<String>,
    label: Vec<usize>,
    cluster: Vec<Option<u32>>,
    /// In ms since 1970 UTC.
    time: Vec<i64>,
    path: Vec<String>,
    pca: Vec<[f32; 2]>,
    tsne: Vec<[f32; 2]>,
    /// JPEG as base64.
    picture: Vec<Option<String>>,
}

#[derive(Debug, Serialize)]
struct Clusters {
    count: usize,
    silhouette: Option<f64>,
    agreement: Option<Agreement>,
    table: Table,
}

#[derive(Debug, Serialize)]
struct Classifier {
    table: Table,
    /// Of the rows in the table, those that were predicted before they were learnt.
    unseen: u64,
    /// Since the table was made, of images that were predicted before they were learnt.
    tested: u64,
    correct: u64,
}

/// The clusters of a version, and how well they are.
struct Found {
    clustering: Clustering,
    silhouette: Option<f64>,
    agreement: Option<Agreement>,
}

/// A row of the sample, and the number of the file that it is in.
type Sampled = (Key, Point, usize);

/// One pass over all rows.
#[derive(Default)]
struct Pass {
    sample: Vec<Sampled>,
    labels: BTreeSet<Option<String>>,
    placed: BTreeMap<(u32, String), u64>,
    told: Told,
}

impl Report {
    /// Of the version that `clusterer` looks at; `bar` makes a progress bar of a stage and its steps. Blocks; not for a runtime's thread.
    ///
    /// # Errors
    /// A table that can't be read. An image that can't be fetched has no thumbnail.
    pub fn of(
        runtime: &Runtime,
        clusterer: &Arc<Clusterer>,
        options: &Options,
        bar: impl Fn(&'static str, u64) -> ProgressBar,
    ) -> Result<Self> {
        let view = &clusterer.view;
        let found = match runtime.block_on(published(view))? {
            Some(found) => Some(found),
            None => search(clusterer, options.workers)?,
        };
        let classifier = runtime.block_on(job::read_classifier(&view.tables, &view.state))?;
        let reading = bar("rows", view.rows());
        let pass = pass(view, found.as_ref(), classifier.as_ref(), options, &reading);
        let pass = runtime.block_on(pass)?;
        reading.finish();
        let paths = pass.sample.iter();
        let paths: Vec<(String, DataFile)> = paths
            .map(|(_, point, file)| (point.path.clone(), view.files[*file].clone()))
            .collect();
        let drawing = bar("pictures", paths.len() as u64);
        let pictures = thumbnails(view, &paths, &options.images, || drawing.inc(1));
        let pictures = runtime.block_on(pictures)?;
        drawing.finish();
        let arranging = bar("t-SNE", STEPS as u64);
        let reduced: Vec<&[f32]> = pass.sample.iter().map(|(_, point, _)| of(point)).collect();
        let plane = tsne(&reduced, || arranging.inc(1));
        arranging.finish();
        let (history, rejects) = runtime
            .block_on(async { anyhow::Ok((history(view).await?, refusals(view).await?)) })?;
        let state = &view.state;
        let projection = &view.projection.projection;
        let without_picture = pictures.missing.clone();
        Ok(Report {
            table: view.tables.place().to_string(),
            version: view.version,
            backbone: state.backbone.clone(),
            rows: view.rows(),
            labels: pass.labels.iter().flatten().count(),
            rejected: view.rejects.iter().map(|file| file.rows).sum(),
            projection: Projection {
                version: view.projection.version,
                explained_variance_ratio: projection.explained_variance_ratio().to_vec(),
                history,
            },
            clusters: found.as_ref().map(|found| Clusters {
                count: found.clustering.clusters(),
                silhouette: found.silhouette,
                agreement: found.agreement,
                table: Table::new(&pass.placed),
            }),
            classifier: classifier.map(|_| Classifier {
                table: Table::new(&pass.told.counts),
                unseen: pass.told.unseen,
                tested: state.prequential.tested,
                correct: state.prequential.correct,
            }),
            sample: Sample::new(pass.sample, found.as_ref(), pictures, plane),
            rejects,
            without_picture,
        })
    }
}

fn of(point: &Point) -> &[f32] {
    let reduced = point.reduced.as_ref();
    reduced.map(|(_, reduced)| &reduced[..]).unwrap_or_default()
}

/// The clusters that the version names, if they are of its projection.
async fn published(view: &View) -> Result<Option<Found>> {
    let named = view.state.clustering.as_ref();
    let named = named.filter(|named| named.projection_version == view.projection.version);
    let Some(named) = named else {
        return Ok(None);
    };
    let stored = job::read_clustering(&view.tables, &view.state).await?;
    Ok(stored.map(|stored| Found {
        clustering: stored.clustering,
        silhouette: named.silhouette,
        agreement: named.agreement,
    }))
}

/// The clusters that there are; none where none can be.
fn search(clusterer: &Arc<Clusterer>, workers: usize) -> Result<Option<Found>> {
    match job::cluster(clusterer, workers) {
        Ok(outcome) => Ok(Some(Found {
            clustering: outcome.clustering,
            silhouette: outcome.silhouette,
            agreement: outcome.agreement,
        })),
        Err(error) if error.is::<ClusterError>() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn pass(
    view: &View,
    found: Option<&Found>,
    classifier: Option<&classifier::Stored>,
    options: &Options,
    bar: &ProgressBar,
) -> Result<Pass> {
    let mut pass = Pass::default();
    // Where the table does not say what is predicted, the classifier is asked.
    let shown = view.tables.rows.form().shows::<Row>("predicted_label");
    let mut files = Vec::new();
    for file in &view.files {
        let told = shown && all_have(&file.stats, Kind::Classifier)?;
        files.push((file.clone(), classifier.is_some() && !told));
    }
    let mut all = pin!(view.points().all(files).enumerate());
    while let Some((number, points)) = all.next().await {
        let points = points?;
        let rows = points.len() as u64;
        for mut point in points {
            let features = point.features.take();
            if let Some(predicted) = &point.predicted {
                pass.told.add(&point, &predicted.label, predicted.learnt);
            } else if let (Some(stored), Some(features)) = (classifier, features) {
                let prediction = stored.classifier.classify(&features);
                pass.told.add(&point, prediction.label, true);
            }
            if !pass.labels.contains(&point.label) {
                pass.labels.insert(point.label.clone());
            }
            if let Some(found) = found {
                let cluster = found.clustering.nearest(of(&point));
                let label = point.label.clone().unwrap_or_default();
                *pass.placed.entry((cluster, label)).or_default() += 1;
            }
            pass.sample.push((key_of(&point.path), point, number));
        }
        // Keys are hashes, so the least are any.
        pass.sample.sort_unstable_by_key(|(key, ..)| *key);
        pass.sample.truncate(options.sample);
        bar.inc(rows);
    }
    Ok(pass)
}

impl Sample {
    fn new(
        sampled: Vec<Sampled>,
        found: Option<&Found>,
        mut pictures: Thumbnails,
        tsne: Vec<[f32; 2]>,
    ) -> Self {
        let labels = sampled.iter().map(|(_, point, _)| point.label.clone());
        let labels: BTreeSet<String> = labels.map(Option::unwrap_or_default).collect();
        let labels: Vec<String> = labels.into_iter().collect();
        let number = |label: &str| labels.binary_search_by(|name| name.as_str().cmp(label));
        let plane = |point: &Point| [0, 1].map(|at| of(point).get(at).copied().unwrap_or(0.0));
        let points = || sampled.iter().map(|(_, point, _)| point);
        Sample {
            label: points()
                .map(|point| number(point.label.as_deref().unwrap_or_default()).unwrap_or(0))
                .collect(),
            cluster: points()
                .map(|point| found.map(|found| found.clustering.nearest(of(point))))
                .collect(),
            time: points().map(|point| point.event_time_ms).collect(),
            path: points().map(|point| point.path.clone()).collect(),
            pca: points().map(plane).collect(),
            tsne,
            picture: points()
                .map(|point| pictures.by_path.remove(&point.path))
                .collect(),
            labels,
        }
    }
}

/// The projections of the last commits, each with the commit that published it.
async fn history(view: &View) -> Result<Vec<Past>> {
    let mut past: Vec<Past> = Vec::new();
    for (at, state) in view.tables.history(HISTORY_MAX).await? {
        let Some(projection) = &state.projection else {
            continue;
        };
        if past
            .last()
            .is_none_or(|last| last.version < projection.version)
        {
            past.push(Past {
                version: projection.version,
                at: at.timestamp_millis(),
                rows: state.moments.as_ref().map_or(0, |moments| moments.n),
                drift_degrees: projection.drift_rad.map(f64::to_degrees),
                explained: projection.explained(),
            });
        }
    }
    Ok(past)
}

async fn refusals(view: &View) -> Result<Vec<Refused>> {
    let mut refusals = Refusals::default();
    let files = &view.tables.rejects;
    let reading = stream::iter(&view.rejects).map(|file| files.read(file));
    let mut reading = reading.buffered(FILES_IN_FLIGHT);
    while let Some(rejects) = reading.try_next().await? {
        rejects.into_iter().for_each(|reject| refusals.add(reject));
    }
    Ok(refusals.sorted())
}
