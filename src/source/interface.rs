//! What a source promises to whoever polls it, and what it asks of whoever keeps the positions.

use super::error::{PositionError, SourceError};
use super::records::{Chunk, Offset, PartitionId};
use std::sync::Arc;
use std::time::Duration;

/// What a call of [`Source::poll`] found.
#[derive(Debug)]
pub enum Polled {
    /// Records.
    Chunk(Chunk),
    /// The partition is read to its end and was quiet for the idle time. Said once, and again only after new records.
    Idle(PartitionId),
    /// The partition's input is over.
    Ended(PartitionId),
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
