//! JSON lines from files, object stores or standard input. Files that don't overlap in time form
//! one partition, a lane. A record's offset is its line number over the lane's files.
//!
//! The lane with the earliest event time is read next, so that lanes advance together. The first
//! chunk of each lane is read at the start: it shows the evaluation how far it may advance without
//! the lane, however late the lane starts.

use super::buffer::{BufferPool, MessageBuffer};
use super::error::SourceError;
use super::file_partitions::FilePartitions;
use super::input_file::InputFile;
use super::interface::{Polled, Positions, Source};
use super::lane::{LaneReader, ReadContext, ReadStop};
use super::lanes::{FileLane, LaneFile};
use super::records::PartitionId;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Bytes per read of a lane; the second if there are many lanes.
const BLOCK: [usize; 2] = [256 << 10, 64 << 10];
/// More lanes than this are many.
const MANY: usize = 16;

/// Reads JSON lines.
pub struct JsonlSource {
    lanes: Vec<LaneReader>,
    partitions: FilePartitions,
    with: ReadContext,
    total: Option<u64>,
    started: bool,
    buffer: MessageBuffer,
    spare: BufferPool,
}

impl JsonlSource {
    /// A source over these files as one partition, in this order. Longer messages than
    /// `max_message` bytes are cut to one byte more, which the decoder rejects as too large.
    /// `handle` is the runtime that reads object stores.
    #[must_use]
    pub fn new(
        files: Vec<InputFile>,
        max_message: usize,
        positions: Arc<dyn Positions>,
        handle: Handle,
    ) -> Self {
        let file = |(i, file)| LaneFile { file, start: (i == 0).then_some(0) };
        let files = files.into_iter().enumerate().map(file).collect();
        let lane = FileLane { partition: PartitionId(0), files, finished: false };
        Self::from_lanes(vec![lane], max_message, positions, handle)
    }

    /// A source over lanes.
    #[must_use]
    pub fn from_lanes(
        lanes: Vec<FileLane>,
        max_message: usize,
        positions: Arc<dyn Positions>,
        handle: Handle,
    ) -> Self {
        let unread = lanes.iter().filter(|l| !l.finished);
        let total = unread.flat_map(|l| &l.files).map(|f| f.file.size).sum();
        let block = BLOCK[usize::from(lanes.len() > MANY)];
        let with = ReadContext { counter: Arc::default(), handle, positions, max_message, block };
        let partitions = FilePartitions::new(lanes.iter().map(|l| l.partition));
        let lanes = lanes.into_iter().map(LaneReader::new).collect();
        Self {
            lanes,
            partitions,
            with,
            total,
            started: false,
            buffer: MessageBuffer::default(),
            spare: BufferPool::default(),
        }
    }

    /// Asks for the positions of all lanes with unread records, and of the first one: its owner
    /// runs the evaluation.
    fn start(&mut self) -> Result<(), SourceError> {
        let with = &self.with;
        let asked = self.lanes.iter_mut().enumerate().filter(|(i, lane)| *i == 0 || !lane.finished);
        asked.map(|(_, lane)| lane).try_for_each(|lane| lane.start(with))?;
        self.started = true;
        Ok(())
    }
}

impl Source for JsonlSource {
    fn partitions(&self) -> Vec<PartitionId> {
        self.partitions.ids()
    }

