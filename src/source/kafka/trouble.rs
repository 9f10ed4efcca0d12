//! Handles the client's errors: transient ones, gaps, those that need a new assignment or
//! membership, and fatal ones.

use super::source::KafkaSource;
use crate::source::error::SourceError;
use crate::source::interface::{Polled, Source};
use crate::source::records::PartitionId;
use rdkafka::consumer::{Consumer, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;
use std::time::Duration;

/// How often, and within what time, a member rejoins after the brokers fenced it in favour of
/// another one with its `group.instance.id`. After a broker's restart, the other one may have been
/// itself.
const REJOIN_LIMIT: (usize, Duration) = (5, Duration::from_secs(600));

impl KafkaSource {
    /// Handles an error of the client.
    pub(super) fn trouble(&mut self, e: KafkaError) -> Result<(), SourceError> {
        let fatal = |e| Err(SourceError::kafka("can't read on", e));
        match e {
            KafkaError::PartitionEOF(p) => {
                if let Some(part) = self.parts.get_mut(&p) {
                    part.at_end = true;
                }
                self.hand_out_due(p);
                Ok(())
            }
            KafkaError::MessageConsumption(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                self.find_gaps()
            }
            KafkaError::MessageConsumption(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                // It existed at the start. A restarting broker may not know it for a while, or it
                // was deleted.
                self.check_topic_soon();
                self.consumer.context().warn(&format!("{e}: waiting for the topic to return"));
                Ok(())
            }
            KafkaError::MessageConsumptionFatal(Code::FencedInstanceId) if self.may_rejoin() => {
                tracing::warn!(
                    topic = %self.options.topic,
                    "kafka: fenced by another member with this group.instance.id (a second process, or this one before \
                     the broker restarted): rejoining"
                );
                self.rejoin()
            }
            KafkaError::MessageConsumptionFatal(_)
            | KafkaError::MessageConsumption(
                Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::SaslAuthenticationFailed,
            ) => fatal(e),
            // Transient: the client retries.
            e => {
                self.consumer.context().warn(&format!("{e}: the client retries"));
                Ok(())
            }
        }
    }

    /// Handles a position out of range. The client doesn't name the partition, so this checks all,
    /// and restarts those with a lost position at the start of their log.
    fn find_gaps(&mut self) -> Result<(), SourceError> {
        if self.follow_recreated_topic()? {
            return Ok(());
        }
        let mut beyond = Vec::new();
        for (&partition, part) in &mut self.parts {
            if let Some((low, high)) = self.consumer.context().watermarks(&self.consumer, partition) {
                part.high = Some(high);
                if part.next.is_some_and(|n| n > high) {
                    beyond.push(PartitionId(partition));
                } else if let Some(from) = part.next.filter(|n| *n < low) {
                    if !part.gathered.is_empty() {
                        let chunk = part.gathered.take(PartitionId(partition), &mut self.spare);
                        self.ready.push_back(Polled::Chunk(chunk));
                    }
                    part.next = Some(low);
                    self.ready.push_back(Polled::gap(partition, from, low));
                }
            }
        }
        // Either the log is new, or the broker doesn't know its end yet: the stored position and
        // the broker's next answers will show which.
        for partition in beyond {
            self.restart(partition)?;
        }
        // Seeking fails in this state; only a new assignment makes the client fetch again.
        self.reassign()
    }

    /// Assigns all partitions again, each at its position; paused ones stay paused.
    pub(super) fn reassign(&self) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::new();
        for (&partition, part) in &self.parts {
            let offset = part.next.map_or(KafkaOffset::Beginning, KafkaOffset::Offset);
            list.add_partition_offset(&self.options.topic, partition, offset)
                .map_err(|e| SourceError::kafka("can't name a partition", e))?;
        }
        let again = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self
                .consumer
                .incremental_unassign(&list)
                .and_then(|()| self.consumer.incremental_assign(&list)),
            RebalanceProtocol::Eager | RebalanceProtocol::None => self.consumer.assign(&list),
        };
        again.map_err(|e| SourceError::kafka("can't assign partitions again", e))?;
        for (&partition, _) in self.parts.iter().filter(|(_, p)| p.paused || p.ended) {
            let one = self.partition_list(partition, KafkaOffset::Invalid)?;
            self.consumer.pause(&one).map_err(|e| SourceError::kafka("can't pause", e))?;
        }
        Ok(())
    }

    /// Joins the group as a new member, without partitions.
    fn rejoin(&mut self) -> Result<(), SourceError> {
        let released: Vec<PartitionId> =
            self.parts.keys().chain(self.waiting.keys()).map(|p| PartitionId(*p)).collect();
        released.iter().for_each(|p| self.positions.release(*p));
        self.parts.clear();
        self.waiting.clear();
        self.ready.retain(|p| p.partition().is_none());
        self.joined = false;
        let consumer = Self::consumer(&self.options, &self.positions)?;
        {
            let before = self.consumer.context().shared.lock();
            let mut shared = consumer.context().shared.lock();
            shared.partitions.clone_from(&before.partitions);
            shared.troubles = before.troubles;
        }
        consumer.subscribe(&[&self.options.topic]).map_err(|e| SourceError::kafka("can't subscribe", e))?;
        self.consumer = consumer;
        Ok(())
    }

    /// Whether a fenced member should rejoin.
    fn may_rejoin(&mut self) -> bool {
        let now = self.options.clock.now();
        self.fenced_at.push_back(now);
        while self.fenced_at.front().is_some_and(|t| now.duration_since(*t) > REJOIN_LIMIT.1) {
            self.fenced_at.pop_front();
        }
        self.fenced_at.len() <= REJOIN_LIMIT.0
    }
}
