//! Reading parts of a Parquet file in the store, by few requests.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::GetRange;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::storage::Place;

/// What lies between two ranges is read with them if it is at most so much: cheaper than another request.
const GAP_BYTES: u64 = 256 << 10;

/// Bytes from the end that the first request brings: the footer of any file of ours, and small files whole.
const TAIL_BYTES: u64 = 64 << 10;

/// Reads ranges of an object of known size; what its last [`TAIL_BYTES`] cover is asked for once.
pub(super) struct RangeReader {
    place: Place,
    name: String,
    bytes: u64,
    tail: Option<Bytes>,
}

impl RangeReader {
    /// Of the object `name`, which has so many `bytes`.
    pub(super) fn new(place: Place, name: String, bytes: u64) -> Self {
        RangeReader {
            place,
            name,
            bytes,
            tail: None,
        }
    }

    async fn range(&mut self, range: Range<u64>) -> Result<Bytes, ParquetError> {
        let tail_start = self.bytes.saturating_sub(TAIL_BYTES);
        if range.start < tail_start {
            return self.request(range).await;
        }
        let tail = match &self.tail {
            Some(tail) => tail.clone(),
            None => {
                let tail = self.request(tail_start..self.bytes).await?;
                self.tail.insert(tail).clone()
            }
        };
        let (start, end) = (range.start - tail_start, range.end - tail_start);
        if end > tail.len() as u64 || start > end {
            return Err(ParquetError::EOF(format!(
                "{}: bytes {range:?} are missing",
                self.name
            )));
        }
        Ok(tail.slice(start as usize..end as usize))
    }

    async fn request(&self, range: Range<u64>) -> Result<Bytes, ParquetError> {
        let wanted = range.end.saturating_sub(range.start);
        let got = self
            .place
            .get_range(&self.name, Some(GetRange::Bounded(range)))
            .await;
        let bytes = got.map_err(|error| ParquetError::External(Box::new(error)))?;
        if bytes.len() as u64 != wanted {
            let what = format!("{}: {} of {wanted} bytes came", self.name, bytes.len());
            return Err(ParquetError::EOF(what));
        }
        Ok(bytes)
    }
}

impl AsyncFileReader for RangeReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.range(range).boxed()
    }

    /// Columns that lie side by side come by one request over their whole span. What lies far apart does not: between the
    /// columns of a map are the features, which are all the rest.
    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move {
            let mut spans: Vec<(Range<u64>, Bytes)> = Vec::new();
            for span in spans_of(&ranges) {
                let bytes = self.range(span.clone()).await?;
                spans.push((span, bytes));
            }
            let part =
                |range: &Range<u64>| {
                    let holds = |(span, _): &&(Range<u64>, Bytes)| {
                        span.start <= range.start && range.end <= span.end
                    };
                    let (span, bytes) = spans.iter().find(holds)?;
                    Some(bytes.slice(
                        (range.start - span.start) as usize..(range.end - span.start) as usize,
                    ))
                };
            let parts: Option<Vec<Bytes>> = ranges.iter().map(part).collect();
            parts.ok_or_else(|| {
                ParquetError::EOF(format!("{}: {ranges:?} can't be ranges", self.name))
            })
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let (start, end) = (self.bytes.saturating_sub(TAIL_BYTES), self.bytes);
            let tail = self.range(start..end).await?;
            let mut reader = ParquetMetaDataReader::new();
            match reader.try_parse_sized(&tail, self.bytes) {
                Err(ParquetError::NeedMoreData(needed)) => {
                    let start = self.bytes.saturating_sub(needed as u64);
                    let longer = self.request(start..self.bytes).await?;
                    reader.try_parse_sized(&longer, self.bytes)?;
                }
                parsed => parsed?,
            }
            Ok(Arc::new(reader.finish()?))
        }
        .boxed()
    }
}

/// The ranges in their order, those that are near each other as one.
fn spans_of(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut spans: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match spans.last_mut() {
            Some(span) if range.start <= span.end.saturating_add(GAP_BYTES) => {
                span.end = span.end.max(range.end);
            }
            _ => spans.push(range),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_ranges_are_one_request_and_far_ones_are_two() {
        let far = 10 * GAP_BYTES;
        let ranges = [
            5..9,
            far..far + 1,
            0..4,
            3..7,
            far + GAP_BYTES..far + GAP_BYTES + 2,
        ];
        assert_eq!(spans_of(&ranges), [0..9, far..far + GAP_BYTES + 2]);
        assert_eq!(spans_of(&[]), []);
    }
}
