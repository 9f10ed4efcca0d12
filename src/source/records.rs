//! What a source returns: chunks of records, with their partitions and offsets.

use arrow::array::RecordBatch;

pub use crate::event::{Offset, PartitionId};

/// Messages in a full chunk.
pub const CHUNK_MESSAGES: usize = 1_000;
/// Bytes above which a chunk is full.
pub const CHUNK_BYTES: usize = 1 << 20;

/// One message within a chunk's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageSpan {
    /// Its offset in the partition; for JSONL the line number over all files of the partition, from
    /// 0.
    pub offset: i64,
    /// Its first byte in the buffer.
    pub start: u32,
    /// The byte after it in the buffer.
    pub end: u32,
    /// The record's own time (for Kafka usually the producer's clock), microseconds since 1970.
    pub record_time_us: Option<i64>,
    /// Whether the broker set this time when it appended the record.
    pub appended: bool,
    /// Whether it has no value. It then marks its key as deleted, and is not a message.
    pub tombstone: bool,
}

/// A record's own time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordTime {
    /// Microseconds since 1970.
    pub us: Option<i64>,
    /// Whether the broker set this time when it appended the record.
    pub appended: bool,
}

/// The records of a chunk. Offsets ascend, possibly with gaps (compaction, transactions, blank
/// lines).
#[derive(Debug)]
pub enum Payload {
    /// Raw messages.
    Messages {
        /// Their bytes in order, possibly with other bytes between them.
        buffer: Vec<u8>,
        /// The position of each.
        spans: Vec<MessageSpan>,
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
    /// Size of the records in bytes, for queues bounded by bytes.
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

    /// Whether it has no records; a source never returns such a chunk.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
