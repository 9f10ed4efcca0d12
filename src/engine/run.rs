//! The running job: one thread polls the source, decoders decode, workers sketch, one thread evaluates; channels between them are bounded.

use super::decoding::{Decoded, Decoder, Outcome, Task, decode_all};
use super::evaluating::{Alarm, Evaluating, Holding};
use super::evaluator_task::TaskError;
use super::ingest::{Committed, IngestError, Owned};
use super::job::Job;
use super::progress::{Counts, Progress};
use super::worker::Worker;
use crate::alert::Outbox;
use crate::source::{
    Again, CHUNK_BYTES, Chunk, Claimed, Offset, Owning, PartitionId, Polled, PositionError, Positions,
    Source, SourceError, TimeRange,
};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Why a job stopped.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A partition failed.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The evaluator failed.
    #[error(transparent)]
    Evaluator(#[from] TaskError),
    /// Another process writes to this output.
    #[error(
        "partition {0} was taken over by another process that writes to the same output; let one of them end, or give each its own --output"
    )]
    Taken(PartitionId),
    /// A thread is gone.
    #[error("a {0} thread stopped unexpectedly; its panic message stands above")]
    Thread(&'static str),
}

/// How a job came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// All input was read.
    InputEnded,
    /// It was asked to stop; what it had is committed.
    Stopped,
}

/// What a job did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Summary {
    /// How it ended.
    pub finish: Finish,
    /// Wall time in seconds.
    pub seconds: f64,
    /// The counters.
    #[serde(flatten)]
    pub counts: Counts,
    /// Rejections by reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Alerts that a sink did not take before the end.
    pub undelivered: u64,
}

/// What a job is run with.
pub struct Options {
    /// The topic's name, for `rejects`.
    pub topic: Arc<str>,
    /// Events outside are left out.
    pub range: TimeRange,
    /// Set to stop: drains, commits and returns.
    pub stop: Arc<AtomicBool>,
    /// Counters to show.
    pub progress: Arc<Progress>,
    /// Where alerts go.
    pub outbox: Option<Outbox>,
}

/// Time before a partition that was lost to another process, and that the group still assigns to this one, is claimed again: where both
/// believe to own it, one of them learns better within a few heartbeats.
const RECLAIM: Duration = Duration::from_secs(2);

/// Chunks of [`CHUNK_BYTES`] that wait for one worker, of those that `engine.queue` has room for.
fn queue_length(queue: u64, workers: usize) -> usize {
    let chunks = queue / CHUNK_BYTES as u64 / workers.max(1) as u64;
    usize::try_from(chunks).unwrap_or(usize::MAX).clamp(2, 1024)
}

/// What the polling thread has to pass on.
enum Work {
    Assign(Box<Owned>),
    Chunk(Chunk),
    Quiet(PartitionId),
    Drop(PartitionId),
}

/// What a worker is told.
pub(super) enum Order {
    Assign(Box<Owned>),
    /// A chunk that is being decoded.
    Chunk(Receiver<Outcome>),
    Quiet(PartitionId),
    Drop(PartitionId),
}

/// Claims partitions as they are assigned. Called back by the source while it polls.
pub struct Claims {
    job: Arc<Job>,
    /// The same job with a store that is not waited for: whoever polls must poll on.
    hasty: Arc<Job>,
    topic: Arc<str>,
    claimed: Claimed<Owned>,
}

impl Claims {
    /// Claims for a job.
    #[must_use]
    pub fn new(job: Arc<Job>, topic: Arc<str>) -> Self {
        let hasty = Arc::new(Job { storage: job.storage.hasty(), ..Job::clone(&job) });
        Self { job, hasty, topic, claimed: Claimed::default() }
    }
}

impl Positions for Claims {
    fn position(&self, partition: PartitionId) -> Result<Option<Offset>, PositionError> {
        let writer = writer();
        let owned = Owned::claim(&self.hasty, partition, Arc::clone(&self.topic), writer).map_err(|e| {
            let waits = e.is_passing();
            let e = Box::new(e);
            if waits { PositionError::NotNow(e) } else { PositionError::Never(e) }
        })?;
        let position = owned.position();
        self.claimed.claim(owned.of(&self.job));
        Ok(position)
    }

    fn let_go(&self, partition: PartitionId) {
        self.claimed.let_go(partition);
    }
}

