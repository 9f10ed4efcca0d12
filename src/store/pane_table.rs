//! A file of panes that was read: its rows by segment, their sketches still encoded.

use super::panes::{DEFINITIONS, FEATURES, Names, PAGE_BYTES, PaneFileError};
use super::sound::{self, Pages};
use crate::config::segments::Groupings;
use crate::enrich::Shown;
use crate::sketch::{DecodeError, Sketch};
use crate::window::{
    Contents, Definition, Definitions, Events, Filling, Pane, PaneRow, Segment, Written, packed,
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

/// Which definitions the events of a file were kept by.
#[derive(Debug, Clone)]
enum Kept {
    /// None: the file holds no events.
    No,
    /// Those of the job as it is.
    ByThese,
    /// Others.
    By(Definitions),
}

/// One batch of a [`PaneTable`].
#[derive(Debug)]
struct Encoded {
    sketches: BinaryArray,
    /// Of packed ones: where a feature's number leads to.
    features: Vec<Option<usize>>,
    kept: Kept,
}

/// A file of panes, its sketches still encoded: what is never asked for is never decoded, and the bytes are a fraction of what
/// sketches take in memory.
#[derive(Debug, Default)]
pub struct PaneTable {
    batches: Vec<Encoded>,
    segments: FxHashMap<Segment, Vec<Cell>>,
    features: usize,
    definitions: Definitions,
    /// What errors call segments by, since they end up in logs.
    shown: Shown,
    groupings: Option<Arc<Groupings>>,
}

impl PaneTable {
    fn new(names: &Names) -> Self {
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
    pub fn read(file: bytes::Bytes, names: &Names) -> Result<Self, PaneFileError> {
        Self::read_since(file, names, i64::MIN)
    }

    /// Reads a file but for the row groups all of whose rows start before `from`.
    ///
    /// # Errors
    /// When it is damaged or lacks a column.
    pub fn read_since(file: bytes::Bytes, names: &Names, from: i64) -> Result<Self, PaneFileError> {
        let mut table = Self::new(names);
        if !sound::footer_is(&file) {
            // Parquet's reader would set aside as much memory as a damaged file asks for.
            return Err(ParquetError::General("the description at its end is damaged".into()).into());
        }
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?;
        let file = ParquetRecordBatchReaderBuilder::new_with_metadata(Pages::new(file, PAGE_BYTES), metadata);
        // The batches that are read have the columns only.
        let packed = Layout::of(file.schema().metadata(), names)?;
        let needed = (0..file.metadata().num_row_groups())
            .filter(|i| last_start(file.metadata().row_group(*i)).is_none_or(|last| last >= from))
            .collect();
        let at_once = rows_at_once(file.metadata().row_groups());
        for b in file.with_row_groups(needed).with_batch_size(at_once).build()? {
            table.add(&b?, packed.as_ref(), names)?;
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
            table.add(b, Layout::of(b.schema().metadata(), names)?.as_ref(), names)?;
        }
        Ok(table)
    }

    /// Adds rows; `packed` tells what is packed in one column.
    fn add(&mut self, b: &RecordBatch, packed: Option<&Layout>, names: &Names) -> Result<(), PaneFileError> {
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
                let sketches = bytes("sketch")?.clone();
                (Some(text("feature")?), Encoded { sketches, features: Vec::new(), kept: Kept::No })
            }
            Some(Layout { features, kept }) => {
                let sketches = bytes("sketches")?.clone();
                (None, Encoded { sketches, features: features.clone(), kept: kept.clone() })
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
        self.rows_between(segment, |_, _| true)
    }

    /// A segment's rows whose start and closing time are wanted, ascending by these.
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
            Ok(PaneRow { start, close_at, segment, contents: contents.into_contents()? })
        };
        self.panes_of(segment, wanted)?.into_iter().map(sketches).collect()
    }

    fn panes_of(
        &self,
        segment: &Segment,
        wanted: impl Fn(i64, i64) -> bool,
    ) -> Result<Vec<Pane>, PaneFileError> {
        let mut rows: BTreeMap<(i64, i64), Filling> = BTreeMap::new();
        let cells = self.segments.get(segment).map_or(&[][..], Vec::as_slice);
        let grouping = self.groupings.as_ref().and_then(|g| g.all.get(usize::from(segment.grouping)));
        let called =
            || grouping.map_or_else(String::new, |g| self.shown.identity(g, &segment.name).to_string());
        for c in cells.iter().filter(|c| wanted(c.start, c.close_at)) {
            let damaged = |source| PaneFileError::Sketch { row: c.row as usize, segment: called(), source };
            let Some(filling) = self.filling(c, damaged)? else { continue };
            match rows.entry((c.start, c.close_at)) {
                Entry::Vacant(e) => {
                    e.insert(filling);
                }
                Entry::Occupied(mut e) => match (e.get_mut(), filling) {
                    (Filling::Sketches(sum), Filling::Sketches(more)) => sum.absorb(more)?,
                    (sum, more) => sum.merge(&more)?,
                },
            }
        }
        let row =
            |((start, close_at), contents)| PaneRow { start, close_at, segment: segment.clone(), contents };
        Ok(rows.into_iter().map(row).collect())
    }

    /// What a cell holds of what this job knows; `None` where that is nothing.
    fn filling(
        &self,
        c: &Cell,
        damaged: impl Fn(DecodeError) -> PaneFileError,
    ) -> Result<Option<Filling>, PaneFileError> {
        let batch = &self.batches[c.batch as usize];
        let bytes = batch.sketches.value(c.row as usize);
        let place = |f: usize| batch.features.get(f).copied().flatten();
        let mut contents = match (c.feature, &batch.kept) {
            (Some(feature), _) => {
                let mut one = Contents { sketches: vec![None; self.features] };
                one.sketches[feature as usize] = Some(Box::new(Sketch::decode(bytes).map_err(damaged)?));
                one
            }
            (None, Kept::No) => packed::read(bytes, place).map_err(damaged)?,
            (None, kept) => match (Filling::read(bytes).map_err(&damaged)?, kept) {
                (Written::Sketches(bytes), _) => packed::read(bytes, place).map_err(damaged)?,
                (Written::Events(bytes), Kept::By(others)) => {
                    let events = Events::read(bytes, Arc::clone(others)).map_err(&damaged)?;
                    let mut theirs = events.contents(|f| place(f).is_some())?;
                    let mut ours = Contents { sketches: vec![None; self.features] };
                    for (f, sketch) in theirs.sketches.iter_mut().enumerate() {
                        if let Some(to) = place(f) {
                            ours.sketches[to] = sketch.take();
                        }
                    }
                    ours
                }
                (Written::Events(bytes), _) => {
                    let events = Events::read(bytes, Arc::clone(&self.definitions)).map_err(damaged)?;
                    return Ok(Some(Filling::Events(events)));
                }
            },
        };
        for (slot, now) in contents.sketches.iter_mut().zip(&*self.definitions) {
            slot.take_if(|s| s.id != now.id);
        }
        Ok(contents.sketches.iter().any(Option::is_some).then_some(Filling::Sketches(contents)))
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

    /// All rows, by segment, of few events as they are.
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

/// Rows that are read at a time: fewer where they are large, since Arrow counts the bytes of a column in 31 bits.
fn rows_at_once(groups: &[RowGroupMetaData]) -> usize {
    let of_group = |g: &RowGroupMetaData| {
        let largest = g.columns().iter().map(|c| c.uncompressed_size().max(1) as u64).max().unwrap_or(1);
        // A sixteenth of what a column may hold, since rows are of unlike sizes.
        (u64::try_from(g.num_rows()).unwrap_or(0) << 27) / largest
    };
    groups.iter().map(of_group).min().unwrap_or(u64::MAX).clamp(1, 8192) as usize
}

/// The newest start in a row group, where its statistics tell.
fn last_start(group: &RowGroupMetaData) -> Option<i64> {
    let start = group.columns().iter().find(|c| c.column_path().string() == "start")?;
    match start.statistics()? {
        Statistics::Int64(s) => s.max_opt().copied(),
        _ => None,
    }
}

/// What the metadata of a file says of what is packed in one column.
#[derive(Debug)]
struct Layout {
    /// Where a feature's number leads to.
    features: Vec<Option<usize>>,
    kept: Kept,
}

impl Layout {
    /// `None` for a file with a row for each sketch.
    fn of(metadata: &HashMap<String, String>, names: &Names) -> Result<Option<Self>, PaneFileError> {
        let Some(stored) = metadata.get(FEATURES) else { return Ok(None) };
        let index = |stored: &str| names.features.iter().position(|f| **f == *stored);
        let features: Vec<Option<usize>> = stored.split('\n').map(index).collect();
        let kept = match metadata.get(DEFINITIONS) {
            None => Kept::No,
            Some(json) => {
                let by: Vec<Definition> =
                    serde_json::from_str(json).map_err(|e| ArrowError::ExternalError(Box::new(e)))?;
                let in_place = features.iter().enumerate().all(|(i, f)| *f == Some(i));
                let these = in_place && by == *names.definitions && features.len() == names.features.len();
                if these { Kept::ByThese } else { Kept::By(by.into()) }
            }
        };
        Ok(Some(Self { features, kept }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::panes::to_parquet;
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
            rows_at_once(metadata.metadata().row_groups())
        };
        assert_eq!(at_once(100), 8192);
        // 2^27 bytes, of which some are the pages' own.
        assert!((2000..=2048).contains(&at_once(1 << 16)), "{}", at_once(1 << 16));
        assert_eq!(rows_at_once(&[]), 8192);
    }
}
