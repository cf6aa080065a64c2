//! Of Candle the kernels know an error's type only.

/// In its place.
pub type Error = std::fmt::Error;
