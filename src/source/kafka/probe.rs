//! Checks a topic without joining a group: that brokers answer, the topic exists and the group may
//! be used.

use super::config::{client_config, creation_error};
use super::context::WATERMARK_TIMEOUT;
use super::metadata::partitions_of;
use crate::source::error::SourceError;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::collections::BTreeMap;
use std::time::Duration;

/// The result of [`probe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicProbe {
    /// Number of partitions.
    pub partitions: usize,
    /// Number of offsets in all partitions.
    pub messages: u64,
    /// Why the group can't be used, if so.
    pub group_refused: Option<String>,
}

/// Requests the topic's partitions, their first and last offsets, and the group's offsets.
///
/// # Errors
/// When a property is wrong, no broker answers, the topic does not exist or can't be read.
pub fn probe(
    brokers: &str,
    topic: &str,
    group: &str,
    properties: &BTreeMap<String, String>,
    timeout: Duration,
) -> Result<TopicProbe, SourceError> {
    let consumer: BaseConsumer =
        client_config(brokers, group, properties)?.create().map_err(creation_error)?;
    let complaint = || {
        // Errors wait in the client's queue until it is polled.
        (0..20).find_map(|_| consumer.poll(Duration::from_millis(10))?.err()).map(|e| e.to_string())
    };
    let partitions = partitions_of(&consumer, brokers, topic, timeout, complaint)?;
    let mut messages = 0;
    let mut list = TopicPartitionList::new();
    for p in &partitions {
        let (low, high) = consumer.fetch_watermarks(topic, p.0, WATERMARK_TIMEOUT).map_err(|e| {
            SourceError::kafka(format!("can't ask for the offsets of partition {p} of {topic}"), e)
        })?;
        messages += u64::try_from(high - low).unwrap_or(0);
        list.add_partition(topic, p.0);
    }
    let group_refused = consumer.committed_offsets(list, timeout).err().map(|e| e.to_string());
    Ok(TopicProbe { partitions: partitions.len(), messages, group_refused })
}
