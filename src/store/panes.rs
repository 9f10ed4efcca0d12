//! Panes, hours and days as Parquet, with sketches as bytes.
//!
//! The public hours have one row per segment and feature. The internal minute panes and days have
//! one per segment, with all its sketches packed in one column. `as_of` is the event time from
//! which a row counts: a pane's closing time; for an hour or a day the evaluation that wrote it.

pub use super::error::PaneFileError;
pub use super::pane_schema::schema;
pub use super::pane_table::PaneTable;
pub use super::parquet_file::{all_to_parquet, to_parquet};
pub use super::table_names::{TableNames, dimension_columns};

use super::pane_schema::{DEFINITIONS, FEATURES, IN_BLOCKS};
use super::rows::{counts, dimension_value, texts, timestamp, timestamps};
use crate::sketch::Sketch;
use crate::window::{Pane, PaneRow, Segment, SegmentSum};
use arrow::array::{ArrayRef, BinaryArray, BinaryBuilder, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of a column before which a record batch ends: Arrow counts them in 31 bits. Small in this
/// crate's tests, so that they see several batches.
const MAX_BATCH_BYTES: usize = if cfg!(test) { 8 << 10 } else { 1 << 30 };

/// Builds record batches of rows with a segment's contents packed in one column.
#[derive(Debug)]
pub struct PackedRows<'n> {
    names: &'n TableNames,
    definitions: Option<String>,
    /// Whether each row lies within a block of the day.
    in_blocks: bool,
    /// Bytes before which a batch ends, unless one row alone is larger.
    max_bytes: usize,
    full: Vec<RecordBatch>,
    places: Vec<(i64, i64, Segment)>,
    sketches: BinaryBuilder,
}

impl<'n> PackedRows<'n> {
    /// No rows yet.
    #[must_use]
    pub fn new(names: &'n TableNames) -> Self {
        let max_bytes = MAX_BATCH_BYTES;
        Self {
            names,
            definitions: None,
            in_blocks: false,
            max_bytes,
            full: Vec::new(),
            places: Vec::new(),
            sketches: BinaryBuilder::new(),
        }
    }

    /// Rows that each lie within a block of the day.
    #[must_use]
    pub fn in_blocks(names: &'n TableNames) -> Self {
        Self { in_blocks: true, ..Self::new(names) }
    }

    /// Appends a row: its start, the time from which it counts, and what
    /// [`crate::window::packed::write`] wrote.
    ///
    /// # Errors
    /// Arrow's.
    pub fn push(
        &mut self,
        start: i64,
        close_at: i64,
        segment: Segment,
        sketches: &[u8],
    ) -> Result<(), PaneFileError> {
        if !self.places.is_empty() && self.sketches.values_slice().len() + sketches.len() > self.max_bytes {
            self.end_batch()?;
        }
        self.places.push((start, close_at, segment));
        self.sketches.append_value(sketches);
        Ok(())
    }

    /// The record batches, of one schema; none without rows.
    ///
    /// # Errors
    /// Arrow's.
    pub fn finish(mut self) -> Result<Vec<RecordBatch>, PaneFileError> {
        if !self.places.is_empty() {
            self.end_batch()?;
        }
        Ok(self.full)
    }

    fn end_batch(&mut self) -> Result<(), PaneFileError> {
        let mut metadata = HashMap::from([(FEATURES.to_owned(), self.names.features.join("\n"))]);
        metadata.extend(self.definitions.clone().map(|d| (DEFINITIONS.to_owned(), d)));
        metadata.extend(self.in_blocks.then(|| (IN_BLOCKS.to_owned(), "true".to_owned())));
        let schema = Schema::new(vec![
            timestamp("start", false),
            timestamp("as_of", false),
            Field::new("segment_by", DataType::Utf8, false),
            Field::new("segment", DataType::Utf8, false),
            Field::new("sketches", DataType::Binary, false),
        ])
        .with_metadata(metadata);
        let grouping = |s: &Segment| &self.names.groupings.all[s.grouping as usize].name;
        let columns: Vec<ArrayRef> = vec![
            timestamps(self.places.iter().map(|p| Some(p.0))),
            timestamps(self.places.iter().map(|p| Some(p.1))),
            texts(self.places.iter().map(|p| Some(grouping(&p.2)))),
            texts(self.places.iter().map(|p| Some(&p.2.name))),
            Arc::new(self.sketches.finish()),
        ];
        self.full.push(RecordBatch::try_new(Arc::new(schema), columns)?);
        self.places.clear();
        Ok(())
    }
}

