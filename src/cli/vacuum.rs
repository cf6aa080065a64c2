//! `eigenflow vacuum`: deletes what no recent version of a table names.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{Failure, StoreArguments, runtime};
use crate::config::parse_milliseconds;
use crate::job;
use crate::table::vacuum;

/// Arguments of `vacuum`.
#[derive(Debug, Args)]
pub struct Vacuum {
    /// s3://bucket/prefix/table or a folder
    table: String,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// Keep what is younger, and what any version named that was the newest within this time ("12h", "7d"). A job may be
    /// at work as long as this is far above its longest epoch and limits.retry_ms
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration)]
    older_than: Duration,
    #[command(flatten)]
    store: StoreArguments,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    // A number alone would be milliseconds, which nobody means here.
    let unit = |text: &&str| text.ends_with(|c: char| c.is_ascii_alphabetic());
    let text = Some(text).filter(unit);
    text.and_then(parse_milliseconds)
        .map(Duration::from_millis)
        .ok_or("write a time such as \"30s\", \"12h\" or \"7d\"")
}

impl Vacuum {
    pub fn run(self) -> Result<ExitCode, Failure> {
        runtime()?.block_on(self.vacuum())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn vacuum(&self) -> anyhow::Result<()> {
        let mut tables = job::open_tables(&self.table, &self.store.config()).await?;
        let (mut gone, mut gone_bytes, mut kept, mut kept_bytes) = (0, 0, 0, 0);
        for sweep in tables.garbage(self.older_than).await? {
            if !self.dry_run {
                vacuum::delete(&sweep.place, &sweep.swept.garbage).await?;
            }
            for object in &sweep.swept.garbage {
                println!("{}{}", sweep.place, object.name);
                gone += 1;
                gone_bytes += object.bytes;
            }
            kept += sweep.swept.kept;
            kept_bytes += sweep.swept.kept_bytes;
        }
        let verb = if self.dry_run {
            "would be deleted"
        } else {
            "deleted"
        };
        println!("{gone} objects ({gone_bytes} bytes) {verb}, {kept} ({kept_bytes} bytes) stay");
        Ok(())
    }
}
