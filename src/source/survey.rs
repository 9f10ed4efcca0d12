//! Surveys inputs before they are read: the identity of the content, the times of the first and
//! last events, the number of lines.
//!
//! Reads a local file once, several in parallel. For an object it uses the store's version and
//! fetches only the start and end.

use super::bytes::{self, ByteCounter};
use super::error::SourceError;
use super::input_file::{FileHead, FileLocation, InputFile, InputFormat};
use super::{sniff, times};
use object_store::{GetOptions, GetRange};
use rayon::prelude::*;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Bytes per hashed block. Part of the definition of a content's identity.
const BLOCK: usize = 2 << 20;
/// Bytes at the end of a file that are searched for its last events; the second if the first
/// contain no whole line.
const TAIL: [usize; 2] = [64 << 10, 4 << 20];
/// Number of lines at the start or end of a file whose times count.
const LINES: usize = 64;
/// Maximum number of parallel requests.
const AT_ONCE: usize = 32;

/// The result of surveying an input.
#[derive(Debug, Clone)]
pub struct Surveyed {
    /// The input.
    pub file: InputFile,
    /// Identity of the content, independent of the name; `None` for a stream.
    pub content: Option<String>,
    /// Time of the first event; `None` if none could be read.
    pub first: Option<i64>,
    /// Time of the last event, if it was asked for.
    pub last: Option<i64>,
    /// Number of lines, if counted.
    pub lines: Option<i64>,
}

/// Reads the start of every input in parallel, and corrects its format if name and content differ.
///
/// # Errors
/// When one can't be read or is not a file of events.
pub fn heads(files: &mut [InputFile], handle: &Handle) -> Result<(), SourceError> {
    let found: Vec<Result<Option<FileHead>, SourceError>> =
        pool(|| files.par_iter().map(|file| head(file, handle)).collect())?;
    let mut refused = Vec::new();
    for (file, head) in files.iter_mut().zip(found) {
        match head {
            Ok(None) => {}
            Ok(Some(head)) => {
                file.format = head.format;
                file.head = Some(Arc::new(head));
            }
            Err(e @ SourceError::NotEvents { .. }) => refused.push(e),
            Err(e) => return Err(e),
        }
    }
    let more = refused.len().saturating_sub(1);
    match refused.into_iter().next() {
        Some(SourceError::NotEvents { name, content, .. }) => {
            Err(SourceError::NotEvents { name, content, more })
        }
        _ => Ok(()),
    }
}

/// Surveys inputs in the given order. `ends` selects, by index, the inputs whose last event is
/// needed.
///
/// # Errors
/// When one can't be read to its end.
pub fn survey(
    files: Vec<InputFile>,
    ends: &(dyn Fn(usize) -> bool + Sync),
    handle: &Handle,
) -> Result<Vec<Surveyed>, SourceError> {
    pool(|| files.into_par_iter().enumerate().map(|(i, file)| look(file, ends(i), handle)).collect())?
}

/// More threads than processors, since reading also waits for disks and networks.
fn pool<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, SourceError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads((4 * cores).min(AT_ONCE)).build();
    let failed = |e: rayon::ThreadPoolBuildError| io::Error::other(e.to_string());
    pool.map(|p| p.install(work))
        .map_err(|e| SourceError::Read { name: "the inputs".to_owned(), source: failed(e) })
}

fn failed(file: &InputFile) -> impl Fn(io::Error) -> SourceError + '_ {
    |e| bytes::explain(file, e)
}

/// The format of an input and the times of its first events; `None` for a stream.
fn head(file: &InputFile, handle: &Handle) -> Result<Option<FileHead>, SourceError> {
    if file.is_stream() {
        return Ok(None);
    }
    for most in [sniff::HEAD, TAIL[1]] {
        let raw = first_bytes(file, most, handle)?;
        let whole = raw.len() < most;
        let format = match sniff::container(&raw) {
            sniff::Container::Gzip => InputFormat::JsonlGzip,
            sniff::Container::Zstd => InputFormat::JsonlZstd,
            sniff::Container::Parquet => InputFormat::Archive,
            // Empty: the name decides.
            sniff::Container::Plain if raw.is_empty() => file.format,
            sniff::Container::Plain => InputFormat::Jsonl,
        };
        if matches!(format, InputFormat::Archive) || raw.is_empty() {
            return Ok(Some(FileHead { format, times: Vec::new() }));
        }
        let mut as_found = file.clone();
        as_found.format = format;
        let (text, whole) = unpacked(&raw, whole, &as_found, most)?;
        if let Some(content) = sniff::other(&text, whole) {
            return Err(SourceError::NotEvents { name: file.name.clone(), content, more: 0 });
        }
        let end =
            if whole { text.len() } else { text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1) };
        let times = text[..end].split(|b| *b == b'\n').take(LINES).filter_map(times::time_of).collect();
        if end > 0 || most == TAIL[1] {
            return Ok(Some(FileHead { format, times }));
        }
    }
    Ok(None)
}

