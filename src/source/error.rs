//! Why an input can't be read, with what to fix.

use super::records::PartitionId;
use super::sniff::ForeignContent;
use crate::store::event_rows::ArchiveError;
use thiserror::Error;

/// Why an input can't be read.
#[derive(Debug, Error)]
pub enum SourceError {
    /// A file can't be opened or read.
    #[error("can't read {name}: {source}")]
    Read {
        /// The file.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// A compressed file is incomplete.
    #[error("{name} is truncated: its {format} stream is incomplete; download or write the file again")]
    Truncated {
        /// The file.
        name: String,
        /// `gzip` or `zstd`.
        format: &'static str,
    },
    /// A file has something other than events.
    #[error("{name} looks like {}: {}{}", content.what, content.todo, others(*more))]
    NotEvents {
        /// The file.
        name: String,
        /// What it has instead.
        content: ForeignContent,
        /// Number of further files that can't be read.
        more: usize,
    },
    /// Too many files overlap in time.
    #[error(
        "{overlap} of the input files overlap in time, and at most {most} can be read in parallel: merge some \
         of them by time first (sort -m), or replay them into separate outputs"
    )]
    TooManyLanes {
        /// How many overlap.
        overlap: usize,
        /// How many may.
        most: usize,
    },
    /// A stream is not the one that the output was filled from.
    #[error(
        "{name} is not the stream that this output was filled from: its line {line} differs; give the same \
         stream from its start, choose another --output, or start over with --overwrite"
    )]
    OtherStream {
        /// The stream.
        name: String,
        /// The line, from 1.
        line: i64,
    },
    /// A web server failed.
    #[error("can't read {name}: {message}; check the address, or download the file")]
    Server {
        /// The address.
        name: String,
        /// Why.
        message: String,
    },
    /// An object store failed.
    #[error("can't read {name}: {source}")]
    Store {
        /// The object or folder.
        name: String,
        /// Why.
        source: object_store::Error,
    },
    /// A Parquet file is damaged.
    #[error("can't read {name}: {source}")]
    Parquet {
        /// The file.
        name: String,
        /// Why.
        source: ::parquet::errors::ParquetError,
    },
    /// A Parquet file is not an archive of events, or can't be read with the others.
    #[error("{name}: {message}")]
    Archive {
        /// The file.
        name: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// Rows of an archive lack its columns.
    #[error("{name}: {source}")]
    Columns {
        /// The file.
        name: String,
        /// Which.
        source: ArchiveError,
    },
    /// An INPUT argument that matches nothing.
    #[error("no input matches {pattern}: {hint}")]
    NoInput {
        /// The argument.
        pattern: String,
        /// What to check.
        hint: String,
    },
    /// An invalid INPUT argument.
    #[error("input {input} can't be used: {message}")]
    BadInput {
        /// The argument.
        input: String,
        /// Why, and what to write instead.
        message: String,
    },
    /// JSONL and archives in one job.
    #[error("inputs are of two kinds, {jsonl} (JSON lines) and {archive} (archive); give one kind at a time")]
    MixedInputs {
        /// One that is JSONL.
        jsonl: String,
        /// One that is an archive.
        archive: String,
    },
    /// The position of a partition is unknown.
    #[error("can't find the position of partition {partition}: {source}")]
    Position {
        /// The partition.
        partition: PartitionId,
        /// Why.
        source: PositionError,
    },
    /// No broker answers.
    #[error(
        "no broker of {brokers} answered within {seconds} s ({reason}); check input.kafka.brokers, that the port is reachable, and kafka.properties (security.protocol, sasl.*, ssl.*)"
    )]
    Unreachable {
        /// The bootstrap servers.
        brokers: String,
        /// How long it tried.
        seconds: u64,
        /// What the client said last.
        reason: String,
    },
    /// The topic does not exist.
    #[error("topic {topic} does not exist on {brokers}; create it, or fix input.kafka.topic")]
    NoTopic {
        /// The topic.
        topic: String,
        /// The bootstrap servers.
        brokers: String,
    },
    /// A property that is unknown, has a bad value, or must not be changed.
    #[error("kafka.properties.\"{key}\": {message}")]
    Property {
        /// The property; never its value, which may be a secret.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// The Kafka client failed permanently.
    #[error("kafka: {what}: {source}")]
    Kafka {
        /// What it was asked to do.
        what: String,
        /// Why it failed.
        source: rdkafka::error::KafkaError,
    },
}

impl SourceError {
    /// An error of the Kafka client, with what it was asked to do.
    pub fn kafka(what: impl Into<String>, source: rdkafka::error::KafkaError) -> Self {
        Self::Kafka { what: what.into(), source }
    }

    /// An error of an object store, or of a web server with its innermost cause.
    pub fn stored(name: &str, source: object_store::Error) -> Self {
        let name = name.to_owned();
        if !name.starts_with("http") {
            return Self::Store { name, source };
        }
        // The innermost cause is what happened; the outer ones describe the client's attempts.
        let mut cause: &dyn std::error::Error = &source;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let message = match &source {
            object_store::Error::NotFound { .. } => "the server has no such file".to_owned(),
            _ => cause.to_string(),
        };
        Self::Server { name, message }
    }
}

fn others(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" ({more} more of the inputs can't be read either)") }
}

/// Why a position is unknown.
#[derive(Debug, thiserror::Error)]
pub enum PositionError {
    /// The store is unavailable. A Kafka source continues with its other partitions, and asks
    /// again.
    #[error(transparent)]
    NotNow(Box<dyn std::error::Error + Send + Sync>),
    /// Permanent: asking again would not help.
    #[error(transparent)]
    Never(Box<dyn std::error::Error + Send + Sync>),
}
