//! Archives of events in Parquet, local or in an object store: each partition's rows in offset order, partitions interleaved by
//! event time so that their watermarks advance together.

mod fetch;
mod index;
#[cfg(test)]
pub mod tests;

use super::error::SourceError;
use super::input_file::InputFile;
use super::interface::{Polled, Positions, Source};
use super::records::{CHUNK_MESSAGES, Chunk, PartitionId, Payload};
use super::time_range::TimeRange;
use crate::event::archive::{ArchiveError, ArchiveReader, REQUIRED, schema};
use crate::event::conform;
use crate::event::time::{EARLIEST, LATEST};
use ::parquet::arrow::async_reader::ParquetRecordBatchStream;
use ::parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use fetch::{Fetch, Opened};
use futures::StreamExt;
use index::{ORDER, Piece};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// How archives are read.
#[derive(Debug, Clone, Default)]
pub struct ArchiveOptions {
    /// Event times that are wanted: row groups outside are not read, rows outside left out.
    pub range: TimeRange,
    /// Columns that are wanted beside those in [`REQUIRED`]; all where absent.
    pub columns: Option<Vec<String>>,
    /// Id of the hashing key; an archive written under another one is refused.
    pub key_id: Option<u64>,
    /// Partitions that earlier files held: they are over, unless these files have more of them.
    pub earlier: BTreeSet<i32>,
}

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// When its first and last events are.
    pub times: Option<(i64, i64)>,
    /// First offset by partition.
    pub offsets: BTreeMap<i32, i64>,
}

/// What each of some archives holds.
///
/// # Errors
/// As [`ParquetSource::open`].
pub fn held(files: &[InputFile], handle: &Handle) -> Result<Vec<Held>, SourceError> {
    let opened: Vec<_> = files.iter().map(|f| Opened::open(f, handle)).collect::<Result<_, _>>()?;
    let mut all = vec![Held::default(); files.len()];
    for (partition, pieces) in index::index(&opened, None, handle)? {
        for p in pieces {
            let held = &mut all[p.file];
            held.times = Some(held.times.map_or(p.times, |t| (t.0.min(p.times.0), t.1.max(p.times.1))));
            held.offsets.entry(partition).and_modify(|o| *o = (*o).min(p.offsets.0)).or_insert(p.offsets.0);
        }
    }
    Ok(all)
}

/// Reads archives.
pub struct ParquetSource {
    files: Vec<Opened>,
    logs: Vec<Log>,
    options: ArchiveOptions,
    positions: Arc<dyn Positions>,
    handle: Handle,
    started: bool,
    /// The topic of the first rows.
    topic: Option<String>,
    total: u64,
    read: u64,
}

/// A partition's rows.
struct Log {
    partition: i32,
    pieces: VecDeque<Piece>,
    open: Option<(Piece, ParquetRecordBatchStream<Fetch>)>,
    /// Rows of the file before the next batch.
    row: u64,
    /// The next rows and their smallest event time.
    next: Option<(RecordBatch, i64)>,
    /// Offsets below are left out.
    from: i64,
    /// The last offset that was read.
    last: i64,
    paused: bool,
    ended: bool,
}

impl ParquetSource {
    /// Opens archives and finds out what they hold; rows are read by polling. `handle` is a multi-thread runtime's.
    ///
    /// # Errors
    /// When a file can't be read, is no archive, was hashed under another key, holds another topic than the others, or holds
    /// offsets that another one holds too.
    pub fn open(
        files: &[InputFile],
        options: ArchiveOptions,
        positions: Arc<dyn Positions>,
        handle: Handle,
    ) -> Result<Self, SourceError> {
        let files: Vec<_> = files.iter().map(|f| Opened::open(f, &handle)).collect::<Result<_, _>>()?;
        let mut total = 0;
        let mut logs = Vec::new();
        index::warn_of_rounded_hashes(&files);
        let mut held = index::index(&files, options.key_id, &handle)?;
        options.earlier.iter().for_each(|p| {
            held.entry(*p).or_default();
        });
        for (partition, mut pieces) in held {
            pieces.retain(|p| options.range.touches(p.times.0, p.times.1));
            total += pieces.iter().map(|p| p.bytes).sum::<u64>();
            let pieces = pieces.into();
            let (from, last) = (i64::MIN, i64::MIN);
            logs.push(Log {
                partition,
                pieces,
                open: None,
                row: 0,
                next: None,
                from,
                last,
                paused: false,
                ended: false,
            });
        }
        Ok(Self { files, logs, options, positions, handle, started: false, topic: None, total, read: 0 })
    }

