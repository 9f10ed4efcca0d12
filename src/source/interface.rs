//! The contract between a source, the thread that polls it, and the keeper of positions.

use super::error::{PositionError, SourceError};
use super::records::{Chunk, Offset, PartitionId};
use std::sync::Arc;
use std::time::Duration;

/// The result of [`Source::poll`].
#[derive(Debug)]
pub enum Polled {
    /// Records.
    Chunk(Chunk),
    /// The partition is read to its end and had no records for the idle time. Reported once, and
    /// again only after new records.
    Idle(PartitionId),
    /// The partition's input is read to its end.
    Ended(PartitionId),
    /// Nothing within the time allowed.
    Nothing,
    /// Offsets that can't be read any more, because of retention or data loss. Reading continues at
    /// `to`. If that is before `from`, the log is a new one whose offsets start again.
    Gap {
        /// The partition.
        partition: PartitionId,
        /// The first offset that is missing.
        from: Offset,
        /// The offset at which reading continues.
        to: Offset,
    },
    /// The log that the partition's next records are from. Reported when reading starts, before any
    /// record of it.
    Log {
        /// The partition.
        partition: PartitionId,
        /// Distinguishes the topic from earlier or later topics of the same name, if the brokers
        /// know ids.
        id: Option<Arc<str>>,
        /// Where reading starts if this is not the log of the position.
        begins: Option<Offset>,
    },
    /// All inputs are read to their end.
    Finished,
}

impl Polled {
    /// A gap in a partition's offsets.
    #[must_use]
    pub fn gap(partition: i32, from: i64, to: i64) -> Self {
        Self::Gap { partition: PartitionId(partition), from: Offset(from), to: Offset(to) }
    }

    /// The partition that this is about.
    #[must_use]
    pub fn partition(&self) -> Option<PartitionId> {
        match self {
            Self::Chunk(chunk) => Some(chunk.partition),
            Self::Idle(partition)
            | Self::Ended(partition)
            | Self::Gap { partition, .. }
            | Self::Log { partition, .. } => Some(*partition),
            Self::Nothing | Self::Finished => None,
        }
    }
}

/// Knows the position of each partition.
pub trait Positions: Send + Sync {
    /// The first offset to read; `None`: from the beginning. Called when a partition is assigned,
    /// before its first record is read. May do I/O.
    ///
    /// # Errors
    /// When the position is unknown. The source then fails or waits, and never guesses.
    fn position(&self, partition: PartitionId) -> Result<Option<Offset>, PositionError>;

    /// The id of the log of the position that was last returned, if known.
    fn log(&self, _partition: PartitionId) -> Option<Arc<str>> {
        None
    }

    /// Whether the record before the last returned position is the one that was read. `look`
    /// fetches it, if it still exists. Used to recognise the log if its id is unknown.
    fn is_last_read(&self, _partition: PartitionId, _look: &mut dyn FnMut() -> Option<Vec<u8>>) -> bool {
        true
    }

    /// The partition is revoked: another process owns it now, unless its position is asked for
    /// again. Called in order with [`Positions::position`], by the same thread.
    fn release(&self, _partition: PartitionId) {}
}

/// The result of [`Source::restart`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartOutcome {
    /// It is read from the position that [`Positions`] returns, as soon as that is known.
    Restarted,
    /// It is assigned to another process.
    NotAssigned,
    /// This source reads everything only once.
    Unsupported,
}

/// Every partition from its beginning.
#[derive(Debug, Clone, Copy, Default)]
pub struct FromBeginning;

impl Positions for FromBeginning {
    fn position(&self, _: PartitionId) -> Result<Option<Offset>, PositionError> {
        Ok(None)
    }
}

/// Partitions of records. Polled by one dedicated thread outside any async runtime, since polling
/// may block on I/O.
pub trait Source: Send {
    /// All partitions that exist, not only those that this process reads.
    fn partitions(&self) -> Vec<PartitionId>;

    /// The next event; waits up to `timeout`. Files don't wait, but may take as long as one read.
    ///
    /// # Errors
    /// When the input can't be read any further. Transient broker errors are logged and retried
    /// instead.
    fn poll(&mut self, timeout: Duration) -> Result<Polled, SourceError>;

    /// Pauses a partition. Polling must continue for the others, to stay in the consumer group.
    ///
    /// # Errors
    /// When the client refuses.
    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError>;

    /// Resumes a paused partition.
    ///
    /// # Errors
    /// When the client refuses.
    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError>;

    /// Drops what was gathered of a partition, asks [`Positions`] again and reads from there. For a
    /// partition whose results another process has claimed, while the group still assigns it here.
    ///
    /// # Errors
    /// When the client refuses.
    fn restart(&mut self, _partition: PartitionId) -> Result<RestartOutcome, SourceError> {
        Ok(RestartOutcome::Unsupported)
    }

    /// Whether a partition that has ended may have more records at a later start.
    fn may_continue(&self) -> bool {
        false
    }

    /// Partitions with unread records, if known. Valid once positions were asked for.
    fn unread(&self) -> Vec<PartitionId> {
        Vec::new()
    }

    /// Number of transient errors so far.
    fn troubles(&self) -> u64 {
        0
    }

    /// Stored size of all inputs in bytes, if known; for a progress bar.
    fn total_bytes(&self) -> Option<u64> {
        None
    }

    /// Bytes read so far, in the unit of [`Source::total_bytes`].
    fn read_bytes(&self) -> u64 {
        0
    }

    /// Number of unread records in the partitions of this process, if known.
    fn lag(&self) -> Option<u64> {
        None
    }

    /// Writes Kafka's own offset of a partition, for lag tools only: recovery never reads it.
    fn commit_hint(&mut self, _partition: PartitionId, _next: Offset) {}

    /// Returns a chunk's buffer for reuse.
    fn recycle(&mut self, _buffer: Vec<u8>) {}
}
