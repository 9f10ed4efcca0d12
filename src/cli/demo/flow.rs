//! Flow control between the demo's producer and its consumer, and the proof that nothing was lost between them.
//!
//! The in-process broker drops a partition's oldest data past 5 MiB or 100,000 message sets, silently. So a message is sent only
//! while what its partition holds unread stays well below that; and at the end the counts and offsets must agree.

use crate::engine::Progress;
use crate::source::{Chunk, PartitionId, Payload, Polled, Source, SourceError};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use thiserror::Error;

/// Bytes that one partition may hold unread, of the 5 MiB that the broker keeps.
const PARTITION_BYTES: u64 = 7 << 19;
/// Messages that all partitions together may hold unread.
const MESSAGES: u64 = 20_000;
/// What a message takes beside its payload at most: its key, and the head of a message set in case it is alone in one.
const OVERHEAD: u64 = 128;

/// Why the demo's stream is not whole.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FlowError {
    /// The producer failed.
    #[error("the demo's producer failed: {0}")]
    Producer(String),
    /// Offsets are missing.
    #[error(
        "the in-process broker lost data: partition {partition} continues at offset {found}, expected {expected}"
    )]
    Gap {
        /// The partition.
        partition: i32,
        /// The offset that should have come.
        expected: i64,
        /// The offset that came.
        found: i64,
    },
    /// The group gave partitions away.
    #[error("the in-process broker revoked partitions before the end; start the demo again")]
    Revoked,
    /// The counts differ at the end.
    #[error("{produced} messages were produced, but {consumed} consumed: the in-process broker lost some")]
    Unequal {
        /// Sent and acknowledged.
        produced: u64,
        /// Taken in by the engine.
        consumed: u64,
    },
}

/// What one partition was sent and what was read of it.
#[derive(Debug, Clone, Copy, Default)]
struct PartitionCount {
    sent: u64,
    sent_bytes: u64,
    read: u64,
    read_bytes: u64,
}

/// The books of a stream: pure arithmetic.
#[derive(Debug)]
struct Books {
    lanes: Vec<PartitionCount>,
    /// Everything is sent and acknowledged.
    done: bool,
    failed: Option<FlowError>,
}

impl Books {
    fn new(partitions: usize) -> Self {
        Self { lanes: vec![PartitionCount::default(); partitions], done: false, failed: None }
    }

    fn unread(&self) -> u64 {
        self.lanes.iter().map(|l| l.sent - l.read).sum()
    }

    /// Whether one more message of this size may be sent. An empty partition takes a message of any size.
    fn has_room(&self, partition: usize, bytes: u64) -> bool {
        let lane = self.lanes[partition];
        let held = lane.sent_bytes - lane.read_bytes;
        self.unread() < MESSAGES && (held == 0 || held + bytes + OVERHEAD <= PARTITION_BYTES)
    }

    fn send(&mut self, partition: usize, bytes: u64) {
        self.lanes[partition].sent += 1;
        self.lanes[partition].sent_bytes += bytes + OVERHEAD;
    }

    /// Enters messages that came out, `first` to `last` by offset; a hole between them and what came before is an error.
    fn read(&mut self, partition: usize, first: i64, last: i64, n: u64, bytes: u64) -> Result<(), FlowError> {
        let lane = &mut self.lanes[partition];
        let expected = lane.read as i64;
        let gap = |found| FlowError::Gap { partition: partition as i32, expected, found };
        if first != expected {
            return Err(gap(first));
        }
        // Whole within, and never more than was sent.
        if last - first + 1 != n as i64 || lane.read + n > lane.sent {
            return Err(gap(last));
        }
        lane.read += n;
        lane.read_bytes += bytes + n * OVERHEAD;
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.done && self.unread() == 0
    }
}

/// The books, shared between the producer and the source.
#[derive(Debug)]
pub struct Flow {
    books: Mutex<Books>,
    read: Condvar,
}

impl Flow {
    /// Books for a topic of this many partitions.
    #[must_use]
    pub fn new(partitions: usize) -> Self {
        Self { books: Mutex::new(Books::new(partitions)), read: Condvar::new() }
    }

    /// Waits up to `patience` for room for a message, and books it as sent. `Ok(false)`: still no room.
    ///
    /// # Errors
    /// When the stream has failed: nothing more is wanted.
    pub fn admit(&self, partition: usize, bytes: usize, patience: Duration) -> Result<bool, FlowError> {
        let mut books = self.books.lock();
        if let Some(e) = &books.failed {
            return Err(e.clone());
        }
        if !books.has_room(partition, bytes as u64) {
            self.read.wait_for(&mut books, patience);
            if !books.has_room(partition, bytes as u64) {
                return Ok(false);
            }
        }
        books.send(partition, bytes as u64);
        Ok(true)
    }

