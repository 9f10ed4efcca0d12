//! Vectors that an earlier run recorded, so that a replay needs neither images nor a GPU.

use super::error::EmbedError;
use crate::event::time::{DAY, date, floor};
use crate::store::Storage;
use crate::store::vectors::{VectorOutcome, read_vectors};
use lru::LruCache;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Days kept in memory, since the partitions of a replay are in different ones.
const DAYS: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");

/// One day's vectors by request and time.
type RecordedDay = FxHashMap<(u64, i64), VectorOutcome>;

/// A `vectors` table.
pub struct Recordings {
    storage: Storage,
    /// The table's folder; empty if the storage is the table itself.
    folder: &'static str,
    model: Arc<str>,
    days: Mutex<LruCache<i64, Arc<RecordedDay>>>,
}

impl Recordings {
    /// Opens a vectors table, or an output with one. Its vectors must be of `model`.
    ///
    /// # Errors
    /// When there is no table.
    pub fn open(url: &str, model: &Arc<str>, runtime: Handle) -> Result<Self, EmbedError> {
        let (storage, folder) = table(url, runtime)?;
        Ok(Self { storage, folder, model: Arc::clone(model), days: Mutex::new(LruCache::new(DAYS)) })
    }

    /// The model of a table's vectors; `None` for an empty table.
    ///
    /// # Errors
    /// When there is no table, or its first file can't be read.
    pub fn model_of(url: &str, runtime: Handle) -> Result<Option<Arc<str>>, EmbedError> {
        let (storage, folder) = table(url, runtime)?;
        for file in storage.list(folder)? {
            if let Some(row) = read_vectors(&storage, &file)?.into_iter().next() {
                return Ok(Some(row.2));
            }
        }
        Ok(None)
    }

    /// The recorded result for an event of a request, if any.
    ///
    /// # Errors
    /// When the table can't be read, or has vectors of another model.
    pub fn get(&self, request: u64, time: i64) -> Result<Option<VectorOutcome>, EmbedError> {
        Ok(self.day(floor(time, DAY))?.get(&(request, time)).cloned())
    }

    fn day(&self, day: i64) -> Result<Arc<RecordedDay>, EmbedError> {
        let mut days = self.days.lock();
        if let Some(known) = days.get(&day) {
            return Ok(Arc::clone(known));
        }
        let mut read = RecordedDay::default();
        let slash = if self.folder.is_empty() { "" } else { "/" };
        for file in self.storage.list(&format!("{}{slash}date={}", self.folder, date(day)))? {
            for (time, request, model, outcome) in read_vectors(&self.storage, &file)? {
                if model != self.model {
                    return Err(EmbedError::OtherModel {
                        found: model.to_string(),
                        wanted: self.model.to_string(),
                    });
                }
                read.insert((request, time), outcome);
            }
        }
        let read = Arc::new(read);
        days.put(day, Arc::clone(&read));
        Ok(read)
    }
}

fn table(url: &str, runtime: Handle) -> Result<(Storage, &'static str), EmbedError> {
    let local = url.strip_prefix("file://").or((!url.contains("://")).then_some(url));
    if let Some(path) = local.filter(|p| !std::path::Path::new(p).is_dir()) {
        return Err(EmbedError::Value {
            key: "embedding.recorded",
            message: format!("there is no folder {path}"),
        });
    }
    let storage = Storage::open(url, runtime)?;
    let folder = if storage.list("vectors")?.is_empty() { "" } else { "vectors" };
    Ok((storage, folder))
}
