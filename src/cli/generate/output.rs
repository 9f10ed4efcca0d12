//! Where generated messages go: JSON lines (plain, gzip, zstd), a redacted archive, or a topic.

use super::producer::Producer;
use crate::cli::error::OutputError;
use crate::enrich::{Enricher, IdHasher, Plan};
use crate::event::decode;
use crate::generate::Generated;
use crate::store::event_rows::{ArchiveBuilder, Place, metadata, schema};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as ParquetCompression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

/// Rows of an archive that are gathered before they are written.
const ROWS: usize = 8_192;
/// Rows of a row group: what a replay from a later place must skip.
const ROW_GROUP: usize = 1 << 17;
/// Bytes gathered before a write.
const BUFFER: usize = 1 << 20;
/// The topic in an archive of generated events.
const TOPIC: &str = "generated";

/// What happened to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It was written.
    Written,
    /// It is not an event, and an archive holds only events.
    Refused,
    /// The reader of standard output has closed it.
    Closed,
}

/// One place to write to.
pub enum MessageOutput {
    /// JSON lines.
    Lines(Box<LineOutput>),
    /// A redacted archive.
    Archive(Box<ArchiveOutput>),
    /// A topic.
    Topic(Producer),
}

/// JSON lines, possibly compressed.
pub struct LineOutput {
    name: String,
    to: LineEncoder,
}

enum LineEncoder {
    Plain(BufWriter<Box<dyn Write>>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
}

impl LineEncoder {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Plain(w) => w,
            Self::Gzip(w) => w,
            Self::Zstd(w) => w,
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(mut w) => w.flush(),
            Self::Gzip(w) => w.finish()?.flush(),
            Self::Zstd(w) => w.finish()?.flush(),
        }
    }
}

/// An archive of events, as `driftglass archive` writes it.
pub struct ArchiveOutput {
    name: String,
    writer: ArrowWriter<File>,
    builder: ArchiveBuilder,
    enricher: Enricher,
    mistyped: Vec<&'static str>,
    offset: i64,
}

impl MessageOutput {
    /// Standard output.
    #[must_use]
    pub fn stdout() -> Self {
        let to: Box<dyn Write> = Box::new(crate::stdout::stdout());
        let to = LineEncoder::Plain(BufWriter::with_capacity(BUFFER, to));
        Self::Lines(Box::new(LineOutput { name: "standard output".into(), to }))
    }

    /// A file, by its suffix: `.parquet` an archive hashed under `key`, `.gz` and `.zst` compressed
    /// JSON lines, else plain ones.
    ///
    /// # Errors
    /// When it can't be created.
    pub fn file(path: &Path, key: &str) -> Result<Self, OutputError> {
        let name = path.display().to_string();
        let failed = |source| OutputError::Write { name: name.clone(), source };
        let file = File::create(path).map_err(failed)?;
        let suffix = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let to = match suffix {
            "parquet" => return Ok(Self::Archive(Box::new(ArchiveOutput::new(name, file, key)?))),
            "gz" => {
                LineEncoder::Gzip(GzEncoder::new(BufWriter::with_capacity(BUFFER, file), Compression::fast()))
            }
            "zst" => {
                let to = BufWriter::with_capacity(BUFFER, file);
                LineEncoder::Zstd(zstd::stream::write::Encoder::new(to, 3).map_err(failed)?)
            }
            _ => LineEncoder::Plain(BufWriter::with_capacity(BUFFER, Box::new(file))),
        };
        Ok(Self::Lines(Box::new(LineOutput { name, to })))
    }

    /// Writes one message.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put(&mut self, message: &[u8], about: &Generated) -> Result<WriteOutcome, OutputError> {
        match self {
            Self::Lines(lines) => {
                let to = lines.to.writer();
                match to.write_all(message).and_then(|()| to.write_all(b"\n")) {
                    Ok(()) => Ok(WriteOutcome::Written),
                    Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(WriteOutcome::Closed),
                    Err(source) => Err(OutputError::Write { name: lines.name.clone(), source }),
                }
            }
            Self::Archive(archive) => archive.put(message, about),
            Self::Topic(producer) => {
                let key = session_key(about.session);
                producer.send(None, &key, message, about.time_us / 1_000)?;
                Ok(WriteOutcome::Written)
            }
        }
    }

    /// Writes the rest and, for a topic, waits until everything is delivered.
    ///
    /// # Errors
    /// When that fails.
    pub fn finish(self) -> Result<(), OutputError> {
        match self {
            Self::Lines(lines) => {
                let LineOutput { name, to } = *lines;
                match to.finish() {
                    Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
                    done => done.map_err(|source| OutputError::Write { name, source }),
                }
            }
            Self::Archive(archive) => archive.finish(),
            Self::Topic(producer) => Ok(producer.finish().map(|_| ())?),
        }
    }
}

