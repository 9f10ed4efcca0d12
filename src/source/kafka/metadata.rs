//! The partitions of a topic.

use crate::source::error::SourceError;
use crate::source::records::PartitionId;
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use std::time::Duration;

/// The partitions of a topic. `complaint` returns the client's last message, for the error.
pub fn partitions_of<C: ConsumerContext, T: Consumer<C>>(
    consumer: &T,
    brokers: &str,
    topic: &str,
    timeout: Duration,
    complaint: impl Fn() -> Option<String>,
) -> Result<Vec<PartitionId>, SourceError> {
    let metadata = consumer.fetch_metadata(Some(topic), timeout).map_err(|e| SourceError::Unreachable {
        brokers: brokers.to_owned(),
        seconds: timeout.as_secs(),
        reason: complaint().unwrap_or_else(|| e.to_string()),
    })?;
    let found = metadata.topics().iter().find(|t| t.name() == topic);
    let mut partitions: Vec<_> =
        found.iter().flat_map(|t| t.partitions()).map(|p| PartitionId(p.id())).collect();
    partitions.sort_unstable();
    match found.and_then(rdkafka::metadata::MetadataTopic::error) {
        Some(e) if e != rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => {
            Err(SourceError::kafka(format!("can't read topic {topic}"), KafkaError::MetadataFetch(e.into())))
        }
        _ if partitions.is_empty() => {
            Err(SourceError::NoTopic { topic: topic.to_owned(), brokers: brokers.to_owned() })
        }
        _ => Ok(partitions),
    }
}
