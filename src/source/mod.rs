//! Sources of events: Kafka, JSONL files and archives behind one trait, [`Source`]. Each returns a
//! partition's records in offset order.
//!
//! A source never interprets events. It returns chunks of raw messages (or rows of an archive) with
//! their offsets, reports when a partition is read to its end, and starts where [`Positions`] says,
//! so that the owner of the state also owns the position.

mod buffer;
mod bytes;
mod claims;
mod clock;
#[cfg(test)]
pub(crate) mod conformance;
mod error;
mod file_partitions;
pub mod input;
pub mod input_file;
mod interface;
pub mod jsonl;
pub mod kafka;
mod lane;
pub mod lanes;
pub mod parquet;
mod records;
pub mod sniff;
pub mod survey;
mod time_range;
mod times;

pub use buffer::{BufferPool, MessageBuffer};
pub use claims::{ClaimQueue, OwnershipChange};
pub use clock::MonotonicClock;
pub use error::{PositionError, SourceError};
pub use input::resolve;
pub use input_file::{InputFile, Inputs};
pub use interface::{FromBeginning, Polled, Positions, RestartOutcome, Source};
pub use jsonl::JsonlSource;
pub use kafka::{KafkaOptions, KafkaSource};
pub use parquet::ParquetSource;
pub use records::{
    CHUNK_BYTES, CHUNK_MESSAGES, Chunk, MessageSpan, Offset, PartitionId, Payload, RecordTime,
};
pub use time_range::TimeRange;
