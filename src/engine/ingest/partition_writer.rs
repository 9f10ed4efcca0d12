//! Ingest: one partition's records to committed panes.

use super::commits::{ChunkOutcome, CommittedPanes, LastRead, PartitionCommit};
use super::decoding::DecodedChunk;
use super::images::Images;
use super::sampling::ImageSampler;
use crate::engine::error::IngestError;
use crate::engine::job::Job;
use crate::engine::progress::Progress;
use crate::engine::sweep;
use crate::event::{Reject, RejectReason};
use crate::source::{Offset, PartitionId};
use crate::steps::reached;
use crate::store::StorageError;
use crate::store::chain::{Chain, Epoch};
use crate::store::panes::{self, PaneFileError};
use crate::store::rejects::{RejectRow, rejects_batch};
use crate::store::tables::{Stager, batches_by_date, publish};
use crate::store::vectors::{VectorRow, vectors_batch};
use crate::window::{Counters, Origins, Pane, Partition, Reach};
use arrow::array::RecordBatch;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Recent messages whose share of bad ones is watched.
const RECENT: usize = 10_000;
/// Recent messages before the share says anything.
const ENOUGH: usize = 1_000;
/// Bytes of closed panes after which a commit is due, whatever the time: few enough that they are
/// still in the processor's caches, and that the evaluation of what closed begins early. But a
/// commit writes the open panes too, and should not be mostly these.
const MANY_BYTES: usize = 3 << 20;
/// Bytes of closed panes that wait only if the open ones take more: a minute of dense traffic takes
/// megabytes.
const MOST_BYTES: usize = 32 << 20;
/// Rejected messages after which a commit is due.
const MANY_ROWS: usize = 1_000;
/// Rows of one refused field and reason that a commit holds; further ones are counted only.
const FIELD_ROWS: usize = 1_000;

/// Whether panes that closed, so many rows and bytes of them, should be committed before their
/// time; `open_bytes` are looked up where it depends on them.
fn panes_are_due(rows: usize, bytes: usize, open_rows: usize, open_bytes: impl FnOnce() -> usize) -> bool {
    (bytes >= MANY_BYTES && rows >= 2 * open_rows) || (bytes >= MOST_BYTES && bytes >= open_bytes())
}

/// A partition that this process owns.
pub struct PartitionWriter {
    job: Arc<Job>,
    id: PartitionId,
    topic: Arc<str>,
    chain: Chain,
    writer: String,
    state: Partition,
    next_offset: i64,
    fingerprint: u64,
    log: Option<Arc<str>>,
    closed: Vec<Pane>,
    /// About how many bytes of memory these hold.
    closed_bytes: usize,
    rejects: Vec<RejectRow>,
    /// Rows of refused fields among these, by field and reason.
    field_rows: BTreeMap<(Option<&'static str>, RejectReason), usize>,
    sampler: ImageSampler,
    vectors: Vec<VectorRow>,
    /// The open panes' file of the last commit, to be removed after the next.
    open_file: Option<String>,
    recent: VecDeque<bool>,
    bad: usize,
    /// Whether anything came since the last commit.
    dirty: bool,
    /// Whether its input is over.
    ended: bool,
    /// Whether this owner has committed yet.
    has_committed: bool,
}

impl PartitionWriter {
    /// Takes a partition over and goes on from its last commit.
    ///
    /// # Errors
    /// When its chain or files fail.
    pub fn claim(
        job: &Arc<Job>,
        id: PartitionId,
        topic: Arc<str>,
        writer: String,
    ) -> Result<Self, IngestError> {
        let files = |source| IngestError::Files { partition: id, source };
        let (chain, last) =
            Chain::claim::<PartitionCommit>(&job.storage, &job.partition_chain(id.0), &writer)?;
        reached("partition.claim.link");
        let mut owned = Self {
            job: Arc::clone(job),
            id,
            topic,
            chain,
            writer,
            state: Partition::new(Arc::clone(&job.filler), job.times),
            next_offset: 0,
            fingerprint: 0,
            log: None,
            closed: Vec::new(),
            closed_bytes: 0,
            rejects: Vec::new(),
            field_rows: BTreeMap::new(),
            sampler: ImageSampler::default(),
            vectors: Vec::new(),
            open_file: None,
            recent: VecDeque::new(),
            bad: 0,
            dirty: false,
            ended: false,
            has_committed: false,
        };
        if let Some(c) = last {
            publish(&job.storage, &c.files).map_err(|e| owned.chain.or_lost(files(e.into())))?;
            reached("partition.claim.published");
            let open = match &c.open {
                None => Vec::new(),
                Some(path) => {
                    let bytes = job.storage.get(path).map_err(|e| files(e.into()))?;
                    let missing = || {
                        let missing = StorageError::Missing { path: path.clone() };
                        owned.chain.or_lost(files(missing.into()))
                    };
                    panes::decode_panes(bytes.ok_or_else(missing)?, &job.settings.names).map_err(files)?
                }
            };
            owned.state = Partition::restore(Arc::clone(&job.filler), job.times, &c.state, open);
            owned.state.pack_others();
            owned.sampler = ImageSampler::restore(&c.sampler);
            owned.next_offset = c.next_offset;
            owned.fingerprint = c.fingerprint;
            owned.log = c.log.map(Arc::from);
            owned.open_file = c.open;
        }
        reached("partition.claim.loaded");
        sweep::after_partition_claim(job, id.0, owned.chain.head().0, owned.open_file.as_deref());
        Ok(owned)
    }

