//! JSON lines from files, object stores or standard input: all inputs, in the order given, are one partition, and a record's
//! offset is its line's number over all of them.

use super::Spare;
use super::bytes::{self, Counter};
use super::input::InputFile;
use super::{Chunk, MessageBuffer, PartitionId, Polled, Positions, Source, SourceError};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// The one partition.
pub const PARTITION: PartitionId = PartitionId(0);
/// Bytes read at once.
const BLOCK: usize = 256 << 10;
/// UTF-8's mark of byte order, which some editors put before the first line.
const BOM: &[u8] = b"\xef\xbb\xbf";

type Reader = BufReader<Box<dyn Read + Send>>;

/// Reads JSON lines.
pub struct JsonlSource {
    files: std::vec::IntoIter<InputFile>,
    total: Option<u64>,
    counter: Arc<Counter>,
    handle: Handle,
    positions: Arc<dyn Positions>,
    max_message: usize,
    open: Option<Open>,
    /// Number of the next line.
    line: i64,
    /// The first line wanted, once it was asked for.
    from: Option<i64>,
    buffer: MessageBuffer,
    /// The beginning of a line whose rest has not come yet.
    partial: Vec<u8>,
    /// The line in hand was too long and is skipped up to its end.
    skipping: bool,
    paused: bool,
    state: State,
    spare: Spare,
}

struct Open {
    file: InputFile,
    reader: Reader,
    /// No line of this file was begun yet.
    fresh: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Ended,
    Finished,
}

/// How reading lines stopped.
enum Stop {
    Full,
    /// Nothing more for now.
    Later,
    EndOfFile,
}

impl JsonlSource {
    /// A source over these files. Messages longer than `max_message` are cut to one byte more, which the decoder rejects as too
    /// large. `handle` is the runtime that object stores are read on.
    #[must_use]
    pub fn new(
        files: Vec<InputFile>,
        max_message: usize,
        positions: Arc<dyn Positions>,
        handle: Handle,
    ) -> Self {
        let total = files.iter().map(|f| f.size).sum();
        Self {
            files: files.into_iter(),
            total,
            counter: Arc::default(),
            handle,
            positions,
            max_message,
            open: None,
            line: 0,
            from: None,
            buffer: MessageBuffer::default(),
            partial: Vec::new(),
            skipping: false,
            paused: false,
            state: State::Reading,
            spare: Spare::default(),
        }
    }

    fn first_line(&mut self) -> Result<i64, SourceError> {
        if let Some(from) = self.from {
            return Ok(from);
        }
        let asked = self.positions.position(PARTITION);
        let from = asked
            .map_err(|source| SourceError::Position { partition: PARTITION, source })?
            .map_or(0, |o| o.0);
        self.from = Some(from);
        Ok(from)
    }

    /// Reads until a chunk is full, an input that waits has nothing more, or everything is read.
    fn fill(&mut self, timeout: Duration) -> Result<Stop, SourceError> {
        let from = self.first_line()?;
        loop {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => match self.files.next() {
                    None => return Ok(Stop::EndOfFile),
                    Some(file) => {
                        let reader = bytes::open(&file, &self.counter, &self.handle, timeout)?;
                        Open { reader: BufReader::with_capacity(BLOCK, reader), file, fresh: true }
                    }
                },
            };
            match self.lines(&mut open, from) {
                Ok(Stop::EndOfFile) => {}
                Ok(stop) => {
                    self.open = Some(open);
                    return Ok(stop);
                }
                Err(e) => return Err(bytes::explain(&open.file, e)),
            }
        }
    }

    fn lines(&mut self, open: &mut Open, from: i64) -> std::io::Result<Stop> {
        while !self.buffer.is_full() {
            if self.skipping || self.line < from {
                match open.reader.skip_until(b'\n') {
                    Ok(0) if !self.skipping => return Ok(Stop::EndOfFile),
                    Ok(_) => {
                        // The line that is skipped was counted when its beginning was handed out.
                        self.line += i64::from(!self.skipping);
                        self.skipping = false;
                        open.fresh = false;
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Stop::Later),
                    Err(e) => return Err(e),
                }
                continue;
            }
            let start = self.buffer.bytes.len();
            self.buffer.bytes.append(&mut self.partial);
            let room = (self.max_message + 1).saturating_sub(self.buffer.bytes.len() - start) as u64;
            let read = open.reader.by_ref().take(room).read_until(b'\n', &mut self.buffer.bytes);
            match read {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.partial.extend_from_slice(&self.buffer.bytes[start..]);
                    self.buffer.bytes.truncate(start);
                    return Ok(Stop::Later);
                }
                Err(e) => return Err(e),
            }
            let line = &self.buffer.bytes[start..];
            if line.is_empty() {
                return Ok(Stop::EndOfFile);
            }
            self.skipping = line.len() > self.max_message && line.last() != Some(&b'\n');
            if open.fresh && line.starts_with(BOM) {
                self.buffer.bytes.drain(start..start + BOM.len());
            }
            open.fresh = false;
            let line = &self.buffer.bytes[start..];
            let trimmed = line.trim_ascii_end().len();
            if line.trim_ascii_start().is_empty() {
                self.buffer.bytes.truncate(start);
            } else {
                if !self.skipping {
                    self.buffer.bytes.truncate(start + trimmed);
                }
                self.buffer.mark(self.line, start, None);
            }
            self.line += 1;
        }
        Ok(Stop::Full)
    }

    fn take(&mut self) -> Chunk {
        self.buffer.take(PARTITION, &mut self.spare)
    }
}

impl Source for JsonlSource {
    fn partitions(&self) -> Vec<PartitionId> {
        vec![PARTITION]
    }

    fn poll(&mut self, timeout: Duration) -> Result<Polled, SourceError> {
        match self.state {
            State::Finished => return Ok(Polled::Finished),
            State::Ended => {
                self.state = State::Finished;
                return Ok(Polled::Finished);
            }
            State::Reading => {}
        }
        if self.paused {
            std::thread::sleep(timeout);
            return Ok(Polled::Nothing);
        }
        let stop = self.fill(timeout)?;
        if !self.buffer.is_empty() {
            return Ok(Polled::Chunk(self.take()));
        }
        Ok(match stop {
            Stop::EndOfFile => {
                self.state = State::Ended;
                Polled::Ended(PARTITION)
            }
            Stop::Full | Stop::Later => Polled::Nothing,
        })
    }

    fn pause(&mut self, _: PartitionId) -> Result<(), SourceError> {
        self.paused = true;
        Ok(())
    }

    fn resume(&mut self, _: PartitionId) -> Result<(), SourceError> {
        self.paused = false;
        Ok(())
    }

    fn total_bytes(&self) -> Option<u64> {
        self.total
    }

    fn read_bytes(&self) -> u64 {
        self.counter.get()
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        self.spare.put(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::conformance::{message, runtime};
    use crate::source::input::{Format, Place};
    use crate::source::{CHUNK_BYTES, FromBeginning, Payload};
    use std::io::Write;
    use std::path::Path;

    fn source(path: &Path, max: usize, runtime: &tokio::runtime::Runtime) -> JsonlSource {
        let name = path.display().to_string();
        let format = Format::of(&name).unwrap();
        let file = InputFile { name, place: Place::Local(path.to_owned()), size: None, format };
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
