//! A partition's archive as a worker drives it: messages are decoded, redacted and appended to
//! files of Parquet, each of which is a commit of the partition's chain.

use super::claims::PartitionClaims;
use super::commits::{ChunkOutcome, CommittedPanes, LastRead};
use super::driver::PartitionDriver;
use crate::engine::error::IngestError;
use crate::engine::job::Job;
use crate::engine::progress::Progress;
use crate::enrich::{Clean, Enricher, Plan};
use crate::event::{Event, Reject, RejectReason, decode_within};
use crate::source::{Chunk, MessageSpan, Offset, PartitionId, Payload};
use crate::store::archive_writer::{ArchivePartition, ArchiveTarget, ArchiveWritten};
use crate::store::chain::Epoch;
use crate::store::event_rows::Place;
use crate::window::Reach;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages after which the share of bad ones is counted again from zero.
const RECENT: u64 = 10_000;
/// Messages before the share of bad ones is significant.
const ENOUGH: u64 = 1_000;

/// What the archives of all partitions share.
pub struct ArchiveJob {
    target: Arc<ArchiveTarget>,
    plan: Arc<Plan>,
    max_message: usize,
    max_bad_share: f64,
    /// Time after which a file is written although it is not full.
    pub commit_every: Duration,
    /// Bytes of chunks that may wait for workers.
    pub queue_bytes: u64,
    /// Enrichers that no worker uses now: there is one for each worker, because they have caches.
    enrichers: Mutex<Vec<Enricher>>,
    wrote: Mutex<ArchiveWritten>,
}

impl ArchiveJob {
    /// What archives of a job's input need.
    #[must_use]
    pub fn new(job: &Job, target: ArchiveTarget, commit_every: Duration) -> Self {
        let config = &job.settings.config;
        Self {
            target: Arc::new(target),
            plan: Arc::clone(&job.plan),
            max_message: usize::try_from(config.input.max_message.0).unwrap_or(usize::MAX),
            max_bad_share: config.input.max_bad_share,
            commit_every,
            queue_bytes: config.engine.queue.0,
            enrichers: Mutex::default(),
            wrote: Mutex::default(),
        }
    }

    /// What was written so far.
    #[must_use]
    pub fn wrote(&self) -> ArchiveWritten {
        *self.wrote.lock()
    }
}

impl PartitionClaims<ArchiveDriver> {
    /// Claims for an archive, with a store that is not waited for: the polling thread must not
    /// block.
    #[must_use]
    pub fn of_archive(job: Arc<ArchiveJob>) -> Self {
        let storage = job.target.storage.hasty();
        let hasty = Arc::new(ArchiveTarget { storage, ..ArchiveTarget::clone(&job.target) });
        Self::with(move |partition, writer| {
            let archive = ArchivePartition::claim(&hasty, partition, writer)?.of(&job.target);
            Ok(ArchiveDriver {
                job: Arc::clone(&job),
                archive,
                recent: 0,
                bad: 0,
                bad_reasons: BTreeMap::new(),
                newest: 0,
            })
        })
    }
}

/// A partition's archive, owned by this process.
pub struct ArchiveDriver {
    job: Arc<ArchiveJob>,
    archive: ArchivePartition,
    /// Messages since the count of bad ones was last reset.
    recent: u64,
    /// Bad ones among these.
    bad: u64,
    bad_reasons: BTreeMap<&'static str, u64>,
    /// The newest event time, microseconds.
    newest: i64,
}

