//! An input file: its name, where it lies and what it holds.

use super::times;
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use std::path::PathBuf;
use std::sync::Arc;

/// What a file holds: by its suffix until its first bytes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON lines.
    Jsonl,
    /// JSON lines in gzip, of any number of members.
    JsonlGzip,
    /// JSON lines in zstd, of any number of frames.
    JsonlZstd,
    /// An archive of events in Parquet.
    Archive,
}

impl Format {
    /// The format that a name's suffix tells.
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

/// Where a file lies.
#[derive(Debug, Clone)]
pub enum Place {
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
    /// As people know it.
    pub name: String,
    /// Where it lies.
    pub place: Place,
    /// Bytes as stored, where known.
    pub size: Option<u64>,
    /// What it holds.
    pub format: Format,
    /// What an object store says of its content's version.
    pub version: Option<String>,
    /// What its beginning tells, once it was looked at.
    pub head: Option<Arc<Head>>,
    /// Its name with links and `..` resolved, by which it is known whatever it is called on the
    /// command line.
    pub canonical: String,
}

impl InputFile {
    /// An input of which nothing more is known.
    #[must_use]
    pub fn new(name: String, place: Place, size: Option<u64>, format: Format) -> Self {
        let canonical = match &place {
            Place::Local(path) => path.canonicalize().ok().map(|p| p.display().to_string()),
            Place::Stdin | Place::Object { .. } => None,
        };
        let canonical = canonical.unwrap_or_else(|| name.clone());
        Self { name, place, size, format, version: None, head: None, canonical }
    }

    /// When its events begin, as far as its beginning tells.
    #[must_use]
    pub fn first(&self) -> Option<i64> {
        self.head.as_ref()?.first()
    }

    /// Whether it can be read only once, from its beginning: standard input, a pipe.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        match self.place {
            Place::Stdin => true,
            Place::Local(_) => self.size.is_none(),
            Place::Object { .. } => false,
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

/// What the beginning of a file tells.
#[derive(Debug, Clone)]
pub struct Head {
    /// What it holds, by its content.
    pub format: Format,
    /// Times of its first events.
    pub(super) times: Vec<i64>,
}

impl Head {
    /// When the events begin.
    #[must_use]
    pub fn first(&self) -> Option<i64> {
        times::range(&self.times).map(|r| r.0)
    }
}
