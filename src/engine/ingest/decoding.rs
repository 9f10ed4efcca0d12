//! Decoding: chunks of messages to batches, on several threads and ahead of the partition that they
//! belong to.
//!
//! It depends on nothing but the chunk and the settings, so it may run anywhere; its result is
//! ingested by the partition's worker in the order of offsets. Batches circulate: a thread without
//! an empty one waits, so that decoding is never far ahead.

use crate::config::features::ranges;
use crate::engine::error::IngestError;
use crate::engine::job::Job;
use crate::enrich::hash::short_hash;
use crate::enrich::{Batch, Enricher, Plan};
use crate::event::{Event, Ranges, Reject, RejectReason, decode_within};
use crate::source::{Chunk, PartitionId, Payload, TimeRange};
use crate::store::event_rows::ArchiveReader;
use crossbeam_channel::{Receiver, Sender};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A message, or a field of one, that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// The record's time where it has one.
    pub record_time_us: Option<i64>,
    /// Its offset.
    pub offset: i64,
    /// Why.
    pub reject: Reject,
    /// Whether the whole message was refused, or this field only.
    pub fatal: bool,
}

/// A chunk in the form in which its partition ingests it.
#[derive(Debug)]
pub struct DecodedChunk {
    /// The partition.
    pub partition: PartitionId,
    /// The events within the range of times.
    pub batch: Batch,
    /// The offset of each.
    pub offsets: Vec<i64>,
    /// When the broker received each, by the broker's clock; empty where that is unknown.
    pub appended: Vec<Option<i64>>,
    /// What was refused, in order.
    pub refused: Vec<Rejection>,
    /// For each message, in order, whether it was an event; empty for archives, where all rows are.
    pub good: Vec<bool>,
    /// The offset after the last message; `None` for a chunk without any.
    pub next_offset: Option<i64>,
    /// A hash of the last message.
    pub fingerprint: Option<u64>,
    /// Records in the chunk.
    pub messages: u64,
    /// Those of them without a value, which are not messages.
    pub tombstones: u64,
    /// Bytes that they were read from.
    pub bytes: u64,
}

impl Default for DecodedChunk {
    fn default() -> Self {
        Self {
            partition: PartitionId(0),
            batch: Batch::default(),
            offsets: Vec::new(),
            appended: Vec::new(),
            refused: Vec::new(),
            good: Vec::new(),
            next_offset: None,
            fingerprint: None,
            messages: 0,
            tombstones: 0,
            bytes: 0,
        }
    }
}

impl DecodedChunk {
    /// Empties it and keeps its buffers.
    fn begin(&mut self, chunk: &Chunk) {
        self.batch.clear();
        self.offsets.clear();
        self.appended.clear();
        self.refused.clear();
        self.good.clear();
        (self.next_offset, self.fingerprint, self.tombstones) = (None, None, 0);
        (self.partition, self.messages, self.bytes) =
            (chunk.partition, chunk.len() as u64, chunk.bytes as u64);
    }

    /// Adds an event, without numbers outside their ranges. Refused fields, names included, are
    /// noted. `appended` is when the broker received it, where that is known by the broker's clock.
    fn push(
        &mut self,
        mut event: Event<'_>,
        (offset, record_time_us): (i64, Option<i64>),
        appended: Option<i64>,
        ranges: &Ranges,
        enricher: &mut Enricher,
    ) {
        let refused = |reason, field: &'static str| Rejection {
            record_time_us,
            offset,
            reject: Reject::field(reason, field),
            fatal: false,
        };
        ranges.check(&mut event, |field| {
            self.refused.push(refused(RejectReason::OutOfRange, field.path()));
        });
        if appended.is_some() || !self.appended.is_empty() {
            self.appended.resize(self.offsets.len(), None);
            self.appended.push(appended);
        }
        enricher.push(&event, &mut self.batch);
        let names = enricher.refused();
        if !names.is_empty() {
            let name = |field| refused(RejectReason::RefusedName, field);
            self.refused.extend(names.paths().map(name));
        }
        self.offsets.push(offset);
    }
}