impl ArchiveDriver {
    /// Appends one message; returns what was written meanwhile.
    fn archive_message(
        &mut self,
        message: &[u8],
        span: &MessageSpan,
        enricher: &mut Enricher,
        progress: &Progress,
    ) -> Result<ArchiveWritten, IngestError> {
        self.archive.read(message);
        let mut mistyped = Vec::new();
        let max = self.job.max_message;
        let decode = AssertUnwindSafe(|| redacted(message, max, enricher, &mut mistyped));
        // A message on which the decoder crashes is rejected like any other bad one.
        let decoded = catch_unwind(decode).unwrap_or_else(|_| {
            *enricher = Enricher::new(Arc::clone(&self.job.plan));
            Err(Reject { reason: RejectReason::Crashed, field: None })
        });
        self.recent += 1;
        match decoded {
            Err(reject) => {
                let reason = reject.reason.name();
                self.bad += 1;
                *self.bad_reasons.entry(reason).or_default() += 1;
                Progress::add(&progress.rejected, 1);
                *progress.reasons.lock().entry(reason).or_default() += 1;
                let time = span.record_time_us.unwrap_or(self.newest);
                self.archive.reject(time, span.offset, reject);
                Ok(ArchiveWritten::default())
            }
            Ok((event, clean)) => {
                Progress::add(&progress.events, 1);
                self.newest = self.newest.max(event.time_us);
                let left_out = |f: &&'static str| Reject::field(RejectReason::MistypedField, f);
                let names = clean.refused.paths().map(|f| Reject::field(RejectReason::RefusedName, f));
                progress.count_fields(mistyped.iter().map(left_out).chain(names));
                let place = Place {
                    topic: &self.job.target.topic,
                    partition: self.archive.id().0,
                    offset: span.offset,
                    record_time_us: span.record_time_us,
                };
                Ok(self.archive.push(&event, &clean, place, &mistyped)?)
            }
        }
    }

    fn check_bad_share(&mut self) -> Result<(), IngestError> {
        let (partition, bad, of, share) = (self.archive.id(), self.bad, self.recent, self.job.max_bad_share);
        if of >= ENOUGH && bad as f64 > share * of as f64 {
            let reasons: Vec<&str> = self.bad_reasons.keys().copied().collect();
            return Err(IngestError::ArchiveMostlyBad {
                partition,
                bad,
                of,
                reasons: reasons.join(", "),
                share,
            });
        }
        if of >= RECENT {
            (self.bad, self.recent) = (0, 0);
            self.bad_reasons.clear();
        }
        Ok(())
    }
}

/// A message as an archive keeps it; `mistyped` are the fields left out for their types.
fn redacted<'m>(
    message: &'m [u8],
    max: usize,
    enricher: &mut Enricher,
    mistyped: &mut Vec<&'static str>,
) -> Result<(Event<'m>, Clean), Reject> {
    let event = decode_within(message, max, mistyped)?;
    let clean = enricher.clean(&event);
    Ok((event, clean))
}

impl PartitionDriver for ArchiveDriver {
    type Chunk = Chunk;
    const FOLLOWS_NEW_LOGS: bool = false;

    fn id(&self) -> PartitionId {
        self.archive.id()
    }

    fn head(&self) -> Epoch {
        self.archive.head()
    }

    fn position(&self) -> Option<Offset> {
        self.archive.position()
    }

    fn last_read(&self) -> LastRead {
        (self.archive.log(), self.archive.fingerprint())
    }

    fn committed_offset(&self) -> Offset {
        self.archive.committed()
    }

    fn follow(&mut self, log: Option<Arc<str>>, _begins: Option<Offset>) {
        self.archive.follow(log);
    }

