//! Which version of a table is looked at, for the commands that only read.

use anyhow::Result;
use clap::Args;

use super::StoreArguments;
use crate::job::{self, View};
use crate::storage::S3Config;

/// A version, and where the store is.
#[derive(Debug, Args)]
pub struct ViewArguments {
    /// The table's version to look at; without it the newest
    #[arg(long = "version", value_name = "N")]
    pub version: Option<u64>,
    #[command(flatten)]
    store: StoreArguments,
}

impl ViewArguments {
    /// Where the store is.
    pub fn store(&self) -> S3Config {
        self.store.config()
    }

    /// The version of the table at this address.
    pub async fn open(&self, table: &str) -> Result<View> {
        let tables = job::open_tables(table, &self.store()).await?;
        View::open(tables, self.version).await
    }
}
