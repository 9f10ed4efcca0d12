//! Collects messages in one buffer until they fill a chunk, and reuses buffers.

use super::records::{CHUNK_BYTES, CHUNK_MESSAGES, Chunk, MessageSpan, PartitionId, Payload, RecordTime};

/// Maximum number of buffers kept for reuse.
const MAX_SPARE: usize = 16;
/// Larger buffers are freed, so that a huge message doesn't occupy memory forever.
const MAX_SPARE_BYTES: usize = 4 * CHUNK_BYTES;

/// A chunk that is being filled.
#[derive(Debug, Default)]
pub struct MessageBuffer {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The messages in them.
    pub spans: Vec<MessageSpan>,
}

impl MessageBuffer {
    /// Appends a copy of a message.
    pub fn push(&mut self, offset: i64, message: &[u8], record_time_us: Option<i64>) {
        self.push_record(offset, Some(message), RecordTime { us: record_time_us, appended: false });
    }

    /// Appends a copy of a record; one without a value is a tombstone.
    pub fn push_record(&mut self, offset: i64, value: Option<&[u8]>, time: RecordTime) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.mark(offset, start, time.us);
        if let Some(span) = self.spans.last_mut() {
            (span.appended, span.tombstone) = (time.appended, value.is_none());
        }
    }

    /// Records that the bytes from `start` to the end are a message.
    pub fn mark(&mut self, offset: i64, start: usize, record_time_us: Option<i64>) {
        // A buffer ends soon after CHUNK_BYTES, and a single message is far below 4 GiB, so
        // positions fit.
        let (start, end) = (start as u32, self.bytes.len() as u32);
        self.spans.push(MessageSpan {
            offset,
            start,
            end,
            record_time_us,
            appended: false,
            tombstone: false,
        });
    }

    /// Whether the chunk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.spans.len() >= CHUNK_MESSAGES || self.bytes.len() >= CHUNK_BYTES
    }

    /// Whether it has no messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Returns the messages as a chunk, and continues with a reused buffer.
    pub fn take(&mut self, partition: PartitionId, spare: &mut BufferPool) -> Chunk {
        let buffer = std::mem::replace(&mut self.bytes, spare.get());
        let spans = std::mem::take(&mut self.spans);
        self.spans.reserve(spans.len());
        let bytes = buffer.len();
        Chunk { partition, payload: Payload::Messages { buffer, spans }, bytes }
    }

    /// Drops all messages.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }
}

/// Buffers for reuse.
#[derive(Debug, Default)]
pub struct BufferPool(Vec<Vec<u8>>);

impl BufferPool {
    /// An empty buffer.
    pub fn get(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    /// Keeps a buffer for reuse.
    pub fn put(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < MAX_SPARE && buffer.capacity() <= MAX_SPARE_BYTES {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}
