//! `eigenflow report`: a version of a table as one HTML file.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::replacing::replacing;
use super::view::ViewArguments;
use super::{Failure, runtime};
use crate::clusters;
use crate::job::Clusterer;
use crate::report::{Images, Options, Report, page};

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ReportCommand {
    /// s3://bucket/prefix/table or a folder
    table: String,
    /// The file to write
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// Images on the maps at most; each has its thumbnail in the file, some 4 kB
    #[arg(long, default_value_t = 2500, value_name = "N")]
    sample: usize,
    /// Worker threads that find clusters, where the table has none
    #[arg(short, long, default_value_t = 1, value_name = "N")]
    workers: usize,
    /// The folder whose subfolders are the buckets of the images, instead of a store
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    #[command(flatten)]
    view: ViewArguments,
}

const AFTER_HELP: &str = "The file holds all that it shows and opens in any browser, from disk or mail. Thumbnails are made of the table's images where it has them \
(`columns.content`), and of the objects that its paths name otherwise.";

impl ReportCommand {
    pub fn run(self) -> Result<ExitCode, Failure> {
        for (flag, number) in [("sample", self.sample), ("workers", self.workers)] {
            if number == 0 {
                return Err(Failure::Usage(anyhow!("--{flag} must be at least 1")));
            }
        }
        let start = Instant::now();
        let runtime = runtime()?;
        let options = Options {
            sample: self.sample,
            workers: self.workers,
            images: match &self.images {
                Some(folder) => Images::Folders(folder.clone()),
                None => Images::Store(self.view.store()),
            },
        };
        let clusters = clusters::Options::default();
        let open = async { Clusterer::new(self.view.open(&self.table).await?, clusters) };
        let clusterer = Arc::new(runtime.block_on(open)?);
        let report = Report::of(&runtime, &clusterer, &options, bar)?;
        let html = page::html(&report).map_err(anyhow::Error::from)?;
        replacing(&self.output, |mut partial| {
            Ok(partial.write_all(html.as_bytes())?)
        })?;
        if let (missing @ 1.., why) = &report.without_picture {
            let why = why.as_deref().unwrap_or("the file would be too large");
            eprintln!("eigenflow: {missing} images have no thumbnail ({why})");
        }
        println!(
            "{}: {:.1} MB; {:.1} s",
            self.output.display(),
            html.len() as f64 / 1e6,
            start.elapsed().as_secs_f64()
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn bar(what: &'static str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:10} {wide_bar} {pos}/{len}  {eta} left");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style).with_prefix(what)
}
