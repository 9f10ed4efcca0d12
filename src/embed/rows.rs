//! Reads a vector from a row of a file: `path/file.npy#17` or `path/file.parquet#17`.

use super::error::FetchError;
pub use super::error::RowError;
use super::fetch::Fetcher;
use super::npy::{HEADER_BYTES, NpyHeader};
use super::vector_cache::{VectorCache, VectorFile};
use super::vector_parquet;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Maximum size of a file that is fetched as a whole, in bytes.
const MAX_VECTOR_FILE: u64 = 64 * 1024 * 1024;
/// Maximum number of concurrent downloads, which bounds their memory.
const GATES: usize = 4;

/// Reads single vectors from files, and keeps recent files in memory.
pub struct VectorFiles {
    fetcher: Arc<Fetcher>,
    dimension: usize,
    max_vector_file: u64,
    cache: VectorCache,
    /// One caller fetches a file while the others wait at its gate.
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

    /// Sets the maximum size of a file that is fetched as a whole, in bytes. Larger `.npy` files
    /// are read row by row, larger Parquet files are refused. Replaces the fetcher's `max_bytes`.
    /// Default: 64 MiB.
    #[cfg(test)]
    #[must_use]
    pub fn with_max_vector_file(mut self, bytes: u64) -> Self {
        self.max_vector_file = bytes;
        self
    }

    /// The vector of a URI. `#ROW` counts from 0, and is optional if the file has one vector.
    ///
    /// # Errors
    /// See [`RowError`].
    pub async fn row(&self, uri: &str) -> Result<Vec<f32>, RowError> {
        let (file, row) = match uri.rsplit_once('#') {
            Some((file, row)) => (file, Some(number(row).ok_or(RowError::BadRow)?)),
            None => (uri, None),
        };
        let values = match self.known(file).await? {
            VectorFile::Npy(header, bytes) => header.values(slice(&bytes, header.row(row)?)?),
            VectorFile::LargeNpy(header) => {
                let range = header.row(row)?;
                let size = range.end - range.start;
                let bytes = self.fetcher.fetch(file, Some(range), self.max_vector_file.max(size)).await;
                header.values(slice(&bytes.map_err(past_the_end)?, 0..size)?)
            }
            VectorFile::Rows(values) => {
                let rows = values.len().checked_div(self.dimension).unwrap_or_default() as u64;
                let row = row.or((rows == 1).then_some(0)).filter(|&r| r < rows).ok_or(RowError::BadRow)?;
                let row = usize::try_from(row).map_err(|_| RowError::BadRow)?;
                values[row * self.dimension..][..self.dimension].to_vec()
            }
            VectorFile::Unusable(e) => return Err(e),
        };
        if values.iter().all(|v| v.is_finite()) { Ok(values) } else { Err(RowError::NotFinite) }
    }

    /// The contents of a file, cached or fetched.
    async fn known(&self, file: &str) -> Result<VectorFile, RowError> {
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
            // The file itself is invalid, so the next row would fail too.
            Err(
                e @ (RowError::NotAVectorFile
                | RowError::WrongDimension
                | RowError::Fetch(FetchError::TooLarge)),
            ) => VectorFile::Unusable(e),
            Err(e) => return Err(e),
        };
        self.cache.put(file, known.clone());
        Ok(known)
    }

    async fn load(&self, file: &str) -> Result<VectorFile, RowError> {
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
            // A panic of the decoder means that the file is invalid.
            Ok(VectorFile::Rows(decoded.unwrap_or(Err(RowError::NotAVectorFile))?))
        } else {
            Err(RowError::NotAVectorFile)
        }
    }

    async fn load_npy(&self, file: &str) -> Result<VectorFile, RowError> {
        let limit = self.max_vector_file.max(HEADER_BYTES);
        let start = self.fetcher.fetch(file, Some(0..HEADER_BYTES), limit).await.map_err(|e| match e {
            FetchError::BadRange => RowError::NotAVectorFile,
            e => e.into(),
        })?;
        let header = NpyHeader::parse(&start)?;
        if usize::try_from(header.dimension()) != Ok(self.dimension) {
            return Err(RowError::WrongDimension);
        }
        let end = header.end();
        if end <= start.len() as u64 || (start.len() as u64) < HEADER_BYTES {
            return Ok(VectorFile::Npy(header, start));
        }
        if end > self.max_vector_file {
            return Ok(VectorFile::LargeNpy(header));
        }
        // Up to the end according to the header; later bytes are not rows.
        let bytes = self.fetcher.fetch(file, Some(0..end), limit).await?;
        // The file may have been replaced since its header was read.
        if NpyHeader::parse(&bytes)? == header {
            Ok(VectorFile::Npy(header, bytes))
        } else {
            Err(RowError::NotAVectorFile)
        }
    }
}

/// Parses a row number: digits only.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A range of bytes, which a truncated file may lack.
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