    fn poll(&mut self, timeout: Duration) -> Result<Polled, SourceError> {
        if !self.started {
            self.start()?;
        }
        let partitions = &self.partitions;
        let ready = self.lanes.iter_mut().enumerate();
        let ready = ready.filter(|(i, _)| !partitions.has_ended(*i) && !partitions.is_paused(*i));
        let Some((index, lane)) = ready.min_by_key(|(_, l)| (l.time, l.partition)) else {
            return Ok(self.partitions.without_records(timeout));
        };
        let stop = lane.fill(&mut self.buffer, &self.with, timeout)?;
        if !self.buffer.is_empty() {
            lane.note(&self.buffer);
            return Ok(Polled::Chunk(self.buffer.take(lane.partition, &mut self.spare)));
        }
        Ok(match stop {
            ReadStop::EndOfFile => self.partitions.end(index),
            ReadStop::Full | ReadStop::Later => Polled::Nothing,
        })
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        self.partitions.set_paused(partition, true);
        Ok(())
    }

    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        self.partitions.set_paused(partition, false);
        Ok(())
    }

    fn unread(&self) -> Vec<PartitionId> {
        let lanes = self.lanes.iter().enumerate();
        let unread = lanes.filter(|(i, lane)| !lane.finished && !self.partitions.has_ended(*i));
        unread.map(|(_, lane)| lane.partition).collect()
    }

    fn total_bytes(&self) -> Option<u64> {
        self.total
    }

    fn read_bytes(&self) -> u64 {
        self.with.counter.get()
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        self.spare.put(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::conformance::{message, runtime};
    use crate::source::input::{FileLocation, InputFormat};
    use crate::source::{CHUNK_BYTES, FromBeginning, Payload};
    use std::io::Write;
    use std::path::Path;

    fn source(path: &Path, max: usize, runtime: &tokio::runtime::Runtime) -> JsonlSource {
        let name = path.display().to_string();
        let format = InputFormat::of(&name).unwrap();
        let file = InputFile::new(name, FileLocation::Local(path.to_owned()), None, format);
        JsonlSource::new(vec![file], max, Arc::new(FromBeginning), runtime.handle().clone())
    }

    fn lines(source: &mut JsonlSource) -> Vec<(i64, Vec<u8>)> {
        let mut all = Vec::new();
        while let Polled::Chunk(chunk) = source.poll(Duration::ZERO).unwrap() {
            let Payload::Messages { buffer, spans } = chunk.payload else { panic!() };
            assert!(buffer.len() < 2 * CHUNK_BYTES, "memory stays bounded");
            all.extend(spans.iter().map(|s| (s.offset, buffer[s.start as usize..s.end as usize].to_vec())));
        }
        all
    }

    #[test]
    fn long_lines_are_cut_to_one_byte_too_many_and_the_rest_is_skipped() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), runtime());
        let path = dir.path().join("a.jsonl");
        let text = ["x".repeat(5_000_000), "y".repeat(100), "z".repeat(101), "w".repeat(99), "v".repeat(300)]
            .join("\n");
        std::fs::write(&path, text).unwrap();
        let got: Vec<_> =
            lines(&mut source(&path, 100, &runtime)).into_iter().map(|(o, l)| (o, l[0], l.len())).collect();
        assert_eq!(got, [(0, b'x', 101), (1, b'y', 100), (2, b'z', 101), (3, b'w', 99), (4, b'v', 101)]);
    }

    #[test]
    fn marks_blank_lines_and_line_ends_are_no_part_of_a_message() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), runtime());
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, b"\xef\xbb\xbf{}\r\n\n \t\n{ } \n[]").unwrap();
        let got = lines(&mut source(&path, 100, &runtime));
        assert_eq!(got, [(0, b"{}".to_vec()), (3, b"{ }".to_vec()), (4, b"[]".to_vec())]);
        let text = b"\xef\xbb\xbf{1}\n\xef\xbb\xbf{2}\n\x1e{3}\n\0\0\n\0\0{4}\n\xef\xbb\xbf\n{5}\n\0\0\0\0";
        std::fs::write(&path, text).unwrap();
        let got: Vec<_> =
            lines(&mut source(&path, 100, &runtime)).into_iter().map(|l| (l.0, l.1[1])).collect();
        assert_eq!(got, [(0, b'1'), (1, b'2'), (2, b'3'), (4, b'4'), (6, b'5')], "joined and cut-off files");
    }

    #[test]
    fn a_truncated_file_is_named() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), runtime());
        let text: String = (0..2_000).map(|n| message(0, n) + "\n").collect();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        let packed = [
            ("a.jsonl.gz", gz.finish().unwrap()),
            ("a.jsonl.zst", zstd::encode_all(text.as_bytes(), 1).unwrap()),
        ];
        for (name, bytes) in packed {
            let path = dir.path().join(name);
            std::fs::write(&path, &bytes[..bytes.len() * 2 / 3]).unwrap();
            let mut source = source(&path, 1 << 20, &runtime);
            let error = (0..9).find_map(|_| source.poll(Duration::ZERO).err()).unwrap().to_string();
            assert!(error.contains(name) && error.contains("truncated"), "{error}");
        }
    }
}
