//! Earlier days and hours, read back from committed files.

use super::drifting::ExclusionReason;
use super::types::{DayBatch, Exclusion, History};
use crate::baseline::{Accept, BlocksOfWeek, DaySource, Excluded, Pin, PinnedHours};
use crate::engine::error::EvaluationError;
use crate::engine::pin_files::{self, PINS, PinInfo};
use crate::store::panes::{PaneFileError, PaneTable, TableNames};
use crate::store::{Storage, StorageError};
use crate::window::{Pane, PaneRow, Segment, SegmentSum};
use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The `_days` of a job.
#[derive(Debug)]
pub struct Days {
    storage: Storage,
    folder: String,
    names: TableNames,
    /// Files by path: their sketches stay encoded.
    read: BTreeMap<String, Arc<PaneTable>>,
}

impl Days {
    /// Days in a job's folder.
    #[must_use]
    pub fn new(storage: Storage, folder: String, names: TableNames) -> Self {
        Self { storage, folder, names, read: BTreeMap::new() }
    }
}

impl DaySource for PaneTable {
    fn segments(&self) -> Vec<Segment> {
        self.segments().cloned().collect()
    }

    fn is_in_blocks(&self) -> bool {
        self.is_in_blocks()
    }

    fn rows_of(&self, segment: &Segment, blocks: BlocksOfWeek) -> Result<Vec<PaneRow>, String> {
        self.rows_of_blocks(segment, blocks).map_err(|e| e.to_string())
    }
}

/// The file of the days written at a tick; ticks sort as text.
#[must_use]
pub fn day_file(folder: &str, first: i64, last: i64, stem: &str) -> String {
    format!("{folder}/{first:020}-{last:020}-{stem}.parquet")
}

