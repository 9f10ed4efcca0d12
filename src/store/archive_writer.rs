//! The archive of events as files: each partition's rows in Parquet, each file one commit of the
//! partition's chain.
//!
//! A file is staged, then named in a commit together with the next offset, and only then renamed to
//! its final name, so that after any crash every record is in exactly one file that readers see.

pub use super::error::ArchiveWriteError;

use super::chain::Chain;
use super::epoch::Epoch;
use super::error::{PaneFileError, StorageError};
use super::parquet_file::{to_parquet, writer_properties};
use super::rejects::{RejectRow, rejects_batch};
use super::storage::Storage;
use super::tables::{StagedFile, publish};
use crate::enrich::Clean;
use crate::enrich::hash::short_hash;
use crate::event::time::{DAY, date, floor};
use crate::event::{Event, Offset, PartitionId, Reject, RejectReason};
use crate::store::event_rows::{ArchiveBuilder, Place, metadata, schema};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// Rows that are collected before they are encoded.
const BATCH: usize = 8192;
/// Rejected messages after which a commit is due.
const MAX_REJECTS: usize = 100_000;

/// What one commit of a partition says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ArchiveCommit {
    /// The next offset to read.
    pub next_offset: i64,
    /// What offsets count: the topic, or the names of the files in their order.
    pub inputs: Vec<String>,
    /// Rows archived so far.
    pub rows: u64,
    /// Files that this commit names.
    pub files: Vec<StagedFile>,
    /// The topic's id, where the brokers report it.
    #[serde(default)]
    pub log: Option<String>,
    /// Whether the input was read to its end.
    #[serde(default)]
    pub ended: bool,
    /// A hash of the last record, by which a stream is recognized; 0 where there is none.
    #[serde(default)]
    pub fingerprint: u64,
}

/// The archive's input and output; the same for all partitions.
#[derive(Debug, Clone)]
pub struct ArchiveTarget {
    /// The archive's root.
    pub storage: Storage,
    /// Folder of the chains, without the partition.
    pub chains: String,
    /// The topic; empty for files.
    pub topic: Arc<str>,
    /// What offsets count: the topic, or the names of the files in their order.
    pub inputs: Vec<String>,
    /// Id of the hashing key.
    pub key_id: u64,
    /// Rows after which a file is full.
    pub rows_per_file: u64,
}

/// What a commit wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArchiveWritten {
    /// Files of events.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl std::ops::AddAssign for ArchiveWritten {
    fn add_assign(&mut self, o: Self) {
        self.files += o.files;
        self.rows += o.rows;
        self.bytes += o.bytes;
    }
}

/// The file that is being written, in memory.
struct ArchiveFile {
    parquet: ArrowWriter<Vec<u8>>,
    rows: u64,
    offsets: (i64, i64),
    /// Start of the UTC day of its first event.
    day: i64,
}

/// One partition's archive, owned by this process.
pub struct ArchivePartition {
    target: Arc<ArchiveTarget>,
    id: PartitionId,
    chain: Chain,
    writer: String,
    builder: ArchiveBuilder,
    file: Option<ArchiveFile>,
    rejects: Vec<RejectRow>,
    next_offset: i64,
    committed: i64,
    rows: u64,
    log: Option<Arc<str>>,
    /// Whether the input has ended, and whether the last commit says so.
    ended: (bool, bool),
    /// The last message that was processed, and the current one.
    messages: (Vec<u8>, Vec<u8>),
    /// A hash of the last message of an earlier owner.
    fingerprint: u64,
    /// When the oldest uncommitted record came.
    since: Option<Instant>,
}

impl ArchivePartition {
    /// Claims a partition's archive and continues from its last commit, whose files it publishes
    /// where a crash prevented that.
    ///
    /// # Errors
    /// When chain or files fail, or the archive was made from other inputs.
    pub fn claim(
        target: &Arc<ArchiveTarget>,
        id: PartitionId,
        writer: String,
    ) -> Result<Self, ArchiveWriteError> {
        let folder = format!("{}/partition={:05}", target.chains, id.0);
        let (chain, last) = Chain::claim::<ArchiveCommit>(&target.storage, &folder, &writer)?;
        let mut out = Self {
            target: Arc::clone(target),
            id,
            chain,
            writer,
            builder: ArchiveBuilder::default(),
            file: None,
            rejects: Vec::new(),
            next_offset: 0,
            committed: 0,
            rows: 0,
            log: None,
            ended: (false, false),
            messages: (Vec::new(), Vec::new()),
            fingerprint: 0,
            since: None,
        };
        if let Some(c) = last {
            publish(&target.storage, &c.files).map_err(|e| out.failed(e))?;
            if !target.inputs.starts_with(&c.inputs) {
                let (archived, given) = (c.inputs.join(", "), target.inputs.join(", "));
                return Err(ArchiveWriteError::OtherInput { archived, given });
            }
            out.next_offset = c.next_offset;
            out.committed = c.next_offset;
            out.ended = (c.ended, c.ended);
            out.fingerprint = c.fingerprint;
            out.rows = c.rows;
            out.log = c.log.map(Arc::from);
        }
        Ok(out)
    }

