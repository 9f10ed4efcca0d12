//! Reads one lane: the lines of its files in order, with offsets that continue across files.

use super::buffer::MessageBuffer;
use super::bytes::{self, ByteCounter};
use super::error::SourceError;
use super::input_file::{InputFile, InputFormat};
use super::interface::Positions;
use super::lanes::{FileLane, LaneFile};
use super::records::PartitionId;
use super::{sniff, times};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Number of last lines of a chunk whose times give the lane's event time.
const LAST: usize = 9;

type LineReader = BufReader<Box<dyn Read + Send>>;

/// What all lanes share.
pub(super) struct ReadContext {
    pub counter: Arc<ByteCounter>,
    pub handle: Handle,
    pub positions: Arc<dyn Positions>,
    pub max_message: usize,
    /// Bytes per read.
    pub block: usize,
}

/// Why reading lines stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadStop {
    Full,
    /// No more data for now.
    Later,
    EndOfFile,
}

/// Reads a lane.
pub(super) struct LaneReader {
    pub partition: PartitionId,
    files: VecDeque<LaneFile>,
    open: Option<OpenLaneFile>,
    /// A stream whose format is unknown until more of it arrives.
    unidentified: Option<UnidentifiedStream>,
    /// Number of the next line.
    line: i64,
    /// The first line to read.
    from: i64,
    /// The line before that must still be compared with the one that was processed.
    compare: bool,
    /// The start of a line whose rest has not arrived.
    partial: Vec<u8>,
    /// The current line was too long; the rest of it is skipped.
    skipping: bool,
    /// Everything is read.
    pub finished: bool,
    /// The event time reached; `None` before the first chunk.
    pub time: Option<i64>,
}

struct OpenLaneFile {
    file: InputFile,
    reader: LineReader,
}

struct UnidentifiedStream {
    file: InputFile,
    stream: Box<dyn Read + Send>,
    head: Vec<u8>,
}

impl LaneReader {
    pub fn new(lane: FileLane) -> Self {
        Self {
            partition: lane.partition,
            files: if lane.finished { VecDeque::new() } else { lane.files.into() },
            open: None,
            unidentified: None,
            line: 0,
            from: 0,
            compare: false,
            partial: Vec::new(),
            skipping: false,
            finished: lane.finished,
            time: None,
        }
    }

    /// Asks for the position, and drops the files before it.
    pub fn start(&mut self, with: &ReadContext) -> Result<(), SourceError> {
        let partition = self.partition;
        let asked = with.positions.position(partition);
        let asked = asked.map_err(|source| SourceError::Position { partition, source })?;
        self.from = asked.map_or(0, |o| o.0);
        let begins = |f: &LaneFile| f.start.is_some_and(|start| start <= self.from);
        if let Some(first) = self.files.iter().rposition(begins) {
            for read in self.files.drain(..first) {
                with.counter.add(read.file.size.unwrap_or(0));
            }
            self.line = self.files[0].start.unwrap_or(0);
        }
        self.compare = self.from > 0 && self.files.iter().any(|f| f.file.is_stream());
        Ok(())
    }