/// A name unlike any other writer's.
pub(super) fn writer() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Runs a job to the end of its input or until it is told to stop. `claims` must be the source's [`Positions`].
///
/// # Errors
/// When the source, a partition or the evaluation can't go on.
pub fn run(
    job: &Arc<Job>,
    source: &mut dyn Source,
    claims: &Claims,
    mut options: Options,
) -> Result<Summary, EngineError> {
    let began = Instant::now();
    let config = &job.settings.config;
    let cores = match config.engine.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let workers = cores.min(source.partitions().len().max(1));
    let partitions = Mutex::new(source.partitions());
    let failed = Arc::new(AtomicBool::new(false));
    let outbox = Mutex::new(options.outbox.take());
    let (hint_to, hints) = unbounded::<(PartitionId, Offset)>();
    let (recycle_to, recycled) = bounded::<Vec<u8>>(64);
    let (assigned_to, assigned) = unbounded::<Holding>();
    let (lost_to, lost) = unbounded::<PartitionId>();
    let (evaluate_to, evaluate) = bounded::<Committed>(4);
    let (decode_to, to_decode) = unbounded::<Task>();
    // Decoding is this many chunks ahead at most.
    let (spare_to, spare) = bounded::<Box<Decoded>>(2 * cores + 2 * workers);
    while spare_to.try_send(Box::default()).is_ok() {}
    let finish = std::thread::scope(|scope| -> Result<Finish, EngineError> {
        let mut queues = Vec::new();
        let (mut handles, mut decoders) = (Vec::new(), Vec::new());
        for _ in 0..cores {
            let decoder = Decoder::new(job, options.range);
            let (tasks, spare, recycle) = (to_decode.clone(), spare.clone(), recycle_to.clone());
            decoders.push(scope.spawn(move || decode_all(decoder, &tasks, &spare, &recycle)));
        }
        for _ in 0..workers {
            let (to, from) = bounded::<Order>(queue_length(config.engine.queue.0, workers));
            queues.push(to);
            let worker = Worker {
                job: Arc::clone(job),
                owned: FxHashMap::default(),
                progress: Arc::clone(&options.progress),
                evaluator: evaluate_to.clone(),
                hints: hint_to.clone(),
                lost: lost_to.clone(),
                spare: spare_to.clone(),
                failed: Arc::clone(&failed),
                stop: Arc::clone(&options.stop),
            };
            let failed = Arc::clone(&failed);
            handles.push(scope.spawn(move || {
                let mut alarm = Alarm { failed: &failed, well: false };
                let done = worker.work(&from);
                alarm.well = done.is_ok();
                done
            }));
        }
        // What ends each side: the last of its senders.
        drop((hint_to, lost_to, recycle_to, spare_to, to_decode, spare));
        let evaluating = {
            let (job, progress, failed) =
                (Arc::clone(job), Arc::clone(&options.progress), Arc::clone(&failed));
            let (outbox, stop, partitions) = (&outbox, Arc::clone(&options.stop), &partitions);
            scope.spawn(move || {
                let mut alarm = Alarm { failed: &failed, well: false };
                let evaluating = Evaluating {
                    job: &job,
                    partitions,
                    assigned: &assigned,
                    committed: &evaluate,
                    progress: &progress,
                    outbox,
                    stop: &|| stop.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed),
                };
                let done = evaluating.run();
                alarm.well = done.is_ok();
                done
            })
        };
        let feed = Feed {
            claims,
            queues: &queues,
            decode: &decode_to,
            assigned: &assigned_to,
            lost: &lost,
            partitions: &partitions,
            hints: &hints,
            recycled: &recycled,
            progress: &options.progress,
        };
        let polled = feed.poll_all(source, &options.stop, &failed);
        drop((queues, decode_to));
        let mut result = polled;
        for h in handles {
            let done = h.join().map_err(|_| EngineError::Thread("worker"))?;
            if let Err(e) = done {
                result = Err(e);
            }
        }
        drop(evaluate_to);
        match evaluating.join() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => result = result.and(Err(e.into())),
            Err(_) => return Err(EngineError::Thread("evaluator")),
        }
        // Last, as a decoder that is gone is why its worker is.
        decoders
            .into_iter()
            .try_for_each(|d| d.join().map_err(|_| EngineError::Thread("decoding")))
            .and(result)
    })?;
    let undelivered = outbox.into_inner().map_or(0, |o| o.finish(Duration::from_secs(20)) as u64);
    let reasons = options.progress.reasons.lock().clone();
    Ok(Summary {
        finish,
        seconds: began.elapsed().as_secs_f64(),
        counts: options.progress.counts(),
        reasons,
        undelivered,
    })
}

/// The polling side.
struct Feed<'a> {
    claims: &'a Claims,
    queues: &'a [Sender<Order>],
    decode: &'a Sender<Task>,
    assigned: &'a Sender<Holding>,
    /// Partitions whose chain another process has taken.
    lost: &'a Receiver<PartitionId>,
    /// All partitions that exist; a topic may be given more.
    partitions: &'a Mutex<Vec<PartitionId>>,
    hints: &'a Receiver<(PartitionId, Offset)>,
    recycled: &'a Receiver<Vec<u8>>,
    progress: &'a Progress,
}

