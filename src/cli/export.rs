//! `eigenflow export`: the table's rows, or its rejects, in another format.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use csv::Writer;

use super::replacing::replacing;
use super::{Failure, StoreArguments, runtime};
use crate::job;
use crate::projection::Projection;
use crate::table::{Form, Reject, Row};

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// s3://bucket/prefix/table or a folder
    table: String,
    /// Format of the output
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// What to write, in this order; a vector becomes a column for each of its numbers: feat_0, feat_1, …
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "path,label,etag,event-time,width,height,reduced-features"
    )]
    columns: Vec<Column>,
    /// The table's rejects instead of its rows: path, reason, detail, etag, event_time_ms, version, event
    #[arg(long, conflicts_with = "columns")]
    rejects: bool,
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
enum Column {
    /// s3://bucket/key
    Path,
    /// The label, empty where there is none
    Label,
    /// Of the object that was read
    Etag,
    /// In ms since 1970 UTC
    EventTime,
    /// Of the stored image, in pixels
    Width,
    /// Of the stored image, in pixels
    Height,
    /// feat_0, feat_1, …
    Features,
    /// scaled_0, scaled_1, …: standardised by the table's last projection
    ScaledFeatures,
    /// reduced_0, reduced_1, …
    ReducedFeatures,
    /// The projection that made them
    ProjectionVersion,
    /// By the classifier of the row, empty where there is none
    PredictedLabel,
    /// How likely that was held
    Confidence,
    /// The classifier that said so
    ClassifierVersion,
    /// The number of the cluster, empty where there is none
    Cluster,
    /// The clustering that it is of
    ClusteringVersion,
}

impl Export {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let Format::Csv = self.format;
        // Before all rows are read for it.
        if let Some(folder) = self.output.as_deref().filter(|output| output.is_dir()) {
            let folder = folder.display();
            return Err(Failure::Usage(anyhow!(
                "--output {folder} is a folder: name a file"
            )));
        }
        let runtime = runtime()?;
        let Some(file) = &self.output else {
            let output = Writer::from_writer(io::stdout().lock());
            runtime.block_on(self.export(output))?;
            return Ok(ExitCode::SUCCESS);
        };
        replacing(file, |partial| {
            runtime.block_on(self.export(Writer::from_writer(partial)))
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// One file at a time, so memory is bounded by a file.
    async fn export<W: Write>(&self, mut output: Writer<W>) -> Result<()> {
        let mut tables = job::open_tables(&self.table, &self.store.config()).await?;
        let found = tables.open_existing().await?;
        if self.rejects {
            output.write_record(REJECT)?;
            for file in &found.rejects {
                for reject in tables.rejects.read(file).await? {
                    output.write_record(refused(&reject))?;
                }
            }
            return Ok(output.flush()?);
        }
        let state = found.state.unwrap_or_default();
        let projection = match self.columns.contains(&Column::ScaledFeatures) {
            true => job::read_projection(&tables, &state).await?,
            false => None,
        };
        let sheet = Sheet {
            columns: &self.columns,
            form: tables.rows.form(),
            features: state.features,
            components: state
                .projection
                .as_ref()
                .map_or(0, |named| named.components),
            projection: projection.map(|stored| stored.projection),
        };
        output.write_record(sheet.header())?;
        for file in &found.rows {
            for row in tables.rows.read(file).await? {
                output.write_record(sheet.record(&row))?;
            }
        }
        output.flush()?;
        let left_out: u64 = found.rejects.iter().map(|file| file.rows).sum();
        if left_out > 0 {
            let table = &self.table;
            eprintln!(
                "rejects left out: {left_out}; eigenflow export {table} --rejects lists them"
            );
        }
        Ok(())
    }
}

const REJECT: [&str; 7] = [
    "path",
    "reason",
    "detail",
    "etag",
    "event_time_ms",
    "version",
    "event",
];

/// In the order of [`REJECT`]; what isn't known is empty.
fn refused(reject: &Reject) -> [String; 7] {
    [
        reject.path.clone(),
        reject.reason.clone(),
        reject.detail.clone(),
        reject.etag.clone().unwrap_or_default(),
        reject.event_time_ms.to_string(),
        reject.version.clone(),
        reject.event.clone().unwrap_or_default(),
    ]
}

/// What is written of a table.
struct Sheet<'a> {
    columns: &'a [Column],
    form: &'a Form,
    features: usize,
    components: usize,
    projection: Option<Projection>,
}

impl Sheet<'_> {
    fn header(&self) -> Vec<String> {
        let shown = |own: &str| vec![self.form.name::<Row>(own).unwrap_or(own).to_owned()];
        let numbered = |word: &str, count| (0..count).map(|i| format!("{word}_{i}")).collect();
        let names = self.columns.iter().flat_map(|column| match column {
            Column::Path => shown("path"),
            Column::Label => shown("label"),
            Column::Etag => shown("etag"),
            Column::EventTime => vec!["event_time_ms".to_owned()],
            Column::Width => shown("width"),
            Column::Height => shown("height"),
            Column::Features => numbered("feat", self.features),
            Column::ScaledFeatures => numbered("scaled", self.features),
            Column::ReducedFeatures => numbered("reduced", self.components),
            Column::ProjectionVersion => shown("projection_version"),
            Column::PredictedLabel => shown("predicted_label"),
            Column::Confidence => shown("confidence"),
            Column::ClassifierVersion => shown("classifier_version"),
            Column::Cluster => shown("cluster"),
            Column::ClusteringVersion => shown("clustering_version"),
        });
        names.collect()
    }

    fn record(&self, row: &Row) -> Vec<String> {
        let fields = self.columns.iter().flat_map(|column| match column {
            Column::Path => vec![row.path.clone()],
            Column::Label => vec![row.label.clone().unwrap_or_default()],
            Column::Etag => vec![row.etag.clone()],
            Column::EventTime => vec![row.event_time_ms.to_string()],
            Column::Width => vec![row.width.to_string()],
            Column::Height => vec![row.height.to_string()],
            Column::Features => padded(&row.features, self.features),
            Column::ScaledFeatures => {
                let scaled = self.projection.as_ref().map(|p| p.scaled(&row.features));
                padded(scaled.as_deref().unwrap_or_default(), self.features)
            }
            Column::ReducedFeatures => {
                let reduced = row.reduced_features.as_deref();
                padded(reduced.unwrap_or_default(), self.components)
            }
            Column::ProjectionVersion => or_empty(row.projection_version),
            Column::PredictedLabel => or_empty(row.predicted_label.as_deref()),
            Column::Confidence => or_empty(row.confidence),
            Column::ClassifierVersion => or_empty(row.classifier_version),
            Column::Cluster => or_empty(row.cluster),
            Column::ClusteringVersion => or_empty(row.clustering_version),
        });
        fields.collect()
    }
}

fn or_empty(value: Option<impl ToString>) -> Vec<String> {
    vec![value.map_or_else(String::new, |value| value.to_string())]
}

/// Rows reduced by an earlier projection may have fewer components than the header: they end in empty fields.
fn padded(numbers: &[f32], count: usize) -> Vec<String> {
    let field = |i| numbers.get(i).map_or_else(String::new, f32::to_string);
    (0..count).map(field).collect()
}
