//! Caches vector files in memory, bounded in number, size and age.

use super::error::RowError;
use super::npy::NpyHeader;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of entries.
const ENTRIES: usize = 1024;
/// Maximum total size in bytes.
const BYTES: usize = 256 * 1024 * 1024;
/// Maximum age of an entry, so that replaced or completed files are found.
const FRESH: Duration = Duration::from_secs(300);

/// A cached file.
#[derive(Debug, Clone)]
pub(super) enum VectorFile {
    /// A whole `.npy`.
    Npy(NpyHeader, Bytes),
    /// A `.npy` that is too large to cache: rows are fetched one by one.
    LargeNpy(NpyHeader),
    /// The vectors of a Parquet file, one after another.
    Rows(Arc<[f32]>),
    /// A file without vectors. Cached so that thousands of references cost one download.
    Unusable(RowError),
}

impl VectorFile {
    fn bytes(&self) -> usize {
        match self {
            Self::Npy(_, bytes) => bytes.len(),
            Self::Rows(rows) => size_of_val::<[f32]>(rows),
            Self::LargeNpy(_) | Self::Unusable(_) => 0,
        }
    }
}

struct CacheEntry {
    known: VectorFile,
    since: Instant,
    used: u64,
}

#[derive(Default)]
struct CacheState {
    entries: HashMap<String, CacheEntry>,
    bytes: usize,
    clock: u64,
}

impl CacheState {
    fn remove(&mut self, file: &str) {
        if let Some(old) = self.entries.remove(file) {
            self.bytes -= old.known.bytes();
        }
    }
}

/// Files by URI; evicts the least recently used.
pub(super) struct VectorCache {
    state: Mutex<CacheState>,
    entries: usize,
    bytes: usize,
    fresh: Duration,
}

impl Default for VectorCache {
    fn default() -> Self {
        Self::with_bounds(ENTRIES, BYTES, FRESH)
    }
}

impl VectorCache {
    pub fn with_bounds(entries: usize, bytes: usize, fresh: Duration) -> Self {
        Self { state: Mutex::default(), entries, bytes, fresh }
    }

    pub fn get(&self, file: &str) -> Option<VectorFile> {
        let state = &mut *self.state.lock();
        state.clock += 1;
        let entry = state.entries.get_mut(file).filter(|e| e.since.elapsed() < self.fresh)?;
        entry.used = state.clock;
        Some(entry.known.clone())
    }

    pub fn put(&self, file: &str, known: VectorFile) {
        let state = &mut *self.state.lock();
        state.remove(file);
        let size = known.bytes();
        if size > self.bytes {
            return;
        }
        while state.entries.len() >= self.entries || state.bytes + size > self.bytes {
            let oldest = state.entries.iter().min_by_key(|(_, e)| e.used).map(|(k, _)| k.clone());
            let Some(oldest) = oldest else { break };
            state.remove(&oldest);
        }
        state.clock += 1;
        let entry = CacheEntry { known, since: Instant::now(), used: state.clock };
        state.entries.insert(file.to_owned(), entry);
        state.bytes += size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_to_its_bounds_and_drops_the_least_used() {
        let cache = VectorCache::with_bounds(3, 100, FRESH);
        let rows = |n: usize| VectorFile::Rows(vec![0.0; n].into());
        cache.put("a", rows(10));
        cache.put("b", rows(10));
        assert!(cache.get("a").is_some());
        cache.put("c", rows(10));
        assert!(cache.get("b").is_none() && cache.get("a").is_some() && cache.get("c").is_some());
        cache.put("d", rows(1000));
        assert!(cache.get("d").is_none() && cache.get("a").is_some());
        for file in ["e", "f", "g", "h"] {
            cache.put(file, VectorFile::Unusable(RowError::NotAVectorFile));
        }
        let bounds = || {
            let state = cache.state.lock();
            (state.entries.len(), state.bytes)
        };
        assert_eq!(bounds(), (3, 0));
        cache.put("h", rows(10));
        cache.put("h", rows(20));
        assert_eq!(bounds(), (3, 80));
    }

    #[test]
    fn forgets_what_is_old() {
        let cache = VectorCache::with_bounds(3, 100, Duration::ZERO);
        cache.put("a", VectorFile::Unusable(RowError::NotAVectorFile));
        assert!(cache.get("a").is_none());
    }
}
