//! Reading one lane: the lines of its files, one after the other, with offsets that count on over
//! them.

use super::buffer::MessageBuffer;
use super::bytes::{self, Counter};
use super::error::SourceError;
use super::input_file::{Format, InputFile};
use super::interface::Positions;
use super::lanes::{Lane, LaneFile};
use super::records::PartitionId;
use super::{sniff, times};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Lines at a chunk's end whose times tell how far it came.
const LAST: usize = 9;

type Reader = BufReader<Box<dyn Read + Send>>;

/// What all lanes read with.
pub(super) struct Means {
    pub counter: Arc<Counter>,
    pub handle: Handle,
    pub positions: Arc<dyn Positions>,
    pub max_message: usize,
    /// Bytes read at once.
    pub block: usize,
}

/// How reading lines stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Full,
    /// Nothing more for now.
    Later,
    EndOfFile,
}

/// A lane while it is read.
pub(super) struct Reading {
    pub partition: PartitionId,
    files: VecDeque<LaneFile>,
    open: Option<Open>,
    /// A stream of which too little has come to tell what it holds.
    begun: Option<Begun>,
    /// Number of the next line.
    line: i64,
    /// The first line wanted.
    from: i64,
    /// The line before that is yet to be compared with what was taken in.
    compare: bool,
    /// The beginning of a line whose rest has not come yet.
    partial: Vec<u8>,
    /// The line in hand was too long and is skipped up to its end.
    skipping: bool,
    pub paused: bool,
    pub ended: bool,
    /// Nothing is left to read.
    pub finished: bool,
    /// How far it has come in event time; `None` before the first chunk.
    pub time: Option<i64>,
}

struct Open {
    file: InputFile,
    reader: Reader,
}

struct Begun {
    file: InputFile,
    stream: Box<dyn Read + Send>,
    head: Vec<u8>,
}

impl Reading {
    pub fn new(lane: Lane) -> Self {
        Self {
            partition: lane.partition,
            files: if lane.finished { VecDeque::new() } else { lane.files.into() },
            open: None,
            begun: None,
            line: 0,
            from: 0,
            compare: false,
            partial: Vec::new(),
            skipping: false,
            paused: false,
            ended: false,
            finished: lane.finished,
            time: None,
        }
    }

    /// Asks where to go on, and leaves out the files that lie before.
    pub fn start(&mut self, with: &Means) -> Result<(), SourceError> {
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

    /// Reads until a chunk is full, a stream that waits has nothing more, or everything is read.
    pub fn fill(
        &mut self,
        buffer: &mut MessageBuffer,
        with: &Means,
        timeout: Duration,
    ) -> Result<Stop, SourceError> {
        loop {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => match self.next_file(with, timeout)? {
                    Ok(open) => open,
                    Err(stop) => return Ok(stop),
                },
            };
            match self.lines(&mut open, buffer, with) {
                Ok(Stop::EndOfFile) => {}
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

    /// Opens the next file; says why there is none.
    fn next_file(&mut self, with: &Means, timeout: Duration) -> Result<Result<Open, Stop>, SourceError> {
        let mut begun = match self.begun.take() {
            Some(begun) => begun,
            None => match self.files.pop_front() {
                None if self.compare => {
                    return Err(SourceError::OtherStream {
                        name: "standard input".to_owned(),
                        line: self.from,
                    });
                }
                None => return Ok(Err(Stop::EndOfFile)),
                Some(LaneFile { mut file, .. }) => {
                    let is_stream = file.is_stream();
                    if is_stream {
                        file.format = Format::Jsonl;
                    }
                    let stream = bytes::open(&file, &with.counter, &with.handle, timeout)?;
                    if !is_stream {
                        return Ok(Ok(Open { reader: BufReader::with_capacity(with.block, stream), file }));
                    }
                    Begun { file, stream, head: Vec::new() }
                }
            },
        };
        // What a stream holds is told by its first line.
        let mut block = vec![0; sniff::HEAD];
        let whole = loop {
            if begun.head.len() >= sniff::HEAD || begun.head.contains(&b'\n') {
                break false;
            }
            match begun.stream.read(&mut block) {
                Ok(0) => break true,
                Ok(n) => begun.head.extend_from_slice(&block[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.begun = Some(begun);
                    return Ok(Err(Stop::Later));
                }
                Err(e) => return Err(bytes::explain(&begun.file, e)),
            }
        };
        let Begun { mut file, stream, head } = begun;
        let refused = match sniff::container(&head) {
            sniff::Container::Gzip => {
                file.format = Format::JsonlGzip;
                None
            }
            sniff::Container::Zstd => {
                file.format = Format::JsonlZstd;
                None
            }
            sniff::Container::Parquet | sniff::Container::Plain => sniff::other(&head, whole),
        };
        if let Some(looks) = refused {
            return Err(SourceError::Looks { name: file.name, looks, more: 0 });
        }
        let unpacked = bytes::unpack(Cursor::new(head).chain(stream), &file)?;
        Ok(Ok(Open { reader: BufReader::with_capacity(with.block, unpacked), file }))
    }

    fn lines(
        &mut self,
        open: &mut Open,
        buffer: &mut MessageBuffer,
        with: &Means,
    ) -> Result<Stop, LineError> {
        while !buffer.is_full() {
            let wanted = self.from - i64::from(self.compare);
            if self.skipping || self.line < wanted {
                match open.reader.skip_until(b'\n') {
                    Ok(0) if !self.skipping => return Ok(Stop::EndOfFile),
                    Ok(_) => {
                        // The line that is skipped was counted when its beginning was handed out.
                        self.line += i64::from(!self.skipping);
                        self.skipping = false;
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Stop::Later),
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
                    return Ok(Stop::Later);
                }
                Err(e) => return Err(LineError::Read(e)),
            }
            let line = &buffer.bytes[start..];
            if line.is_empty() {
                return Ok(Stop::EndOfFile);
            }
            self.skipping = line.len() > with.max_message && line.last() != Some(&b'\n');
            let message = sniff::message(line);
            // A line that is cut stays as long as it was read: that it is too long is what is to be
            // said of it.
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
        Ok(Stop::Full)
    }

    /// Notes how far a chunk has come: where most of its last events stand, since one clock may be
    /// wrong.
    pub fn note(&mut self, buffer: &MessageBuffer) {
        let last = buffer.spans.iter().rev().take(LAST);
        let mut seen: Vec<i64> =
            last.filter_map(|s| times::time_of(&buffer.bytes[s.start as usize..s.end as usize])).collect();
        self.time = times::median(&mut seen).or(self.time).or(Some(i64::MIN));
    }
}

/// Why lines can't be read on.
enum LineError {
    Read(std::io::Error),
    /// The line before the position is not the one that was taken in.
    Other,
}
