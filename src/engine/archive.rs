//! Archiving: one thread polls the source, workers append to the archives of their partitions. It
//! is the first stage of a job with another driver, and has no second one.

use super::error::{EngineError, IngestError};
use super::ingest::archive::{ArchiveDriver, ArchiveJob};
use super::ingest::claims::PartitionClaims;
use super::ingest::polling::Poller;
use super::ingest::queues::{WorkerOrder, WorkerQueues, queue_length};
use super::ingest::worker::IngestWorker;
use super::progress::Progress;
use super::threads::{FailureFlag, spawn_named};
use crate::source::{Chunk, Offset, PartitionId, Payload, Source};
use crossbeam_channel::{Sender, bounded, unbounded};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Archives until the input ends or it is asked to stop. `claims` must be the source's
/// [`Positions`](crate::source::Positions), and of the same job.
///
/// # Errors
/// When the source or a partition fails.
pub fn archive(
    job: &ArchiveJob,
    source: &mut dyn Source,
    claims: &PartitionClaims<ArchiveDriver>,
    progress: &Arc<Progress>,
    stop: &Arc<AtomicBool>,
) -> Result<(), EngineError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = cores.min(source.partitions().len().max(1));
    let failed = Arc::new(AtomicBool::new(false));
    let (hint_to, hints) = unbounded::<(PartitionId, Offset)>();
    let (recycle_to, recycled) = bounded::<Vec<u8>>(64);
    let (lost_to, lost) = unbounded::<PartitionId>();
    // What an evaluator would receive.
    let (assigned, _) = unbounded();
    let (partitions, unread) = (Mutex::default(), Mutex::default());
    std::thread::scope(|scope| {
        let (mut queues, mut handles) = (Vec::new(), Vec::new());
        for n in 0..workers {
            let (to, from) = bounded::<WorkerOrder<ArchiveDriver>>(queue_length(job.queue_bytes, workers));
            queues.push(to);
            let recycle = recycle_to.clone();
            let worker = IngestWorker {
                owned: FxHashMap::default(),
                commit_every: job.commit_every,
                progress: Arc::clone(progress),
                evaluator: None,
                hints: hint_to.clone(),
                lost: lost_to.clone(),
                give_back: Box::new(move |chunk: Chunk| {
                    if let Payload::Messages { buffer, .. } = chunk.payload {
                        let _ = recycle.try_send(buffer);
                    }
                }),
                failed: Arc::clone(&failed),
                stop: Arc::clone(stop),
                side_by_side: false,
            };
            let failed = Arc::clone(&failed);
            let work = move || {
                let mut flag = FailureFlag { failed: &failed, succeeded: false };
                let done = worker.work(&from);
                flag.succeeded = done.is_ok();
                done
            };
            handles.push(spawn_named(scope, format!("worker-{n}"), work)?);
        }
        // Messages are decoded by the worker, which redacts them as it appends them.
        let decode = |chunk: Chunk, to: Sender<Result<Chunk, IngestError>>| {
            let _ = to.send(Ok(chunk));
        };
        let poller = Poller {
            claimed: claims.claimed(),
            queues: WorkerQueues { workers: &queues, decode: &decode },
            assigned: &assigned,
            lost: &lost,
            partitions: &partitions,
            unread: &unread,
            hints: &hints,
            recycled: &recycled,
            progress,
        };
        let mut result = poller.poll_all(source, stop, &failed).map(|_| ());
        drop(queues);
        for h in handles {
            let done = h.join().map_err(|_| EngineError::Thread("worker"))?;
            if let Err(e) = done {
                result = Err(e);
            }
        }
        result
    })
}
