//! Panes, hours and days as Parquet: sketches as bytes.
//!
//! The public hours have one row per segment and feature. The internal minute panes and days have one per segment, with all its sketches
//! packed in one column. `as_of` is the event time from which a row counts (a pane's closing time; for an hour or a day the evaluation
//! that wrote it).

use super::rows::{counts, dimension_value, texts, timestamp, timestamps};
use super::sound::{self, Pages};
use crate::config::features::Feature;
use crate::config::segments::Groupings;
use crate::sketch::{DecodeError, Sketch, SketchId, UnlikeSketches};
use crate::window::{Contents, PaneRow, Segment, packed};
use arrow::array::{ArrayRef, AsArray, BinaryArray, BinaryBuilder, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

/// The largest page of a file of panes: a page ends only after a thousand rows, and a segment's sketches may take a megabyte.
const PAGE_BYTES: i64 = 1 << 30;

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
    all_to_parquet(&[batch])
}

/// Record batches of one schema as a Parquet file; of none an empty file without columns.
///
/// # Errors
/// Parquet's.
pub fn all_to_parquet(batches: &[&RecordBatch]) -> Result<Vec<u8>, ParquetError> {
    let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), |b| b.schema());
    let mut out = Vec::new();
    let mut w = ArrowWriter::try_new(&mut out, schema, Some(writer_properties()))?;
    batches.iter().try_for_each(|b| w.write(b))?;
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
    pub sketch_ids: Arc<[SketchId]>,
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
            sketch_ids: Arc::default(),
        }
    }

    /// The names of a job whose features' sketches have these ids.
    #[must_use]
    pub fn with_sketch_ids(self, ids: impl IntoIterator<Item = SketchId>) -> Self {
        Self { sketch_ids: ids.into_iter().collect(), ..self }
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
const FEATURES: &str = "driftglass.features";

/// Rows with a segment's sketches packed in one column, as they become a record batch.
#[derive(Debug)]
pub struct PackedRows<'n> {
    names: &'n Names,
    places: Vec<(i64, i64, Segment)>,
    sketches: BinaryBuilder,
}

impl<'n> PackedRows<'n> {
    /// No rows yet.
    #[must_use]
    pub fn new(names: &'n Names) -> Self {
        Self { names, places: Vec::new(), sketches: BinaryBuilder::new() }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Appends a row: its start, the time that it counts from, and what [`packed::write`] wrote.
    pub fn push(&mut self, start: i64, close_at: i64, segment: Segment, sketches: &[u8]) {
        self.places.push((start, close_at, segment));
        self.sketches.append_value(sketches);
    }

    /// The record batch.
    ///
    /// # Errors
    /// Arrow's.
    pub fn finish(mut self) -> Result<RecordBatch, PaneFileError> {
        let schema = Schema::new(vec![
            timestamp("start", false),
            timestamp("as_of", false),
            Field::new("segment_by", DataType::Utf8, false),
            Field::new("segment", DataType::Utf8, false),
            Field::new("sketches", DataType::Binary, false),
        ])
        .with_metadata([(FEATURES.to_owned(), self.names.features.join("\n"))].into());
        let grouping = |s: &Segment| &self.names.groupings.all[s.grouping as usize].name;
        let columns: Vec<ArrayRef> = vec![
            timestamps(self.places.iter().map(|p| Some(p.0))),
            timestamps(self.places.iter().map(|p| Some(p.1))),
            texts(self.places.iter().map(|p| Some(grouping(&p.2)))),
            texts(self.places.iter().map(|p| Some(&p.2.name))),
            Arc::new(self.sketches.finish()),
        ];
        Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
    }
}

/// Rows as a record batch with a segment's sketches packed in one column.
///
/// # Errors
/// Arrow's.
pub fn packed_batch(rows: &[PaneRow], names: &Names) -> Result<RecordBatch, PaneFileError> {
    let (mut out, mut bytes) = (PackedRows::new(names), Vec::new());
    for r in rows {
        bytes.clear();
        packed::write(&r.contents, &mut bytes);
        out.push(r.start, r.close_at, r.segment.clone(), &bytes);
    }
    out.finish()
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
    PaneTable::read(file, names)?.rows()
}

/// Where one row of a segment stands in a [`PaneTable`].
#[derive(Debug, Clone, Copy)]
struct Cell {
    start: i64,
    close_at: i64,
    /// `None` where the row has all features, packed.
    feature: Option<u32>,
    batch: u32,
    row: u32,
}

/// One batch of a [`PaneTable`].
#[derive(Debug)]
struct Encoded {
    sketches: BinaryArray,
    /// Of packed ones: where a feature's number leads to.
    features: Vec<Option<usize>>,
}

/// A file of panes, its sketches still encoded: what is never asked for is never decoded, and the bytes are a fraction of what
/// sketches take in memory.
#[derive(Debug, Default)]
pub struct PaneTable {
    batches: Vec<Encoded>,
    segments: FxHashMap<Segment, Vec<Cell>>,
    features: usize,
    sketch_ids: Arc<[SketchId]>,
}

impl PaneTable {
    fn new(names: &Names) -> Self {
        Self { features: names.features.len(), sketch_ids: Arc::clone(&names.sketch_ids), ..Self::default() }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is damaged or lacks a column.
    pub fn read(file: bytes::Bytes, names: &Names) -> Result<Self, PaneFileError> {
        let mut table = Self::new(names);
        if !sound::footer_is(&file) {
            // Parquet's reader would set aside as much memory as a damaged file asks for.
            return Err(ParquetError::General("the description at its end is damaged".into()).into());
        }
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?;
        let file = ParquetRecordBatchReaderBuilder::new_with_metadata(Pages::new(file, PAGE_BYTES), metadata);
        // The batches that are read have the columns only.
        let packed = file.schema().metadata().get(FEATURES).cloned();
        for b in file.with_batch_size(8192).build()? {
            table.add(&b?, packed.as_deref(), names)?;
        }
        Ok(table)
    }

    /// A table of what was not written yet.
    ///
    /// # Errors
    /// When a column is missing.
    pub fn of<'b>(
        batches: impl IntoIterator<Item = &'b RecordBatch>,
        names: &Names,
    ) -> Result<Self, PaneFileError> {
        let mut table = Self::new(names);
        for b in batches {
            table.add(b, b.schema().metadata().get(FEATURES).map(String::as_str), names)?;
        }
        Ok(table)
    }