impl Feed<'_> {
    fn poll_all(
        &self,
        source: &mut dyn Source,
        stop: &AtomicBool,
        failed: &AtomicBool,
    ) -> Result<Finish, EngineError> {
        // Work that a full queue did not take; its partition is paused, and polling goes on so that the group keeps this member.
        let mut waiting: VecDeque<(PartitionId, Work)> = VecDeque::new();
        let mut paused: BTreeSet<PartitionId> = BTreeSet::new();
        let mut again: VecDeque<(Instant, PartitionId)> = VecDeque::new();
        let mut shown = Instant::now();
        loop {
            if failed.load(Ordering::Relaxed) || stop.load(Ordering::Relaxed) {
                return Ok(Finish::Stopped);
            }
            while let Some((p, work)) = waiting.pop_front() {
                if let Some(back) = self.offer(p, work) {
                    waiting.push_front((p, back));
                    break;
                }
            }
            for p in paused.clone() {
                if !waiting.iter().any(|w| w.0 == p) {
                    source.resume(p)?;
                    paused.remove(&p);
                }
            }
            while let Ok(buffer) = self.recycled.try_recv() {
                source.recycle(buffer);
            }
            while let Ok((p, next)) = self.hints.try_recv() {
                source.commit_hint(p, next);
            }
            again.extend(self.lost.try_iter().map(|p| (Instant::now() + RECLAIM, p)));
            while let Some((_, p)) = again.pop_front_if(|(due, _)| *due <= Instant::now()) {
                match source.again(p)? {
                    Again::Reading => {
                        tracing::info!(partition = %p, "the group still assigns it here: claiming it again")
                    }
                    Again::NotMine => {}
                    Again::Never => return Err(EngineError::Taken(p)),
                }
            }
            if shown.elapsed() > Duration::from_millis(200) {
                shown = Instant::now();
                self.progress.input_troubles.store(source.troubles(), Ordering::Relaxed);
                *self.partitions.lock() = source.partitions();
                self.progress.lag.store(source.lag().unwrap_or(0), Ordering::Relaxed);
                *self.progress.input.lock() = source.total_bytes().map(|t| (source.read_bytes(), t));
            }
            let timeout =
                if waiting.is_empty() { Duration::from_millis(100) } else { Duration::from_millis(2) };
            let polled = source.poll(timeout)?;
            for owning in self.claims.claimed.take() {
                let (id, work) = match owning {
                    Owning::Claimed(owned) => {
                        let _ = self.assigned.send(Holding::Mine(owned.id()));
                        (owned.id(), Work::Assign(Box::new(owned)))
                    }
                    Owning::LetGo(p) => {
                        let _ = self.assigned.send(Holding::NotMine(p));
                        (p, Work::Drop(p))
                    }
                };
                waiting.push_back((id, work));
            }
            match polled {
                Polled::Nothing => {
                    if !waiting.is_empty() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
                Polled::Chunk(c) => waiting.push_back((c.partition, Work::Chunk(c))),
                Polled::Idle(p) | Polled::Ended(p) => waiting.push_back((p, Work::Quiet(p))),
                // Said in order by the claims.
                Polled::Revoked(_) => {}
                Polled::Gap { partition, from, to } => {
                    let lost = to.0.saturating_sub(from.0).unsigned_abs();
                    Progress::add(&self.progress.gaps, lost);
                    tracing::warn!(%partition, from = from.0, to = to.0, "records are gone (retention, or a topic made anew): counted as a gap");
                }
                Polled::Finished => {
                    for (p, work) in waiting {
                        let (order, task) = order(work);
                        let _ = self.queue(p).send(order);
                        task.map(|t| self.decode.send(t));
                    }
                    return Ok(Finish::InputEnded);
                }
            }
            // More than a few chunks wait: hold their partitions back.
            if waiting.len() > 4 {
                for (p, _) in &waiting {
                    if paused.insert(*p) {
                        source.pause(*p)?;
                    }
                }
            }
        }
    }

    fn queue(&self, p: PartitionId) -> &Sender<Order> {
        &self.queues[p.0.unsigned_abs() as usize % self.queues.len()]
    }

    /// Passes work on; it comes back where the worker's queue is full. A worker that is gone takes everything: its error is found when it
    /// is joined.
    fn offer(&self, p: PartitionId, work: Work) -> Option<Work> {
        // Nobody else sends to it, so room that is there stays.
        if self.queue(p).is_full() {
            return Some(work);
        }
        let (order, task) = order(work);
        let _ = self.queue(p).try_send(order);
        task.map(|t| self.decode.send(t));
        None
    }
}

/// What a worker is told, and what is to be decoded for it meanwhile.
fn order(work: Work) -> (Order, Option<Task>) {
    match work {
        Work::Assign(owned) => (Order::Assign(owned), None),
        Work::Quiet(p) => (Order::Quiet(p), None),
        Work::Drop(p) => (Order::Drop(p), None),
        Work::Chunk(chunk) => {
            let (to, from) = bounded(1);
            (Order::Chunk(from), Some(Task { chunk, to }))
        }
    }
}
