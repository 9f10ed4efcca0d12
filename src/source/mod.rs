//! Where events come from: Kafka, JSONL files and archives behind one trait, each partition's records in offset order.
//!
//! A source never decides what an event means. It hands out chunks of raw messages (or rows of an archive) with their offsets,
//! says when a partition is read to its end, and starts where [`Positions`] says, so that whoever keeps the state also keeps the place.

mod buffer;
mod bytes;
mod claims;
mod clock;
#[cfg(test)]
pub(crate) mod conformance;
mod error;
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

pub use buffer::{MessageBuffer, Spare};
pub use claims::{Claimed, Owning};
pub use clock::Clock;
pub use error::{PositionError, SourceError};
pub use input::resolve;
pub use input_file::{InputFile, Inputs};
pub use interface::{Again, FromBeginning, Polled, Positions, Source};
pub use jsonl::JsonlSource;
pub use kafka::{KafkaOptions, KafkaSource};
pub use parquet::ParquetSource;
pub use records::{CHUNK_BYTES, CHUNK_MESSAGES, Chunk, Offset, PartitionId, Payload, RecordTime, Span};
pub use time_range::TimeRange;