/// Up to `most` of an input's first bytes, as stored.
fn first_bytes(file: &InputFile, most: usize, handle: &Handle) -> Result<Vec<u8>, SourceError> {
    match &file.place {
        FileLocation::Stdin => Ok(Vec::new()),
        FileLocation::Local(path) => {
            let mut raw = Vec::new();
            let read = File::open(path).and_then(|f| f.take(most as u64).read_to_end(&mut raw));
            read.map_err(failed(file))?;
            Ok(raw)
        }
        FileLocation::Object { .. } if file.size == Some(0) => Ok(Vec::new()),
        FileLocation::Object { .. } => object_bytes(file, 0..most as u64, handle),
    }
}

/// A range of an object. Servers without support for ranges are read from the start.
fn object_bytes(file: &InputFile, range: Range<u64>, handle: &Handle) -> Result<Vec<u8>, SourceError> {
    let FileLocation::Object { store, path } = &file.place else { return Ok(Vec::new()) };
    let bounded = GetRange::Bounded(range.start..range.end.min(file.size.unwrap_or(range.end)));
    let options = GetOptions { range: Some(bounded), ..GetOptions::default() };
    let got = handle.block_on(async { store.get_opts(path, options).await?.bytes().await });
    match got {
        Ok(bytes) => Ok(bytes.to_vec()),
        Err(object_store::Error::NotSupported { .. }) => {
            let mut raw = file.clone();
            raw.format = InputFormat::Jsonl;
            let mut reader = bytes::open(&raw, &Arc::new(ByteCounter::default()), handle, Duration::ZERO)?;
            let mut some = Vec::new();
            io::copy(&mut reader.by_ref().take(range.start), &mut io::sink())
                .and_then(|_| reader.take(range.end - range.start).read_to_end(&mut some))
                .map_err(failed(file))?;
            Ok(some)
        }
        Err(e) => Err(SourceError::stored(&file.name, e)),
    }
}

