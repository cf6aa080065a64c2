//! Objects' bytes to their rows: decode, fit to the network's input, run the network on all that are readable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::images::Image;
use super::look::Unreadable;
use super::tally::Work;
use crate::backbone::Backbone;
use crate::event::Version;
use crate::image::{self, Preprocess, Resizer};
use crate::job::Job;
use crate::moments;
use crate::observe::Worker;
use crate::operators::{Change, Hint};
use crate::storage::{Upload, digest, path_of};
use crate::table::{Reject, Row};

/// What an image came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// The network's input, `[n, side, side, 3]`.
    pixels: Vec<u8>,
    /// Of one image.
    fitted: Vec<u8>,
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
            fitted: Vec::new(),
            grid: vec![0; width],
            shows_content: job.tables.rows.form().shows::<Row>("content"),
        }
    }

    /// Computes images, and answers each.
    pub fn featurise(&mut self, images: Vec<Image>) {
        self.pixels.clear();
        let mut decoded = Vec::new();
        for image in images {
            match self.decode(&image.fetched.upload) {
                Ok(read) => decoded.push((image, read)),
                Err(why) => self.answer(image, Work::default(), Err(why)),
            }
        }
        if decoded.is_empty() {
            return;
        }
        let width = self.grid.len();
        let mut features = vec![0.0; decoded.len() * width];
        let start = Instant::now();
        let extracted = self.backbone.extract(&self.pixels, &mut features);
        let network = start.elapsed() / decoded.len() as u32;
        self.meter.passes.inc();
        for ((image, read), features) in decoded.into_iter().zip(features.chunks_exact(width)) {
            let mut work = Work {
                decode: read.took,
                ..Work::default()
            };
            let row = match &extracted {
                Ok(()) => {
                    work.network = network;
                    self.job.metrics.extracted.record(network);
                    self.row(&image, &read, features.to_vec())
                }
                Err(error) => Err(Unreadable::new("extraction-failed", error)),
            };
            self.answer(image, work, row);
        }
    }

    /// Appends an image's pixels to the network's input.
    fn decode(&mut self, upload: &Upload) -> Result<Decoded, Unreadable> {
        let start = Instant::now();
        let picture = image::decode(&upload.bytes, &self.job.image_limits)
            .map_err(|error| Unreadable::new(error.reason(), error))?;
        self.resizer
            .apply(&picture, &self.preprocess, &mut self.fitted)
            .map_err(|error| Unreadable::new("unfit", error))?;
        self.pixels.extend_from_slice(&self.fitted);
        let took = start.elapsed();
        self.job.metrics.decoded.record(took);
        Ok(Decoded {
            width: picture.width,
            height: picture.height,
            took,
        })
    }

    /// The row of a readable image, without its reduced features.
    fn row(
        &mut self,
        image: &Image,
        decoded: &Decoded,
        features: Vec<f32>,
    ) -> Result<Row, Unreadable> {
        // Features that the moments can't hold must not reach the table either.
        moments::quantise(&features, &mut self.grid)
            .map_err(|error| Unreadable::new("features-off-grid", error))?;
        self.meter.images.inc();
        let (hint, upload) = (&image.hint, &image.fetched.upload);
        Ok(Row {
            path: path_of(&hint.bucket, &hint.object),
            label: self.job.config.label.label(&hint.object),
            etag: upload.meta.etag.clone(),
            event_time_ms: image.version.time_ms,
            version: image.version.to_string(),
            width: decoded.width,
            height: decoded.height,
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

    /// Hands over what an image came to, and what it took since it was fetched.
    fn answer(&self, image: Image, mut work: Work, row: Result<Row, Unreadable>) {
        work.fetch = image.fetched.took;
        let etag = image.fetched.upload.meta.etag;
        let change = match row {
            Ok(row) => Change::Row(Box::new(row)),
            Err(why) => {
                let etag = Some(etag.clone());
                let reject = reject(&self.job, &image.hint, image.version, etag, why);
                Change::Reject(Box::new(reject))
            }
        };
        // Nobody waits any more when the job has failed.
        let _ = image.answer.send(Featured {
            etag: digest(etag.as_bytes()),
            change,
            work,
        });
    }
}

/// An image whose pixels are in the network's input: how large it was before, and what that took.
struct Decoded {
    width: u32,
    height: u32,
    /// Decoding, and fitting.
    took: Duration,
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