    /// The same with the storage of another target of this archive.
    #[must_use]
    pub fn of(mut self, target: &Arc<ArchiveTarget>) -> Self {
        self.target = Arc::clone(target);
        self.chain.set_storage(&target.storage);
        self
    }

    /// The newest epoch of its chain.
    #[must_use]
    pub fn head(&self) -> Epoch {
        self.chain.head()
    }

    fn failed(&self, source: impl Into<PaneFileError>) -> ArchiveWriteError {
        ArchiveWriteError::Files { partition: self.id, source: source.into() }
    }

    /// The partition.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// The next offset; `None` before the first commit.
    #[must_use]
    pub fn position(&self) -> Option<Offset> {
        self.chain.last_commit().map(|_| Offset(self.next_offset))
    }

    /// The id of the topic that it was made from, where it is known.
    #[must_use]
    pub fn log(&self) -> Option<Arc<str>> {
        self.log.clone()
    }

    /// Sets the id of the topic that the next messages come from.
    pub fn follow(&mut self, log: Option<Arc<str>>) {
        self.log = log.or(self.log.take());
    }

    /// Notes the message that is pushed or rejected next. Topics need no note: their id identifies
    /// them.
    pub fn read(&mut self, message: &[u8]) {
        if self.target.topic.is_empty() {
            self.messages.1.clear();
            self.messages.1.extend_from_slice(message);
        }
    }

