//! The graphs: one file a job, wiring only. What the boxes do is told in [`crate::operators`].

pub mod cluster;
pub mod online_pca;
pub mod reproject;
pub mod verify;