    /// Reads until a chunk is full, a stream has no more data for now, or everything is read.
    pub fn fill(
        &mut self,
        buffer: &mut MessageBuffer,
        with: &ReadContext,
        timeout: Duration,
    ) -> Result<ReadStop, SourceError> {
        loop {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => match self.next_file(with, timeout)? {
                    Ok(open) => open,
                    Err(stop) => return Ok(stop),
                },
            };
            match self.lines(&mut open, buffer, with) {
                Ok(ReadStop::EndOfFile) => {}
                Ok(stop) => {
                    self.open = Some(open);
                    return Ok(stop);
                }
                Err(LineError::Read(e)) => return Err(bytes::explain(&open.file, e)),
                Err(LineError::Other) => {
                    return Err(SourceError::OtherStream { name: open.file.name, line: self.from });
                }
            }
        }
    }

    /// Opens the next file, or returns why there is none.
    fn next_file(
        &mut self,
        with: &ReadContext,
        timeout: Duration,
    ) -> Result<Result<OpenLaneFile, ReadStop>, SourceError> {
        let mut unidentified = match self.unidentified.take() {
            Some(unidentified) => unidentified,
            None => match self.files.pop_front() {
                None if self.compare => {
                    return Err(SourceError::OtherStream {
                        name: "standard input".to_owned(),
                        line: self.from,
                    });
                }
                None => return Ok(Err(ReadStop::EndOfFile)),
                Some(LaneFile { mut file, .. }) => {
                    let is_stream = file.is_stream();
                    if is_stream {
                        file.format = InputFormat::Jsonl;
                    }
                    let stream = bytes::open(&file, &with.counter, &with.handle, timeout)?;
                    if !is_stream {
                        return Ok(Ok(OpenLaneFile {
                            reader: BufReader::with_capacity(with.block, stream),
                            file,
                        }));
                    }
                    UnidentifiedStream { file, stream, head: Vec::new() }
                }
            },
        };
        // The first line shows the format of a stream.
        let mut block = vec![0; sniff::HEAD];
        let whole = loop {
            if unidentified.head.len() >= sniff::HEAD || unidentified.head.contains(&b'\n') {
                break false;
            }
            match unidentified.stream.read(&mut block) {
                Ok(0) => break true,
                Ok(n) => unidentified.head.extend_from_slice(&block[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.unidentified = Some(unidentified);
                    return Ok(Err(ReadStop::Later));
                }
                Err(e) => return Err(bytes::explain(&unidentified.file, e)),
            }
        };
        let UnidentifiedStream { mut file, stream, head } = unidentified;
        let refused = match sniff::container(&head) {
            sniff::Container::Gzip => {
                file.format = InputFormat::JsonlGzip;
                None
            }
            sniff::Container::Zstd => {
                file.format = InputFormat::JsonlZstd;
                None
            }
            sniff::Container::Parquet | sniff::Container::Plain => sniff::other(&head, whole),
        };
        if let Some(content) = refused {
            return Err(SourceError::NotEvents { name: file.name, content, more: 0 });
        }
        let unpacked = bytes::unpack(Cursor::new(head).chain(stream), &file)?;
        Ok(Ok(OpenLaneFile { reader: BufReader::with_capacity(with.block, unpacked), file }))
    }

    fn lines(
        &mut self,
        open: &mut OpenLaneFile,
        buffer: &mut MessageBuffer,
        with: &ReadContext,
    ) -> Result<ReadStop, LineError> {
        while !buffer.is_full() {
            let wanted = self.from - i64::from(self.compare);
            if self.skipping || self.line < wanted {
                match open.reader.skip_until(b'\n') {
                    Ok(0) if !self.skipping => return Ok(ReadStop::EndOfFile),
                    Ok(_) => {
                        // A skipped line was counted when its start was returned.
                        self.line += i64::from(!self.skipping);
                        self.skipping = false;
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(ReadStop::Later),
                    Err(e) => return Err(LineError::Read(e)),
                }
                continue;
            }
            let start = buffer.bytes.len();
            buffer.bytes.append(&mut self.partial);
            let room = (with.max_message + 1).saturating_sub(buffer.bytes.len() - start) as u64;
            match open.reader.by_ref().take(room).read_until(b'\n', &mut buffer.bytes) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.partial.extend_from_slice(&buffer.bytes[start..]);
                    buffer.bytes.truncate(start);
                    return Ok(ReadStop::Later);
                }
                Err(e) => return Err(LineError::Read(e)),
            }
            let line = &buffer.bytes[start..];
            if line.is_empty() {
                return Ok(ReadStop::EndOfFile);
            }
            self.skipping = line.len() > with.max_message && line.last() != Some(&b'\n');
            let message = sniff::message(line);
            // A cut line keeps its length, so that the decoder rejects it as too large.
            let (from, length) = if self.skipping {
                (start, line.len())
            } else {
                (start + (message.as_ptr() as usize - line.as_ptr() as usize), message.len())
            };
            if message.is_empty() && !self.skipping {
                buffer.bytes.truncate(start);
            } else {
                buffer.bytes.truncate(from + length);
                if std::mem::take(&mut self.compare) {
                    let mut last = || Some(buffer.bytes[from..].to_vec());
                    if !with.positions.is_last_read(self.partition, &mut last) {
                        return Err(LineError::Other);
                    }
                    buffer.bytes.truncate(start);
                } else {
                    buffer.mark(self.line, from, None);
                }
            }
            self.line += 1;
        }
        Ok(ReadStop::Full)
    }

    /// Records the event time that a chunk reached: the median of its last events, since single
    /// clocks may be wrong.
    pub fn note(&mut self, buffer: &MessageBuffer) {
        let last = buffer.spans.iter().rev().take(LAST);
        let mut seen: Vec<i64> =
            last.filter_map(|s| times::time_of(&buffer.bytes[s.start as usize..s.end as usize])).collect();
        self.time = times::median(&mut seen).or(self.time).or(Some(i64::MIN));
    }
}

/// Why reading lines failed.
enum LineError {
    Read(std::io::Error),
    /// The line before the position is not the one that was processed.
    Other,
}
