//! `eigenflow similar`: the images of a table that are nearest to an image.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::eye::Eye;
use super::view::ViewArguments;
use super::{Failure, runtime};
use crate::job::{FILES_IN_FLIGHT, View};
use crate::lanes::squared_distance;
use crate::table::Point;

/// Arguments of `similar`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Similar {
    /// An image file, or the path of one of the table's images: s3://bucket/key
    image: String,
    /// s3://bucket/prefix/table or a folder
    #[arg(long, value_name = "TABLE")]
    table: String,
    /// How many
    #[arg(short = 'k', long, default_value_t = 10, value_name = "K")]
    count: usize,
    /// The job's TOML file, for a network that has more options than its name and precision
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    view: ViewArguments,
}

const AFTER_HELP: &str = "Near is what has a small Euclidean distance in the reduced features, under the projection of the version that is looked at. Every \
row is compared: the answer is exact, and a million rows are compared in less time than they are read. An image of the table is not among its own neighbours.";

/// An image that was found.
#[derive(Debug, Serialize)]
struct Neighbour {
    path: String,
    label: Option<String>,
    distance: f64,
}

impl Similar {
    pub fn run(self) -> Result<ExitCode, Failure> {
        if self.count == 0 {
            return Err(Failure::Usage(anyhow!("-k must be at least 1")));
        }
        let runtime = runtime()?;
        let view = runtime.block_on(self.view.open(&self.table))?;
        let of_the_table = self.image.starts_with("s3://");
        let reduced = match of_the_table {
            true => runtime.block_on(self.row(&view))?,
            false => {
                let mut eye = Eye::new(&view.state.backbone, self.config.as_deref())?;
                let features = eye.features(Path::new(&self.image));
                let features = features.with_context(|| {
                    format!(
                        "{} (an image of the table is asked for by its path, s3://bucket/key)",
                        self.image
                    )
                })?;
                view.projection.projection.reduced(&features)
            }
        };
        let near = runtime.block_on(self.nearest(&view, &reduced))?;
        if self.json {
            let json = serde_json::to_string_pretty(&near);
            println!("{}", json.map_err(anyhow::Error::from)?);
        } else {
            for found in &near {
                let label = found.label.as_deref().unwrap_or("(none)");
                println!("{:>10.4}  {label}  {}", found.distance, found.path);
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The reduced features of the row that is asked for.
    async fn row(&self, view: &View) -> Result<Vec<f32>> {
        let holds = async |file| {
            let keys = view.tables.rows.read_keys(file).await?;
            let mine = keys.iter().any(|key| key.path == self.image);
            anyhow::Ok(mine.then_some(file))
        };
        let holding = stream::iter(&view.files)
            .map(holds)
            .buffered(FILES_IN_FLIGHT);
        let mut holding = pin!(holding.try_filter_map(async |file| Ok(file)));
        let file = holding.try_next().await?.with_context(|| {
            format!(
                "version {} of the table has no image {}: give a path as the table has it, or an image file",
                view.version, self.image
            )
        })?;
        let points = view.points().of(file.clone(), false).await?;
        let mine = points.into_iter().find(|point| point.path == self.image);
        let reduced = mine.and_then(|point| point.reduced);
        Ok(reduced.context("the image's row has no features")?.1)
    }

    async fn nearest(&self, view: &View, reduced: &[f32]) -> Result<Vec<Neighbour>> {
        let mut near: Vec<Neighbour> = Vec::new();
        let files = view.files.iter().map(|file| (file.clone(), false));
        let mut all = pin!(view.points().all(files.collect()));
        while let Some(points) = all.try_next().await? {
            let worst = near.get(self.count - 1);
            let worst = worst.map_or(f64::INFINITY, |found| found.distance);
            let others = points.into_iter().filter(|point| point.path != self.image);
            let found = others.filter_map(|point| neighbour(point, reduced));
            near.extend(found.filter(|found| found.distance <= worst));
            near.sort_by(|a, b| {
                let farther = a.distance.total_cmp(&b.distance);
                farther.then_with(|| a.path.cmp(&b.path))
            });
            near.truncate(self.count);
        }
        Ok(near)
    }
}

fn neighbour(point: Point, reduced: &[f32]) -> Option<Neighbour> {
    let (_, other) = point.reduced?;
    Some(Neighbour {
        distance: squared_distance(reduced, &other).sqrt(),
        path: point.path,
        label: point.label,
    })
}
