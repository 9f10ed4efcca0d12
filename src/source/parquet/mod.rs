//! Reads archives of events in Parquet, local or in an object store: each partition's rows in
//! offset order, partitions interleaved by event time so that their watermarks advance together.

mod fetch;
mod index;
#[cfg(test)]
pub mod tests;

use super::error::SourceError;
use super::file_partitions::FilePartitions;
use super::input_file::InputFile;
use super::interface::{Polled, Positions, Source};
use super::records::{CHUNK_MESSAGES, Chunk, PartitionId, Payload};
use super::time_range::TimeRange;
use crate::event::time::{EARLIEST, LATEST};
use crate::store::conform;
use crate::store::event_rows::{ArchiveError, ArchiveReader, REQUIRED, schema};
use ::parquet::arrow::async_reader::ParquetRecordBatchStream;
use ::parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use fetch::{OpenArchive, RangeReader};
use futures::StreamExt;
use index::{ORDER, RowGroupPart};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// How archives are read.
#[derive(Debug, Clone, Default)]
pub struct ArchiveOptions {
    /// Event times to read: row groups and rows outside are skipped.
    pub range: TimeRange,
    /// Columns to read besides those in [`REQUIRED`]; `None`: all.
    pub columns: Option<Vec<String>>,
    /// Id of the hashing key; an archive with another key is refused.
    pub key_id: Option<u64>,
    /// Partitions of earlier files: they have ended, unless these files continue them.
    pub earlier: BTreeSet<i32>,
}

/// The contents of an archive file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchiveContents {
    /// Times of the first and last events.
    pub times: Option<(i64, i64)>,
    /// First offset by partition.
    pub offsets: BTreeMap<i32, i64>,
}

/// The contents of each archive.
///
/// # Errors
/// As [`ParquetSource::open`].
pub fn contents(files: &[InputFile], handle: &Handle) -> Result<Vec<ArchiveContents>, SourceError> {
    let opened: Vec<_> = files.iter().map(|f| OpenArchive::open(f, handle)).collect::<Result<_, _>>()?;
    let mut all = vec![ArchiveContents::default(); files.len()];
    for (partition, pieces) in index::index(&opened, None, handle)? {
        for p in pieces {
            let contents = &mut all[p.file];
            contents.times =
                Some(contents.times.map_or(p.times, |t| (t.0.min(p.times.0), t.1.max(p.times.1))));
            contents
                .offsets
                .entry(partition)
                .and_modify(|o| *o = (*o).min(p.offsets.0))
                .or_insert(p.offsets.0);
        }
    }
    Ok(all)
}

/// Reads archives as one source.
pub struct ParquetSource {
    files: Vec<OpenArchive>,
    logs: Vec<PartitionRows>,
    partitions: FilePartitions,
    options: ArchiveOptions,
    positions: Arc<dyn Positions>,
    handle: Handle,
    started: bool,
    /// The topic of the first rows that were read.
    topic: Option<String>,
    total: u64,
    read: u64,
}

/// A partition's rows.
struct PartitionRows {
    partition: i32,
    pieces: VecDeque<RowGroupPart>,
    open: Option<(RowGroupPart, ParquetRecordBatchStream<RangeReader>)>,
    /// Number of rows of the file before the next batch.
    row: u64,
    /// The next rows and their earliest event time.
    next: Option<(RecordBatch, i64)>,
    /// Lower offsets are skipped.
    from: i64,
    /// The last offset that was read.
    last: i64,
}

impl ParquetSource {
    /// Opens archives and indexes their row groups; polling reads the rows. `handle` must be of a
    /// multi-thread runtime.
    ///
    /// # Errors
    /// When a file can't be read, is not an archive, was hashed under another key, has another
    /// topic than the others, or has offsets that another file has too.
    pub fn open(
        files: &[InputFile],
        options: ArchiveOptions,
        positions: Arc<dyn Positions>,
        handle: Handle,
    ) -> Result<Self, SourceError> {
        let files: Vec<_> = files.iter().map(|f| OpenArchive::open(f, &handle)).collect::<Result<_, _>>()?;
        let mut total = 0;
        let mut logs = Vec::new();
        index::warn_of_rounded_hashes(&files);
        let mut partitions = index::index(&files, options.key_id, &handle)?;
        options.earlier.iter().for_each(|p| {
            partitions.entry(*p).or_default();
        });
        for (partition, mut pieces) in partitions {
            pieces.retain(|p| options.range.touches(p.times.0, p.times.1));
            total += pieces.iter().map(|p| p.bytes).sum::<u64>();
            let pieces = pieces.into();
            let (from, last) = (i64::MIN, i64::MIN);
            logs.push(PartitionRows { partition, pieces, open: None, row: 0, next: None, from, last });
        }
        let partitions = FilePartitions::new(logs.iter().map(|l| PartitionId(l.partition)));
        Ok(Self {
            files,
            logs,
            partitions,
            options,
            positions,
            handle,
            started: false,
            topic: None,
            total,
            read: 0,
        })
    }

