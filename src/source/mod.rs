//! Where events come from: Kafka, JSONL files and archives behind one trait, each partition's records in offset order.
//!
//! A source never decides what an event means. It hands out chunks of raw messages (or rows of an archive) with their offsets,
//! says when a partition is read to its end, and starts where [`Positions`] says, so that whoever keeps the state also keeps the place.

mod buffer;
mod bytes;
mod claims;
#[cfg(test)]
pub(crate) mod conformance;
mod error;
pub mod input;
pub mod jsonl;
pub mod kafka;
mod lane;
pub mod lanes;
pub mod parquet;
pub mod sniff;
pub mod survey;
mod times;

pub use buffer::{MessageBuffer, Spare};
pub use claims::{Claimed, Owning};
pub use error::SourceError;
pub use input::{InputFile, Inputs, resolve};
pub use jsonl::JsonlSource;
pub use kafka::{KafkaOptions, KafkaSource};
pub use parquet::ParquetSource;

use arrow::array::RecordBatch;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages in a full chunk.
pub const CHUNK_MESSAGES: usize = 1_000;
/// Bytes above which a chunk is full.
pub const CHUNK_BYTES: usize = 1 << 20;

/// A partition of the input. JSONL has as many as its files overlap in time; an archive has those
/// of the topic it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub i32);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in a partition: a record's offset, or where to go on, one past the last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One message within a chunk's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its offset in the partition; for JSONL the line's number over the partition's files, from 0.
    pub offset: i64,
    /// Where it begins in the buffer.
    pub start: u32,
    /// Where it ends in the buffer.
    pub end: u32,
    /// The record's own time (for Kafka usually the producer's clock), microseconds since 1970.
    pub record_time_us: Option<i64>,
    /// Whether that is when the broker took it, by the broker's own clock.
    pub appended: bool,
    /// Whether it has no value at all: it says that the record of its key is deleted, and is no
    /// message.
    pub tombstone: bool,
}

/// A record's own time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordTime {
    /// Microseconds since 1970.
    pub us: Option<i64>,
    /// Whether that is when the broker took it, by the broker's own clock.
    pub appended: bool,
}

/// What a chunk holds. Offsets ascend; they may have holes (compaction, transactions, blank lines).
#[derive(Debug)]
pub enum Payload {
    /// Messages as they came.
    Messages {
        /// All of them, one after the other, possibly with bytes between them.
        buffer: Vec<u8>,
        /// Where each stands.
        spans: Vec<Span>,
    },
    /// Rows of an archive; [`crate::store::event_rows::ArchiveReader`] reads them.
    Archive(RecordBatch),
}

/// Up to about [`CHUNK_MESSAGES`] records or [`CHUNK_BYTES`] of one partition.
#[derive(Debug)]
pub struct Chunk {
    /// The partition.
    pub partition: PartitionId,
    /// The records.
    pub payload: Payload,
    /// Bytes that the records take, for queues bounded by bytes.
    pub bytes: usize,
}

impl Chunk {
    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.payload {
            Payload::Messages { spans, .. } => spans.len(),
            Payload::Archive(rows) => rows.num_rows(),
        }
    }

    /// Whether it holds no record; a source never hands out such a chunk.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a call of [`Source::poll`] found.
#[derive(Debug)]
pub enum Polled {
    /// Records.
    Chunk(Chunk),
    /// The partition is read to its end and was quiet for the idle time. Said once, and again only after new records.
    Idle(PartitionId),
    /// The partition's input is over.
    Ended(PartitionId),
    /// These partitions belong to somebody else now; nothing more of them comes unless they are assigned again, which asks
    /// [`Positions`] anew, perhaps before this is said: [`Positions::let_go`] tells in order. Work on their earlier chunks must not be
    /// committed after the new owner's claim.
    Revoked(Vec<PartitionId>),
    /// Nothing within the time allowed.
    Nothing,
    /// Offsets that can't be read any more: retention took them, or the topic lost them. Reading goes on at `to`; where that is
    /// before `from` the log is a new one, whose offsets begin again.
    Gap {
        /// The partition.
        partition: PartitionId,
        /// The first offset that was wanted.
        from: Offset,
        /// The offset at which reading goes on.
        to: Offset,
    },
    /// What comes next of a partition is in the log of this id, said when reading begins and before
    /// anything of it.
    Log {
        /// The partition.
        partition: PartitionId,
        /// What tells the topic from another of its name before or after it, where the brokers say
        /// it.
        id: Option<Arc<str>>,
        /// Where reading begins, should this be another log than that of the position.
        begins: Option<Offset>,
    },
    /// All inputs have ended; nothing comes any more.
    Finished,
}

/// Why a position can't be told.
#[derive(Debug, thiserror::Error)]
pub enum PositionError {
    /// The store is away. A source that follows a topic goes on with its other partitions and asks again.
    #[error(transparent)]
    NotNow(Box<dyn std::error::Error + Send + Sync>),
    /// Asking again would not help.
    #[error(transparent)]
    Never(Box<dyn std::error::Error + Send + Sync>),
}