    /// Says that everything is sent and acknowledged.
    pub fn done(&self) {
        self.books.lock().done = true;
    }

    /// Ends the stream with an error; the first one counts.
    pub fn fail(&self, e: FlowError) {
        self.books.lock().failed.get_or_insert(e);
        self.read.notify_all();
    }

    /// The first thing that went wrong.
    #[must_use]
    pub fn failure(&self) -> Option<FlowError> {
        self.books.lock().failed.clone()
    }

    /// Messages sent and messages read, over all partitions.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let books = self.books.lock();
        (books.lanes.iter().map(|l| l.sent).sum(), books.lanes.iter().map(|l| l.read).sum())
    }

    fn take(&self, chunk: &Chunk) -> Result<(), FlowError> {
        let Payload::Messages { spans, .. } = &chunk.payload else { return Ok(()) };
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return Ok(()) };
        let bytes = spans.iter().map(|s| u64::from(s.end - s.start)).sum();
        let partition = chunk.partition.0.unsigned_abs() as usize;
        self.books.lock().read(partition, first.offset, last.offset, spans.len() as u64, bytes)?;
        self.read.notify_all();
        Ok(())
    }
}

/// A source that ends once the producer is done and every message was handed out.
pub struct EndingSource<S> {
    inner: S,
    flow: Arc<Flow>,
    /// Messages that are expected, for the progress bar.
    expected: u64,
    /// Partitions whose end is still to be said; `None` while messages may come.
    ends: Option<VecDeque<PartitionId>>,
    progress: Arc<Progress>,
}

impl<S: Source> EndingSource<S> {
    /// A source over another one, whose messages `flow` books.
    #[must_use]
    pub fn new(inner: S, flow: Arc<Flow>, expected: u64, progress: Arc<Progress>) -> Self {
        Self { inner, flow, expected, ends: None, progress }
    }

    fn refuse(&self, e: FlowError) -> SourceError {
        let message = e.to_string();
        self.flow.fail(e);
        SourceError::BadInput { input: "of the demo".into(), message }
    }
}

impl<S: Source> Source for EndingSource<S> {
    fn partitions(&self) -> Vec<PartitionId> {
        self.inner.partitions()
    }