    /// Asks where to go on and leaves out what lies before.
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

    /// Reads on in a partition until rows are there or its input is over.
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
            let wanted = Wanted { partition, from: log.from, after: log.last, range: options.range, row };
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
    file: &Opened,
    row_group: usize,
    options: &ArchiveOptions,
) -> Result<ParquetRecordBatchStream<Fetch>, SourceError> {
    let mut builder =
        ParquetRecordBatchStreamBuilder::new_with_metadata(file.fetch.clone(), file.metadata.clone())
            .with_row_groups(vec![row_group])
            .with_batch_size(CHUNK_MESSAGES);
    // What other programs have added is not read.
    let own = schema();
    let wanted: Vec<&str> = match &options.columns {
        Some(columns) => columns.iter().map(String::as_str).chain(REQUIRED).collect(),
        None => own.fields().iter().map(|f| f.name().as_str()).collect(),
    };
    let mask = ProjectionMask::columns(file.metadata.parquet_schema(), wanted);
    builder = builder.with_projection(mask);
    builder.build().map_err(|source| SourceError::Parquet { name: file.name.clone(), source })
}

/// Which rows are wanted.
struct Wanted {
    /// Only this partition's, where the row group holds others too.
    partition: Option<i32>,
    /// Only from this offset on.
    from: i64,
    /// Rows must follow this offset.
    after: i64,
    /// Only of these event times.
    range: TimeRange,
    /// Rows of the file before the batch.
    row: u64,
}

impl Wanted {
    /// The rows that are wanted, their smallest event time and the last offset; `None` where there are none.
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
        // Rows are named as people count them, from 1.
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
                return Err(wrong(
                    row,
                    "has a timestamp that is not between 2000 and 2100: of another unit?",
                ));
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
        // What else an event must have is checked here, where the file has a name.
        ArchiveReader::new(&rows).map_err(|e| match e {
            ArchiveError::Stage { row, .. } => {
                let place = |name| rows.column_by_name(name).map_or_else(String::new, |c| value_of(c, row));
                let (partition, offset) = (place("partition"), place("offset"));
                SourceError::Archive {
                    name: name.to_owned(),
                    message: format!(
                        "the row of partition {partition} and offset {offset} has a pipeline_stage that is none"
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

/// Checks that rows are of the topic that was read first. Statistics say so only where the writer
/// vouches for them.
fn of_one_topic(rows: &RecordBatch, topic: &mut Option<String>, name: &str) -> Result<(), SourceError> {
    let Some(topics) = rows.column_by_name("topic").and_then(|c| c.as_string_opt::<i32>()) else {
        return Ok(());
    };
    for found in topics.iter().flatten() {
        let known = topic.get_or_insert_with(|| found.to_owned());
        if known != found {
            let message = format!(
                "holds topic {found}, but what was read before is of topic {known}; read one topic at a time"
            );
            return Err(SourceError::Archive { name: name.to_owned(), message });
        }
    }
    Ok(())
}

impl Source for ParquetSource {
    fn partitions(&self) -> Vec<PartitionId> {
        self.logs.iter().map(|l| PartitionId(l.partition)).collect()
    }

    fn poll(&mut self, timeout: Duration) -> Result<Polled, SourceError> {
        if !self.started {
            self.start()?;
        }
        for at in 0..self.logs.len() {
            self.peek(at)?;
            let log = &mut self.logs[at];
            if log.next.is_none() && !log.ended {
                log.ended = true;
                return Ok(Polled::Ended(PartitionId(log.partition)));
            }
        }
        if self.logs.iter().all(|l| l.ended) {
            return Ok(Polled::Finished);
        }
        let ready = self.logs.iter_mut().filter(|l| !l.paused && l.next.is_some());
        let first = ready.min_by_key(|l| (l.next.as_ref().map(|n| n.1), l.partition));
        let Some((log, (rows, _))) = first.and_then(|l| l.next.take().map(|n| (l, n))) else {
            std::thread::sleep(timeout);
            return Ok(Polled::Nothing);
        };
        let bytes = rows.get_array_memory_size();
        Ok(Polled::Chunk(Chunk {
            partition: PartitionId(log.partition),
            payload: Payload::Archive(rows),
            bytes,
        }))
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        self.logs.iter_mut().filter(|l| l.partition == partition.0).for_each(|l| l.paused = true);
        Ok(())
    }

    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        self.logs.iter_mut().filter(|l| l.partition == partition.0).for_each(|l| l.paused = false);
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
