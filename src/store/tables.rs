//! The public tables as files: a file per table, commit and UTC date. Each is staged first, named
//! in a commit, and gets its public name only then.
//!
//! This file knows tables by their name. Whoever owns a table's rows makes the record batches.

use super::error::{PaneFileError, StorageError};
use super::parquet_file::all_to_parquet;
use super::storage::Storage;
use crate::event::time::{DAY, date, floor};
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A file that waits under a staged name for its commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// Where it is.
    pub from: String,
    /// Its public name.
    pub to: String,
}

/// Writes files under staged names for one commit.
#[derive(Debug)]
pub struct Stager<'a> {
    storage: &'a Storage,
    /// Unique to the commit: epoch and writer.
    stem: String,
    /// What was staged so far.
    pub files: Vec<StagedFile>,
}

impl<'a> Stager<'a> {
    /// A stager for the commit with this stem.
    #[must_use]
    pub fn new(storage: &'a Storage, stem: String) -> Self {
        Self { storage, stem, files: Vec::new() }
    }

    /// Stages rows of a table, one file per date. Each batch comes with a time (microseconds) of
    /// the date that its rows belong to; batches of one date keep their order.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn table(&mut self, table: &str, batches: &[(i64, RecordBatch)]) -> Result<(), PaneFileError> {
        let mut by_day: BTreeMap<i64, Vec<&RecordBatch>> = BTreeMap::new();
        for (time, batch) in batches {
            by_day.entry(floor(*time, DAY)).or_default().push(batch);
        }
        for (day, batches) in by_day {
            self.file(format!("{table}/date={}/{}.parquet", date(day), self.stem), &batches)?;
        }
        Ok(())
    }

    /// Stages a Parquet file whose public name will be `to`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn file(&mut self, to: String, batches: &[&RecordBatch]) -> Result<(), PaneFileError> {
        let staged = StagedFile { from: format!("_staged/{to}"), to };
        let bytes = all_to_parquet(batches)?;
        self.storage.put(&staged.from, bytes)?;
        self.files.push(staged);
        Ok(())
    }
}

/// Rows as one record batch per UTC date, with the date's start, as [`Stager::table`] takes them.
/// Rows of one date keep their order.
///
/// # Errors
/// Those of `batch`.
pub fn batches_by_date<T: Clone>(
    rows: &[T],
    time: impl Fn(&T) -> i64,
    batch: impl Fn(&[T]) -> Result<RecordBatch, ArrowError>,
) -> Result<Vec<(i64, RecordBatch)>, PaneFileError> {
    let mut by_day: BTreeMap<i64, Vec<T>> = BTreeMap::new();
    for row in rows {
        by_day.entry(floor(time(row), DAY)).or_default().push(row.clone());
    }
    by_day.into_iter().map(|(day, rows)| Ok((day, batch(&rows)?))).collect()
}

/// Gives staged files their public names, once their commit holds. Repeating it does no harm.
///
/// # Errors
/// When the storage fails.
pub fn publish(storage: &Storage, files: &[StagedFile]) -> Result<(), StorageError> {
    files.iter().try_for_each(|f| storage.publish(&f.from, &f.to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rejects::{RejectRow, rejects_batch};

    #[test]
    fn rows_go_under_their_date_in_the_order_they_came() {
        let row = |time, offset| RejectRow {
            time,
            topic: "t".into(),
            partition: 0,
            offset,
            reason: "not_json",
            field: None,
            fatal: true,
        };
        let rows = [row(DAY, 1), row(5, 2), row(DAY + 7, 3)];
        let batches = batches_by_date(&rows, |r| r.time, rejects_batch).unwrap();
        let shape: Vec<(i64, usize)> = batches.iter().map(|(day, b)| (*day, b.num_rows())).collect();
        assert_eq!(shape, [(0, 1), (DAY, 2)]);
        assert_eq!(batches[1].1, rejects_batch(&[row(DAY, 1), row(DAY + 7, 3)]).unwrap());

        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let storage = Storage::open(dir.path().to_str().unwrap(), runtime.handle().clone()).unwrap();
        let mut stager = Stager::new(&storage, "7-w".into());
        stager.table("rejects", &batches).unwrap();
        let names: Vec<&str> = stager.files.iter().map(|f| f.to.as_str()).collect();
        assert_eq!(names, ["rejects/date=1970-01-01/7-w.parquet", "rejects/date=1970-01-02/7-w.parquet"]);
        publish(&storage, &stager.files).unwrap();
        assert_eq!(storage.list("rejects").unwrap(), names);
    }
}