/// Knows where to go on in each partition.
pub trait Positions: Send + Sync {
    /// The offset of the first record wanted; `None`: from the beginning. Called when a partition is assigned, before its first
    /// record is read; may do I/O.
    ///
    /// # Errors
    /// When the place can't be told; the source then fails rather than guess.
    fn position(&self, partition: PartitionId) -> Result<Option<Offset>, PositionError>;

    /// The id of the log that the position last told is in, where it is known.
    fn log(&self, _partition: PartitionId) -> Option<Arc<str>> {
        None
    }

    /// Whether the record before the position last told, which `look` fetches if it is still there,
    /// is the one that was read. Asked where ids don't tell whether the log is still the same.
    fn is_last_read(&self, _partition: PartitionId, _look: &mut dyn FnMut() -> Option<Vec<u8>>) -> bool {
        true
    }

    /// The partition belongs to somebody else from here on, unless its position is asked for again. Called in one order with
    /// [`Positions::position`], by the same thread.
    fn let_go(&self, _partition: PartitionId) {}
}

/// What came of reading a partition anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It is read from where [`Positions`] says, as soon as that can be told.
    Reading,
    /// It is assigned to somebody else.
    NotMine,
    /// This source reads everything once.
    Never,
}

/// Every partition from its beginning.
#[derive(Debug, Clone, Copy, Default)]
pub struct FromBeginning;

impl Positions for FromBeginning {
    fn position(&self, _: PartitionId) -> Result<Option<Offset>, PositionError> {
        Ok(None)
    }
}

/// Partitions of records. Polled by one dedicated thread outside any async runtime, since it may block on I/O.
pub trait Source: Send {
    /// All partitions that exist, not only those read here.
    fn partitions(&self) -> Vec<PartitionId>;

    /// The next thing that happens; waits up to `timeout` (files don't wait, and may take as long as one read takes).
    ///
    /// # Errors
    /// When the input can't be read on. Passing troubles of a broker are no errors: they are logged and waited out.
    fn poll(&mut self, timeout: Duration) -> Result<Polled, SourceError>;

    /// Holds a partition back; polling goes on for the others, and must, to stay in a consumer group.
    ///
    /// # Errors
    /// When the client refuses.
    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError>;

    /// Lets a partition go on where it was paused.
    ///
    /// # Errors
    /// When the client refuses.
    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError>;

    /// Drops what is in hand of a partition and reads it from where [`Positions`] says, which are asked anew: its results turned out to
    /// belong to another process while the group still assigns the partition to this one.
    ///
    /// # Errors
    /// When the client refuses.
    fn again(&mut self, _partition: PartitionId) -> Result<Again, SourceError> {
        Ok(Again::Never)
    }

    /// Whether more may come another time of what it says has ended.
    fn goes_on(&self) -> bool {
        false
    }

    /// Partitions of which records are still to come, where that is known. Told once positions were
    /// asked for.
    fn unread(&self) -> Vec<PartitionId> {
        Vec::new()
    }

    /// Troubles of the input that passed, or are expected to, so far.
    fn troubles(&self) -> u64 {
        0
    }

    /// Bytes of all inputs as they are stored, where that is known; for a progress bar.
    fn total_bytes(&self) -> Option<u64> {
        None
    }

    /// Bytes read so far, in the measure of [`Source::total_bytes`].
    fn read_bytes(&self) -> u64 {
        0
    }

    /// Records between here and the end of the partitions read here, where that is known.
    fn lag(&self) -> Option<u64> {
        None
    }

    /// Tells Kafka how far a partition is done, for lag tools only: recovery never reads it.
    fn commit_hint(&mut self, _partition: PartitionId, _next: Offset) {}

    /// Takes back a chunk's buffer, so that the next one needs no allocation.
    fn recycle(&mut self, _buffer: Vec<u8>) {}
}

/// A stretch of event time, half open, microseconds since 1970: `--from` and `--to`. Archives are filtered by their source; of
/// JSONL and Kafka whoever decodes leaves out the events outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// The first time within.
    pub from: i64,
    /// The first time after it.
    pub to: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { from: i64::MIN, to: i64::MAX };

    /// Whether a time lies within.
    #[must_use]
    pub fn contains(&self, time_us: i64) -> bool {
        self.from <= time_us && time_us < self.to
    }

    /// Whether any of the times `min..=max` lies within.
    #[must_use]
    pub fn touches(&self, min: i64, max: i64) -> bool {
        self.from <= max && min < self.to
    }
}

impl Default for TimeRange {
    fn default() -> Self {
        Self::ALL
    }
}

/// A monotonic clock; injected so that tests need not wait.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Instant + Send + Sync>);

impl Clock {
    /// A clock that asks `now`.
    pub fn new(now: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Instant::now)
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
