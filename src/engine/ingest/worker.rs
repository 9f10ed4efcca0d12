//! The ingesting side of a running job: a thread that owns some of the partitions, ingests their
//! chunks and commits them.

use super::commits::{ChunkOutcome, CommittedPanes};
use super::driver::PartitionDriver;
use super::queues::WorkerOrder;
use crate::engine::error::{EngineError, IngestError};
use crate::engine::progress::Progress;
use crate::source::{Offset, PartitionId};
use crate::store::chain::{ChainError, Epoch};
use crate::window::Reach;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes of closed panes in all files that a worker reads side by side after which all are
/// committed: each alone may be far from full.
const MANY_BYTES: usize = 24 << 20;

/// The ingesting side: some of the partitions.
pub struct IngestWorker<P: PartitionDriver> {
    /// Its partitions, each with the time of its last commit.
    pub owned: FxHashMap<PartitionId, (Box<P>, Instant)>,
    /// Time after which new records are committed.
    pub commit_every: Duration,
    pub progress: Arc<Progress>,
    /// Receives commits of panes; `None` where nobody evaluates.
    pub evaluator: Option<Sender<CommittedPanes>>,
    pub hints: Sender<(PartitionId, Offset)>,
    /// Partitions that another process has taken.
    pub lost: Sender<PartitionId>,
    /// Takes back ingested chunks, so that their memory is reused.
    pub give_back: Box<dyn Fn(P::Chunk) + Send>,
    pub failed: Arc<AtomicBool>,
    pub stop: Arc<AtomicBool>,
    /// Whether partitions are read side by side from their beginnings: each then commits at once
    /// where it begins, so that one which begins later delays nothing.
    pub side_by_side: bool,
}

impl<P: PartitionDriver> IngestWorker<P> {
    /// Works until all senders of orders are gone, then commits what is left.
    ///
    /// # Errors
    /// When a partition fails; losing one to another process only drops it.
    pub fn work(mut self, from: &Receiver<WorkerOrder<P>>) -> Result<(), EngineError> {
        loop {
            match from.recv_timeout(Duration::from_millis(100)) {
                Ok(WorkerOrder::Assign(owned)) => {
                    self.progress.open_panes.lock().insert(owned.id(), owned.open_bytes());
                    if self.owned.insert(owned.id(), (owned, Instant::now())).is_none() {
                        self.progress.owned.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(WorkerOrder::Drop(p)) => self.drop(p),
                Ok(WorkerOrder::Quiet { partition, caught_up }) => {
                    let owned = self.owned.get_mut(&partition);
                    if owned.is_some_and(|(o, _)| o.commits_when_quiet(caught_up)) {
                        self.commit(partition, Some(Reach::Idle))?;
                    }
                }
                Ok(WorkerOrder::End(p)) => {
                    self.owned.get_mut(&p).into_iter().for_each(|(owned, _)| owned.end());
                    self.commit(p, Some(Reach::Ended))?;
                }
                Ok(WorkerOrder::Log { partition, id, begins }) => {
                    if let Some((owned, _)) = self.owned.get_mut(&partition) {
                        owned.follow(id, begins);
                    }
                }
                Ok(WorkerOrder::Chunk { partition, decoded }) => match self.decoded(&decoded)? {
                    Some(chunk) => self.ingest(partition, chunk)?,
                    None => break,
                },
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let crowded = self.side_by_side
                && self.owned.values().map(|(o, _)| o.closed_bytes()).sum::<usize>() >= MANY_BYTES;
            let is_due = |o: &P, committed_at: &Instant| {
                let begins = self.side_by_side && o.has_yet_to_commit();
                let aged = || o.age(*committed_at) >= self.commit_every;
                o.is_full() || (o.is_dirty() && (crowded || begins || aged()))
            };
            let due = self.owned.iter().filter(|(_, (o, at))| is_due(o, at)).map(|(p, _)| *p);
            let due: Vec<PartitionId> = due.collect();
            for p in due {
                self.commit(p, None)?;
            }
        }
        let dirty: Vec<PartitionId> =
            self.owned.iter().filter(|(_, (o, _))| o.is_dirty()).map(|(p, _)| *p).collect();
        dirty.into_iter().try_for_each(|p| self.commit(p, None))
    }

    /// Waits for a chunk to be decoded; `None` when the job has failed elsewhere, since the chunk
    /// may then never arrive.
    fn decoded(
        &self,
        from: &Receiver<Result<P::Chunk, IngestError>>,
    ) -> Result<Option<P::Chunk>, EngineError> {
        loop {
            match from.recv_timeout(Duration::from_millis(100)) {
                Ok(outcome) => return Ok(Some(outcome?)),
                Err(RecvTimeoutError::Disconnected) => return Err(EngineError::Thread("decoding")),
                Err(RecvTimeoutError::Timeout) if self.failed.load(Ordering::Relaxed) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn ingest(&mut self, p: PartitionId, mut chunk: P::Chunk) -> Result<(), EngineError> {
        let outcome = match self.owned.get_mut(&p) {
            Some((owned, _)) => owned.ingest_chunk(&mut chunk, &self.progress, &|| {
                self.stop.load(Ordering::Relaxed) || self.failed.load(Ordering::Relaxed)
            }),
            None => Ok(ChunkOutcome::Ingested),
        };
        match outcome {
            Ok(ChunkOutcome::Ingested) => {}
            Ok(ChunkOutcome::Committed) => self.hint(p),
            Ok(ChunkOutcome::Stopped) => {
                // Nothing after a chunk that was not ingested may be ingested: commit the partition
                // as far as it is, and drop it.
                self.commit(p, None)?;
                self.drop(p);
            }
            Err(IngestError::Chain(ChainError::Lost { chain, epoch })) => self.lose(p, &chain, epoch),
            Err(e) => {
                // Commit what was rejected first, so that the table shows what the error is about.
                self.commit(p, None)?;
                return Err(e.into());
            }
        }
        (self.give_back)(chunk);
        Ok(())
    }

    fn drop(&mut self, p: PartitionId) {
        if self.owned.remove(&p).is_some() {
            self.progress.owned.fetch_sub(1, Ordering::Relaxed);
            self.progress.open_panes.lock().remove(&p);
            self.progress.undecided.lock().remove(&p);
        }
    }

    /// Drops a partition whose chain another process has taken, and reports that to the polling
    /// thread.
    fn lose(&mut self, p: PartitionId, chain: &str, epoch: Epoch) {
        tracing::warn!(partition = %p, %chain, %epoch, "another process owns this partition now; dropping it here");
        Progress::add(&self.progress.partitions_lost, 1);
        self.drop(p);
        let _ = self.lost.send(p);
    }

    /// Reports to the polling thread how far a partition is committed, for lag tools.
    fn hint(&self, p: PartitionId) {
        if let Some((owned, _)) = self.owned.get(&p) {
            let _ = self.hints.send((p, owned.committed_offset()));
        }
    }

    fn commit(&mut self, p: PartitionId, quiet: Option<Reach>) -> Result<(), EngineError> {
        let Some((owned, committed_at)) = self.owned.get_mut(&p) else { return Ok(()) };
        match owned.commit(quiet, &self.progress) {
            Ok(panes) => {
                *committed_at = Instant::now();
                self.progress.open_panes.lock().insert(p, owned.open_bytes());
                self.hint(p);
                if let (Some(evaluator), Some(panes)) = (&self.evaluator, panes) {
                    let _ = evaluator.send(panes);
                }
                Ok(())
            }
            Err(IngestError::Chain(ChainError::Lost { chain, epoch })) => {
                self.lose(p, &chain, epoch);
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }
}
