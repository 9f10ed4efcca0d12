//! Opens files, objects and standard input as one kind of reader of decompressed bytes.

use super::error::SourceError;
use super::input_file::{FileLocation, InputFile, InputFormat};
use ::bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use futures::StreamExt;
use object_store::ObjectStoreExt;
use std::io::{self, BufReader, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Bytes per read of a compressed file or standard input.
const BLOCK: usize = 128 << 10;
/// Blocks of an object that are fetched ahead of the parser.
const BLOCKS_AHEAD: usize = 16;

/// Counts bytes as they are stored, before decompression.
#[derive(Debug, Default)]
pub struct ByteCounter(AtomicU64);

impl ByteCounter {
    /// Bytes so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts more.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

struct CountingReader<R> {
    inner: R,
    counter: Arc<ByteCounter>,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.counter.add(n as u64);
        Ok(n)
    }
}

/// Opens an input. Reading from standard input returns [`ErrorKind::WouldBlock`] if nothing arrives
/// within `timeout`.
pub fn open(
    file: &InputFile,
    counter: &Arc<ByteCounter>,
    handle: &Handle,
    timeout: Duration,
) -> Result<Box<dyn Read + Send>, SourceError> {
    let counter = Arc::clone(counter);
    let raw: Box<dyn Read + Send> = match &file.place {
        FileLocation::Stdin => {
            return Ok(Box::new(CountingReader {
                inner: stdin(timeout).map_err(|e| explain(file, e))?,
                counter,
            }));
        }
        FileLocation::Local(path) => {
            let inner = std::fs::File::open(path).map_err(|e| explain(file, e))?;
            Box::new(CountingReader { inner, counter })
        }
        FileLocation::Object { store, path } => {
            let got = handle.block_on(store.get(path));
            let got = got.map_err(|e| SourceError::stored(&file.name, e))?;
            let (send, receive) = mpsc::channel(BLOCKS_AHEAD);
            let mut stream = got.into_stream();
            handle.spawn(async move {
                while let Some(block) = stream.next().await {
                    if send.send(block.map_err(io::Error::other)).await.is_err() {
                        return;
                    }
                }
            });
            Box::new(CountingReader { inner: ObjectReader { receive, block: Bytes::new() }, counter })
        }
    };
    unpack(raw, file)
}

/// Decompresses an input according to its format.
pub fn unpack(
    raw: impl Read + Send + 'static,
    file: &InputFile,
) -> Result<Box<dyn Read + Send>, SourceError> {
    Ok(match file.format {
        InputFormat::Jsonl | InputFormat::Archive => Box::new(raw),
        InputFormat::JsonlGzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(BLOCK, raw))),
        InputFormat::JsonlZstd => {
            Box::new(zstd::stream::read::Decoder::new(raw).map_err(|e| explain(file, e))?)
        }
    })
}

/// A read error with the file's name.
pub fn explain(file: &InputFile, e: io::Error) -> SourceError {
    let format = match file.format {
        InputFormat::JsonlGzip => Some("gzip"),
        InputFormat::JsonlZstd => Some("zstd"),
        InputFormat::Jsonl | InputFormat::Archive => None,
    };
    match format {
        Some(format) if e.kind() == ErrorKind::UnexpectedEof => {
            SourceError::Truncated { name: file.name.clone(), format }
        }
        _ => SourceError::Read { name: file.name.clone(), source: e },
    }
}

/// Reads an object, which a task of the runtime fetches ahead.
struct ObjectReader {
    receive: mpsc::Receiver<io::Result<Bytes>>,
    block: Bytes,
}

impl Read for ObjectReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.block.is_empty() {
            match self.receive.blocking_recv() {
                None => return Ok(0),
                Some(block) => self.block = block?,
            }
        }
        Ok(take(&mut self.block, out))
    }
}

fn take(block: &mut Bytes, out: &mut [u8]) -> usize {
    let n = block.len().min(out.len());
    out[..n].copy_from_slice(&block.split_to(n));
    n
}

/// Reads standard input through its own thread, so that a silent pipe doesn't block the poller.
struct StdinReader {
    receive: crossbeam_channel::Receiver<io::Result<Bytes>>,
    block: Bytes,
    timeout: Duration,
}

fn stdin(timeout: Duration) -> io::Result<StdinReader> {
    let (send, receive) = crossbeam_channel::bounded(BLOCKS_AHEAD);
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut block = vec![0; BLOCK];
            let read = match stdin.read(&mut block) {
                Ok(0) => return,
                Ok(n) => {
                    block.truncate(n);
                    Ok(Bytes::from(block))
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
            let failed = read.is_err();
            if send.send(read).is_err() || failed {
                return;
            }
        }
    })?;
    Ok(StdinReader { receive, block: Bytes::new(), timeout })
}

impl Read for StdinReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        use crossbeam_channel::RecvTimeoutError::{Disconnected, Timeout};
        while self.block.is_empty() {
            match self.receive.recv_timeout(self.timeout) {
                Ok(block) => self.block = block?,
                Err(Timeout) => return Err(ErrorKind::WouldBlock.into()),
                Err(Disconnected) => return Ok(0),
            }
        }
        Ok(take(&mut self.block, out))
    }
}