    fn ingest_chunk(
        &mut self,
        chunk: &mut Chunk,
        progress: &Progress,
        _stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<ChunkOutcome, IngestError> {
        let Payload::Messages { buffer, spans } = &chunk.payload else {
            return Err(IngestError::ArchiveOfArchive { partition: chunk.partition });
        };
        Progress::add(&progress.messages, spans.len() as u64);
        Progress::add(&progress.bytes, chunk.bytes as u64);
        let idle = self.job.enrichers.lock().pop();
        let mut enricher = idle.unwrap_or_else(|| Enricher::new(Arc::clone(&self.job.plan)));
        let mut outcome = ChunkOutcome::Ingested;
        for span in spans {
            if span.tombstone {
                Progress::add(&progress.tombstones, 1);
                self.archive.skip(span.offset);
                continue;
            }
            let message = &buffer[span.start as usize..span.end as usize];
            let wrote = self.archive_message(message, span, &mut enricher, progress)?;
            if wrote.files > 0 {
                *self.job.wrote.lock() += wrote;
                outcome = ChunkOutcome::Committed;
            }
        }
        self.job.enrichers.lock().push(enricher);
        self.check_bad_share()?;
        Ok(outcome)
    }

    fn end(&mut self) {
        self.archive.end();
    }

    /// A file is written when it is full, old enough, or the input is over, not because of silence
    /// alone.
    fn commits_when_quiet(&mut self, caught_up: bool) -> bool {
        if caught_up {
            self.archive.end();
        }
        caught_up
    }

    fn is_full(&self) -> bool {
        self.archive.is_full()
    }

    fn is_dirty(&self) -> bool {
        self.archive.since().is_some()
    }

    fn age(&self, committed_at: Instant) -> Duration {
        self.archive.since().unwrap_or(committed_at).elapsed()
    }

    fn commit(
        &mut self,
        _quiet: Option<Reach>,
        _progress: &Progress,
    ) -> Result<Option<CommittedPanes>, IngestError> {
        let wrote = self.archive.commit()?;
        *self.job.wrote.lock() += wrote;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::queues::WorkerOrder;
    use super::super::worker::IngestWorker;
    use super::*;
    use crate::config::Config;
    use crate::engine::JobKind;
    use crate::source::conformance::message;
    use crate::source::{BufferPool, MessageBuffer, OwnershipChange, Positions};
    use crate::store::Storage;
    use crossbeam_channel::{bounded, unbounded};
    use rustc_hash::FxHashMap;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn an_archive_that_another_process_takes_within_a_chunk_is_dropped_and_the_job_goes_on() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), tokio::runtime::Runtime::new().unwrap());
        let storage = Storage::open(dir.path().to_str().unwrap(), runtime.handle().clone()).unwrap();
        let job = Job::open(Config::default(), JobKind::Run, storage.clone(), false).unwrap();
        let target = ArchiveTarget {
            storage,
            chains: "_chain/archive".into(),
            topic: "".into(),
            inputs: vec!["files".into()],
            key_id: job.plan.hasher.key_id(),
            // Every event is a commit.
            rows_per_file: 1,
        };
        let archive_job = Arc::new(ArchiveJob::new(&job, target, Duration::from_secs(600)));
        let claims = PartitionClaims::of_archive(Arc::clone(&archive_job));
        let p = PartitionId(0);
        claims.position(p).unwrap();
        // Another process claims it next.
        claims.position(p).unwrap();
        let Some(OwnershipChange::Claimed(fenced)) = claims.claimed().take().pop_front() else {
            panic!("the first claim is at hand")
        };
        let mut gathered = MessageBuffer::default();
        gathered.push(0, message(0, 0).as_bytes(), None);
        let ((order_to, orders), (to, decoded)) = (unbounded(), bounded(1));
        to.send(Ok(gathered.take(p, &mut BufferPool::default()))).unwrap();
        order_to.send(WorkerOrder::Assign(Box::new(fenced))).unwrap();
        order_to.send(WorkerOrder::Chunk { partition: p, decoded }).unwrap();
        drop(order_to);
        let ((hints, _hints), (lost_to, lost)) = (unbounded(), unbounded());
        let worker = IngestWorker {
            owned: FxHashMap::default(),
            commit_every: archive_job.commit_every,
            progress: Arc::default(),
            evaluator: None,
            hints,
            lost: lost_to,
            give_back: Box::new(|_| ()),
            failed: Arc::new(AtomicBool::new(false)),
            stop: Arc::new(AtomicBool::new(false)),
            side_by_side: false,
        };
        worker.work(&orders).unwrap();
        assert_eq!(lost.try_iter().collect::<Vec<_>>(), [p]);
        assert_eq!(archive_job.wrote(), ArchiveWritten::default());
    }
}
