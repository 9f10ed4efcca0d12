//! A pane file that was read: its rows by segment, their sketches still encoded.

use super::error::PaneFileError;
use super::pane_schema::{DEFINITIONS, FEATURES, IN_BLOCKS, PAGE_BYTES};
use super::parquet_check::{CheckedPages, is_footer_valid};
use super::table_names::TableNames;
use crate::baseline::BlocksOfWeek;
use crate::config::segments::Groupings;
use crate::enrich::Shown;
use crate::sketch::{DecodeError, Sketch};
use crate::window::{
    Definition, Definitions, EncodedSum, Events, Pane, PaneRow, Segment, SegmentSum, SketchSet, packed,
};
use arrow::array::{AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use rustc_hash::FxHashMap;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Where a [`PaneTable`] has one row of a segment.
#[derive(Debug, Clone, Copy)]
struct RowLocation {
    start: i64,
    close_at: i64,
    /// `None` where the row has all features, packed.
    feature: Option<u32>,
    batch: u32,
    row: u32,
}

/// The definitions by which the events of a file were written.
#[derive(Debug, Clone)]
enum EventDefinitions {
    /// None: the file holds no events.
    NoEvents,
    /// The job's current ones.
    Current,
    /// Others.
    Other(Definitions),
}

/// One batch of a [`PaneTable`].
#[derive(Debug)]
struct EncodedBatch {
    sketches: BinaryArray,
    /// For packed sketches: the job's feature for each of the file's.
    features: Vec<Option<usize>>,
    definitions: EventDefinitions,
}

/// A pane file, its sketches still encoded: sketches that nobody asks for are never decoded, and
/// the bytes are a fraction of what decoded sketches take in memory.
#[derive(Debug, Default)]
pub struct PaneTable {
    batches: Vec<EncodedBatch>,
    segments: FxHashMap<Segment, Vec<RowLocation>>,
    features: usize,
    definitions: Definitions,
    /// Whether each row lies within a block of the day.
    in_blocks: bool,
    /// How errors name segments, since errors end up in logs.
    shown: Shown,
    groupings: Option<Arc<Groupings>>,
}

impl PaneTable {
    fn new(names: &TableNames) -> Self {
        Self {
            features: names.features.len(),
            definitions: Arc::clone(&names.definitions),
            shown: names.shown.clone(),
            groupings: Some(Arc::clone(&names.groupings)),
            ..Self::default()
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is damaged or lacks a column.
    pub fn read(file: bytes::Bytes, names: &TableNames) -> Result<Self, PaneFileError> {
        Self::read_since(file, names, i64::MIN)
    }

    /// Reads a file without the row groups whose rows all start before `from`.
    ///
    /// # Errors
    /// When it is damaged or lacks a column.
    pub fn read_since(file: bytes::Bytes, names: &TableNames, from: i64) -> Result<Self, PaneFileError> {
        let mut table = Self::new(names);
        if !is_footer_valid(&file) {
            // Parquet's reader would allocate as much memory as a damaged file asks for.
            return Err(ParquetError::General("the footer is damaged".into()).into());
        }
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?;
        let file =
            ParquetRecordBatchReaderBuilder::new_with_metadata(CheckedPages::new(file, PAGE_BYTES), metadata);
        // The batches have the columns only, not the file's metadata.
        let packed = PackedLayout::of(file.schema().metadata(), names)?;
        table.in_blocks = file.schema().metadata().contains_key(IN_BLOCKS);
        let needed = (0..file.metadata().num_row_groups())
            .filter(|i| last_start(file.metadata().row_group(*i)).is_none_or(|last| last >= from))
            .collect();
        let batch_size = rows_per_batch(file.metadata().row_groups());
        for b in file.with_row_groups(needed).with_batch_size(batch_size).build()? {
            table.add(&b?, packed.as_ref(), names)?;
        }
        Ok(table)
    }

    /// A table of batches that are not written yet.
    ///
    /// # Errors
    /// When a column is missing.
    pub fn of<'b>(
        batches: impl IntoIterator<Item = &'b RecordBatch>,
        names: &TableNames,
    ) -> Result<Self, PaneFileError> {
        let mut table = Self::new(names);
        for b in batches {
            table.in_blocks = b.schema().metadata().contains_key(IN_BLOCKS);
            table.add(b, PackedLayout::of(b.schema().metadata(), names)?.as_ref(), names)?;
        }
        Ok(table)
    }

    /// Adds rows; `packed` describes what is packed in one column.
    fn add(
        &mut self,
        b: &RecordBatch,
        packed: Option<&PackedLayout>,
        names: &TableNames,
    ) -> Result<(), PaneFileError> {
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
        let (segment_by, segment) = (text("segment_by")?, text("segment")?);
        let (feature, encoded) = match packed {
            None => {
                let sketches = bytes("sketch")?.clone();
                (
                    Some(text("feature")?),
                    EncodedBatch { sketches, features: Vec::new(), definitions: EventDefinitions::NoEvents },
                )
            }
            Some(PackedLayout { features, definitions }) => {
                let sketches = bytes("sketches")?.clone();
                (
                    None,
                    EncodedBatch { sketches, features: features.clone(), definitions: definitions.clone() },
                )
            }
        };
        let mut last: Option<(&str, &str, Segment)> = None;
        for i in 0..b.num_rows() {
            let feature = match feature.map(|f| features.get(f.value(i))) {
                None => None,
                Some(Some(&f)) => Some(f),
                Some(None) => continue,
            };
            // Rows of one segment follow each other: its key is made once.
            let same = last.as_ref().is_some_and(|l| l.0 == segment_by.value(i) && l.1 == segment.value(i));
            if !same {
                let Some(g) = names.groupings.index_of(segment_by.value(i)) else { continue };
                last = Some((
                    segment_by.value(i),
                    segment.value(i),
                    Segment { grouping: g as u16, name: Arc::from(segment.value(i)) },
                ));
            }
            let Some((_, _, key)) = &last else { continue };
            let location = RowLocation {
                start: start.value(i),
                close_at: as_of.value(i),
                feature,
                batch: self.batches.len() as u32,
                row: i as u32,
            };
            match self.segments.get_mut(key) {
                Some(rows) => rows.push(location),
                None => {
                    self.segments.insert(key.clone(), vec![location]);
                }
            }
        }
        self.batches.push(encoded);
        Ok(())
    }

    /// The segments that have rows, in no order.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.keys()
    }

    /// Whether each row is a block of a day.
    #[must_use]
    pub fn is_in_blocks(&self) -> bool {
        self.in_blocks
    }

    /// A segment's rows of these blocks of the week, ascending by start and closing time; whole
    /// days where rows are that.
    ///
    /// # Errors
    /// When a sketch is damaged.
    pub fn rows_of_blocks(
        &self,
        segment: &Segment,
        blocks: BlocksOfWeek,
    ) -> Result<Vec<PaneRow>, PaneFileError> {
        self.rows_between(segment, |start, _| match self.in_blocks {
            true => blocks.contains(start),
            false => blocks.hours_on(start).count() > 0,
        })
    }

    /// A segment's rows, ascending by start and closing time.
    ///
    /// # Errors
    /// When a sketch is damaged.
    pub fn rows_of(&self, segment: &Segment) -> Result<Vec<PaneRow>, PaneFileError> {
        self.rows_between(segment, |_, _| true)
    }

    /// A segment's rows whose start and closing time `wanted` accepts, ascending by these.
    ///
    /// # Errors
    /// When a sketch is damaged.
    pub fn rows_between(
        &self,
        segment: &Segment,
        wanted: impl Fn(i64, i64) -> bool,
    ) -> Result<Vec<PaneRow>, PaneFileError> {
        let sketches = |r: Pane| {
            let PaneRow { start, close_at, segment, contents } = r;
            Ok(PaneRow { start, close_at, segment, contents: contents.into_sketches()? })
        };
        self.panes_of(segment, wanted)?.into_iter().map(sketches).collect()
    }

    fn panes_of(
        &self,
        segment: &Segment,
        wanted: impl Fn(i64, i64) -> bool,
    ) -> Result<Vec<Pane>, PaneFileError> {
        let mut rows: BTreeMap<(i64, i64), SegmentSum> = BTreeMap::new();
        let locations = self.segments.get(segment).map_or(&[][..], Vec::as_slice);
        let grouping = self.groupings.as_ref().and_then(|g| g.all.get(usize::from(segment.grouping)));
        let segment_name =
            || grouping.map_or_else(String::new, |g| self.shown.identity(g, &segment.name).to_string());
        for c in locations.iter().filter(|c| wanted(c.start, c.close_at)) {
            let damaged =
                |source| PaneFileError::Sketch { row: c.row as usize, segment: segment_name(), source };
            let Some(filling) = self.filling(c, damaged)? else { continue };
            match rows.entry((c.start, c.close_at)) {
                Entry::Vacant(e) => {
                    e.insert(filling);
                }
                Entry::Occupied(mut e) => match (e.get_mut(), filling) {
                    (SegmentSum::Sketches(sum), SegmentSum::Sketches(more)) => sum.absorb(more)?,
                    (sum, more) => sum.merge(&more)?,
                },
            }
        }
        let row =
            |((start, close_at), contents)| PaneRow { start, close_at, segment: segment.clone(), contents };
        Ok(rows.into_iter().map(row).collect())
    }

    /// The part of a row that this job's features can use; `None` where that is nothing.
    fn filling(
        &self,
        c: &RowLocation,
        damaged: impl Fn(DecodeError) -> PaneFileError,
    ) -> Result<Option<SegmentSum>, PaneFileError> {
        let batch = &self.batches[c.batch as usize];
        let bytes = batch.sketches.value(c.row as usize);
        let place = |f: usize| batch.features.get(f).copied().flatten();
        let mut contents = match (c.feature, &batch.definitions) {
            (Some(feature), _) => {
                let mut one = SketchSet { sketches: vec![None; self.features] };
                one.sketches[feature as usize] = Some(Box::new(Sketch::decode(bytes).map_err(damaged)?));
                one
            }
            (None, EventDefinitions::NoEvents) => packed::read(bytes, place).map_err(damaged)?,
            (None, by) => match (SegmentSum::read(bytes).map_err(&damaged)?, by) {
                (EncodedSum::Sketches(bytes), _) => packed::read(bytes, place).map_err(damaged)?,
                (EncodedSum::Events(bytes), EventDefinitions::Other(others)) => {
                    let events = Events::read(bytes, Arc::clone(others)).map_err(&damaged)?;
                    let mut theirs = events.contents(|f| place(f).is_some())?;
                    let mut ours = SketchSet { sketches: vec![None; self.features] };
                    for (f, sketch) in theirs.sketches.iter_mut().enumerate() {
                        if let Some(to) = place(f) {
                            ours.sketches[to] = sketch.take();
                        }
                    }
                    ours
                }
                (EncodedSum::Events(bytes), _) => {
                    let events = Events::read(bytes, Arc::clone(&self.definitions)).map_err(damaged)?;
                    return Ok(Some(SegmentSum::Events(events)));
                }
            },
        };
        for (slot, now) in contents.sketches.iter_mut().zip(&*self.definitions) {
            slot.take_if(|s| s.id != now.id);
        }
        Ok(contents.sketches.iter().any(Option::is_some).then_some(SegmentSum::Sketches(contents)))
    }

    /// All rows, by segment.
    ///
    /// # Errors
    /// When a sketch is damaged.
    pub fn rows(&self) -> Result<Vec<PaneRow>, PaneFileError> {
        let mut out = Vec::new();
        for s in self.sorted() {
            out.extend(self.rows_of(s)?);
        }
        Ok(out)
    }

    /// All rows, by segment; few events stay events.
    ///
    /// # Errors
    /// When events or a sketch are damaged.
    pub fn panes(&self) -> Result<Vec<Pane>, PaneFileError> {
        let mut out = Vec::new();
        for s in self.sorted() {
            out.extend(self.panes_of(s, |_, _| true)?);
        }
        Ok(out)
    }

    fn sorted(&self) -> Vec<&Segment> {
        let mut segments: Vec<&Segment> = self.segments.keys().collect();
        segments.sort();
        segments
    }
}

/// Rows to read at a time: fewer where they are large, since Arrow counts the bytes of a column in
/// 31 bits.
fn rows_per_batch(groups: &[RowGroupMetaData]) -> usize {
    let of_group = |g: &RowGroupMetaData| {
        let largest = g.columns().iter().map(|c| c.uncompressed_size().max(1) as u64).max().unwrap_or(1);
        // A sixteenth of what a column may hold, since rows differ in size.
        (u64::try_from(g.num_rows()).unwrap_or(0) << 27) / largest
    };
    groups.iter().map(of_group).min().unwrap_or(u64::MAX).clamp(1, 8192) as usize
}

/// The newest start in a row group, where its statistics have it.
fn last_start(group: &RowGroupMetaData) -> Option<i64> {
    let start = group.columns().iter().find(|c| c.column_path().string() == "start")?;
    match start.statistics()? {
        Statistics::Int64(s) => s.max_opt().copied(),
        _ => None,
    }
}

/// What a file's metadata says of the column with packed sketches.
#[derive(Debug)]
struct PackedLayout {
    /// The job's feature for each of the file's.
    features: Vec<Option<usize>>,
    definitions: EventDefinitions,
}

impl PackedLayout {
    /// `None` for a file with a row for each sketch.
    fn of(metadata: &HashMap<String, String>, names: &TableNames) -> Result<Option<Self>, PaneFileError> {
        let Some(stored) = metadata.get(FEATURES) else { return Ok(None) };
        let index = |stored: &str| names.features.iter().position(|f| **f == *stored);
        let features: Vec<Option<usize>> = stored.split('\n').map(index).collect();
        let definitions = match metadata.get(DEFINITIONS) {
            None => EventDefinitions::NoEvents,
            Some(json) => {
                let by: Vec<Definition> =
                    serde_json::from_str(json).map_err(|e| ArrowError::ExternalError(Box::new(e)))?;
                let in_place = features.iter().enumerate().all(|(i, f)| *f == Some(i));
                let current = in_place && by == *names.definitions && features.len() == names.features.len();
                if current { EventDefinitions::Current } else { EventDefinitions::Other(by.into()) }
            }
        };
        Ok(Some(Self { features, definitions }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::parquet_file::to_parquet;
    use arrow::array::BinaryArray;
    use arrow::datatypes::{DataType, Field, Schema};

    #[test]
    fn large_rows_are_read_fewer_at_a_time() {
        let at_once = |size: usize| {
            let rows: Vec<Vec<u8>> = (0..4u8).map(|i| vec![i; size]).collect();
            let column = BinaryArray::from_iter_values(&rows);
            let schema = Schema::new(vec![Field::new("sketches", DataType::Binary, false)]);
            let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column)]).unwrap();
            let file = bytes::Bytes::from(to_parquet(&batch).unwrap());
            let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).unwrap();
            rows_per_batch(metadata.metadata().row_groups())
        };
        assert_eq!(at_once(100), 8192);
        // 2^27 bytes, of which some are the pages' own.
        assert!((2000..=2048).contains(&at_once(1 << 16)), "{}", at_once(1 << 16));
        assert_eq!(rows_per_batch(&[]), 8192);
    }
}