    /// The same with the storage of another set-up of this job.
    #[must_use]
    pub fn of(mut self, job: &Arc<Job>) -> Self {
        self.job = Arc::clone(job);
        self.chain.set_storage(&job.storage);
        self
    }

    /// Takes in a decoded chunk, once the vectors of its images are there.
    ///
    /// # Errors
    /// When most of the recent input is bad, or vectors are unavailable.
    pub fn ingest_chunk(
        &mut self,
        decoded: &mut DecodedChunk,
        progress: &Progress,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<ChunkOutcome, IngestError> {
        let job = Arc::clone(&self.job);
        if let (Some(plan), Some(embedder)) = (&job.plan.vectors, &job.embedder) {
            let images = Images { job: &job, plan, embedder, topic: &self.topic, partition: self.id };
            let found = images.resolve(decoded, &mut self.sampler, stop);
            let found = found.map_err(|source| IngestError::Vectors { partition: self.id, source })?;
            let Some(rows) = found else { return Ok(ChunkOutcome::Stopped) };
            progress.count_vectors(&rows);
            self.vectors.extend(rows);
        }
        self.ingest_decoded(decoded, progress)?;
        Ok(ChunkOutcome::Ingested)
    }

    fn ingest_decoded(&mut self, decoded: &DecodedChunk, progress: &Progress) -> Result<(), IngestError> {
        progress.count_fields(decoded.refused.iter().filter(|r| !r.fatal).map(|r| r.reject));
        decoded.good.iter().for_each(|good| self.count_recent(*good));
        self.next_offset = decoded.next_offset.unwrap_or(self.next_offset);
        self.fingerprint = decoded.fingerprint.unwrap_or(self.fingerprint);
        Progress::add(&progress.messages, decoded.messages);
        Progress::add(&progress.tombstones, decoded.tombstones);
        Progress::add(&progress.bytes, decoded.bytes);
        let before = self.state.counters();
        // A message that says no time of its own lies in that of the events around it.
        let without_time: Vec<i64> =
            decoded.refused.iter().filter(|r| r.record_time_us.is_none()).map(|r| r.offset).collect();
        let mut too_far = Vec::new();
        let origins = Origins { offsets: &decoded.offsets, appended: &decoded.appended };
        let refuse = &mut |offset, time, reject| too_far.push((offset, time, reject));
        let times = self.state.ingest_asked(&decoded.batch, origins, &without_time, refuse);
        let mut times =
            times.map_err(|e| IngestError::Files { partition: self.id, source: e.into() })?.into_iter();
        for r in &decoded.refused {
            let time = r.record_time_us.or_else(|| times.next()).unwrap_or_default();
            self.reject(time, r.offset, r.reject, r.fatal, progress);
        }
        for (offset, time, reject) in too_far {
            // It was noted as good when it came.
            self.count_recent(false);
            self.reject(time, offset, reject, true, progress);
        }
        self.count(before, progress);
        progress.taken_to.fetch_max(self.state.watermark(), Ordering::Relaxed);
        let closed = self.state.take_closed();
        self.closed_bytes += closed.iter().map(|r| r.contents.memory_bytes()).sum::<usize>();
        self.closed.extend(closed);
        self.dirty = true;
        self.ended = false;
        self.check_bad_share()
    }

    /// JobCounts what came in since the counters stood at `before`.
    fn count(&self, before: Counters, progress: &Progress) {
        let after = self.state.counters();
        Progress::add(&progress.events, after.events.saturating_sub(before.events));
        // Events of the first minutes of a partition that turned out to be of a wrong clock; some
        // may have been counted by another process.
        Progress::take(&progress.events, before.events.saturating_sub(after.events));
        Progress::add(&progress.late, after.late - before.late);
        progress.undecided.lock().insert(self.id, self.state.undecided() as u64);
    }

    fn reject(&mut self, time: i64, offset: i64, reject: Reject, fatal: bool, progress: &Progress) {
        if fatal {
            Progress::add(&progress.rejected, 1);
            *progress.reasons.lock().entry(reject.reason.name()).or_default() += 1;
        } else {
            let rows = self.field_rows.entry((reject.field, reject.reason)).or_default();
            if *rows >= FIELD_ROWS {
                return;
            }
            *rows += 1;
        }
        self.rejects.push(RejectRow {
            time,
            topic: Arc::clone(&self.topic),
            partition: self.id.0,
            offset,
            reason: reject.reason.name(),
            field: reject.field,
            fatal,
        });
    }

    fn count_recent(&mut self, good: bool) {
        self.recent.push_back(good);
        self.bad += usize::from(!good);
        if self.recent.len() > RECENT && self.recent.pop_front() == Some(false) {
            self.bad -= 1;
        }
    }

    fn check_bad_share(&self) -> Result<(), IngestError> {
        let (bad, of, share) = (self.bad, self.recent.len(), self.job.settings.config.input.max_bad_share);
        if of < ENOUGH || bad as f64 <= share * of as f64 {
            return Ok(());
        }
        let mut reasons: Vec<&str> =
            self.rejects.iter().rev().filter(|r| r.fatal).take(100).map(|r| r.reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        Err(IngestError::MostlyBad { partition: self.id, bad, of, reasons: reasons.join(", "), share })
    }

    /// Whether a commit is due whatever the time: memory fills.
    #[must_use]
    pub fn is_full(&self) -> bool {
        panes_are_due(self.closed.len(), self.closed_bytes, self.state.open_rows(), || self.state.memory_bytes())
            // Those of fields are bounded by themselves: a field that is always wrong must not cost
            // a commit for every thousand events.
            || self.rejects.len() - self.field_rows.values().sum::<usize>() >= MANY_ROWS
            || self.vectors.len() >= 4 * MANY_ROWS
    }

    /// About how many bytes of memory the open panes take.
    #[must_use]
    pub fn open_bytes(&self) -> usize {
        self.state.memory_bytes()
    }

    /// Whether anything came since the last commit.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Whether this owner has yet to tell how far the partition has come.
    #[must_use]
    pub fn has_yet_to_commit(&self) -> bool {
        !self.has_committed
    }

    /// About how many bytes of memory the closed panes take that wait for a commit.
    #[must_use]
    pub fn closed_bytes(&self) -> usize {
        self.closed_bytes
    }

    /// Where to go on; `None` before the first record.
    #[must_use]
    pub fn position(&self) -> Option<Offset> {
        (self.chain.last_commit().is_some()).then_some(Offset(self.next_offset))
    }

    /// What tells the last record.
    #[must_use]
    pub fn last_read(&self) -> LastRead {
        (self.log.clone(), self.fingerprint)
    }

    /// What comes next is in the log of this id; where that is another one, it begins at `begins`.
    pub fn follow(&mut self, log: Option<Arc<str>>, begins: Option<Offset>) {
        if let Some(begins) = begins {
            self.next_offset = begins.0;
            self.fingerprint = 0;
            self.dirty = true;
        }
        self.log = log.or_else(|| self.log.take().filter(|_| begins.is_none()));
    }

    /// Notes that the input is over.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The offset to go on from.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset(self.next_offset)
    }

    /// The partition.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// The newest epoch of its chain: that of the claim, before anything is committed.
    #[must_use]
    pub fn head(&self) -> Epoch {
        self.chain.head()
    }

    /// Commits what closed; with `quiet` what is open too, since nothing more is expected for now.
    ///
    /// # Errors
    /// When the storage fails for good, or the partition is another process's now; then nothing of
    /// it counts.
    pub fn commit(
        &mut self,
        quiet: Option<Reach>,
        progress: &Progress,
    ) -> Result<CommittedPanes, IngestError> {
        reached("partition.commit.begin");
        let id = self.id;
        let files = |source: PaneFileError| IngestError::Files { partition: id, source };
        let mut likely = None;
        if let Some(reach) = quiet {
            let before = self.state.counters();
            let (rows, mark) = self.state.flush(reach);
            self.closed.extend(rows);
            likely = mark;
            self.count(before, progress);
        }
        let quiet = quiet.is_some();
        let job = Arc::clone(&self.job);
        let names = &job.settings.names;
        let stem = format!("{:012}-{}", self.chain.next().0, self.writer);
        let write = |folder: &str, rows: Vec<RecordBatch>| -> Result<Option<String>, PaneFileError> {
            if rows.is_empty() {
                return Ok(None);
            }
            let path = format!("{folder}/{}/partition={:05}/{stem}.parquet", job.name, id.0);
            job.storage.put(&path, panes::all_to_parquet(&rows)?)?;
            Ok(Some(path))
        };
        let closed = panes::packed_batches(&self.closed, names).map_err(files)?;
        let panes_file = write("_panes", closed).map_err(files)?;
        reached("partition.commit.panes");
        self.state.pack_others();
        let open = panes::packed_batches(&self.state.open_panes(), names).map_err(files)?;
        let open_file = write("_open", open).map_err(files)?;
        let mut stager = Stager::new(&job.storage, format!("p{:05}-{stem}", id.0));
        let rejects = batches_by_date(&self.rejects, |r| r.time, rejects_batch);
        stager.table("rejects", &rejects.map_err(files)?).map_err(files)?;
        let vectors = batches_by_date(&self.vectors, |r| r.time, vectors_batch);
        stager.table("vectors", &vectors.map_err(files)?).map_err(files)?;
        let commit = PartitionCommit {
            next_offset: self.next_offset,
            fingerprint: self.fingerprint,
            log: self.log.as_deref().map(str::to_owned),
            state: self.state.state(),
            watermark: self.state.watermark(),
            panes: panes_file,
            open: open_file.clone(),
            files: stager.files,
            sampler: self.sampler.state(),
            quiet,
            likely,
            unsettled: self.state.is_unsettled(),
            ended: self.ended,
        };
        let staged = commit.files.clone();
        reached("partition.commit.staged");
        let epoch = self.chain.commit(commit)?;
        reached("partition.commit.manifest");
        publish(&job.storage, &staged).map_err(|e| files(e.into()))?;
        reached("partition.commit.published");
        if let Some(old) = std::mem::replace(&mut self.open_file, open_file) {
            // Left behind it does no harm: no commit names it any more.
            let _ = job.storage.delete(&old);
        }
        self.rejects.clear();
        self.field_rows.clear();
        self.vectors.clear();
        self.closed_bytes = 0;
        self.dirty = false;
        self.has_committed = true;
        reached("partition.commit.done");
        Ok(CommittedPanes {
            partition: id,
            epoch,
            watermark: self.state.watermark(),
            quiet,
            likely,
            unsettled: self.state.is_unsettled(),
            ended: self.ended,
            empty: self.next_offset == 0,
            rows: std::mem::take(&mut self.closed),
        })
    }
}

#[cfg(test)]
mod tests;