    /// Asks for the positions, and drops the row groups before them.
    fn start(&mut self) -> Result<(), SourceError> {
        for log in &mut self.logs {
            let partition = PartitionId(log.partition);
            let from = self
                .positions
                .position(partition)
                .map_err(|source| SourceError::Position { partition, source })?;
            if let Some(from) = from {
                log.from = from.0;
                let before: u64 = log.pieces.iter().filter(|p| p.offsets.1 < from.0).map(|p| p.bytes).sum();
                self.read += before;
                log.pieces.retain(|p| p.offsets.1 >= from.0);
            }
        }
        self.started = true;
        Ok(())
    }

    /// Reads a partition until the next rows are available or its input ends.
    fn peek(&mut self, at: usize) -> Result<(), SourceError> {
        let Self { files, logs, options, handle, topic, read, .. } = self;
        let log = &mut logs[at];
        while log.next.is_none() {
            let Some((piece, stream)) = &mut log.open else {
                let Some(piece) = log.pieces.pop_front() else { return Ok(()) };
                let stream = rows(&files[piece.file], piece.row_group, options)?;
                log.row = piece.before;
                log.open = Some((piece, stream));
                continue;
            };
            let name = &files[piece.file].name;
            let Some(batch) = handle.block_on(stream.next()) else {
                log.open = None;
                continue;
            };
            let batch = batch.map_err(|source| SourceError::Parquet { name: name.clone(), source })?;
            let batch =
                conform(&batch).map_err(|source| SourceError::Columns { name: name.clone(), source })?;
            let row = log.row;
            log.row += batch.num_rows() as u64;
            *read += piece.bytes * batch.num_rows() as u64 / piece.rows.max(1);
            let partition = (!piece.alone).then_some(log.partition);
            let wanted = RowFilter { partition, from: log.from, after: log.last, range: options.range, row };
            if let Some((rows, time, last)) = wanted.filter(batch, name)? {
                of_one_topic(&rows, topic, name)?;
                log.last = last;
                log.next = Some((rows, time));
            }
        }
        Ok(())
    }
}

/// Opens the rows of a row group.
fn rows(
    file: &OpenArchive,
    row_group: usize,
    options: &ArchiveOptions,
) -> Result<ParquetRecordBatchStream<RangeReader>, SourceError> {
    let mut builder =
        ParquetRecordBatchStreamBuilder::new_with_metadata(file.fetch.clone(), file.metadata.clone())
            .with_row_groups(vec![row_group])
            .with_batch_size(CHUNK_MESSAGES);
    // Skips columns that other programs added.
    let own = schema();
    let wanted: Vec<&str> = match &options.columns {
        Some(columns) => columns.iter().map(String::as_str).chain(REQUIRED).collect(),
        None => own.fields().iter().map(|f| f.name().as_str()).collect(),
    };
    let mask = ProjectionMask::columns(file.metadata.parquet_schema(), wanted);
    builder = builder.with_projection(mask);
    builder.build().map_err(|source| SourceError::Parquet { name: file.name.clone(), source })
}

/// Selects rows of a batch.
struct RowFilter {
    /// Only this partition, if the row group has several.
    partition: Option<i32>,
    /// Only offsets from this one.
    from: i64,
    /// Selected rows must have higher offsets than this.
    after: i64,
    /// Only these event times.
    range: TimeRange,
    /// Rows of the file before the batch.
    row: u64,
}