fn span_of(path: &str) -> Option<(i64, i64)> {
    let mut parts = path.rsplit_once('/')?.1.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

impl History for Days {
    fn days(&mut self, from: i64, until: i64) -> Result<Vec<Arc<dyn DaySource>>, EvaluationError> {
        let mut out: Vec<Arc<dyn DaySource>> = Vec::new();
        let mut still: BTreeMap<String, Arc<PaneTable>> = BTreeMap::new();
        for path in self.storage.list(&self.folder).map_err(history)? {
            if span_of(&path).is_none_or(|(first, last)| last <= from || first > until) {
                continue;
            }
            let table = match self.read.remove(&path) {
                Some(t) => t,
                None => Arc::new(read_table(&self.storage, &path, &self.names)?),
            };
            out.push(Arc::clone(&table) as Arc<dyn DaySource>);
            still.insert(path, table);
        }
        self.read = still;
        Ok(out)
    }

    fn accepts(&mut self) -> Result<Vec<Accept>, EvaluationError> {
        pin_files::accepts(&self.storage).map_err(|e| EvaluationError::History(e.to_string()))
    }

    fn pending(&self, days: &[DayBatch]) -> Result<Arc<dyn DaySource>, EvaluationError> {
        Ok(Arc::new(PaneTable::of(days.iter().map(|d| &d.rows), &self.names)?))
    }
}

fn history(e: StorageError) -> EvaluationError {
    EvaluationError::History(e.to_string())
}

/// Reads a file of panes.
///
/// # Errors
/// When it is missing or damaged.
pub fn read_rows(storage: &Storage, path: &str, names: &TableNames) -> Result<Vec<PaneRow>, EvaluationError> {
    read_table(storage, path, names)?.rows().map_err(|e| EvaluationError::History(format!("{path}: {e}")))
}

/// Reads a partition's file of closed panes.
///
/// # Errors
/// When it is missing or damaged.
pub fn read_panes(storage: &Storage, path: &str, names: &TableNames) -> Result<Vec<Pane>, EvaluationError> {
    read_table(storage, path, names)?.panes().map_err(|e| EvaluationError::History(format!("{path}: {e}")))
}

fn bytes_of(storage: &Storage, path: &str) -> Result<bytes::Bytes, EvaluationError> {
    let bytes = storage.get(path).map_err(history)?;
    bytes.ok_or_else(|| EvaluationError::History(format!("{path} is named in a commit and missing")))
}

fn read_table(storage: &Storage, path: &str, names: &TableNames) -> Result<PaneTable, EvaluationError> {
    PaneTable::read(bytes_of(storage, path)?, names)
        .map_err(|e| EvaluationError::History(format!("{path}: {e}")))
}

/// Files of hours that are in memory at once while they are read.
const FILES_AT_ONCE: usize = 8;

/// Hours of the public `panes` that start at or after `from`, packed; of the days of `late` also
/// those that were written after its time.
///
/// # Errors
/// When they can't be read.
pub fn hours_since(
    storage: &Storage,
    from: i64,
    late: (&BTreeSet<i64>, i64),
    names: &TableNames,
) -> Result<Vec<Pane>, EvaluationError> {
    let date = crate::event::time::date;
    let (first, late_dates) = (date(from), late.0.iter().map(|d| date(*d)).collect::<Vec<_>>());
    let mut files = Vec::new();
    for path in storage.list("panes").map_err(history)? {
        let Some(date) = path.split('/').find_map(|p| p.strip_prefix("date=")) else { continue };
        let is_late = late_dates.iter().any(|d| d == date);
        if date >= first.as_str() || is_late {
            files.push((path, is_late));
        }
    }
    let mut all = Vec::new();
    for some in files.chunks(FILES_AT_ONCE) {
        // Only this thread asks the store, because the simulated store answers one request at a
        // time.
        let read = some.iter().map(|(path, is_late)| Ok((path, *is_late, bytes_of(storage, path)?)));
        let read = read.collect::<Result<Vec<_>, EvaluationError>>()?;
        let decoded = read.par_iter().map(|(path, is_late, bytes)| {
            let damaged = |e: PaneFileError| EvaluationError::History(format!("{path}: {e}"));
            let since = if *is_late { i64::MIN } else { from };
            let table = PaneTable::read_since(bytes.clone(), names, since).map_err(damaged)?;
            let mut segments: Vec<&Segment> = table.segments().collect();
            segments.sort();
            let wanted = |start, close_at| start >= from || (*is_late && close_at > late.1);
            // Packed one by one: as sketches they would be the peak of a job's memory.
            let mut rows = Vec::new();
            for segment in segments {
                rows.extend(table.rows_between(segment, wanted).map_err(damaged)?.into_iter().map(packed));
            }
            Ok::<_, EvaluationError>(rows)
        });
        let rows: Vec<Vec<_>> = decoded.collect::<Result<_, EvaluationError>>()?;
        all.extend(rows.into_iter().flatten());
    }
    Ok(all)
}

fn packed(row: PaneRow) -> Pane {
    let mut contents = SegmentSum::Sketches(row.contents);
    contents.pack();
    PaneRow { start: row.start, close_at: row.close_at, segment: row.segment, contents }
}

/// All exclusions decided so far.
///
/// # Errors
/// When they can't be read.
pub fn exclusions(storage: &Storage, names: &TableNames) -> Result<Vec<Exclusion>, EvaluationError> {
    let mut out = Vec::new();
    for path in storage.list("exclusions").map_err(history)? {
        let Some(bytes) = storage.get(&path).map_err(history)? else { continue };
        let damaged = |e: String| EvaluationError::History(format!("{path}: {e}"));
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .and_then(|b| b.build())
            .map_err(|e| damaged(e.to_string()))?;
        for b in reader {
            let b = b.map_err(|e| damaged(e.to_string()))?;
            let text = |n: &str| b.column_by_name(n).and_then(|c| c.as_string_opt::<i32>());
            let time =
                |n: &str| b.column_by_name(n).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
            let (Some(by), Some(segment), Some(feature), Some(day), Some(at)) =
                (text("segment_by"), text("segment"), text("feature"), time("day"), time("decided_at"))
            else {
                return Err(damaged("a column is missing".into()));
            };
            // Earlier builds had no reasons.
            let reason = text("reason");
            let is_exclusion = |i: usize| {
                reason.is_none_or(|r| r.is_null(i) || r.value(i) != ExclusionReason::NewNormal.name())
            };
            for i in (0..b.num_rows()).filter(|i| is_exclusion(*i)) {
                let f = names.features.iter().position(|f| **f == *feature.value(i));
                let (Some(g), Some(feature)) = (names.groupings.index_of(by.value(i)), f) else { continue };
                let shown: Arc<str> = segment.value(i).into();
                let segment = Segment { grouping: g as u16, name: Arc::clone(&shown) };
                out.push(Exclusion {
                    day: day.value(i),
                    segment: names.identity(&segment),
                    shown,
                    feature,
                    judged: 0,
                    drifted: 0,
                    reason: ExclusionReason::Drifted,
                    decided_at: at.value(i),
                });
            }
        }
    }
    Ok(out)
}

/// Exclusions by segment, as its identity, and feature.
#[must_use]
pub fn excluded(all: &[Exclusion]) -> Excluded {
    let mut out = Excluded::default();
    for e in all {
        out.entry((e.segment.clone(), e.feature)).or_default().push(e.day);
    }
    out
}

/// All pins of an output.
///
/// # Errors
/// When one can't be read.
pub fn pins(storage: &Storage, names: &TableNames) -> Result<Vec<(Pin, PinInfo)>, EvaluationError> {
    let all = pin_files::pins(storage).map_err(|e| EvaluationError::History(e.to_string()))?;
    all.into_iter()
        .map(|(name, info)| {
            let rows = read_rows(storage, &format!("{PINS}/{name}.parquet"), names)?;
            let all = PinnedHours { hours: info.hours, days: info.days };
            Ok((Pin { name, all, blocks: info.blocks.clone(), rows }, info))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::features::builtin;
    use crate::config::segments::Groupings;
    use crate::event::time::{DAY, HOUR, date};
    use crate::sketch::{Body, RateSketch, Sketch, SketchId};
    use crate::store::panes::encode;
    use crate::window::SketchSet;

    fn hour(start: i64, close_at: i64) -> PaneRow {
        let mut rate = RateSketch::default();
        rate.add(true, 1, 1 << 59, (1, "r"));
        let sketch = Sketch { id: SketchId(1), body: Body::Rate(rate) };
        let contents = SketchSet { sketches: vec![Some(Box::new(sketch))] };
        PaneRow { start, close_at, segment: Segment { grouping: 0, name: "".into() }, contents }
    }

    #[test]
    fn a_restart_reads_what_came_late_to_earlier_days() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let storage = Storage::open(dir.path().to_str().unwrap(), runtime.handle().clone()).unwrap();
        let names = TableNames::new(Arc::new(Groupings::new(&[vec![]]).unwrap()), &builtin()[..1]);
        let today = 20_000 * DAY;
        let hours = [
            hour(today - 3 * DAY, today - 3 * DAY + HOUR),
            hour(today - 3 * DAY, today + HOUR),
            hour(today - 2 * DAY, today + HOUR),
            hour(today - HOUR, today),
            hour(today, today + HOUR),
        ];
        for (i, h) in hours.iter().enumerate() {
            let path = format!("panes/date={}/{i}.parquet", date(h.start));
            storage.put(&path, encode(std::slice::from_ref(h), HOUR, &names).unwrap()).unwrap();
        }
        let late: BTreeSet<i64> = [today - 3 * DAY].into();
        let mut read: Vec<(i64, i64)> = hours_since(&storage, today - HOUR, (&late, today), &names)
            .unwrap()
            .iter()
            .map(|r| (r.start, r.close_at))
            .collect();
        read.sort_unstable();
        let of = |h: &PaneRow| (h.start, h.close_at);
        assert_eq!(read, [of(&hours[1]), of(&hours[3]), of(&hours[4])]);
    }
}
