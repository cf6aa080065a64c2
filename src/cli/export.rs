//! `eigenflow export`: the table's rows in another format.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use csv::Writer;

use super::{Failure, StoreArguments, runtime};
use crate::job;
use crate::table::Row;

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// s3://bucket/prefix/table or a folder
    table: String,
    /// Format of the output
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// Which vectors become columns
    #[arg(long, value_enum, default_value_t = Vectors::Reduced)]
    vectors: Vectors,
    /// The file to write; without it standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Comma-separated values with a header
    Csv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Vectors {
    /// reduced_0, reduced_1, …
    Reduced,
    /// feat_0, feat_1, …
    Features,
    /// Both
    All,
}

impl Export {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let output: Box<dyn Write> = match &self.output {
            Some(file) => Box::new(
                File::create(file)
                    .with_context(|| format!("{} can't be written", file.display()))?,
            ),
            None => Box::new(io::stdout().lock()),
        };
        let Format::Csv = self.format;
        runtime()?.block_on(self.export(Writer::from_writer(BufWriter::new(output))))?;
        Ok(ExitCode::SUCCESS)
    }

    /// One file at a time, so memory is bounded by a file.
    async fn export<W: Write>(&self, mut output: Writer<W>) -> Result<()> {
        let tables = job::open_tables(&self.table, &self.store.config(), job::PATIENCE_MS).await?;
        let found = tables.open_existing().await?;
        let components = found
            .state
            .as_ref()
            .and_then(|state| state.projection.as_ref())
            .map_or(0, |p| p.components);
        let features = found.state.as_ref().map_or(0, |state| state.features);
        output.write_record(self.header(features, components))?;
        for file in &found.rows {
            for row in tables.rows.read(file).await? {
                output.write_record(self.record(&row, components))?;
            }
        }
        Ok(output.flush()?)
    }

    fn header(&self, features: usize, components: usize) -> Vec<String> {
        let mut names: Vec<String> = ["path", "label", "etag", "event_time_ms", "width", "height"]
            .map(str::to_owned)
            .into();
        if self.vectors != Vectors::Reduced {
            names.extend((0..features).map(|i| format!("feat_{i}")));
        }
        if self.vectors != Vectors::Features {
            names.extend((0..components).map(|i| format!("reduced_{i}")));
        }
        names
    }

    /// Rows reduced by an earlier projection may have fewer components than the header: they end in empty fields.
    fn record(&self, row: &Row, components: usize) -> Vec<String> {
        let mut fields = vec![
            row.path.clone(),
            row.label.clone().unwrap_or_default(),
            row.etag.clone(),
            row.event_time_ms.to_string(),
            row.width.to_string(),
            row.height.to_string(),
        ];
        if self.vectors != Vectors::Reduced {
            fields.extend(row.features.iter().map(f32::to_string));
        }
        if self.vectors != Vectors::Features {
            let reduced = row.reduced_features.as_deref().unwrap_or_default();
            fields.extend(
                (0..components).map(|i| reduced.get(i).map_or_else(String::new, f32::to_string)),
            );
        }
        fields
    }
}