/// Decodes chunks; one per thread, because it has caches.
pub struct Decoder {
    plan: Arc<Plan>,
    max_message: usize,
    range: TimeRange,
    ranges: Ranges,
    enricher: Enricher,
    mistyped: Vec<&'static str>,
    /// Messages with these bytes crash it.
    #[cfg(test)]
    crash_on: &'static [u8],
}

impl Decoder {
    /// A decoder for a job; events outside `range` are left out.
    #[must_use]
    pub fn new(job: &Job, range: TimeRange) -> Self {
        Self {
            plan: Arc::clone(&job.plan),
            max_message: job.settings.config.input.max_message.0 as usize,
            range,
            ranges: ranges(&job.plan.features),
            enricher: Enricher::new(Arc::clone(&job.plan)),
            mistyped: Vec::new(),
            #[cfg(test)]
            crash_on: b"",
        }
    }

    /// Decodes a chunk. A message on which the decoder crashes is rejected like any other bad one,
    /// so that it can't end the job again and again.
    ///
    /// # Errors
    /// When an archive lacks columns.
    pub fn decode(&mut self, chunk: &Chunk, out: &mut DecodedChunk) -> Result<(), IngestError> {
        if let Some(done) = self.catching_panics(|d| d.decode_except(chunk, &[], out)) {
            return done;
        }
        let Payload::Messages { spans, .. } = &chunk.payload else {
            return Err(IngestError::Crashed { partition: chunk.partition });
        };
        let mut alone = DecodedChunk::default();
        let mut harmful = |d: &mut Self, offset: i64| {
            let others: Vec<i64> = spans.iter().map(|s| s.offset).filter(|o| *o != offset).collect();
            d.catching_panics(|d| d.decode_except(chunk, &others, &mut alone)).is_none()
        };
        let crashing: Vec<i64> = spans.iter().map(|s| s.offset).filter(|o| harmful(self, *o)).collect();
        tracing::error!(partition = %chunk.partition, offsets = ?crashing, "messages crash the decoder, which is a bug: rejected");
        // A crash that no single message causes would happen again.
        match self.catching_panics(|d| d.decode_except(chunk, &crashing, out)) {
            Some(done) if !crashing.is_empty() => done,
            _ => Err(IngestError::Crashed { partition: chunk.partition }),
        }
    }

    /// Runs a step; `None` if it panicked, after which the caches are new.
    fn catching_panics<T>(&mut self, step: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(|| step(self))).ok();
        if done.is_none() {
            self.enricher = Enricher::new(Arc::clone(&self.plan));
            self.mistyped.clear();
        }
        done
    }

    /// Decodes a chunk except some offsets, which are refused.
    fn decode_except(
        &mut self,
        chunk: &Chunk,
        except: &[i64],
        out: &mut DecodedChunk,
    ) -> Result<(), IngestError> {
        out.begin(chunk);
        match &chunk.payload {
            Payload::Messages { buffer, spans } => {
                for s in spans {
                    let message = &buffer[s.start as usize..s.end as usize];
                    if s.tombstone {
                        out.tombstones += 1;
                        out.next_offset = Some(s.offset + 1);
                        continue;
                    }
                    if !except.is_empty() && except.contains(&s.offset) {
                        let reject = Reject { reason: RejectReason::Crashed, field: None };
                        let (record_time_us, offset) = (s.record_time_us, s.offset);
                        out.refused.push(Rejection { record_time_us, offset, reject, fatal: true });
                        out.good.push(false);
                        out.next_offset = Some(s.offset + 1);
                        continue;
                    }
                    #[cfg(test)]
                    assert!(
                        self.crash_on.is_empty()
                            || !message.windows(self.crash_on.len()).any(|w| w == self.crash_on),
                        "told to crash"
                    );
                    self.mistyped.clear();
                    let decoded = decode_within(message, self.max_message, &mut self.mistyped);
                    let refuse = |reject, fatal| Rejection {
                        record_time_us: s.record_time_us,
                        offset: s.offset,
                        reject,
                        fatal,
                    };
                    out.good.push(decoded.is_ok());
                    match decoded {
                        Ok(event) if !self.range.contains(event.time_us) => {}
                        Ok(event) => {
                            let appended = s.record_time_us.filter(|_| s.appended);
                            let at = (s.offset, s.record_time_us);
                            out.push(event, at, appended, &self.ranges, &mut self.enricher);
                        }
                        Err(reject) => out.refused.push(refuse(reject, true)),
                    }
                    let field =
                        |f: &&'static str| refuse(Reject::field(RejectReason::MistypedField, f), false);
                    out.refused.extend(self.mistyped.iter().map(field));
                    out.next_offset = Some(s.offset + 1);
                }
                out.fingerprint = spans.last().map(|l| short_hash(&buffer[l.start as usize..l.end as usize]));
            }
            Payload::Archive(rows) => {
                let reader = ArchiveReader::new(rows).map_err(|e| IngestError::Archive {
                    partition: chunk.partition,
                    message: e.to_string(),
                })?;
                for i in 0..rows.num_rows() {
                    let (offset, event) = (reader.offset(i), reader.event(i));
                    if self.range.contains(event.time_us) {
                        let at = (offset, reader.record_time_us(i));
                        out.push(event, at, None, &self.ranges, &mut self.enricher);
                    }
                    out.next_offset = Some(offset + 1);
                }
            }
        }
        Ok(())
    }
}

