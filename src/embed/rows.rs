//! Vectors named by an event as a row of a file: `path/file.npy#17` or `path/file.parquet#17`.

use super::error::FetchError;
pub use super::error::RowError;
use super::fetch::Fetcher;
use super::npy::{HEADER_BYTES, Header};
use super::vector_cache::{Known, VectorCache};
use super::vector_parquet;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The largest file that is fetched whole, in bytes.
const MAX_VECTOR_FILE: u64 = 64 * 1024 * 1024;
/// Files being fetched at once: bounds the memory of downloads under way.
const GATES: usize = 4;

/// Reads single vectors out of files of them, and keeps recent files in memory.
pub struct VectorFiles {
    fetcher: Arc<Fetcher>,
    dimension: usize,
    max_vector_file: u64,
    cache: VectorCache,
    /// A file is fetched by one caller while the others wait at its gate.
    gates: [Mutex<()>; GATES],
    hasher: RandomState,
}

impl std::fmt::Debug for VectorFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VectorFiles").field("dimension", &self.dimension).finish_non_exhaustive()
    }
}

impl VectorFiles {
    /// Vectors of `dimension` values, from files that `fetcher` allows.
    #[must_use]
    pub fn new(fetcher: Arc<Fetcher>, dimension: usize) -> Self {
        Self {
            fetcher,
            dimension,
            max_vector_file: MAX_VECTOR_FILE,
            cache: VectorCache::default(),
            gates: Default::default(),
            hasher: RandomState::new(),
        }
    }

    /// Sets the largest file that is fetched whole, in bytes: larger `.npy` files are read row by row, larger Parquet files are
    /// refused. It stands in place of the fetcher's `max_bytes`. 64 MiB unless set.
    #[cfg(test)]
    #[must_use]
    pub fn with_max_vector_file(mut self, bytes: u64) -> Self {
        self.max_vector_file = bytes;
        self
    }

    /// The vector that a URI names. `#ROW` counts from 0 and may be left out where a file holds one vector.
    ///
    /// # Errors
    /// See [`RowError`].
    pub async fn row(&self, uri: &str) -> Result<Vec<f32>, RowError> {
        let (file, row) = match uri.rsplit_once('#') {
            Some((file, row)) => (file, Some(number(row).ok_or(RowError::BadRow)?)),
            None => (uri, None),
        };
        let values = match self.known(file).await? {
            Known::Npy(header, bytes) => header.values(slice(&bytes, header.row(row)?)?),
            Known::LargeNpy(header) => {
                let range = header.row(row)?;
                let size = range.end - range.start;
                let bytes = self.fetcher.fetch(file, Some(range), self.max_vector_file.max(size)).await;
                header.values(slice(&bytes.map_err(past_the_end)?, 0..size)?)
            }
            Known::Rows(values) => {
                let rows = values.len().checked_div(self.dimension).unwrap_or_default() as u64;
                let row = row.or((rows == 1).then_some(0)).filter(|&r| r < rows).ok_or(RowError::BadRow)?;
                let row = usize::try_from(row).map_err(|_| RowError::BadRow)?;
                values[row * self.dimension..][..self.dimension].to_vec()
            }
            Known::Refused(e) => return Err(e),
        };
        if values.iter().all(|v| v.is_finite()) { Ok(values) } else { Err(RowError::NotFinite) }
    }

    /// What is in a file, from memory or fetched.
    async fn known(&self, file: &str) -> Result<Known, RowError> {
        if let Some(known) = self.cache.get(file) {
            return Ok(known);
        }
        let gate = self.hasher.hash_one(file) % GATES as u64;
        let _turn = self.gates[usize::try_from(gate).unwrap_or_default()].lock().await;
        if let Some(known) = self.cache.get(file) {
            return Ok(known);
        }
        let known = match self.load(file).await {
            Ok(known) => known,
            // The file itself is at fault, and will be for the next row too.
            Err(
                e @ (RowError::NotAVectorFile
                | RowError::WrongDimension
                | RowError::Fetch(FetchError::TooLarge)),
            ) => Known::Refused(e),
            Err(e) => return Err(e),
        };
        self.cache.put(file, known.clone());
        Ok(known)
    }

    async fn load(&self, file: &str) -> Result<Known, RowError> {
        let path = file.split('?').next().unwrap_or_default();
        let is = |end: &str| {
            path.len() > end.len()
                && path.as_bytes()[path.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
        };
        if is(".npy") {
            self.load_npy(file).await
        } else if is(".parquet") {
            let bytes = self.fetcher.fetch(file, None, self.max_vector_file).await?;
            let dimension = self.dimension;
            let decoded =
                tokio::task::spawn_blocking(move || vector_parquet::decode(&bytes, dimension)).await;
            // A decoder that panics on a forged file is a file that is none.
            Ok(Known::Rows(decoded.unwrap_or(Err(RowError::NotAVectorFile))?))
        } else {
            Err(RowError::NotAVectorFile)
        }
    }

    async fn load_npy(&self, file: &str) -> Result<Known, RowError> {
        let limit = self.max_vector_file.max(HEADER_BYTES);
        let start = self.fetcher.fetch(file, Some(0..HEADER_BYTES), limit).await.map_err(|e| match e {
            FetchError::BadRange => RowError::NotAVectorFile,
            e => e.into(),
        })?;
        let header = Header::parse(&start)?;
        if usize::try_from(header.dimension()) != Ok(self.dimension) {
            return Err(RowError::WrongDimension);
        }
        let end = header.end();
        if end <= start.len() as u64 || (start.len() as u64) < HEADER_BYTES {
            return Ok(Known::Npy(header, start));
        }
        if end > self.max_vector_file {
            return Ok(Known::LargeNpy(header));
        }
        // Up to the end that the header claims: what lies behind it is nobody's row.
        let bytes = self.fetcher.fetch(file, Some(0..end), limit).await?;
        // The file may have been replaced since its header was read.
        if Header::parse(&bytes)? == header {
            Ok(Known::Npy(header, bytes))
        } else {
            Err(RowError::NotAVectorFile)
        }
    }
}

/// A row's number: digits and nothing else.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Bytes that a header promised; a file cut short doesn't have them.
fn slice(bytes: &[u8], range: Range<u64>) -> Result<&[u8], RowError> {
    let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
    range.and_then(|(from, to)| bytes.get(from..to)).ok_or(RowError::BadRow)
}

fn past_the_end(e: FetchError) -> RowError {
    if e == FetchError::BadRange { RowError::BadRow } else { RowError::Fetch(e) }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
