//! Single rooms of the house by their public doors, each without the others.

mod backbone;
mod deploy;
mod image;
mod real;
#[path = "../shared/mod.rs"]
mod shared;
mod storage;
mod support;
mod table;
