//! What goes wrong while a topic is read: what passes, what is a gap, what asks for a new assignment or membership, what is the end.

use super::source::KafkaSource;
use crate::source::error::SourceError;
use crate::source::interface::{Polled, Source};
use crate::source::records::PartitionId;
use rdkafka::consumer::{Consumer, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;
use std::time::Duration;

/// How often a member joins anew that the brokers have shut out in favour of another one with its `group.instance.id`, and within what
/// time: after a broker's restart that other one may have been itself.
const JOIN_AGAIN: (usize, Duration) = (5, Duration::from_secs(600));

impl KafkaSource {
    /// Decides what an error of the client comes to.
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
                // It was there at the start; a broker that restarts may not know it for a while. Or
                // it was deleted.
                self.look_soon();
                self.consumer.context().warn(&format!("{e}: waiting for the topic to be back"));
                Ok(())
            }
            KafkaError::MessageConsumptionFatal(Code::FencedInstanceId) if self.may_join_anew() => {
                tracing::warn!(
                    topic = %self.options.topic,
                    "kafka: another member with this group.instance.id was let in (a second process, or this one before the broker \
                     restarted): joining anew"
                );
                self.join_anew()
            }
            KafkaError::MessageConsumptionFatal(_)
            | KafkaError::MessageConsumption(
                Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::SaslAuthenticationFailed,
            ) => fatal(e),
            // Expected to pass: the client tries again.
            e => {
                self.consumer.context().warn(&format!("{e}: reading goes on when it has passed"));
                Ok(())
            }
        }
    }

    /// A position is out of range; the client doesn't say whose. Every partition's position is checked, and reading starts anew
    /// with those that are gone at the log's beginning.
    fn find_gaps(&mut self) -> Result<(), SourceError> {
        if self.is_another_topic()? {
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
        // Either the log is a new one or the broker does not know its end yet: what is committed and the broker's next answers tell.
        for partition in beyond {
            self.again(partition)?;
        }
        // A partition in this state can't be sought in; only assigning it again makes the client fetch from it.
        self.assign_anew()
    }

    /// Assigns all partitions that are read here again, each at its position; paused ones stay so.
    pub(super) fn assign_anew(&self) -> Result<(), SourceError> {
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
            let one = self.one(partition, KafkaOffset::Invalid)?;
            self.consumer.pause(&one).map_err(|e| SourceError::kafka("can't pause", e))?;
        }
        Ok(())
    }

    /// Joins the group as a new member, without the partitions that this one had.
    fn join_anew(&mut self) -> Result<(), SourceError> {
        let had: Vec<PartitionId> =
            self.parts.keys().chain(self.unplaced.keys()).map(|p| PartitionId(*p)).collect();
        had.iter().for_each(|p| self.positions.let_go(*p));
        self.parts.clear();
        self.unplaced.clear();
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

    /// Whether a member that was shut out should try once more.
    fn may_join_anew(&mut self) -> bool {
        let now = self.options.clock.now();
        self.shut_out.push_back(now);
        while self.shut_out.front().is_some_and(|t| now.duration_since(*t) > JOIN_AGAIN.1) {
            self.shut_out.pop_front();
        }
        self.shut_out.len() <= JOIN_AGAIN.0
    }
}
