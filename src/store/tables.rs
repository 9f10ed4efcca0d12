//! The public tables as files: which row goes under which date, staged first and named in a commit before readers see them.

use super::panes::{Names, PaneFileError, all_to_parquet};
use super::rows::{counts, texts, timestamp, timestamps};
use super::storage::{Storage, StorageError};
use super::vectors::{VectorRow, vectors_batch};
use crate::alert::{AlertRow, alerts_batch};
use crate::config::segments::Groupings;
use crate::engine::Exclusion;
use crate::event::time::date;
use arrow::array::{BooleanBuilder, Int32Builder, Int64Builder, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A file that waits under a staged name for its commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// Where it is.
    pub from: String,
    /// What it will be called.
    pub to: String,
}

/// One row of `rejects`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectRow {
    /// The record's time where it has one, else the newest event time of its partition; microseconds.
    pub time: i64,
    /// The topic; empty for files.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset; for files the line.
    pub offset: i64,
    /// Why.
    pub reason: &'static str,
    /// The field to blame.
    pub field: Option<&'static str>,
    /// Whether the whole message was rejected, or this field only.
    pub fatal: bool,
}

/// The schema of `rejects`.
#[must_use]
pub fn rejects_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        timestamp("time", false),
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("field", DataType::Utf8, true),
        Field::new("fatal", DataType::Boolean, false),
    ]))
}

/// Rows of `rejects` as a record batch.
///
/// # Errors
/// Only if the columns did not fit the schema.
pub fn rejects_batch(rows: &[RejectRow]) -> Result<RecordBatch, ArrowError> {
    let (mut partition, mut offset, mut fatal) =
        (Int32Builder::new(), Int64Builder::new(), BooleanBuilder::new());
    for r in rows {
        partition.append_value(r.partition);
        offset.append_value(r.offset);
        fatal.append_value(r.fatal);
    }
    RecordBatch::try_new(
        rejects_schema(),
        vec![
            timestamps(rows.iter().map(|r| Some(r.time))),
            texts(rows.iter().map(|r| Some(&r.topic))),
            Arc::new(partition.finish()),
            Arc::new(offset.finish()),
            texts(rows.iter().map(|r| Some(r.reason))),
            texts(rows.iter().map(|r| r.field)),
            Arc::new(fatal.finish()),
        ],
    )
}

/// The schema of `exclusions`.
#[must_use]
pub fn exclusions_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        timestamp("day", false),
        Field::new("segment_by", DataType::Utf8, false),
        Field::new("segment", DataType::Utf8, false),
        Field::new("feature", DataType::Utf8, false),
        Field::new("judged", DataType::UInt64, false),
        Field::new("drifted", DataType::UInt64, false),
        timestamp("decided_at", false),
    ]))
}

fn exclusions_batch(
    rows: &[Exclusion],
    groupings: &Groupings,
    features: &[Arc<str>],
) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_new(
        exclusions_schema(),
        vec![
            timestamps(rows.iter().map(|r| Some(r.day))),
            texts(rows.iter().map(|r| Some(&groupings.all[r.segment.grouping as usize].name))),
            texts(rows.iter().map(|r| Some(&r.shown))),
            texts(rows.iter().map(|r| Some(&features[r.feature]))),
            counts(rows.iter().map(|r| u64::from(r.judged))),
            counts(rows.iter().map(|r| u64::from(r.drifted))),
            timestamps(rows.iter().map(|r| Some(r.decided_at))),
        ],
    )
}

/// Writes files under staged names for one commit.
#[derive(Debug)]
pub struct Stager<'a> {
    storage: &'a Storage,
    /// Unique to the commit: epoch and writer.
    stem: String,
    /// What was staged so far.
    pub files: Vec<Staged>,
}

impl<'a> Stager<'a> {
    /// A stager for the commit with this stem.
    #[must_use]
    pub fn new(storage: &'a Storage, stem: String) -> Self {
        Self { storage, stem, files: Vec::new() }
    }

