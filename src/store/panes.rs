//! Panes and hours as Parquet: sketches as bytes, one row per segment and feature.
//!
//! The internal minute panes and the public hourly ones have one schema; `as_of` is the event time from which a row counts (a pane's
//! closing time; for an hour the evaluation that wrote it).

use super::rows::{counts, dimension_value, texts, timestamp, timestamps};
use crate::config::features::Feature;
use crate::config::segments::Groupings;
use crate::sketch::{DecodeError, Sketch, UnlikeSketches};
use crate::window::{Contents, PaneRow, Segment};
use arrow::array::{ArrayRef, AsArray, BinaryBuilder, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use thiserror::Error;

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
    #[error("row {row} of {feature}: {source}")]
    Sketch {
        /// The row.
        row: usize,
        /// The feature.
        feature: String,
        /// Why.
        source: DecodeError,
    },
    /// Rows of one segment and feature were made by different definitions.
    #[error(transparent)]
    Unlike(#[from] UnlikeSketches),
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
        .build()
}

/// A record batch as a Parquet file.
///
/// # Errors
/// Parquet's.
pub fn to_parquet(batch: &RecordBatch) -> Result<Vec<u8>, ParquetError> {
    let mut out = Vec::new();
    let mut w = ArrowWriter::try_new(&mut out, batch.schema(), Some(writer_properties()))?;
    w.write(batch)?;
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
        }
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

/// Rows as a Parquet file; `length` is that of a row's stretch in microseconds.
///
/// # Errors
/// Parquet's or Arrow's.
pub fn encode(rows: &[PaneRow], length: i64, names: &Names) -> Result<Vec<u8>, PaneFileError> {
    Ok(to_parquet(&batch(rows, length, names)?)?)
}

/// Rows as a record batch of [`schema`], one row per sketch.
///
/// # Errors
/// Arrow's.
pub fn batch(rows: &[PaneRow], length: i64, names: &Names) -> Result<RecordBatch, PaneFileError> {
    let flat: Vec<(&PaneRow, usize, &Sketch)> = rows
        .iter()
        .flat_map(|r| {
            r.contents.sketches.iter().enumerate().filter_map(move |(i, s)| s.as_deref().map(|s| (r, i, s)))
        })
        .collect();
    let mut bytes = BinaryBuilder::new();
    flat.iter().for_each(|(_, _, s)| bytes.append_value(s.encode()));
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
    c.push(Arc::new(bytes.finish()));
    Ok(RecordBatch::try_new(schema(&names.dimensions), c)?)
}

/// Reads rows back. Rows of groupings or features that the job no longer has are passed over.
///
/// # Errors
/// When the file is damaged.
pub fn decode(file: bytes::Bytes, names: &Names) -> Result<Vec<PaneRow>, PaneFileError> {
    let features: FxHashMap<&str, usize> =
        names.features.iter().enumerate().map(|(i, f)| (&**f, i)).collect();
    let mut rows: Vec<PaneRow> = Vec::new();
    let mut index: FxHashMap<(i64, i64, Segment), usize> = FxHashMap::default();
    for b in ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(8192).build()? {
        let b = b?;
        let text = |name: &'static str| {
            b.column_by_name(name).and_then(|c| c.as_string_opt::<i32>()).ok_or(PaneFileError::Column(name))
        };
        let time = |name: &'static str| {
            b.column_by_name(name)
                .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>())
                .ok_or(PaneFileError::Column(name))
        };
        let (start, as_of) = (time("start")?, time("as_of")?);
        let (by, segment, feature) = (text("segment_by")?, text("segment")?, text("feature")?);
        let sketch = b
            .column_by_name("sketch")
            .and_then(|c| c.as_binary_opt::<i32>())
            .ok_or(PaneFileError::Column("sketch"))?;
        for i in 0..b.num_rows() {
            let (Some(g), Some(&f)) = (names.groupings.index_of(by.value(i)), features.get(feature.value(i)))
            else {
                continue;
            };
            let decoded = Sketch::decode(sketch.value(i)).map_err(|source| PaneFileError::Sketch {
                row: i,
                feature: feature.value(i).to_owned(),
                source,
            })?;
            let segment = Segment { grouping: g as u16, name: Arc::from(segment.value(i)) };
            let key = (start.value(i), as_of.value(i), segment);
            let at = *index.entry(key.clone()).or_insert_with(|| {
                rows.push(PaneRow {
                    start: key.0,
                    close_at: key.1,
                    segment: key.2.clone(),
                    contents: Contents::default(),
                });
                rows.len() - 1
            });
            let sketches = &mut rows[at].contents.sketches;
            if sketches.len() < names.features.len() {
                sketches.resize_with(names.features.len(), || None);
            }
            match &mut sketches[f] {
                Some(s) => s.merge(&decoded)?,
                slot => *slot = Some(Box::new(decoded)),
            }
        }
    }
    Ok(rows)
}