    /// A hash of the last message; 0 before the first.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        if self.messages.0.is_empty() { self.fingerprint } else { short_hash(&self.messages.0) }
    }

    /// Notes that the input has ended; the next commit records it.
    pub fn end(&mut self) {
        self.ended.0 = true;
    }

    /// The next offset as of the last commit.
    #[must_use]
    pub fn committed(&self) -> Offset {
        Offset(self.committed)
    }

    /// When the oldest uncommitted record came; `None` where all are committed.
    #[must_use]
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Appends an event; `left_out` are its optional fields of the wrong type. Commits a file that
    /// is full, or whose day has ended, and returns what was written.
    ///
    /// # Errors
    /// When a commit fails.
    pub fn push(
        &mut self,
        event: &Event<'_>,
        clean: &Clean,
        place: Place<'_>,
        left_out: &[&'static str],
    ) -> Result<ArchiveWritten, ArchiveWriteError> {
        let day = floor(event.time_us, DAY);
        let mut wrote = ArchiveWritten::default();
        // Records come roughly in order of time: one of a later day ends the file, a late one of an
        // earlier day doesn't.
        if self.file.as_ref().is_some_and(|f| day > f.day) {
            wrote += self.commit()?;
        }
        if self.file.is_none() {
            let parquet = ArrowWriter::try_new(Vec::new(), schema(), Some(writer_properties()))
                .map_err(|e| self.failed(e))?;
            self.file = Some(ArchiveFile { parquet, rows: 0, offsets: (place.offset, place.offset), day });
        }
        self.builder.push(event, clean, place);
        let time = place.record_time_us.unwrap_or(event.time_us);
        for field in left_out {
            self.note(time, place.offset, Reject::field(RejectReason::MistypedField, field), false);
        }
        for field in clean.refused.paths() {
            self.note(time, place.offset, Reject::field(RejectReason::RefusedName, field), false);
        }
        if let Some(f) = &mut self.file {
            f.rows += 1;
            f.offsets.1 = place.offset;
        }
        if self.builder.len() >= BATCH {
            self.encode()?;
        }
        self.advance_past(place.offset);
        if self.file.as_ref().is_some_and(|f| f.rows >= self.target.rows_per_file) {
            wrote += self.commit()?;
        }
        Ok(wrote)
    }

    /// Skips a message that is no event; `time` is its record's, or close to it.
    pub fn reject(&mut self, time: i64, offset: i64, reject: Reject) {
        self.note(time, offset, reject, true);
        self.advance_past(offset);
    }

    /// Skips a record that is no message.
    pub fn skip(&mut self, offset: i64) {
        self.advance_past(offset);
    }

    fn note(&mut self, time: i64, offset: i64, reject: Reject, fatal: bool) {
        self.rejects.push(RejectRow {
            time,
            topic: Arc::clone(&self.target.topic),
            partition: self.id.0,
            offset,
            reason: reject.reason.name(),
            field: reject.field,
            fatal,
        });
    }

    fn advance_past(&mut self, offset: i64) {
        std::mem::swap(&mut self.messages.0, &mut self.messages.1);
        self.next_offset = offset + 1;
        self.ended.0 = false;
        self.since.get_or_insert_with(Instant::now);
    }

    /// Whether a commit is due because memory fills.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rejects.len() >= MAX_REJECTS
    }

    fn encode(&mut self) -> Result<(), ArchiveWriteError> {
        let Some(f) = &mut self.file else { return Ok(()) };
        let done = match self.builder.finish() {
            Ok(batch) => f.parquet.write(&batch).map_err(PaneFileError::from),
            Err(e) => Err(e.into()),
        };
        done.map_err(|e| self.failed(e))
    }

    /// Commits what came since the last commit, and publishes it.
    ///
    /// # Errors
    /// When the storage fails for good, or another process owns the partition now; then nothing of
    /// it counts.
    pub fn commit(&mut self) -> Result<ArchiveWritten, ArchiveWriteError> {
        if self.next_offset == self.committed && (self.ended.1 || !self.ended.0) {
            return Ok(ArchiveWritten::default());
        }
        if !self.builder.is_empty() {
            self.encode()?;
        }
        let epoch = self.chain.next().0;
        let stem = format!("{:05}-{epoch:012}-{}", self.id.0, self.writer);
        let mut files = Vec::new();
        let mut wrote = ArchiveWritten::default();
        if let Some(mut f) = self.file.take() {
            for (key, value) in metadata(self.target.key_id) {
                f.parquet.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
            }
            let (first, last) = f.offsets;
            let to =
                format!("date={}/partition-{:05}-{first:012}-{last:012}.parquet", date(f.day), self.id.0);
            wrote.rows = f.rows;
            wrote.files = 1;
            let bytes = f.parquet.into_inner().map_err(|e| self.failed(e))?;
            wrote.bytes = bytes.len() as u64;
            files.push(self.stage(format!("_staged/{stem}.parquet"), to, &bytes)?);
        }
        if let Some(first) = self.rejects.first() {
            let name = format!("date={}/partition-{stem}.parquet", date(first.time));
            let batch = rejects_batch(&self.rejects).map_err(|e| self.failed(e))?;
            let bytes = to_parquet(&batch).map_err(|e| self.failed(e))?;
            files.push(self.stage(format!("_staged/rejects/{name}"), format!("{REJECTS}/{name}"), &bytes)?);
        }
        self.chain.commit(ArchiveCommit {
            next_offset: self.next_offset,
            inputs: self.target.inputs.clone(),
            rows: self.rows + wrote.rows,
            files: files.clone(),
            log: self.log.as_deref().map(str::to_owned),
            ended: self.ended.0,
            fingerprint: self.fingerprint(),
        })?;
        self.ended.1 = self.ended.0;
        publish(&self.target.storage, &files).map_err(|e| self.failed(e))?;
        self.rows += wrote.rows;
        self.committed = self.next_offset;
        self.rejects.clear();
        self.since = None;
        Ok(wrote)
    }

    fn stage(&self, from: String, to: String, bytes: &[u8]) -> Result<StagedFile, ArchiveWriteError> {
        let put: Result<(), StorageError> = self.target.storage.put(&from, bytes.to_vec());
        put.map_err(|e| self.failed(e))?;
        Ok(StagedFile { from, to })
    }
}