    fn put(&mut self, table: &str, date: &str, batch: &RecordBatch) -> Result<(), PaneFileError> {
        self.put_all(table, date, &[batch])
    }

    fn put_all(&mut self, table: &str, date: &str, batches: &[&RecordBatch]) -> Result<(), PaneFileError> {
        self.file(format!("{table}/date={date}/{}.parquet", self.stem), batches)
    }

    /// Stages a Parquet file that is to be called `to`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn file(&mut self, to: String, batches: &[&RecordBatch]) -> Result<(), PaneFileError> {
        let staged = Staged { from: format!("_staged/{to}"), to };
        let bytes = all_to_parquet(batches)?;
        self.storage.put(&staged.from, bytes)?;
        self.files.push(staged);
        Ok(())
    }

    /// Stages rows of `windows`, given by the tick that they end at.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn windows(&mut self, batches: &[(i64, RecordBatch)]) -> Result<(), PaneFileError> {
        for (date, batches) in by_date(batches, |b| b.0) {
            let batches: Vec<&RecordBatch> = batches.iter().map(|b| &b.1).collect();
            self.put_all("windows", &date, &batches)?;
        }
        Ok(())
    }

    /// Stages hours for `panes`, given by their start.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn panes(&mut self, hours: &[(i64, RecordBatch)]) -> Result<(), PaneFileError> {
        let mut dates: BTreeMap<String, Vec<&RecordBatch>> = BTreeMap::new();
        for (start, rows) in hours {
            dates.entry(date(*start)).or_default().push(rows);
        }
        dates.iter().try_for_each(|(date, rows)| self.put_all("panes", date, rows))
    }

    /// Stages rows of `alerts`.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn alerts(&mut self, rows: &[AlertRow]) -> Result<(), PaneFileError> {
        for (date, rows) in by_date(rows, |r| r.at) {
            self.put("alerts", &date, &alerts_batch(rows)?)?;
        }
        Ok(())
    }

    /// Stages rows of `exclusions`.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn exclusions(&mut self, rows: &[Exclusion], names: &Names) -> Result<(), PaneFileError> {
        for (date, rows) in by_date(rows, |r| r.day) {
            self.put("exclusions", &date, &exclusions_batch(rows, &names.groupings, &names.features)?)?;
        }
        Ok(())
    }

    /// Stages rows of `vectors`.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn vectors(&mut self, rows: &[VectorRow]) -> Result<(), PaneFileError> {
        let mut sorted: BTreeMap<String, Vec<VectorRow>> = BTreeMap::new();
        for r in rows {
            sorted.entry(date(r.time)).or_default().push(r.clone());
        }
        for (date, rows) in sorted {
            self.put("vectors", &date, &vectors_batch(&rows)?)?;
        }
        Ok(())
    }

    /// Stages rows of `rejects`.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn rejects(&mut self, rows: &[RejectRow]) -> Result<(), PaneFileError> {
        let mut sorted: BTreeMap<String, Vec<RejectRow>> = BTreeMap::new();
        for r in rows {
            sorted.entry(date(r.time)).or_default().push(r.clone());
        }
        for (date, rows) in sorted {
            self.put("rejects", &date, &rejects_batch(&rows)?)?;
        }
        Ok(())
    }
}

/// Runs of rows with the same date; rows come in order of time.
fn by_date<T>(rows: &[T], time: impl Fn(&T) -> i64) -> impl Iterator<Item = (String, &[T])> {
    let key = move |r: &T| crate::event::time::floor(time(r), crate::event::time::DAY);
    let mut rest = rows;
    std::iter::from_fn(move || {
        let first = key(rest.first()?);
        let n = rest.iter().take_while(|r| key(r) == first).count();
        let (run, tail) = rest.split_at(n);
        rest = tail;
        Some((date(first), run))
    })
}

/// Gives staged files their final names, once their commit holds. Repeating it does no harm.
///
/// # Errors
/// When the storage fails.
pub fn publish(storage: &Storage, files: &[Staged]) -> Result<(), StorageError> {
    files.iter().try_for_each(|f| storage.publish(&f.from, &f.to))
}