/// What becomes of a chunk.
pub type DecodeResult = Result<Box<DecodedChunk>, IngestError>;

/// A chunk to decode, and the channel for its outcome.
pub struct DecodeTask {
    /// The chunk.
    pub chunk: Chunk,
    /// Takes one outcome.
    pub to: Sender<DecodeResult>,
}

/// Decodes until the channel of tasks or of emptied batches is closed. Emptied buffers of messages
/// go to `recycle`.
pub fn decode_until_closed(
    mut decoder: Decoder,
    tasks: &Receiver<DecodeTask>,
    spare: &Receiver<Box<DecodedChunk>>,
    recycle: &Sender<Vec<u8>>,
) {
    while let Ok(mut into) = spare.recv() {
        let Ok(task) = tasks.recv() else { return };
        let done = decoder.decode(&task.chunk, &mut into);
        if let Payload::Messages { buffer, .. } = task.chunk.payload {
            let _ = recycle.try_send(buffer);
        }
        // A worker that has ended has reported why.
        let _ = task.to.send(done.map(|()| into));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::engine::JobKind;
    use crate::source::conformance::message;
    use crate::source::{MessageBuffer, PartitionId};
    use crate::store::Storage;

    #[test]
    fn a_message_that_crashes_the_decoder_is_rejected_and_the_others_are_not() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), tokio::runtime::Runtime::new().unwrap());
        let storage = Storage::open(dir.path().to_str().unwrap(), runtime.handle().clone()).unwrap();
        let job = Job::open(Config::default(), JobKind::Run, storage, false).unwrap();
        let mut decoder = Decoder::new(&job, TimeRange::ALL);
        decoder.crash_on = b"p0-3";
        let mut gathered = MessageBuffer::default();
        for n in 0..6 {
            gathered.push(n, message(0, n).as_bytes(), None);
        }
        let chunk = gathered.take(PartitionId(0), &mut crate::source::BufferPool::default());
        let mut out = DecodedChunk::default();
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let done = decoder.decode(&chunk, &mut out);
        std::panic::set_hook(hook);
        done.unwrap();
        assert_eq!(out.offsets, [0, 1, 2, 4, 5]);
        assert_eq!(out.good, [true, true, true, false, true, true]);
        assert_eq!(out.next_offset, Some(6));
        let refused: Vec<_> = out.refused.iter().map(|r| (r.offset, r.reject.reason.name())).collect();
        assert_eq!(refused, [(3, "crashed")]);
    }
}
