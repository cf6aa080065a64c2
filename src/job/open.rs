//! Opening a job: network, store and tables, before any worker starts.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::{Contradiction, Extraction, Failure, Job, Stop, Tables, budget_units, uploads};
use crate::backbone::weights;
use crate::classifier;
use crate::config::{self, Config};
use crate::image::Limits;
use crate::observe::{Board, Health, Metrics, Spell, Traces};
use crate::operators::extract::Images;
use crate::projection;
use crate::storage::{Credentials, Location, Patience, Place, S3Config, Witnesses};
use crate::table::{Form, Row};

/// What a job is given beside its configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Ends where the topic ended at the start.
    pub until_end: bool,
    /// For the store, instead of those of the standard chain.
    pub credentials: Option<Credentials>,
    /// Where weights are cached, instead of the user's cache folder.
    pub cache: Option<PathBuf>,
    /// Whether the process was asked to stop; it may be before the job is open.
    pub stop: Stop,
    /// Where the process tells how it is.
    pub health: Arc<Health>,
    /// Where it counts what it does.
    pub metrics: Arc<Metrics>,
    /// What process 0 knows of all, where somebody may ask for it.
    pub board: Option<Arc<Board>>,
}

/// How long commands other than jobs wait out a store's faults.
const PATIENCE: Duration = Duration::from_secs(30);

/// Loads the network and connects to the store. Nothing is read or written yet.
///
/// # Errors
/// Weights that are absent or wrong, no credentials, an impossible address.
pub async fn open(config: Config, options: Options) -> Result<Arc<Job>> {
    let cache = match options.cache {
        Some(cache) => cache,
        None => weights::cache_dir()?,
    };
    let form = form(&config.columns)?;
    let Extraction {
        model,
        preprocess,
        identity,
    } = Extraction::load(&config.backbone, &config.head, &cache)?;
    let s3 = uploads::s3_config(&config, options.credentials.as_ref());
    let limits = &config.limits;
    let metrics = options.metrics;
    let store = Arc::new(Spell::new("the store", metrics.retries.of(["store"])));
    let patience = Patience {
        limit: Duration::from_millis(limits.retry_ms),
        spell: store.clone(),
    };
    let traces = Traces::new(config.observe.otlp_endpoint.as_deref(), &metrics.spans)?;
    Ok(Arc::new(Job {
        runtime: Handle::current(),
        uploads: uploads::open(&config, options.credentials.as_ref()).await?,
        witnesses: Witnesses::default(),
        tables: tables(&config.table.uri, &s3, patience, form).await?,
        images: Images::default(),
        features: model.spec().features,
        identity,
        preprocess,
        image_limits: Limits {
            bytes: limits.image_bytes,
            pixels: limits.image_pixels,
            dimension: u32::try_from(limits.image_dimension).unwrap_or(u32::MAX),
            ..Limits::default()
        },
        projection_options: projection_options(&config.projection),
        classifier_options: classifier_options(&config.classifier),
        until_end: options.until_end,
        writer: uuid::Uuid::new_v4().simple().to_string(),
        stop: options.stop,
        stopped: AtomicBool::new(false),
        other_buckets: Mutex::default(),
        failure: Failure::default(),
        broker: Spell::new("Kafka", metrics.retries.of(["broker"])),
        metrics,
        traces,
        store,
        health: options.health,
        board: options.board,
        fetch_budget: Arc::new(Semaphore::new(
            budget_units(limits.fetch_bytes_in_flight) as usize
        )),
        model,
        config,
    }))
}

/// The tables at `uri`. Nothing is read yet.
///
/// # Errors
/// An address that can't be one, no credentials.
pub async fn open_tables(uri: &str, s3: &S3Config) -> Result<Tables> {
    let patience = Patience {
        limit: PATIENCE,
        ..Patience::default()
    };
    tables(uri, s3, patience, Form::default()).await
}

async fn tables(uri: &str, s3: &S3Config, patience: Patience, form: Form) -> Result<Tables> {
    let place = Place::open(&Location::parse(uri)?, s3, patience).await?;
    Tables::at(place, form)
}

/// The table's columns, as they are to be called.
///
/// # Errors
/// Names that can't be, or that two columns have.
pub fn form(columns: &config::Columns) -> Result<Form, Contradiction> {
    let config::Columns {
        path,
        label,
        features,
        reduced_features,
        scaled_features,
        predicted_label,
        confidence,
        cluster,
        content,
    } = columns;
    // Whoever reads a prediction can tell by which classifier, and `verify` can check it.
    let [classifier_version, clustering_version] =
        ["classifier_version", "clustering_version"].map(str::to_owned);
    let predicts = predicted_label.is_some() || confidence.is_some();
    let named = [
        ("path", Some(path)),
        ("label", Some(label)),
        ("features", Some(features)),
        ("reduced_features", Some(reduced_features)),
        ("scaled_features", scaled_features.as_ref()),
        ("predicted_label", predicted_label.as_ref()),
        ("confidence", confidence.as_ref()),
        (
            "classifier_version",
            predicts.then_some(&classifier_version),
        ),
        ("cluster", cluster.as_ref()),
        (
            "clustering_version",
            cluster.as_ref().map(|_| &clustering_version),
        ),
        ("content", content.as_ref()),
    ];
    let named = named
        .into_iter()
        .filter_map(|(own, name)| Some((own.to_owned(), name?.clone())));
    Form::new::<Row>(named).map_err(|error| Contradiction(format!("[columns]: {error:#}")))
}

fn classifier_options(config: &config::Classifier) -> Option<classifier::Options> {
    config.enabled.then_some(classifier::Options {
        shrinkage: match config.shrinkage {
            config::Shrinkage::By(share) => classifier::Shrinkage::By(share),
            config::Shrinkage::LedoitWolf => {
                classifier::Shrinkage::Estimated(classifier::Estimator::LedoitWolf)
            }
        },
        max_labels: config.max_labels,
    })
}

fn projection_options(config: &config::Projection) -> projection::Options {
    projection::Options {
        components: match config.components {
            config::Components::Count(count) => projection::Components::Count(count),
            config::Components::Ratio(ratio) => projection::Components::Ratio(ratio),
        },
        standardise: config.standardise,
        ddof: config.ddof as u8,
        center: config.center,
        whiten: config.whiten,
    }
}