/// The folder of rejected messages within an archive. It begins with `_`, so that a replay of the
/// archive skips it.
pub const REJECTS: &str = "_rejects";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::Ids;
    use crate::event::Stage;
    use crate::store::chain::ChainError;

    const T: i64 = 1_767_225_600_000_000; // 2026-01-01

    fn target(dir: &std::path::Path, inputs: &[&str]) -> (tokio::runtime::Runtime, Arc<ArchiveTarget>) {
        let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let target = ArchiveTarget {
            storage: Storage::open(dir.to_str().unwrap(), rt.handle().clone()).unwrap(),
            chains: "_chain/archive".into(),
            topic: "".into(),
            inputs: inputs.iter().map(|s| (*s).to_owned()).collect(),
            key_id: 7,
            rows_per_file: 3,
        };
        (rt, Arc::new(target))
    }

    fn push(p: &mut ArchivePartition, offset: i64, time_us: i64) -> ArchiveWritten {
        let event = Event::new(format!("r{offset}").into(), time_us, Stage::Generate);
        let ids = Ids { request: offset.unsigned_abs(), ..Ids::default() };
        let clean = Clean { ids, ..Clean::default() };
        let place = Place { topic: "", partition: 0, offset, record_time_us: None };
        p.push(&event, &clean, place, &[]).unwrap()
    }

    fn files(t: &ArchiveTarget) -> Vec<String> {
        let all = t.storage.list("").unwrap();
        all.into_iter().filter(|f| f.starts_with("date=")).collect()
    }

    #[test]
    fn files_end_with_their_day_and_when_they_are_full() {
        let dir = tempfile::tempdir().unwrap();
        let (_rt, t) = target(dir.path(), &["a"]);
        let mut p = ArchivePartition::claim(&t, PartitionId(0), "w".into()).unwrap();
        assert_eq!(p.position(), None);
        for (offset, time) in [(0, T), (1, T + DAY), (2, T), (3, T + DAY), (5, T + DAY)] {
            push(&mut p, offset, time);
        }
        p.reject(T, 6, Reject { reason: RejectReason::NotJson, field: None });
        p.commit().unwrap();
        assert_eq!(p.committed(), Offset(7));
        let name = |d: &str, a: i64, b: i64| format!("date={d}/partition-00000-{a:012}-{b:012}.parquet");
        assert_eq!(
            files(&t),
            [name("2026-01-01", 0, 0), name("2026-01-02", 1, 3), name("2026-01-02", 5, 5)],
            "a late record stays in the current day's file"
        );
        assert_eq!(t.storage.list("_staged").unwrap(), Vec::<String>::new());
        assert_eq!(t.storage.list(REJECTS).unwrap().len(), 1);
        assert_eq!(p.commit().unwrap(), ArchiveWritten::default(), "nothing new");
    }

    #[test]
    fn a_successor_continues_after_the_last_commit_and_the_old_owner_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (_rt, t) = target(dir.path(), &["a"]);
        let mut a = ArchivePartition::claim(&t, PartitionId(0), "a".into()).unwrap();
        (0..4).for_each(|o| {
            push(&mut a, o, T);
        });
        let mut b = ArchivePartition::claim(&t, PartitionId(0), "b".into()).unwrap();
        assert_eq!(b.position(), Some(Offset(3)), "the fourth record was not committed");
        assert!(matches!(a.commit(), Err(ArchiveWriteError::Chain(ChainError::Lost { .. }))));
        (3..5).for_each(|o| {
            push(&mut b, o, T);
        });
        assert_eq!(b.commit().unwrap().rows, 2);
        let name = |a: i64, b: i64| format!("date=2026-01-01/partition-00000-{a:012}-{b:012}.parquet");
        assert_eq!(files(&t), [name(0, 2), name(3, 4)]);
    }

    #[test]
    fn a_file_that_a_crash_left_staged_is_published_by_the_next_owner() {
        let dir = tempfile::tempdir().unwrap();
        let (_rt, t) = target(dir.path(), &["a"]);
        let mut a = ArchivePartition::claim(&t, PartitionId(0), "a".into()).unwrap();
        push(&mut a, 0, T);
        a.commit().unwrap();
        // As if the crash had come between the commit and the new name.
        let published = files(&t).remove(0);
        t.storage.publish(&published, "_staged/00000-000000000002-a.parquet").unwrap();
        assert_eq!(files(&t), Vec::<String>::new());
        ArchivePartition::claim(&t, PartitionId(0), "b".into()).unwrap();
        assert_eq!(files(&t), [published]);
    }

    #[test]
    fn other_inputs_are_refused_and_more_inputs_are_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let (_rt, t) = target(dir.path(), &["a"]);
        let mut p = ArchivePartition::claim(&t, PartitionId(0), "w".into()).unwrap();
        push(&mut p, 0, T);
        p.commit().unwrap();
        let (_rt, more) = target(dir.path(), &["a", "b"]);
        assert_eq!(
            ArchivePartition::claim(&more, PartitionId(0), "x".into()).unwrap().position(),
            Some(Offset(1))
        );
        let (_rt, other) = target(dir.path(), &["b"]);
        let e = ArchivePartition::claim(&other, PartitionId(0), "y".into());
        assert!(matches!(e, Err(ArchiveWriteError::OtherInput { .. })));
    }
}
