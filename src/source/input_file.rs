//! An input file: its name, location and format.

use super::times;
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use std::path::PathBuf;
use std::sync::Arc;

/// The format of a file: by its suffix until its first bytes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputFormat {
    /// JSON lines.
    Jsonl,
    /// JSON lines in gzip, with any number of members.
    JsonlGzip,
    /// JSON lines in zstd, with any number of frames.
    JsonlZstd,
    /// An archive of events in Parquet.
    Archive,
}

impl InputFormat {
    /// The format by the suffix of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        if name.ends_with(".parquet") {
            return Some(Self::Archive);
        }
        let (stem, format) = match name.rsplit_once('.')? {
            (stem, "gz") => (stem, Self::JsonlGzip),
            (stem, "zst") => (stem, Self::JsonlZstd),
            _ => (name.as_str(), Self::Jsonl),
        };
        [".jsonl", ".json", ".ndjson"].iter().any(|s| stem.ends_with(s)).then_some(format)
    }
}

/// Where a file is.
#[derive(Debug, Clone)]
pub enum FileLocation {
    /// Standard input.
    Stdin,
    /// On this machine.
    Local(PathBuf),
    /// In an object store.
    Object {
        /// The store.
        store: Arc<dyn ObjectStore>,
        /// The object.
        path: ObjectPath,
    },
}

/// One input.
#[derive(Debug, Clone)]
pub struct InputFile {
    /// Its name in messages.
    pub name: String,
    /// Where it is.
    pub place: FileLocation,
    /// Stored size in bytes, if known.
    pub size: Option<u64>,
    /// Its format.
    pub format: InputFormat,
    /// The version of its content, as the object store reports it.
    pub version: Option<String>,
    /// What its first bytes show, once they were read.
    pub head: Option<Arc<FileHead>>,
    /// Its name with links and `..` resolved, which identifies it however it is written on the
    /// command line.
    pub canonical: String,
}

impl InputFile {
    /// An input that was not read yet.
    #[must_use]
    pub fn new(name: String, place: FileLocation, size: Option<u64>, format: InputFormat) -> Self {
        let canonical = match &place {
            FileLocation::Local(path) => path.canonicalize().ok().map(|p| p.display().to_string()),
            FileLocation::Stdin | FileLocation::Object { .. } => None,
        };
        let canonical = canonical.unwrap_or_else(|| name.clone());
        Self { name, place, size, format, version: None, head: None, canonical }
    }

    /// Time of its first event, as far as its first bytes show.
    #[must_use]
    pub fn first(&self) -> Option<i64> {
        self.head.as_ref()?.first()
    }

    /// Whether it can be read only once, from the start: standard input, a pipe.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        match self.place {
            FileLocation::Stdin => true,
            FileLocation::Local(_) => self.size.is_none(),
            FileLocation::Object { .. } => false,
        }
    }
}

/// Inputs of one kind.
#[derive(Debug, Clone)]
pub enum Inputs {
    /// JSON lines.
    Jsonl(Vec<InputFile>),
    /// Archives.
    Archive(Vec<InputFile>),
}

/// What the first bytes of a file show.
#[derive(Debug, Clone)]
pub struct FileHead {
    /// Its format, by its content.
    pub format: InputFormat,
    /// Times of its first events.
    pub(super) times: Vec<i64>,
}

impl FileHead {
    /// Time of the first event.
    #[must_use]
    pub fn first(&self) -> Option<i64> {
        times::range(&self.times).map(|r| r.0)
    }
}
