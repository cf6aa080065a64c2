//! An object's bytes to its row: decode, fit to the network's input, run the network.

use std::sync::Arc;
use std::time::Instant;

use super::images::Image;
use super::look::Unreadable;
use super::tally::Work;
use crate::backbone::Backbone;
use crate::event::Version;
use crate::image::{self, Preprocess, Resizer};
use crate::job::Job;
use crate::moments;
use crate::observe::Worker;
use crate::operators::{Change, Hint, digest, path_of};
use crate::storage::Upload;
use crate::table::{Reject, Row};

/// What an image came to.
pub struct Featured {
    /// The digest of the object's etag.
    pub etag: u128,
    /// Its row, or its reject.
    pub change: Change,
    /// What it took.
    pub work: Work,
}

/// One worker's decoder and network.
pub struct Featuriser {
    job: Arc<Job>,
    meter: Arc<Worker>,
    backbone: Box<dyn Backbone>,
    resizer: Resizer,
    preprocess: Preprocess,
    /// The network's input, `[side, side, 3]`.
    pixels: Vec<u8>,
    grid: Vec<i32>,
    shows_content: bool,
}

impl Featuriser {
    /// With scratch memory of its own; the weights are the job's.
    pub fn new(job: &Arc<Job>, meter: Arc<Worker>) -> Self {
        let backbone = job.model.worker();
        let width = backbone.spec().features;
        Featuriser {
            job: job.clone(),
            meter,
            backbone,
            resizer: Resizer::default(),
            preprocess: job.preprocess,
            pixels: Vec::new(),
            grid: vec![0; width],
            shows_content: job.tables.rows.form().shows::<Row>("content"),
        }
    }

    /// Computes an image, and answers.
    pub fn featurise(&mut self, image: Image) {
        let Image {
            hint,
            version,
            fetched,
            answer,
        } = image;
        let etag = &fetched.upload.meta.etag;
        let mut work = Work {
            fetch: fetched.took,
            ..Work::default()
        };
        let change = match self.row(&hint, version, &fetched.upload, &mut work) {
            Ok(row) => Change::Row(Box::new(row)),
            Err(why) => {
                let reject = reject(&self.job, &hint, version, Some(etag.clone()), why);
                Change::Reject(Box::new(reject))
            }
        };
        let featured = Featured {
            etag: digest(etag.as_bytes()),
            change,
            work,
        };
        // Nobody waits any more when the job has failed.
        let _ = answer.send(featured);
    }

    /// The row of a readable image, without its reduced features; what it takes is told to `work`.
    fn row(
        &mut self,
        hint: &Hint,
        version: Version,
        upload: &Upload,
        work: &mut Work,
    ) -> Result<Row, Unreadable> {
        let metrics = self.job.metrics.clone();
        let start = Instant::now();
        let picture = image::decode(&upload.bytes, &self.job.image_limits)
            .map_err(|error| Unreadable::new(error.reason(), error))?;
        self.resizer
            .apply(&picture, &self.preprocess, &mut self.pixels)
            .map_err(|error| Unreadable::new("unfit", error))?;
        work.decode = start.elapsed();
        metrics.decoded.record(work.decode);
        let start = Instant::now();
        let mut features = vec![0.0; self.grid.len()];
        self.backbone
            .extract(&self.pixels, &mut features)
            .map_err(|error| Unreadable::new("extraction-failed", error))?;
        work.network = start.elapsed();
        metrics.extracted.record(work.network);
        // Features that the moments can't hold must not reach the table either.
        moments::quantise(&features, &mut self.grid)
            .map_err(|error| Unreadable::new("features-off-grid", error))?;
        self.meter.images.inc();
        Ok(Row {
            path: path_of(&hint.bucket, &hint.object),
            label: self.job.labeller.label(&hint.object),
            etag: upload.meta.etag.clone(),
            event_time_ms: version.time_ms,
            version: version.to_string(),
            width: picture.width,
            height: picture.height,
            features,
            reduced_features: None,
            scaled_features: None,
            projection_version: None,
            predicted_label: None,
            confidence: None,
            classifier_version: None,
            cluster: None,
            clustering_version: None,
            content: self.shows_content.then(|| upload.bytes.clone()),
        })
    }
}

/// The reject of an object that has no row.
pub fn reject(
    job: &Job,
    hint: &Hint,
    version: Version,
    etag: Option<String>,
    why: Unreadable,
) -> Reject {
    let path = path_of(&hint.bucket, &hint.object);
    job.metrics.refuse(why.reason, &path);
    Reject {
        path,
        reason: why.reason.to_owned(),
        detail: why.detail,
        etag,
        event_time_ms: version.time_ms,
        version: version.to_string(),
        event: None,
    }
}
