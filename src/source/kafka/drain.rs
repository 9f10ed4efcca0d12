//! A consumer that reads a topic to its end and discards it: the upper limit for benchmarks.

use super::config::{client_config, creation_error};
use super::context::WATERMARK_TIMEOUT;
use super::metadata::partitions_of;
use crate::source::error::SourceError;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Time without messages after which draining gives up.
const GIVE_UP: Duration = Duration::from_secs(60);

/// What [`drain`] read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrainStats {
    /// Number of messages.
    pub events: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Seconds from the first message to the last.
    pub seconds: f64,
}

/// Reads the topic from its start to its current end.
///
/// # Errors
/// When no broker answers, the topic does not exist, or nothing arrives for a minute.
pub fn drain(
    brokers: &str,
    topic: &str,
    properties: &BTreeMap<String, String>,
) -> Result<DrainStats, SourceError> {
    let config = client_config(brokers, "driftglass-drain", properties)?;
    let consumer: BaseConsumer = config.create().map_err(creation_error)?;
    let partitions = partitions_of(&consumer, brokers, topic, WATERMARK_TIMEOUT, || None)?;
    let mut list = TopicPartitionList::new();
    for p in &partitions {
        list.add_partition_offset(topic, p.0, Offset::Beginning)
            .map_err(|e| SourceError::kafka("can't set a partition's offset", e))?;
    }
    let started = Instant::now();
    consumer.assign(&list).map_err(|e| SourceError::kafka("can't assign partitions", e))?;
    let mut open: BTreeSet<i32> = partitions.iter().map(|p| p.0).collect();
    let (mut events, mut bytes) = (0, 0);
    let (mut first, mut last) = (None, started);
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) => {
                events += 1;
                bytes += message.payload_len() as u64;
                last = if events % 1024 == 1 { Instant::now() } else { last };
                first.get_or_insert(last);
            }
            Some(Err(KafkaError::PartitionEOF(p))) => {
                last = Instant::now();
                open.remove(&p);
            }
            Some(Err(e @ KafkaError::MessageConsumptionFatal(_))) => {
                return Err(SourceError::kafka("can't read on", e));
            }
            Some(Err(e)) => tracing::debug!("kafka: {e}"),
            None if last.elapsed() > GIVE_UP => {
                return Err(SourceError::kafka(
                    "no message for a minute",
                    KafkaError::MessageConsumption(rdkafka::types::RDKafkaErrorCode::OperationTimedOut),
                ));
            }
            None => {}
        }
    }
    let first = first.unwrap_or(last);
    Ok(DrainStats { events, bytes, seconds: (last - first).as_secs_f64() })
}