    fn poll(&mut self, timeout: Duration) -> Result<Polled, SourceError> {
        if let Some(e) = self.flow.failure() {
            return Err(self.refuse(e));
        }
        if self.ends.is_none() && self.flow.books.lock().is_over() {
            self.ends = Some(self.inner.partitions().into());
            // Nobody asks for the lag any more while the last windows are evaluated.
            self.progress.lag.store(0, Ordering::Relaxed);
        }
        if let Some(ends) = &mut self.ends {
            return Ok(ends.pop_front().map_or(Polled::Finished, Polled::Ended));
        }
        let polled = self.inner.poll(timeout)?;
        match &polled {
            Polled::Chunk(chunk) => self.flow.take(chunk).map_err(|e| self.refuse(e))?,
            Polled::Gap { partition, from, to } => {
                let gap = FlowError::Gap { partition: partition.0, expected: from.0, found: to.0 };
                return Err(self.refuse(gap));
            }
            Polled::Log { .. } | Polled::Idle(_) | Polled::Ended(_) | Polled::Nothing | Polled::Finished => {}
        }
        Ok(polled)
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        self.inner.pause(partition)
    }

    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        self.inner.resume(partition)
    }

    // The stream has no size yet; what was read so far tells how large its messages are.
    fn total_bytes(&self) -> Option<u64> {
        let (_, read) = self.flow.counts();
        (read > 0).then(|| (self.read_bytes() as f64 / read as f64 * self.expected.max(read) as f64) as u64)
    }

    fn read_bytes(&self) -> u64 {
        self.flow.books.lock().lanes.iter().map(|l| l.read_bytes).sum()
    }

    fn lag(&self) -> Option<u64> {
        let (sent, read) = self.flow.counts();
        Some(sent - read)
    }

    fn commit_hint(&mut self, partition: PartitionId, next: crate::source::Offset) {
        self.inner.commit_hint(partition, next);
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        self.inner.recycle(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::MessageSpan;

    const KB: u64 = 1_000;

    #[test]
    fn a_partition_never_holds_more_unread_than_the_broker_keeps() {
        let mut books = Books::new(2);
        let mut sent = 0;
        while books.has_room(0, KB) {
            books.send(0, KB);
            sent += KB + OVERHEAD;
        }
        assert!(sent <= PARTITION_BYTES && sent + KB + OVERHEAD > PARTITION_BYTES);
        // A whole message set of librdkafka's default size more would still fit.
        const { assert!(PARTITION_BYTES + 1_000_000 < 5 << 20) };
        assert!(books.has_room(1, KB), "the other partition is empty");
        books.read(0, 0, 9, 10, 10 * KB).unwrap();
        assert!(books.has_room(0, KB), "what was read makes room");
    }

    #[test]
    fn all_partitions_together_hold_a_bounded_number_of_messages() {
        let mut books = Books::new(6);
        let mut n = 0;
        while books.has_room(n as usize % 6, 100) {
            books.send(n as usize % 6, 100);
            n += 1;
        }
        assert_eq!(n, MESSAGES);
    }

    #[test]
    fn an_empty_partition_takes_a_message_of_any_size() {
        assert!(Books::new(1).has_room(0, 100 << 20));
    }

    #[test]
    fn a_hole_in_the_offsets_is_found_wherever_it_is() {
        let mut books = Books::new(1);
        (0..100).for_each(|_| books.send(0, KB));
        books.read(0, 0, 9, 10, 10 * KB).unwrap();
        let gap = |found| Err(FlowError::Gap { partition: 0, expected: 10, found });
        assert_eq!(books.read(0, 12, 19, 8, 8 * KB), gap(12), "before");
        assert_eq!(books.read(0, 10, 19, 9, 9 * KB), gap(19), "within");
        assert_eq!(books.read(0, 5, 14, 10, 10 * KB), gap(5), "repeated");
        assert_eq!(books.read(0, 10, 109, 100, 100 * KB), gap(109), "more than was sent");
        books.read(0, 10, 99, 90, 90 * KB).unwrap();
        assert!(!books.is_over(), "the producer may have more");
        books.done = true;
        assert!(books.is_over());
    }

    #[test]
    fn a_failed_stream_lets_nobody_wait() {
        let flow = Flow::new(1);
        flow.fail(FlowError::Revoked);
        flow.fail(FlowError::Producer("too late".into()));
        assert_eq!(flow.admit(0, 10, Duration::from_secs(60)), Err(FlowError::Revoked));
    }

    /// Hands out what it was given.
    struct Given(VecDeque<Polled>);

    impl Source for Given {
        fn partitions(&self) -> Vec<PartitionId> {
            vec![PartitionId(0), PartitionId(1)]
        }
        fn poll(&mut self, _: Duration) -> Result<Polled, SourceError> {
            Ok(self.0.pop_front().unwrap_or(Polled::Nothing))
        }
        fn pause(&mut self, _: PartitionId) -> Result<(), SourceError> {
            Ok(())
        }
        fn resume(&mut self, _: PartitionId) -> Result<(), SourceError> {
            Ok(())
        }
    }

    fn chunk(partition: i32, offsets: std::ops::Range<i64>) -> Polled {
        let spans: Vec<MessageSpan> = offsets
            .map(|offset| MessageSpan {
                offset,
                start: 0,
                end: 10,
                record_time_us: None,
                appended: false,
                tombstone: false,
            })
            .collect();
        let payload = Payload::Messages { buffer: vec![0; 10], spans };
        Polled::Chunk(Chunk { partition: PartitionId(partition), payload, bytes: 10 })
    }

    fn sent(n: usize) -> Arc<Flow> {
        let flow = Arc::new(Flow::new(2));
        (0..n).for_each(|_| assert!(flow.admit(0, 10, Duration::ZERO).unwrap()));
        flow
    }

    #[test]
    fn the_source_ends_once_all_that_was_sent_is_handed_out() {
        let flow = sent(5);
        let given = Given([chunk(0, 0..3), Polled::Nothing, chunk(0, 3..5)].into());
        let mut source = EndingSource::new(given, Arc::clone(&flow), 5, Arc::default());
        let mut poll = || source.poll(Duration::ZERO).unwrap();
        assert!(matches!(poll(), Polled::Chunk(_)));
        flow.done();
        assert!(matches!(poll(), Polled::Nothing), "two messages are still to come");
        assert!(matches!(poll(), Polled::Chunk(_)));
        assert!(matches!(poll(), Polled::Ended(PartitionId(0))));
        assert!(matches!(poll(), Polled::Ended(PartitionId(1))));
        assert!(matches!(poll(), Polled::Finished));
        assert_eq!(flow.counts(), (5, 5));
    }

    #[test]
    fn lost_messages_end_the_job_with_an_error_and_stop_the_producer() {
        let flow = sent(5);
        let given = Given([chunk(0, 0..2), chunk(0, 4..5)].into());
        let mut source = EndingSource::new(given, Arc::clone(&flow), 5, Arc::default());
        source.poll(Duration::ZERO).unwrap();
        let e = source.poll(Duration::ZERO).unwrap_err().to_string();
        assert!(e.contains("partition 0 continues at offset 4, expected 2"), "{e}");
        assert_eq!(flow.failure(), Some(FlowError::Gap { partition: 0, expected: 2, found: 4 }));
        assert!(flow.admit(1, 10, Duration::ZERO).is_err());
    }
}