    /// Adds rows; `packed` are the names of the features that are packed in one column.
    fn add(&mut self, b: &RecordBatch, packed: Option<&str>, names: &Names) -> Result<(), PaneFileError> {
        let features: FxHashMap<&str, u32> = names.features.iter().zip(0..).map(|(f, i)| (&**f, i)).collect();
        let text = |name: &'static str| {
            b.column_by_name(name).and_then(|c| c.as_string_opt::<i32>()).ok_or(PaneFileError::Column(name))
        };
        let time = |name: &'static str| {
            b.column_by_name(name)
                .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>())
                .ok_or(PaneFileError::Column(name))
        };
        let bytes = |name: &'static str| {
            b.column_by_name(name).and_then(|c| c.as_binary_opt::<i32>()).ok_or(PaneFileError::Column(name))
        };
        let (start, as_of) = (time("start")?, time("as_of")?);
        let (by, segment) = (text("segment_by")?, text("segment")?);
        let (feature, encoded) = match packed {
            None => {
                (Some(text("feature")?), Encoded { sketches: bytes("sketch")?.clone(), features: Vec::new() })
            }
            Some(stored) => {
                let place = stored.split('\n').map(|f| features.get(f).map(|i| *i as usize)).collect();
                (None, Encoded { sketches: bytes("sketches")?.clone(), features: place })
            }
        };
        let mut last: Option<(&str, &str, Segment)> = None;
        for i in 0..b.num_rows() {
            let feature = match feature.map(|f| features.get(f.value(i))) {
                None => None,
                Some(Some(&f)) => Some(f),
                Some(None) => continue,
            };
            // Rows of one segment stand together: its key is made once.
            let same = last.as_ref().is_some_and(|l| l.0 == by.value(i) && l.1 == segment.value(i));
            if !same {
                let Some(g) = names.groupings.index_of(by.value(i)) else { continue };
                last = Some((
                    by.value(i),
                    segment.value(i),
                    Segment { grouping: g as u16, name: Arc::from(segment.value(i)) },
                ));
            }
            let Some((_, _, key)) = &last else { continue };
            let cell = Cell {
                start: start.value(i),
                close_at: as_of.value(i),
                feature,
                batch: self.batches.len() as u32,
                row: i as u32,
            };
            match self.segments.get_mut(key) {
                Some(cells) => cells.push(cell),
                None => {
                    self.segments.insert(key.clone(), vec![cell]);
                }
            }
        }
        self.batches.push(encoded);
        Ok(())
    }

    /// The segments that it has rows of, in no order.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.keys()
    }

    /// A segment's rows, ascending by start and closing time.
    ///
    /// # Errors
    /// When a sketch is damaged.
    pub fn rows_of(&self, segment: &Segment) -> Result<Vec<PaneRow>, PaneFileError> {
        let mut rows: BTreeMap<(i64, i64), Contents> = BTreeMap::new();
        for c in self.segments.get(segment).map_or(&[][..], Vec::as_slice) {
            let batch = &self.batches[c.batch as usize];
            let bytes = batch.sketches.value(c.row as usize);
            let damaged = |source| PaneFileError::Sketch {
                row: c.row as usize,
                segment: segment.name.to_string(),
                source,
            };
            let mut contents = match c.feature {
                None => packed::read(bytes, |f| batch.features.get(f).copied().flatten()).map_err(damaged)?,
                Some(feature) => {
                    let mut one = Contents { sketches: vec![None; self.features] };
                    one.sketches[feature as usize] = Some(Box::new(Sketch::decode(bytes).map_err(damaged)?));
                    one
                }
            };
            for (slot, id) in contents.sketches.iter_mut().zip(&*self.sketch_ids) {
                slot.take_if(|s| s.id != *id);
            }
            if contents.sketches.iter().any(Option::is_some) {
                rows.entry((c.start, c.close_at)).or_default().absorb(contents)?;
            }
        }
        let row =
            |((start, close_at), contents)| PaneRow { start, close_at, segment: segment.clone(), contents };
        Ok(rows.into_iter().map(row).collect())
    }

    /// All rows, by segment.
    ///
    /// # Errors
    /// When a sketch is damaged.
    pub fn rows(&self) -> Result<Vec<PaneRow>, PaneFileError> {
        let mut segments: Vec<&Segment> = self.segments.keys().collect();
        segments.sort();
        let mut out = Vec::new();
        for s in segments {
            out.extend(self.rows_of(s)?);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::features::builtin;
    use crate::sketch::{Body, RateSketch};

    fn row(id: u64, start: i64) -> PaneRow {
        let mut rate = RateSketch::default();
        rate.add(true, 3, 3 << 59, (1, "r"));
        let sketch = Sketch { id: SketchId(id), body: Body::Rate(rate) };
        let segment = Segment { grouping: 0, name: Arc::from("") };
        PaneRow {
            start,
            close_at: start + 60,
            segment,
            contents: Contents { sketches: vec![Some(Box::new(sketch))] },
        }
    }

    fn names() -> Names {
        Names::new(Arc::new(Groupings::new(&[vec![]]).unwrap()), &builtin()[..1])
    }

    #[test]
    fn what_another_definition_made_is_passed_over() {
        let names = names().with_sketch_ids([SketchId(2)]);
        let rows = [row(1, 0), row(2, 0), row(2, 60), row(1, 120)];
        let files =
            [to_parquet(&packed_batch(&rows, &names).unwrap()).unwrap(), encode(&rows, 60, &names).unwrap()];
        for file in files {
            let read = decode(file.into(), &names).unwrap();
            assert_eq!(read, [row(2, 0), row(2, 60)].map(|r| with_room(r, read[0].contents.sketches.len())));
        }
    }

    fn with_room(mut r: PaneRow, features: usize) -> PaneRow {
        r.contents.sketches.resize_with(features, || None);
        r
    }

    #[test]
    fn a_page_that_lies_about_itself_is_refused_at_once() {
        let file = include_bytes!("../../fixtures/fuzz/sketch/found-page-header");
        let groupings = Arc::new(Groupings::new(&[Vec::new()]).unwrap());
        let began = std::time::Instant::now();
        assert!(decode(bytes::Bytes::from_static(&file[1..]), &Names::new(groupings, &builtin())).is_err());
        assert!(began.elapsed().as_secs() < 5, "Parquet's reader went through what the header claims");
    }

    /// A file of a few hundred bytes that claims to have more row groups than memory could hold.
    #[test]
    fn a_file_that_lies_about_its_size_is_refused() {
        let file = include_bytes!("../../fixtures/fuzz/sketch/file-row-groups");
        let groupings = Arc::new(Groupings::new(&[Vec::new()]).unwrap());
        // The first byte chooses what the seed is read as.
        let file = bytes::Bytes::from_static(&file[1..]);
        assert!(decode(file, &Names::new(groupings, &builtin())).is_err());
    }
}
