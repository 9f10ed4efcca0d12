//! The sketching side of a running job: a thread that owns some of the partitions, takes their chunks in and commits them.

use super::commits::CommittedPanes;
use super::decoding::{DecodeResult, DecodedChunk};
use super::partition_writer::{ChunkOutcome, PartitionWriter};
use super::queues::WorkerOrder;
use crate::engine::error::{EngineError, IngestError};
use crate::engine::job::Job;
use crate::engine::progress::Progress;
use crate::source::{Offset, PartitionId};
use crate::store::chain::ChainError;
use crate::window::Reach;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes of closed panes in all files that a worker reads side by side after which all are
/// committed: each alone may be far from full.
const MANY_BYTES: usize = 24 << 20;

/// The sketching side: some of the partitions.
pub struct IngestWorker {
    pub job: Arc<Job>,
    pub owned: FxHashMap<PartitionId, (Box<PartitionWriter>, Instant)>,
    pub progress: Arc<Progress>,
    pub evaluator: Sender<CommittedPanes>,
    pub hints: Sender<(PartitionId, Offset)>,
    pub lost: Sender<PartitionId>,
    pub spare: Sender<Box<DecodedChunk>>,
    pub failed: Arc<AtomicBool>,
    pub stop: Arc<AtomicBool>,
    /// Whether partitions are read side by side from their beginnings: each then tells at once
    /// where it begins, so that one which begins later holds up nothing.
    pub side_by_side: bool,
}

impl IngestWorker {
    pub fn work(mut self, from: &Receiver<WorkerOrder>) -> Result<(), EngineError> {
        let every = self.job.settings.config.engine.commit_every.duration();
        loop {
            match from.recv_timeout(Duration::from_millis(100)) {
                Ok(WorkerOrder::Assign(owned)) => {
                    self.progress.open_panes.lock().insert(owned.id(), owned.open_bytes());
                    if self.owned.insert(owned.id(), (owned, Instant::now())).is_none() {
                        self.progress.owned.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(WorkerOrder::Drop(p)) => self.drop(p),
                Ok(WorkerOrder::Quiet(p, reach)) => self.commit(p, Some(reach))?,
                Ok(WorkerOrder::End(p)) => {
                    self.owned.get_mut(&p).into_iter().for_each(|(owned, _)| owned.end());
                    self.commit(p, Some(Reach::Ended))?;
                }
                Ok(WorkerOrder::Log(p, id, begins)) => {
                    if let Some((owned, _)) = self.owned.get_mut(&p) {
                        owned.follow(id, begins);
                    }
                }
                Ok(WorkerOrder::Chunk(decoded)) => match self.decoded(&decoded)? {
                    Some(decoded) => self.chunk(decoded)?,
                    None => break,
                },
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let crowded = self.side_by_side
                && self.owned.values().map(|(o, _)| o.closed_bytes()).sum::<usize>() >= MANY_BYTES;
            let is_due = |o: &PartitionWriter, since: &Instant| {
                let begins = self.side_by_side && o.has_yet_to_commit();
                o.is_full() || (o.is_dirty() && (crowded || begins || since.elapsed() >= every))
            };
            let due = self.owned.iter().filter(|(_, (o, since))| is_due(o, since)).map(|(p, _)| *p);
            let due: Vec<PartitionId> = due.collect();
            for p in due {
                self.commit(p, None)?;
            }
        }
        let dirty: Vec<PartitionId> =
            self.owned.iter().filter(|(_, (o, _))| o.is_dirty()).map(|(p, _)| *p).collect();
        dirty.into_iter().try_for_each(|p| self.commit(p, None))
    }

    /// Waits for a chunk to be decoded; `None` when the job has failed elsewhere, since what it waits for may never come then.
    fn decoded(&self, from: &Receiver<DecodeResult>) -> Result<Option<Box<DecodedChunk>>, EngineError> {
        loop {
            match from.recv_timeout(Duration::from_millis(100)) {
                Ok(outcome) => return Ok(Some(outcome?)),
                Err(RecvTimeoutError::Disconnected) => return Err(EngineError::Thread("decoding")),
                Err(RecvTimeoutError::Timeout) if self.failed.load(Ordering::Relaxed) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn chunk(&mut self, mut decoded: Box<DecodedChunk>) -> Result<(), EngineError> {
        let taken = match self.owned.get_mut(&decoded.partition) {
            Some((owned, _)) => owned.ingest_chunk(&mut decoded, &self.progress, &|| {
                self.stop.load(Ordering::Relaxed) || self.failed.load(Ordering::Relaxed)
            }),
            None => Ok(ChunkOutcome::Ingested),
        };
        match taken {
            Ok(ChunkOutcome::Ingested) => {}
            Ok(ChunkOutcome::Stopped) => {
                // Nothing behind a chunk that was not taken in may be: the partition is left as it is, committed as far as it came.
                self.commit(decoded.partition, None)?;
                self.drop(decoded.partition);
            }
            Err(e) => {
                // What was rejected is committed first, so that the table can show what the error speaks of.
                self.commit(decoded.partition, None)?;
                return Err(e.into());
            }
        }
        let _ = self.spare.try_send(decoded);
        Ok(())
    }

    fn drop(&mut self, p: PartitionId) {
        if self.owned.remove(&p).is_some() {
            self.progress.owned.fetch_sub(1, Ordering::Relaxed);
            self.progress.open_panes.lock().remove(&p);
            self.progress.undecided.lock().remove(&p);
        }
    }

    fn commit(&mut self, p: PartitionId, quiet: Option<Reach>) -> Result<(), EngineError> {
        let Some((owned, since)) = self.owned.get_mut(&p) else { return Ok(()) };
        match owned.commit(quiet, &self.progress) {
            Ok(committed) => {
                *since = Instant::now();
                self.progress.open_panes.lock().insert(p, owned.open_bytes());
                let _ = self.hints.send((p, owned.next_offset()));
                let _ = self.evaluator.send(committed);
                Ok(())
            }
            Err(IngestError::Chain(ChainError::Lost { chain, epoch })) => {
                tracing::warn!(partition = %p, %chain, %epoch, "another process owns this partition now; dropping it here");
                Progress::add(&self.progress.partitions_lost, 1);
                self.drop(p);
                let _ = self.lost.send(p);
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }
}