impl ArchiveOutput {
    fn new(name: String, file: File, key: &str) -> Result<Self, OutputError> {
        let hasher = IdHasher::new(key);
        let pairs = metadata(hasher.key_id()).map(|(k, v)| KeyValue::new(k.to_owned(), v)).to_vec();
        let properties = WriterProperties::builder()
            .set_compression(ParquetCompression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .set_key_value_metadata(Some(pairs))
            .build();
        let writer = ArrowWriter::try_new(file, schema(), Some(properties))
            .map_err(|source| OutputError::Parquet { name: name.clone(), source })?;
        let plan = Plan {
            features: Vec::new(),
            dimensions: Vec::new(),
            hasher,
            hidden: crate::event::NameFields::default(),
            vectors: None,
        };
        Ok(Self {
            name,
            writer,
            builder: ArchiveBuilder::default(),
            enricher: Enricher::new(Arc::new(plan)),
            mistyped: Vec::new(),
            offset: 0,
        })
    }

    fn put(&mut self, message: &[u8], about: &Generated) -> Result<WriteOutcome, OutputError> {
        let offset = self.offset;
        self.offset += 1;
        self.mistyped.clear();
        let Ok(event) = decode(message, &mut self.mistyped) else { return Ok(WriteOutcome::Refused) };
        let clean = self.enricher.clean(&event);
        let place = Place { topic: TOPIC, partition: 0, offset, record_time_us: Some(about.time_us) };
        self.builder.push(&event, &clean, place);
        if self.builder.len() >= ROWS {
            self.write()?;
        }
        Ok(WriteOutcome::Written)
    }

    fn write(&mut self) -> Result<(), OutputError> {
        let rows = self.builder.finish()?;
        self.writer.write(&rows).map_err(|source| OutputError::Parquet { name: self.name.clone(), source })
    }

    fn finish(mut self) -> Result<(), OutputError> {
        if !self.builder.is_empty() {
            self.write()?;
        }
        let Self { name, writer, .. } = self;
        writer.close().map(|_| ()).map_err(|source| OutputError::Parquet { name, source })
    }
}

/// A session as a message's key: its id as the event writes it, 16 hex digits.
#[must_use]
pub fn session_key(session: u64) -> [u8; 16] {
    let mut key = [0; 16];
    for (i, digit) in key.iter_mut().enumerate() {
        let nibble = (session >> (60 - 4 * i)) & 15;
        *digit = b"0123456789abcdef"[nibble as usize];
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Generator, GeneratorSettings};
    use crate::store::event_rows::KEY_ID;
    use chrono::Duration;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use std::io::Read;

    fn write(path: &Path, bad_share: f64) -> (u64, u64) {
        let settings =
            GeneratorSettings { duration: Duration::hours(2), bad_share, ..GeneratorSettings::default() };
        let mut generator = Generator::new(settings).unwrap();
        let mut output = MessageOutput::file(path, "a key").unwrap();
        let (mut message, mut written, mut refused) = (Vec::new(), 0, 0);
        while let Some(about) = generator.next_into(&mut message) {
            match output.put(&message, &about).unwrap() {
                WriteOutcome::Written => written += 1,
                WriteOutcome::Refused => refused += 1,
                WriteOutcome::Closed => panic!("nobody closed it"),
            }
        }
        output.finish().unwrap();
        (written, refused)
    }

    #[test]
    fn compressed_lines_hold_what_plain_ones_hold() {
        let dir = tempfile::tempdir().unwrap();
        let [plain, gz, zst] = ["e.jsonl", "e.jsonl.gz", "e.jsonl.zst"].map(|n| dir.path().join(n));
        let written = write(&plain, 0.0);
        assert_eq!((write(&gz, 0.0), write(&zst, 0.0)), (written, written));
        let text = std::fs::read_to_string(&plain).unwrap();
        assert_eq!(text.lines().count() as u64, written.0);
        let mut back = String::new();
        flate2::read::MultiGzDecoder::new(File::open(&gz).unwrap()).read_to_string(&mut back).unwrap();
        assert!(back == text);
        assert!(zstd::decode_all(File::open(&zst).unwrap()).unwrap() == text.as_bytes());
    }

    #[test]
    fn an_archive_holds_every_event_and_no_prompt_and_names_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.parquet");
        let (written, refused) = write(&path, 0.05);
        assert!(written > 100 && refused > 0);
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
        let pairs = reader.metadata().file_metadata().key_value_metadata().unwrap();
        let key = format!("{:016x}", IdHasher::new("a key").key_id());
        assert!(pairs.iter().any(|p| p.key == KEY_ID && p.value.as_deref() == Some(key.as_str())));
        assert!(reader.schema().field_with_name("prompt").is_err());
        let rows: usize = reader.build().unwrap().map(|b| b.unwrap().num_rows()).sum();
        assert_eq!(rows as u64, written);
    }

    #[test]
    fn a_key_is_the_session_as_the_event_writes_it() {
        let mut generator = Generator::new(GeneratorSettings::default()).unwrap();
        let mut message = Vec::new();
        let about = generator.next_into(&mut message).unwrap();
        let key = String::from_utf8(session_key(about.session).to_vec()).unwrap();
        let event: serde_json::Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(event["session_id"], key);
    }
}
