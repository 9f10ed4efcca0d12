//! What a worker drives: a partition of this process, whose records it ingests and commits. Panes
//! and archives are two kinds of drivers, with the same claims, fences and pauses.

use super::commits::{ChunkOutcome, CommittedPanes, LastRead};
use super::decoding::DecodedChunk;
use super::partition_writer::PartitionWriter;
use crate::engine::error::IngestError;
use crate::engine::progress::Progress;
use crate::source::{Offset, PartitionId};
use crate::store::chain::Epoch;
use crate::window::Reach;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A partition that this process has claimed.
pub trait PartitionDriver: Send + Sized {
    /// A chunk as it is ingested.
    type Chunk: Send;

    /// Whether it continues when the offsets of its log start again because the topic was
    /// recreated.
    const FOLLOWS_NEW_LOGS: bool;

    /// The partition.
    fn id(&self) -> PartitionId;

    /// The newest epoch of its chain: that of the claim, before anything is committed.
    fn head(&self) -> Epoch;

    /// Where to continue; `None` before the first record.
    fn position(&self) -> Option<Offset>;

    /// What identifies the last record.
    fn last_read(&self) -> LastRead;

    /// The offset after the last committed record.
    fn committed_offset(&self) -> Offset;

    /// The next records are from the log of this id; if that is another one than before, it begins
    /// at `begins`.
    fn follow(&mut self, log: Option<Arc<str>>, begins: Option<Offset>);

    /// Ingests a chunk.
    ///
    /// # Errors
    /// When most of the recent input is bad, or something that it needs fails.
    fn ingest_chunk(
        &mut self,
        chunk: &mut Self::Chunk,
        progress: &Progress,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<ChunkOutcome, IngestError>;

    /// Notes that the input is over.
    fn end(&mut self);

    /// Whether a commit is due because nothing more is expected for now; `caught_up` where the
    /// input is read to its end, and not only silent.
    fn commits_when_quiet(&mut self, caught_up: bool) -> bool;

    /// Whether a commit is due at once, because memory fills.
    fn is_full(&self) -> bool;

    /// Whether there are new records since the last commit.
    fn is_dirty(&self) -> bool;

    /// The age of the oldest uncommitted record or, where that is unknown, of the last commit.
    fn age(&self, committed_at: Instant) -> Duration {
        committed_at.elapsed()
    }

    /// Whether others wait to learn how far the partition is.
    fn has_yet_to_commit(&self) -> bool {
        false
    }

    /// About how many bytes of memory wait for a commit.
    fn closed_bytes(&self) -> usize {
        0
    }

    /// About how many bytes of memory open panes take.
    fn open_bytes(&self) -> usize {
        0
    }

    /// Commits; with `quiet` also what is open, since nothing more is expected for now. Returns
    /// what the evaluator should receive, if anything.
    ///
    /// # Errors
    /// When the storage fails permanently, or the partition belongs to another process now; then
    /// nothing of this commit counts.
    fn commit(
        &mut self,
        quiet: Option<Reach>,
        progress: &Progress,
    ) -> Result<Option<CommittedPanes>, IngestError>;
}

impl PartitionDriver for PartitionWriter {
    type Chunk = Box<DecodedChunk>;
    const FOLLOWS_NEW_LOGS: bool = true;

    fn id(&self) -> PartitionId {
        self.id()
    }

    fn head(&self) -> Epoch {
        self.head()
    }

    fn position(&self) -> Option<Offset> {
        self.position()
    }

    fn last_read(&self) -> LastRead {
        self.last_read()
    }

    fn committed_offset(&self) -> Offset {
        self.next_offset()
    }

    fn follow(&mut self, log: Option<Arc<str>>, begins: Option<Offset>) {
        self.follow(log, begins);
    }

    fn ingest_chunk(
        &mut self,
        chunk: &mut Box<DecodedChunk>,
        progress: &Progress,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<ChunkOutcome, IngestError> {
        self.ingest_chunk(chunk, progress, stop)
    }

    fn end(&mut self) {
        self.end();
    }

    fn commits_when_quiet(&mut self, _caught_up: bool) -> bool {
        true
    }

    fn is_full(&self) -> bool {
        self.is_full()
    }

    fn is_dirty(&self) -> bool {
        self.is_dirty()
    }

    fn has_yet_to_commit(&self) -> bool {
        self.has_yet_to_commit()
    }

    fn closed_bytes(&self) -> usize {
        self.closed_bytes()
    }

    fn open_bytes(&self) -> usize {
        self.open_bytes()
    }

    fn commit(
        &mut self,
        quiet: Option<Reach>,
        progress: &Progress,
    ) -> Result<Option<CommittedPanes>, IngestError> {
        self.commit(quiet, progress).map(Some)
    }
}
