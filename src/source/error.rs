//! What can go wrong with an input, said so that whoever runs the job knows what to fix.

use super::records::PartitionId;
use super::sniff::Looks;
use crate::event::archive::ArchiveError;
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
    /// A compressed file stops in the middle.
    #[error("{name} is truncated: its {format} stream ends in the middle; fetch or write the file again")]
    Truncated {
        /// The file.
        name: String,
        /// `gzip` or `zstd`.
        format: &'static str,
    },
    /// A file holds something else than events.
    #[error("{name} looks like {}: {}{}", looks.what, looks.todo, others(*more))]
    Looks {
        /// The file.
        name: String,
        /// What it looks like.
        looks: Looks,
        /// Further files that hold something else.
        more: usize,
    },
    /// More files overlap in time than are read side by side.
    #[error(
        "{overlap} of the input files overlap in time, and at most {most} are read side by side: merge some of them by time first \
         (sort -m), or replay them into outputs of their own"
    )]
    TooManyLanes {
        /// How many overlap.
        overlap: usize,
        /// How many may.
        most: usize,
    },
    /// A stream does not hold the record at which reading is to go on.
    #[error(
        "{name} is not what this output was filled from: its line {line} is another. Give the same stream from its beginning, another \
         --output, or start over with --overwrite"
    )]
    OtherStream {
        /// The stream.
        name: String,
        /// The line, from 1.
        line: i64,
    },
    /// A web server can't be asked.
    #[error("can't read {name}: {message}; check the address, or download the file")]
    Server {
        /// The address.
        name: String,
        /// Why.
        message: String,
    },
    /// An object store refuses.
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
    /// A Parquet file is no archive of events, or not one that can be read with the others.
    #[error("{name}: {message}")]
    Archive {
        /// The file.
        name: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The rows of an archive don't have its columns.
    #[error("{name}: {source}")]
    Columns {
        /// The file.
        name: String,
        /// Which.
        source: ArchiveError,
    },
    /// An INPUT argument that names nothing.
    #[error("no input matches {pattern}: {hint}")]
    NoInput {
        /// The argument.
        pattern: String,
        /// What to look at.
        hint: String,
    },
    /// An INPUT argument that can't be understood.
    #[error("input {input} can't be used: {message}")]
    BadInput {
        /// The argument.
        input: String,
        /// Why, and what would do.
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
    /// The place to go on at is not known.
    #[error("can't tell where to go on in partition {partition}: {source}")]
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
        /// How long was tried.
        seconds: u64,
        /// What the client said last.
        reason: String,
    },
    /// The topic is not there.
    #[error("topic {topic} does not exist on {brokers}; create it or mend input.kafka.topic")]
    NoTopic {
        /// The topic.
        topic: String,
        /// The bootstrap servers.
        brokers: String,
    },
    /// A property that is unknown, has a bad value, or that correctness rests on.
    #[error("kafka.properties.\"{key}\": {message}")]
    Property {
        /// The property; never its value, which may be a secret.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// The Kafka client failed for good.
    #[error("kafka: {what}: {source}")]
    Kafka {
        /// What was being done.
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

    /// An error of an object store, or of a web server in plain words.
    pub fn stored(name: &str, source: object_store::Error) -> Self {
        let name = name.to_owned();
        if !name.starts_with("http") {
            return Self::Store { name, source };
        }
        // The innermost cause is what happened; what stands around it is the client's account of
        // its attempts.
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

/// Why a position can't be told.
#[derive(Debug, thiserror::Error)]
pub enum PositionError {
    /// The store is away. A source that follows a topic goes on with its other partitions and asks again.
    #[error(transparent)]
    NotNow(Box<dyn std::error::Error + Send + Sync>),
    /// Asking again would not help.
    #[error(transparent)]
    Never(Box<dyn std::error::Error + Send + Sync>),
}