/// Decompresses the first bytes of a file; also returns whether that is the whole file.
fn unpacked(raw: &[u8], whole: bool, file: &InputFile, most: usize) -> Result<(Vec<u8>, bool), SourceError> {
    if file.format == InputFormat::Jsonl {
        return Ok((raw.to_vec(), whole));
    }
    let mut out = Vec::new();
    let mut reader = bytes::unpack(io::Cursor::new(raw.to_vec()), file)?;
    let mut block = vec![0; 16 << 10];
    while out.len() < most {
        match reader.read(&mut block) {
            Ok(0) => return Ok((out, whole)),
            Ok(n) => out.extend_from_slice(&block[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            // Incomplete, since only the first bytes were read.
            Err(_) if !whole && !out.is_empty() => return Ok((out, false)),
            Err(e) if !whole && e.kind() == ErrorKind::UnexpectedEof => return Ok((out, false)),
            Err(e) => return Err(bytes::explain(file, e)),
        }
    }
    Ok((out, false))
}

/// Surveys one input.
fn look(file: InputFile, end: bool, handle: &Handle) -> Result<Surveyed, SourceError> {
    let packed = matches!(file.format, InputFormat::JsonlGzip | InputFormat::JsonlZstd);
    let (mut content, mut lines, mut tail) = (None, None, Vec::new());
    match &file.place {
        _ if file.is_stream() => {}
        FileLocation::Stdin => {}
        FileLocation::Local(path) if packed && end => {
            content = Some(hash(path).map_err(failed(&file))?.0);
            let mut reader = bytes::unpack(File::open(path).map_err(failed(&file))?, &file)?;
            let ending = StreamEnd::read(&mut reader).map_err(failed(&file))?;
            (lines, tail) = (Some(ending.lines()), ending.times());
        }
        FileLocation::Local(path) => {
            let (hash, ends) = hash(path).map_err(failed(&file))?;
            content = Some(hash);
            lines = (file.format == InputFormat::Jsonl).then_some(ends);
            if end && file.format == InputFormat::Jsonl {
                let open = File::open(path).map_err(failed(&file))?;
                let read = |range: Range<u64>| {
                    let mut some = vec![0; (range.end - range.start) as usize];
                    open.read_exact_at(&mut some, range.start).map_err(failed(&file)).map(|()| some)
                };
                tail = last_times(read, file.size.unwrap_or(0))?;
            }
        }
        FileLocation::Object { .. } => {
            content.clone_from(&file.version);
            if end && packed {
                let mut reader =
                    bytes::open(&file, &Arc::new(ByteCounter::default()), handle, Duration::ZERO)?;
                let ending = StreamEnd::read(&mut reader).map_err(failed(&file))?;
                (lines, tail) = (Some(ending.lines()), ending.times());
            } else if end && file.format == InputFormat::Jsonl {
                tail = last_times(|range| object_bytes(&file, range, handle), file.size.unwrap_or(0))?;
            }
        }
    }
    let beginning = file.head.as_ref().and_then(|h| times::range(&h.times));
    let ending = times::range(&tail);
    Ok(Surveyed {
        first: beginning.map(|b| b.0).into_iter().chain(ending.map(|e| e.0)).min(),
        last: if end { beginning.map(|b| b.1).into_iter().chain(ending.map(|e| e.1)).max() } else { None },
        content,
        lines,
        file,
    })
}

/// The hash of a file's content, and its number of lines.
///
/// Hashes blocks in parallel, and then their hashes.
fn hash(path: &Path) -> io::Result<(String, i64)> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let blocks: Vec<(blake3::Hash, usize, bool)> = (0..size.div_ceil(BLOCK as u64))
        .into_par_iter()
        .map_init(Vec::new, |buffer, i| {
            let from = i * BLOCK as u64;
            buffer.resize((size - from).min(BLOCK as u64) as usize, 0);
            file.read_exact_at(buffer, from)?;
            let ends = buffer.iter().filter(|b| **b == b'\n').count();
            Ok((blake3::hash(buffer), ends, buffer.last() == Some(&b'\n')))
        })
        .collect::<io::Result<_>>()?;
    let mut all = blake3::Hasher::new();
    blocks.iter().for_each(|b| {
        all.update(b.0.as_bytes());
    });
    let ends: usize = blocks.iter().map(|b| b.1).sum();
    let open_end = blocks.last().is_some_and(|b| !b.2);
    Ok((format!("blake3:{}", all.finalize().to_hex()), (ends + usize::from(open_end)) as i64))
}

/// Times of the last events of `size` bytes.
fn last_times(
    read: impl Fn(Range<u64>) -> Result<Vec<u8>, SourceError>,
    size: u64,
) -> Result<Vec<i64>, SourceError> {
    for tail in TAIL {
        let start = size.saturating_sub(tail as u64);
        if start == size {
            break;
        }
        let times = times_at_end(&read(start..size)?, start > 0);
        if !times.is_empty() || start == 0 {
            return Ok(times);
        }
    }
    Ok(Vec::new())
}

/// Times of the last lines. With `cut`, the first line is incomplete and skipped.
fn times_at_end(text: &[u8], cut: bool) -> Vec<i64> {
    let from = if cut { text.iter().position(|b| *b == b'\n').map_or(text.len(), |at| at + 1) } else { 0 };
    text[from..].rsplit(|b| *b == b'\n').filter_map(times::time_of).take(LINES).collect()
}

/// The lines of a stream: how many, and the last ones.
#[derive(Default)]
struct StreamEnd {
    last: Vec<u8>,
    read: u64,
    ends: i64,
}

impl StreamEnd {
    /// Number of last bytes that are kept.
    const KEPT: usize = 1 << 20;

    fn read(reader: &mut dyn Read) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(128 << 10, reader);
        let mut out = Self::default();
        loop {
            let block = match reader.fill_buf() {
                Ok([]) => return Ok(out),
                Ok(block) => block,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            let n = block.len();
            out.ends += block.iter().filter(|b| **b == b'\n').count() as i64;
            if out.last.len() + n > 2 * Self::KEPT {
                out.last.drain(..out.last.len() - Self::KEPT);
            }
            out.last.extend_from_slice(block);
            out.read += n as u64;
            reader.consume(n);
        }
    }

    fn lines(&self) -> i64 {
        self.ends + i64::from(self.last.last().is_some_and(|b| *b != b'\n'))
    }

    fn times(&self) -> Vec<i64> {
        times_at_end(&self.last, self.read > self.last.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::time::{DAY, SECOND, text};
    use object_store::{ObjectStore, ObjectStoreExt};

    const T: i64 = 20_000 * DAY;

    fn lines(n: i64) -> String {
        (0..n).map(|i| format!("{{\"timestamp\":\"{}\",\"n\":{i}}}\n", text(T + i * SECOND))).collect()
    }

    fn local(dir: &Path, name: &str, bytes: &[u8]) -> InputFile {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        let format = InputFormat::of(name).unwrap();
        InputFile::new(
            path.display().to_string(),
            FileLocation::Local(path),
            Some(bytes.len() as u64),
            format,
        )
    }

    fn surveyed(mut files: Vec<InputFile>, runtime: &tokio::runtime::Runtime) -> Vec<Surveyed> {
        heads(&mut files, runtime.handle()).unwrap();
        survey(files, &|_| true, runtime.handle()).unwrap()
    }

    #[test]
    fn all_places_and_packings_tell_the_same_times_and_lines() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), crate::source::conformance::runtime());
        let text = lines(40_000);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gz, text.as_bytes()).unwrap();
        let packed = [
            ("a.jsonl", text.clone().into_bytes()),
            ("a.jsonl.gz", gz.finish().unwrap()),
            ("a.jsonl.zst", zstd::encode_all(text.as_bytes(), 1).unwrap()),
        ];
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let mut files = Vec::new();
        for (name, bytes) in packed {
            runtime.block_on(store.put(&name.into(), bytes.clone().into())).unwrap();
            let file = local(dir.path(), name, &bytes);
            let place = FileLocation::Object { store: Arc::clone(&store), path: name.into() };
            let version = Some("etag".to_owned());
            files.push(InputFile { place, version, ..file.clone() });
            files.push(file);
        }
        for s in surveyed(files, &runtime) {
            let name = &s.file.name;
            assert_eq!((s.first, s.last), (Some(T), Some(T + 39_999 * SECOND)), "{name}");
            let plain_object = s.content.as_deref() == Some("etag") && s.file.format == InputFormat::Jsonl;
            assert_eq!(s.lines, (!plain_object).then_some(40_000), "{name}");
        }
    }

    #[test]
    fn content_is_known_whatever_it_is_called_and_lines_are_counted_as_they_are_read() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), crate::source::conformance::runtime());
        // More than a block.
        let text = lines(60_000);
        assert!(text.len() > BLOCK);
        let mut edited = text.clone().into_bytes();
        let at = edited.len() - 4;
        edited[at] = b'x';
        let file = |name: &str, bytes: &[u8]| local(dir.path(), name, bytes);
        let of = surveyed(
            vec![
                file("a.jsonl", text.as_bytes()),
                file("b.jsonl", text.as_bytes()),
                file("c.jsonl", &edited),
                file("open.jsonl", text.trim_end().as_bytes()),
                file("blank.jsonl", b"\n\n{}\n \n"),
                file("empty.jsonl", b""),
            ],
            &runtime,
        );
        let content: Vec<&str> = of.iter().map(|s| s.content.as_deref().unwrap()).collect();
        assert_eq!(content[0], content[1]);
        assert!(content[1..].iter().enumerate().all(|(i, c)| !content[1..][..i].contains(c)), "{content:?}");
        let counted: Vec<i64> = of.iter().map(|s| s.lines.unwrap()).collect();
        assert_eq!(counted, [60_000, 60_000, 60_000, 60_000, 4, 0]);
        assert_eq!((of[4].first, of[5].first), (None, None));
    }

    #[test]
    fn long_lines_tell_their_times_too() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), crate::source::conformance::runtime());
        let long =
            |i: i64| format!("{{\"x\":\"{}\",\"timestamp\":\"{}\"}}", "y".repeat(300_000), text(T + i));
        let all = [long(0), long(1), long(2)].join("\n");
        let s = surveyed(vec![local(dir.path(), "a.jsonl", all.as_bytes())], &runtime).remove(0);
        assert_eq!((s.first, s.last, s.lines), (Some(T), Some(T + 2), Some(3)));
    }
}
