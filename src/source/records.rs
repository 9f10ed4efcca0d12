//! What a source hands out: partitions, offsets, and chunks of records.

use arrow::array::RecordBatch;
use std::fmt;

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
    /// Rows of an archive; [`crate::event::archive::ArchiveReader`] reads them.
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
