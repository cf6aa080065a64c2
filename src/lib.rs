//! Images in an object store, as an always up-to-date, exact table of PCA-reduced CNN features.
//!
//! Uploads land in an object store; each one's event lands in a Kafka topic. eigenflow fetches and decodes each image, runs
//! it through a pretrained network, keeps exact integer moments of the features, standardises and projects them on their
//! principal components, and publishes rows and projection as one atomic, versioned Delta table.
//!
//! **The one promise**: the published state is a pure function of the set of live objects, not of the number of workers,
//! the order of arrival, duplicates, where an epoch was cut, or how often the job was killed.
//!
//! # Tour
//! In the order of one image's way:
//!
//! - [`event`]: dialects of object events, and the order of versions
//! - [`storage`]: the uploads, and places of our own, in S3 or a folder
//! - [`image`]: bytes to pixels, within limits
//! - [`backbone`]: pixels to features; [`backbone::kernels`] are the convolutions, [`backbone::weights`] the pretrained networks
//! - [`moments`]: exact sums of features, as a group
//! - [`projection`]: standardisation, principal components, drift
//! - [`classifier`]: labels from features, by linear discriminant analysis of the moments
//! - [`clusters`]: k-means of reduced features, whoever has the rows
//! - [`table`]: rows as Parquet, commits as Delta Lake
//!
//! These nine know nothing of dataflows or Kafka, and of each other only that `table` uses `storage`, and that the two models are fitted
//! from `moments`. They can be used alone. What several of them need is private: `tensors` (models as files), `lanes` (sums in one order),
//! `splitmix` (seeded chance), `spell` (trouble that is told once).
//!
//! - [`operators`]: the timely and differential operators, one a file
//! - [`dataflows`]: the graphs, wiring only
//! - [`job`]: what the operators of a process share; opening, running, resuming
//! - [`config`], [`observe`], [`cli`]: what is said, counted and asked
//! - [`report`]: a version of a table as one HTML file
//! - [`embedded`], [`pictures`]: the demo's servers and images

#![warn(missing_docs)]
// The kernels and a few system calls are allowed it, each where it stands and with its reason.
#![deny(unsafe_code)]

pub mod backbone;
pub mod classifier;
pub mod cli;
pub mod clusters;
pub mod config;
#[path = "../dataflows/mod.rs"]
pub mod dataflows;
pub mod embedded;
pub mod event;
pub mod image;
pub mod job;
mod lanes;
pub mod moments;
pub mod observe;
pub mod operators;
pub mod pictures;
pub mod projection;
pub mod report;
#[cfg(test)]
#[path = "../tests/shared/mod.rs"]
mod shared;
mod spell;
mod splitmix;
pub mod storage;
pub mod table;
mod tensors;