impl RowFilter {
    /// The selected rows, their earliest event time and last offset; `None` if there are none.
    fn filter(&self, batch: RecordBatch, name: &str) -> Result<Option<(RecordBatch, i64, i64)>, SourceError> {
        let columns = |source| SourceError::Columns { name: name.to_owned(), source };
        let column = |n| batch.column_by_name(n).ok_or_else(|| columns(ArchiveError::Missing(n)));
        let mistyped = |n: &str| SourceError::Archive {
            name: name.to_owned(),
            message: format!("column {n} has another type"),
        };
        let partitions =
            column("partition")?.as_primitive_opt::<Int32Type>().ok_or_else(|| mistyped("partition"))?;
        let offsets = column("offset")?.as_primitive_opt::<Int64Type>().ok_or_else(|| mistyped("offset"))?;
        let times = column("timestamp")?
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(|| mistyped("timestamp"))?;
        // Messages count rows from 1.
        let at = |row: usize| self.row + row as u64 + 1;
        let wrong = |row: usize, message: &str| SourceError::Archive {
            name: name.to_owned(),
            message: format!("row {} {message}", at(row)),
        };
        for column in REQUIRED {
            let values =
                batch.column_by_name(column).ok_or_else(|| columns(ArchiveError::Missing(column)))?;
            if let Some(row) = (0..values.len()).find(|r| values.null_count() > 0 && values.is_null(*r)) {
                return Err(wrong(row, &format!("has no {column}, which every event has")));
            }
        }
        let (mut min_time, mut last) = (i64::MAX, self.after);
        let mut mask = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let (offset, time) = (offsets.value(row), times.value(row));
            if !(EARLIEST..LATEST).contains(&time) {
                return Err(wrong(row, "has a timestamp outside 2000 to 2100; check its unit"));
            }
            let mine = self.partition.is_none_or(|p| partitions.value(row) == p);
            let wanted = mine && offset >= self.from && self.range.contains(time);
            if wanted {
                if offset <= last {
                    let (partition, what) =
                        (partitions.value(row), if offset == last { "twice" } else { "late" });
                    let message = format!(
                        "has offset {offset} of partition {partition} {what}: it does not follow {last}, the one before; {ORDER}"
                    );
                    return Err(wrong(row, &message));
                }
                last = offset;
                min_time = min_time.min(time);
            }
            mask.push(wanted);
        }
        if !mask.contains(&true) {
            return Ok(None);
        }
        let rows = if mask.iter().all(|m| *m) {
            batch
        } else {
            filter_record_batch(&batch, &BooleanArray::from(mask))
                .map_err(|e| SourceError::Archive { name: name.to_owned(), message: e.to_string() })?
        };
        // Checks the rest of an event's columns here, where the file name is known.
        ArchiveReader::new(&rows).map_err(|e| match e {
            ArchiveError::Stage { row, .. } => {
                let place = |name| rows.column_by_name(name).map_or_else(String::new, |c| value_of(c, row));
                let (partition, offset) = (place("partition"), place("offset"));
                SourceError::Archive {
                    name: name.to_owned(),
                    message: format!(
                        "the row of partition {partition} and offset {offset} has an unknown pipeline_stage"
                    ),
                }
            }
            other => columns(other),
        })?;
        Ok(Some((rows, min_time, last)))
    }
}

fn value_of(column: &ArrayRef, row: usize) -> String {
    array_value_to_string(column, row).unwrap_or_default()
}

/// Checks that rows are of the topic that was read first. Statistics show the topic only if the
/// writer marks them as exact.
fn of_one_topic(rows: &RecordBatch, topic: &mut Option<String>, name: &str) -> Result<(), SourceError> {
    let Some(topics) = rows.column_by_name("topic").and_then(|c| c.as_string_opt::<i32>()) else {
        return Ok(());
    };
    for found in topics.iter().flatten() {
        let known = topic.get_or_insert_with(|| found.to_owned());
        if known != found {
            let message = format!(
                "has topic {found}, but the rows before are of topic {known}; read one topic at a time"
            );
            return Err(SourceError::Archive { name: name.to_owned(), message });
        }
    }
    Ok(())
}

impl Source for ParquetSource {
    fn partitions(&self) -> Vec<PartitionId> {
        self.partitions.ids()
    }

    fn poll(&mut self, timeout: Duration) -> Result<Polled, SourceError> {
        if !self.started {
            self.start()?;
        }
        for at in 0..self.logs.len() {
            self.peek(at)?;
            if self.logs[at].next.is_none() && !self.partitions.has_ended(at) {
                return Ok(self.partitions.end(at));
            }
        }
        let partitions = &self.partitions;
        let ready = self.logs.iter_mut().enumerate();
        let ready = ready.filter(|(i, log)| log.next.is_some() && !partitions.is_paused(*i));
        let first = ready.map(|(_, log)| log).min_by_key(|l| (l.next.as_ref().map(|n| n.1), l.partition));
        let Some((log, (rows, _))) = first.and_then(|l| l.next.take().map(|n| (l, n))) else {
            return Ok(self.partitions.without_records(timeout));
        };
        let bytes = rows.get_array_memory_size();
        Ok(Polled::Chunk(Chunk {
            partition: PartitionId(log.partition),
            payload: Payload::Archive(rows),
            bytes,
        }))
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        self.partitions.set_paused(partition, true);
        Ok(())
    }

    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        self.partitions.set_paused(partition, false);
        Ok(())
    }

    fn unread(&self) -> Vec<PartitionId> {
        let unread =
            self.logs.iter().filter(|l| !l.pieces.is_empty() || l.open.is_some() || l.next.is_some());
        unread.map(|l| PartitionId(l.partition)).collect()
    }

    fn total_bytes(&self) -> Option<u64> {
        Some(self.total)
    }

    fn read_bytes(&self) -> u64 {
        self.read
    }
}
