//! The running job: one thread polls the source, decoders decode, workers sketch, one thread
//! evaluates; channels between them are bounded.

use super::error::EngineError;
use super::evaluate::thread::EvaluatorThread;
use super::evaluate::verdict_counts::Unjudged;
use super::ingest::claims::PartitionClaims;
use super::ingest::commits::{CommittedPanes, PartitionAssignment};
use super::ingest::decoding::{DecodeResult, DecodeTask, DecodedChunk, Decoder, decode_until_closed};
use super::ingest::partition_writer::PartitionWriter;
use super::ingest::polling::{Finish, Poller};
use super::ingest::queues::{WorkerOrder, WorkerQueues, queue_length};
use super::ingest::worker::IngestWorker;
use super::job::Job;
use super::progress::{JobCounts, Progress};
use super::threads::{FailureFlag, spawn_named};
use crate::alert::{Outbox, SinkStatus};
use crate::source::{Chunk, Offset, PartitionId, Source, TimeRange};
use crossbeam_channel::{Sender, bounded, unbounded};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a job did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Summary {
    /// How it ended.
    pub finish: Finish,
    /// Wall time in seconds.
    pub seconds: f64,
    /// The counters.
    #[serde(flatten)]
    pub counts: JobCounts,
    /// Rejections by reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Alerts that a sink did not accept before the end, including those that it refused.
    pub undelivered: u64,
    /// The same by sink and reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub undelivered_by: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// Why nothing could be judged, where nothing could.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unjudged: Option<Unjudged>,
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

/// Runs a job to the end of its input or until it is asked to stop. `claims` must be the source's
/// [`Positions`](crate::source::Positions).
///
/// # Errors
/// When the source, a partition or the evaluation fails.
pub fn run(
    job: &Arc<Job>,
    source: &mut dyn Source,
    claims: &PartitionClaims<PartitionWriter>,
    mut options: Options,
) -> Result<Summary, EngineError> {
    let began = Instant::now();
    let config = &job.settings.config;
    let cores = match config.engine.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let workers = cores.min(source.partitions().len().max(1));
    let side_by_side = !source.may_continue() && source.partitions().len() > 1;
    let partitions = Mutex::new(source.partitions());
    let unread = Mutex::default();
    let failed = Arc::new(AtomicBool::new(false));
    let outbox = Mutex::new(options.outbox.take());
    let sinks = outbox.lock().as_ref().map(Outbox::monitor).unwrap_or_default();
    *options.progress.sinks.lock() = sinks.clone();
    let (hint_to, hints) = unbounded::<(PartitionId, Offset)>();
    let (recycle_to, recycled) = bounded::<Vec<u8>>(64);
    let (assigned_to, assigned) = unbounded::<PartitionAssignment>();
    let (lost_to, lost) = unbounded::<PartitionId>();
    let (evaluate_to, evaluate) = bounded::<CommittedPanes>(4);
    let (decode_to, to_decode) = unbounded::<DecodeTask>();
    // Decoding is this many chunks ahead at most.
    let (spare_to, spare) = bounded::<Box<DecodedChunk>>(2 * cores + 2 * workers);
    while spare_to.try_send(Box::default()).is_ok() {}
    let finish = std::thread::scope(|scope| -> Result<Finish, EngineError> {
        let mut queues = Vec::new();
        let (mut handles, mut decoders) = (Vec::new(), Vec::new());
        for n in 0..cores {
            let decoder = Decoder::new(job, options.range);
            let (tasks, spare, recycle) = (to_decode.clone(), spare.clone(), recycle_to.clone());
            let decode = move || decode_until_closed(decoder, &tasks, &spare, &recycle);
            decoders.push(spawn_named(scope, format!("decoder-{n}"), decode)?);
        }
        for n in 0..workers {
            let (to, from) =
                bounded::<WorkerOrder<PartitionWriter>>(queue_length(config.engine.queue.0, workers));
            queues.push(to);
            let spare_back = spare_to.clone();
            let worker = IngestWorker {
                owned: FxHashMap::default(),
                commit_every: config.engine.commit_every.duration(),
                progress: Arc::clone(&options.progress),
                evaluator: Some(evaluate_to.clone()),
                hints: hint_to.clone(),
                lost: lost_to.clone(),
                give_back: Box::new(move |decoded| {
                    let _ = spare_back.try_send(decoded);
                }),
                failed: Arc::clone(&failed),
                stop: Arc::clone(&options.stop),
                side_by_side,
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
        // What ends each side: the last of its senders.
        drop((hint_to, lost_to, recycle_to, spare_to, to_decode, spare));
        let evaluating = {
            let (job, progress, failed) =
                (Arc::clone(job), Arc::clone(&options.progress), Arc::clone(&failed));
            let (outbox, stop) = (&outbox, Arc::clone(&options.stop));
            let (partitions, unread) = (&partitions, &unread);
            let evaluate = move || {
                let mut flag = FailureFlag { failed: &failed, succeeded: false };
                let evaluating = EvaluatorThread {
                    job: &job,
                    partitions,
                    unread,
                    assigned: &assigned,
                    committed: &evaluate,
                    progress: &progress,
                    outbox,
                    stop: &|| stop.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed),
                };
                let done = evaluating.run();
                flag.succeeded = done.is_ok();
                done
            };
            spawn_named(scope, "evaluator".to_owned(), evaluate)?
        };
        let decode = |chunk: Chunk, to: Sender<DecodeResult>| {
            let _ = decode_to.send(DecodeTask { chunk, to });
        };
        let poller = Poller {
            claimed: claims.claimed(),
            queues: WorkerQueues { workers: &queues, decode: &decode },
            assigned: &assigned_to,
            lost: &lost,
            partitions: &partitions,
            unread: &unread,
            hints: &hints,
            recycled: &recycled,
            progress: &options.progress,
        };
        let polled = poller.poll_all(source, &options.stop, &failed);
        let over = matches!(polled, Ok(Finish::InputEnded));
        drop((queues, decode_to));
        let mut result = polled;
        for h in handles {
            let done = h.join().map_err(|_| EngineError::Thread("worker"))?;
            if let Err(e) = done {
                result = Err(e);
            }
        }
        // What was polled is ingested by now.
        options.progress.all_read.store(over, Ordering::Relaxed);
        drop(evaluate_to);
        match evaluating.join() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => result = result.and(Err(e.into())),
            Err(_) => return Err(EngineError::Thread("evaluator")),
        }
        // Last, because a worker may have ended because its decoder did.
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
        undelivered_by: undelivered_by(&sinks.status()),
        unjudged: unjudged(&options.progress, finish),
    })
}

/// What each sink did not accept, by reason.
fn undelivered_by(sinks: &[SinkStatus]) -> BTreeMap<String, BTreeMap<&'static str, u64>> {
    let of = |s: &SinkStatus| {
        let mut by = s.given_up();
        by.insert("unanswered", s.pending as u64);
        by.retain(|_, n| *n > 0);
        (s.name.clone(), by)
    };
    sinks.iter().map(of).filter(|(_, by)| !by.is_empty()).collect()
}

/// Why a run over all of its input could judge nothing, where it read events, evaluated them and
/// could not.
fn unjudged(p: &Progress, finish: Finish) -> Option<Unjudged> {
    let evaluates = p.evaluates.load(Ordering::Relaxed) == 1;
    let events = p.events.load(Ordering::Relaxed);
    if finish != Finish::InputEnded || !evaluates || events == 0 {
        return None;
    }
    let standing = p.standing.lock();
    let from = (!p.goes_on.load(Ordering::Relaxed)).then(|| p.evaluated_from.load(Ordering::Relaxed));
    let evaluated = (from, p.evaluated_to.load(Ordering::Relaxed));
    Unjudged::of(&standing.counts, p.windows.load(Ordering::Relaxed), evaluated, standing.nearest)
}