/// Panes as record batches: a segment's contents in one column, its events or its sketches.
///
/// # Errors
/// Arrow's.
pub fn packed_batches<F: Borrow<SegmentSum>>(
    rows: &[PaneRow<F>],
    names: &TableNames,
) -> Result<Vec<RecordBatch>, PaneFileError> {
    let (mut out, mut bytes) = (PackedRows::new(names), Vec::new());
    let definitions = serde_json::to_string(&*names.definitions);
    out.definitions = Some(definitions.map_err(|e| ArrowError::ExternalError(Box::new(e)))?);
    for r in rows {
        bytes.clear();
        r.contents.borrow().write(&mut bytes);
        out.push(r.start, r.close_at, r.segment.clone(), &bytes)?;
    }
    out.finish()
}

/// Rows as a Parquet file; `length` is the length of each row's time range in microseconds.
///
/// # Errors
/// Parquet's or Arrow's.
pub fn encode(rows: &[PaneRow], length: i64, names: &TableNames) -> Result<Vec<u8>, PaneFileError> {
    let mut batches = batches(rows, length, names)?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema(&names.dimensions)));
    }
    Ok(all_to_parquet(&batches)?)
}

/// Rows as record batches of [`schema`], one row per sketch; no batch without rows.
///
/// # Errors
/// Arrow's.
pub fn batches(rows: &[PaneRow], length: i64, names: &TableNames) -> Result<Vec<RecordBatch>, PaneFileError> {
    batches_of(rows, length, names, MAX_BATCH_BYTES)
}

fn batches_of(
    rows: &[PaneRow],
    length: i64,
    names: &TableNames,
    max_bytes: usize,
) -> Result<Vec<RecordBatch>, PaneFileError> {
    let flat: Vec<SketchRow<'_>> = rows
        .iter()
        .flat_map(|r| {
            r.contents.sketches.iter().enumerate().filter_map(move |(i, s)| s.as_deref().map(|s| (r, i, s)))
        })
        .collect();
    let (mut out, mut from, mut bytes) = (Vec::new(), 0, BinaryBuilder::new());
    for (i, (.., sketch)) in flat.iter().enumerate() {
        let encoded = sketch.encode();
        if i > from && bytes.values_slice().len() + encoded.len() > max_bytes {
            out.push(batch(&flat[from..i], bytes.finish(), length, names)?);
            from = i;
        }
        bytes.append_value(encoded);
    }
    if from < flat.len() {
        out.push(batch(&flat[from..], bytes.finish(), length, names)?);
    }
    Ok(out)
}

/// A row of the table: its segment's row, the feature's index and the sketch.
type SketchRow<'r> = (&'r PaneRow, usize, &'r Sketch);

fn batch(
    flat: &[SketchRow<'_>],
    sketches: BinaryArray,
    length: i64,
    names: &TableNames,
) -> Result<RecordBatch, PaneFileError> {
    let grouping = |r: &PaneRow| &names.groupings.all[r.segment.grouping as usize].name;
    let mut c: Vec<ArrayRef> = vec![
        timestamps(flat.iter().map(|(r, ..)| Some(r.start))),
        timestamps(flat.iter().map(|(r, ..)| Some(r.start + length))),
        timestamps(flat.iter().map(|(r, ..)| Some(r.close_at))),
        texts(flat.iter().map(|(r, ..)| Some(grouping(r)))),
        texts(flat.iter().map(|(r, ..)| Some(&r.segment.name))),
    ];
    for d in &names.dimensions {
        c.push(texts(flat.iter().map(|(r, ..)| dimension_value(&r.segment.name, d))));
    }
    c.push(texts(flat.iter().map(|(_, i, _)| Some(&names.features[*i]))));
    c.push(counts(flat.iter().map(|(_, _, s)| s.n())));
    c.push(texts(flat.iter().map(|(_, _, s)| Some(s.id.to_string()))));
    c.push(Arc::new(sketches));
    Ok(RecordBatch::try_new(schema(&names.dimensions), c)?)
}

/// Reads panes back; few events stay events. Rows of groupings or features that the job no longer
/// has are skipped.
///
/// # Errors
/// When the file is damaged.
pub fn decode_panes(file: bytes::Bytes, names: &TableNames) -> Result<Vec<Pane>, PaneFileError> {
    PaneTable::read(file, names)?.panes()
}

#[cfg(test)]
#[path = "panes_tests.rs"]
mod tests;
