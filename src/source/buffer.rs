//! Messages gathered into one buffer until they make a chunk.

use super::records::{CHUNK_BYTES, CHUNK_MESSAGES, Chunk, PartitionId, Payload, RecordTime, Span};

/// Spare buffers kept for reuse.
const MAX_SPARE: usize = 16;
/// Spare buffers larger than this are given back to the allocator: one huge message must not stay for ever.
const MAX_SPARE_BYTES: usize = 4 * CHUNK_BYTES;

/// A chunk in the making.
#[derive(Debug, Default)]
pub struct MessageBuffer {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The messages in them.
    pub spans: Vec<Span>,
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

    /// Notes that the bytes from `start` to the end are a message.
    pub fn mark(&mut self, offset: i64, start: usize, record_time_us: Option<i64>) {
        // A buffer ends soon after CHUNK_BYTES, and a single message is far below 4 GiB, so positions fit.
        let (start, end) = (start as u32, self.bytes.len() as u32);
        self.spans.push(Span { offset, start, end, record_time_us, appended: false, tombstone: false });
    }

    /// Whether it is time to hand it out.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.spans.len() >= CHUNK_MESSAGES || self.bytes.len() >= CHUNK_BYTES
    }

    /// Whether it holds no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Makes a chunk of what was gathered and goes on with a spare buffer.
    pub fn take(&mut self, partition: PartitionId, spare: &mut Spare) -> Chunk {
        let buffer = std::mem::replace(&mut self.bytes, spare.get());
        let spans = std::mem::take(&mut self.spans);
        self.spans.reserve(spans.len());
        let bytes = buffer.len();
        Chunk { partition, payload: Payload::Messages { buffer, spans }, bytes }
    }

    /// Drops what was gathered.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }
}

/// Buffers that came back.
#[derive(Debug, Default)]
pub struct Spare(Vec<Vec<u8>>);

impl Spare {
    /// An empty buffer.
    pub fn get(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    /// Keeps a buffer for later.
    pub fn put(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < MAX_SPARE && buffer.capacity() <= MAX_SPARE_BYTES {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}
