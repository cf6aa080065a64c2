//! Whom the search for a version's clusters works for.

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, anyhow};
use tokio::runtime::Handle;

use super::{Failure, Tables, View};
use crate::clusters::{ClusterError, Options, Outcome};
use crate::operators::Host;
use crate::operators::cluster::Wanted;
use crate::operators::models::ModelFiles;
use crate::table::DataFile;

/// What the workers of `cluster` share.
pub struct Clusterer {
    /// What is looked at.
    pub view: View,
    options: Options,
    models: ModelFiles,
    runtime: Handle,
    failure: Failure,
    outcome: Mutex<Option<Outcome>>,
}

impl Host for Clusterer {
    fn runtime(&self) -> &Handle {
        &self.runtime
    }
    fn failure(&self) -> &Failure {
        &self.failure
    }
    fn tables(&self) -> &Tables {
        &self.view.tables
    }
}

impl Clusterer {
    /// For clusters of `view`'s rows. To be called on a runtime.
    ///
    /// # Errors
    /// None that a projection brings about.
    pub fn new(view: View, options: Options) -> Result<Self> {
        Ok(Clusterer {
            models: ModelFiles::new(Some(&view.projection), None)?,
            view,
            options,
            runtime: Handle::current(),
            failure: Failure::default(),
            outcome: Mutex::new(None),
        })
    }

    /// Worker 0's task.
    pub fn task(&self) -> (Vec<DataFile>, Option<ModelFiles>, Option<Wanted>) {
        let width = self.view.projection.projection.n_components();
        let wanted = (self.options.clone(), width);
        (
            self.view.files.clone(),
            Some(self.models.clone()),
            Some(wanted),
        )
    }

    /// Takes what was found.
    pub fn conclude(&self, found: Result<Box<Outcome>, ClusterError>) {
        match found {
            Ok(found) => {
                let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
                *outcome = Some(*found);
            }
            Err(error) => self.failure.set(error.into()),
        }
    }

    /// The outcome, once.
    pub(super) fn outcome(&self) -> Result<Outcome> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = outcome.take();
        outcome.ok_or_else(|| anyhow!("the workers ended without an outcome"))
    }
}
