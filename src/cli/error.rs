//! Why a command fails, and the exit code of each reason.

use crate::embed::EmbedError;
use arrow::error::ArrowError;
use parquet::errors::ParquetError;
use rdkafka::error::KafkaError;
use std::io;
use std::time::Duration;
use thiserror::Error;

/// How long the brokers may take to answer a producer at the start.
pub const PRODUCER_CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a command did not succeed. Decides the exit code.
#[derive(Debug, Error)]
pub enum CliError {
    /// The answer is no: exit code 1.
    #[error("{0}")]
    No(String),
    /// Wrong usage or configuration: exit code 2.
    #[error("{0}")]
    Usage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Input or output failed: exit code 3.
    #[error("{0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl CliError {
    /// Wrong usage or configuration.
    pub fn usage(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Usage(e.into())
    }

    /// Input or output that failed.
    pub fn failed(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(e.into())
    }

    /// Whether the reader of standard output has closed it.
    pub(super) fn is_closed_pipe(&self) -> bool {
        let Self::Failed(e) = self else { return false };
        crate::stdout::is_closed()
            || e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    }

    pub(super) fn code(&self) -> u8 {
        match self {
            Self::No(_) => 1,
            Self::Usage(_) => 2,
            Self::Failed(_) => 3,
        }
    }
}

impl From<crate::engine::InputsError> for CliError {
    fn from(e: crate::engine::InputsError) -> Self {
        use crate::engine::InputsError as I;
        match e {
            I::Storage(_) | I::Chain(_) | I::Source(_) | I::Damaged { .. } | I::Taken { .. } => {
                Self::failed(e)
            }
            _ => Self::usage(e),
        }
    }
}

impl From<crate::engine::JobError> for CliError {
    fn from(e: crate::engine::JobError) -> Self {
        use crate::engine::JobError as J;
        match e {
            J::Config(_)
            | J::Rule(_)
            | J::OtherJob { .. }
            | J::Name(_)
            | J::NoOutput { .. }
            | J::ReadsItself => Self::usage(e),
            J::Storage(_) | J::History(_) => Self::failed(e),
            J::Embed(e) => e.into(),
        }
    }
}

impl From<EmbedError> for CliError {
    fn from(e: EmbedError) -> Self {
        match e {
            EmbedError::Table(_) | EmbedError::Storage(_) | EmbedError::Thread(_) => Self::failed(e),
            _ => Self::usage(e),
        }
    }
}

/// Why messages can't be produced.
#[derive(Debug, Error)]
pub enum ProduceError {
    /// A setting of the client is wrong. The client's own text is left out: it may quote a secret.
    #[error("kafka.properties: librdkafka refuses {0}")]
    Property(String),
    /// The client can't be made.
    #[error("can't create the Kafka producer: {0}")]
    Create(#[source] KafkaError),
    /// No broker answers.
    #[error("no broker of {brokers} answered within {} s: {source}; check --kafka and that the port is reachable", PRODUCER_CONNECT_TIMEOUT.as_secs())]
    Unreachable {
        /// The bootstrap servers.
        brokers: String,
        /// What the client said.
        source: KafkaError,
    },
    /// The topic does not exist.
    #[error("topic {topic} does not exist on {brokers}; create it first, or fix --topic")]
    NoTopic {
        /// The topic.
        topic: String,
        /// The bootstrap servers.
        brokers: String,
    },
    /// The client refuses a message.
    #[error("can't send to topic {topic}: {source}")]
    Send {
        /// The topic.
        topic: String,
        /// Why.
        source: KafkaError,
    },
    /// The broker did not take some of the messages.
    #[error("{failed} messages to topic {topic} were not delivered, the first because of: {reason}")]
    Undelivered {
        /// The topic.
        topic: String,
        /// How many.
        failed: u64,
        /// What the client said of the first.
        reason: String,
    },
}

/// Why messages can't be written.
#[derive(Debug, Error)]
pub enum OutputError {
    /// A file or standard output.
    #[error("can't write {name}: {source}")]
    Write {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The archive.
    #[error("can't write {name}: {source}")]
    Parquet {
        /// The file.
        name: String,
        /// Why.
        source: ParquetError,
    },
    /// Rows of the archive.
    #[error("can't make rows of the archive: {0}")]
    Rows(#[from] ArrowError),
    /// The topic.
    #[error(transparent)]
    Produce(#[from] ProduceError),
}
