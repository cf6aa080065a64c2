//! A version of a table as one HTML file, for people: maps with thumbnails, clusters, classifier, drift, rejects.
//!
//! [`Report::of`] gathers, [`page::html`] writes. All of it is computed from the table alone, but for the images, which are the table's where it
//! shows them and the store's otherwise. The maps are of a sample of the rows, the same for the same paths; all counts are of all rows.

mod counts;
mod gather;
pub mod page;
mod pictures;
mod tsne;

pub use gather::{Options, Report};
pub use pictures::Images;
