//! The models that an epoch's rows are written under, and what they make of a row.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::job::state::Prequential;
use crate::table::{Form, Row};
use crate::{classifier, clusters, projection};

/// Models as they travel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ModelFiles {
    /// A projection's safetensors; `None` where there are too few rows for one.
    pub projection: Option<Vec<u8>>,
    /// A classifier's; `None` where there is none.
    pub classifier: Option<Vec<u8>>,
    /// A clustering's; `None` where there is none, and while a job writes rows: clusters are of all rows together.
    pub clustering: Option<Vec<u8>>,
}

impl ModelFiles {
    /// Of these models.
    ///
    /// # Errors
    /// None that a fitted model brings about.
    pub fn new(
        projection: Option<&projection::Stored>,
        classifier: Option<&classifier::Stored>,
    ) -> Result<Self> {
        Ok(ModelFiles {
            projection: projection
                .map(projection::Stored::to_safetensors)
                .transpose()?,
            classifier: classifier
                .map(classifier::Stored::to_safetensors)
                .transpose()?,
            clustering: None,
        })
    }
}

/// Models at work.
#[derive(Debug, Default)]
pub struct Models {
    projection: Option<projection::Stored>,
    classifier: Option<classifier::Stored>,
    clustering: Option<clusters::Stored>,
}

impl Models {
    /// From their files.
    ///
    /// # Errors
    /// Files that were damaged on the way.
    pub fn open(files: &ModelFiles) -> Result<Self> {
        let projection = files.projection.as_deref();
        let classifier = files.classifier.as_deref();
        let clustering = files.clustering.as_deref();
        Ok(Models {
            projection: projection
                .map(projection::Stored::from_safetensors)
                .transpose()?,
            classifier: classifier
                .map(classifier::Stored::from_safetensors)
                .transpose()?,
            clustering: clustering
                .map(clusters::Stored::from_safetensors)
                .transpose()?,
        })
    }

    /// The projection, if there is one.
    pub fn projection(&self) -> Option<&projection::Stored> {
        self.projection.as_ref()
    }

    /// Fills in what the models make of each row's features, in a table of this form; how often the predicted labels were right.
    pub fn complete(&self, rows: &mut [Row], form: &Form) -> Prequential {
        let scaled = form.shows::<Row>("scaled_features");
        let mut tested = Prequential::default();
        for row in rows {
            self.reduce(row, scaled);
            self.predict(row);
            self.place(row);
            if let (Some(label), Some(predicted)) = (&row.label, &row.predicted_label) {
                tested.tested += 1;
                tested.correct += u64::from(label == predicted);
            }
        }
        tested
    }

    fn reduce(&self, row: &mut Row, scaled: bool) {
        let of = self.projection.as_ref().map(|stored| &stored.projection);
        row.reduced_features = of.map(|projection| projection.reduced(&row.features));
        row.scaled_features = of
            .filter(|_| scaled)
            .map(|projection| projection.scaled(&row.features));
        row.projection_version = self.projection.as_ref().map(|stored| stored.version);
    }

    fn predict(&self, row: &mut Row) {
        let stored = self.classifier.as_ref();
        let prediction = stored.map(|stored| stored.classifier.classify(&row.features));
        row.predicted_label = prediction.map(|prediction| prediction.label.to_owned());
        row.confidence = prediction.map(|prediction| prediction.confidence);
        row.classifier_version = stored.map(|stored| stored.version);
    }

    fn place(&self, row: &mut Row) {
        let reduced = row.reduced_features.as_deref();
        let placed = self.clustering.as_ref().zip(reduced);
        row.cluster = placed.map(|(stored, reduced)| stored.clustering.nearest(reduced) as i32);
        row.clustering_version = placed.map(|(stored, _)| stored.version);
    }
}
