//! Vector files kept in memory, with bounds on their number, bytes and age.

use super::error::RowError;
use super::npy::Header;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most entries.
const ENTRIES: usize = 1024;
/// Most bytes of file content.
const BYTES: usize = 256 * 1024 * 1024;
/// After this a file is read anew, so that one that was replaced or completed is seen.
const FRESH: Duration = Duration::from_secs(300);

/// What is known about a file.
#[derive(Debug, Clone)]
pub(super) enum Known {
    /// A whole `.npy`.
    Npy(Header, Bytes),
    /// A `.npy` too large to keep: rows are fetched one by one.
    LargeNpy(Header),
    /// The vectors of a Parquet file, one after another.
    Rows(Arc<[f32]>),
    /// No file to get vectors from. Kept so that naming it thousands of times costs one download.
    Refused(RowError),
}

impl Known {
    fn bytes(&self) -> usize {
        match self {
            Self::Npy(_, bytes) => bytes.len(),
            Self::Rows(rows) => size_of_val::<[f32]>(rows),
            Self::LargeNpy(_) | Self::Refused(_) => 0,
        }
    }
}

struct Entry {
    known: Known,
    since: Instant,
    used: u64,
}

#[derive(Default)]
struct State {
    entries: HashMap<String, Entry>,
    bytes: usize,
    clock: u64,
}

impl State {
    fn remove(&mut self, file: &str) {
        if let Some(old) = self.entries.remove(file) {
            self.bytes -= old.known.bytes();
        }
    }
}

/// Files by URI; the ones not used for longest go first.
pub(super) struct VectorCache {
    state: Mutex<State>,
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

    pub fn get(&self, file: &str) -> Option<Known> {
        let state = &mut *self.state.lock();
        state.clock += 1;
        let entry = state.entries.get_mut(file).filter(|e| e.since.elapsed() < self.fresh)?;
        entry.used = state.clock;
        Some(entry.known.clone())
    }

    pub fn put(&self, file: &str, known: Known) {
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
        let entry = Entry { known, since: Instant::now(), used: state.clock };
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
        let rows = |n: usize| Known::Rows(vec![0.0; n].into());
        cache.put("a", rows(10));
        cache.put("b", rows(10));
        assert!(cache.get("a").is_some());
        cache.put("c", rows(10));
        assert!(cache.get("b").is_none() && cache.get("a").is_some() && cache.get("c").is_some());
        cache.put("d", rows(1000));
        assert!(cache.get("d").is_none() && cache.get("a").is_some());
        for file in ["e", "f", "g", "h"] {
            cache.put(file, Known::Refused(RowError::NotAVectorFile));
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
        cache.put("a", Known::Refused(RowError::NotAVectorFile));
        assert!(cache.get("a").is_none());
    }
}
