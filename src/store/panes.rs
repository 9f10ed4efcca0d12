//! Panes, hours and days as Parquet: sketches as bytes.
//!
//! The public hours have one row per segment and feature. The internal minute panes and days have one per segment, with all its sketches
//! packed in one column. `as_of` is the event time from which a row counts (a pane's closing time; for an hour or a day the evaluation
//! that wrote it).

pub use super::pane_table::PaneTable;
use super::rows::{counts, dimension_value, texts, timestamp, timestamps};
use crate::config::features::Feature;
use crate::config::segments::{Grouping, Groupings};
use crate::enrich::Shown;
use crate::sketch::{DecodeError, Sketch, UnlikeSketches};
use crate::window::{Definitions, Filling, PackedError, Pane, PaneRow, Segment};
use arrow::array::{ArrayRef, BinaryArray, BinaryBuilder, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;
use thiserror::Error;

/// The largest page of a file of panes: a page ends only after a thousand rows, and a segment's sketches may take a megabyte.
pub(super) const PAGE_BYTES: i64 = 1 << 30;

/// Why panes could not be written or read back.
#[derive(Debug, Error)]
pub enum PaneFileError {
    /// Parquet's own error.
    #[error("parquet: {0}")]
    Parquet(#[from] ParquetError),
    /// Arrow's own error.
    #[error("arrow: {0}")]
    Arrow(#[from] ArrowError),
    /// A sketch's bytes are damaged.
    #[error("row {row} of segment {segment:?}: {source}")]
    Sketch {
        /// The row.
        row: usize,
        /// The segment.
        segment: String,
        /// Why.
        source: DecodeError,
    },
    /// Rows of one segment and feature were made by different definitions.
    #[error(transparent)]
    Unlike(#[from] UnlikeSketches),
    /// What a segment holds could not be summed up.
    #[error(transparent)]
    Packed(#[from] PackedError),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] super::StorageError),
    /// A column is missing or of another type.
    #[error("column {0} is missing or of another type")]
    Column(&'static str),
}

/// The schema for a job with these dimension columns.
#[must_use]
pub fn schema(dimensions: &[String]) -> SchemaRef {
    let mut f = vec![
        timestamp("start", false),
        timestamp("end", false),
        timestamp("as_of", false),
        Field::new("segment_by", DataType::Utf8, false),
        Field::new("segment", DataType::Utf8, false),
    ];
    f.extend(dimensions.iter().map(|d| Field::new(d, DataType::Utf8, true)));
    f.extend([
        Field::new("feature", DataType::Utf8, false),
        Field::new("n", DataType::UInt64, false),
        Field::new("sketch_id", DataType::Utf8, false),
        Field::new("sketch", DataType::Binary, false),
    ]);
    Arc::new(Schema::new(f))
}

/// How all of the job's Parquet is written.
#[must_use]
pub fn writer_properties() -> WriterProperties {
    let level = ZstdLevel::try_new(1).unwrap_or_default();
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(64 * 1024))
        // No two sketches are alike: a dictionary of them, or their least and greatest, would only cost.
        .set_column_dictionary_enabled(ColumnPath::from("sketches"), false)
        .set_column_dictionary_enabled(ColumnPath::from("sketch"), false)
        .set_column_statistics_enabled(ColumnPath::from("sketches"), EnabledStatistics::None)
        .set_column_statistics_enabled(ColumnPath::from("sketch"), EnabledStatistics::None)
        .build()
}

/// A record batch as a Parquet file.
///
/// # Errors
/// Parquet's.
pub fn to_parquet(batch: &RecordBatch) -> Result<Vec<u8>, ParquetError> {
    all_to_parquet(std::slice::from_ref(batch))
}

/// Record batches of one schema as a Parquet file; of none an empty file without columns.
///
/// # Errors
/// Parquet's.
pub fn all_to_parquet<B: Borrow<RecordBatch>>(batches: &[B]) -> Result<Vec<u8>, ParquetError> {
    let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), |b| b.borrow().schema());
    let mut out = Vec::new();
    let mut w = ArrowWriter::try_new(&mut out, schema, Some(writer_properties()))?;
    batches.iter().try_for_each(|b| w.write(b.borrow()))?;
    w.close()?;
    Ok(out)
}

/// Names that turn segments and features to text and back.
#[derive(Debug, Clone)]
pub struct Names {
    /// The groupings.
    pub groupings: Arc<Groupings>,
    /// The features' names, by index.
    pub features: Vec<Arc<str>>,
    /// The dimension columns.
    pub dimensions: Vec<String>,
    /// What the features' sketches are made by now. Others that a file still holds are passed over when it is read: with another hashing
    /// key or definition a feature's history begins afresh. Without any, all are read.
    pub definitions: Definitions,
    /// What of segments and values stands as text where others than the job may look.
    pub shown: Shown,
}

impl Names {
    /// Names of a job.
    #[must_use]
    pub fn new(groupings: Arc<Groupings>, features: &[Feature]) -> Self {
        let dimensions = dimension_columns(&groupings);
        Self {
            groupings,
            features: features.iter().map(|f| Arc::from(f.name.as_str())).collect(),
            dimensions,
            definitions: Arc::default(),
            shown: Shown::default(),
        }
    }

    /// The grouping of a segment.
    #[must_use]
    pub fn grouping(&self, segment: &Segment) -> &Grouping {
        &self.groupings.all[segment.grouping as usize]
    }

    /// The segment as exclusions know it: see [`Shown::identity`].
    #[must_use]
    pub fn identity(&self, segment: &Segment) -> Segment {
        Segment { name: self.shown.identity(self.grouping(segment), &segment.name), ..segment.clone() }
    }

    /// The names of a job whose features' sketches are made so.
    #[must_use]
    pub fn with_definitions(self, definitions: &Definitions) -> Self {
        Self { definitions: Arc::clone(definitions), ..self }
    }
}

/// The dimension columns of a job's tables: those of its groupings, and always the three of the contract.
#[must_use]
pub fn dimension_columns(groupings: &Groupings) -> Vec<String> {
    let mut d: Vec<String> = groupings.dimensions.iter().map(|d| crate::event::column(d.path())).collect();
    d.extend(["model_version", "region", "tenant"].map(String::from));
    d.sort();
    d.dedup();
    d
}

/// The key of the packed features' names in a file's metadata.
pub(super) const FEATURES: &str = "driftglass.features";

/// The key of the definitions of features, as JSON, in the metadata of a file whose rows may hold events: each is what
/// [`Filling::write`] wrote.
pub(super) const DEFINITIONS: &str = "driftglass.definitions";

/// Bytes of a column before which a record batch ends: Arrow counts them in 31 bits. Few in this crate's tests, so that
/// they see several.
const MOST_IN_A_BATCH: usize = if cfg!(test) { 8 << 10 } else { 1 << 30 };

/// Rows with what a segment holds packed in one column, as they become record batches.
#[derive(Debug)]
pub struct PackedRows<'n> {
    names: &'n Names,
    definitions: Option<String>,
    /// Bytes before which a batch ends, unless a row alone is larger.
    most: usize,
    full: Vec<RecordBatch>,
    places: Vec<(i64, i64, Segment)>,
    sketches: BinaryBuilder,
}

impl<'n> PackedRows<'n> {
    /// No rows yet.
    #[must_use]
    pub fn new(names: &'n Names) -> Self {
        let most = MOST_IN_A_BATCH;
        Self {
            names,
            definitions: None,
            most,
            full: Vec::new(),
            places: Vec::new(),
            sketches: BinaryBuilder::new(),
        }
    }

    /// Appends a row: its start, the time that it counts from, and what [`crate::window::packed::write`] wrote.
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
        if !self.places.is_empty() && self.sketches.values_slice().len() + sketches.len() > self.most {
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

/// Panes as record batches: what a segment holds in one column, its events or its sketches.
///
/// # Errors
/// Arrow's.
pub fn packed_batches<F: Borrow<Filling>>(
    rows: &[PaneRow<F>],
    names: &Names,
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

/// Rows as a Parquet file; `length` is that of a row's stretch in microseconds.
///
/// # Errors
/// Parquet's or Arrow's.
pub fn encode(rows: &[PaneRow], length: i64, names: &Names) -> Result<Vec<u8>, PaneFileError> {
    let mut batches = batches(rows, length, names)?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema(&names.dimensions)));
    }
    Ok(all_to_parquet(&batches)?)
}

/// Rows as record batches of [`schema`], one row per sketch; none without any.
///
/// # Errors
/// Arrow's.
pub fn batches(rows: &[PaneRow], length: i64, names: &Names) -> Result<Vec<RecordBatch>, PaneFileError> {
    batches_of(rows, length, names, MOST_IN_A_BATCH)
}

fn batches_of(
    rows: &[PaneRow],
    length: i64,
    names: &Names,
    most: usize,
) -> Result<Vec<RecordBatch>, PaneFileError> {
    let flat: Vec<Flat<'_>> = rows
        .iter()
        .flat_map(|r| {
            r.contents.sketches.iter().enumerate().filter_map(move |(i, s)| s.as_deref().map(|s| (r, i, s)))
        })
        .collect();
    let (mut out, mut from, mut bytes) = (Vec::new(), 0, BinaryBuilder::new());
    for (i, (.., sketch)) in flat.iter().enumerate() {
        let encoded = sketch.encode();
        if i > from && bytes.values_slice().len() + encoded.len() > most {
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

/// A row of the table: whose it is, its feature and the sketch.
type Flat<'r> = (&'r PaneRow, usize, &'r Sketch);

fn batch(
    flat: &[Flat<'_>],
    sketches: BinaryArray,
    length: i64,
    names: &Names,
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

/// Reads rows back. Rows of groupings or features that the job no longer has are passed over.
///
/// # Errors
/// When the file is damaged.
pub fn decode(file: bytes::Bytes, names: &Names) -> Result<Vec<PaneRow>, PaneFileError> {
    PaneTable::read(file, names)?.rows()
}

/// Reads panes back, of few events as they are. Rows of groupings or features that the job no longer has are passed over.
///
/// # Errors
/// When the file is damaged.
pub fn decode_panes(file: bytes::Bytes, names: &Names) -> Result<Vec<Pane>, PaneFileError> {
    PaneTable::read(file, names)?.panes()
}

#[cfg(test)]
#[path = "panes_tests.rs"]
mod tests;
