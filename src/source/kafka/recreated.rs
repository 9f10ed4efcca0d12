//! Recognises a topic that was deleted and recreated. Its offsets start again, and may already be
//! beyond the stored position of the old one.

use super::config::client_config;
use super::context::ClientCallbacks;
use super::source::{KafkaSource, RECHECK};
use super::topic_id::{TopicIdAnswer, TopicIdError, topic_id};
use crate::source::error::SourceError;
use crate::source::interface::Polled;
use crate::source::records::{Offset, PartitionId};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time limit of a request for the topic's id when a partition is assigned.
const AT_START: Duration = Duration::from_secs(5);
/// The same while reading, where it blocks polling.
const WHILE_READING: Duration = Duration::from_secs(1);
/// Partitions that are assigned together share one request within this time.
const FRESH: Duration = Duration::from_secs(1);
/// Time limit for fetching the record that identifies the log.
const LOOK_BACK: Duration = Duration::from_secs(5);

impl ClientCallbacks {
    /// The topic's id; `None` if the brokers have none.
    pub(super) fn log(&self, consumer: &BaseConsumer<Self>) -> TopicIdAnswer {
        let known = self.shared.lock().log.clone().filter(|(at, _)| at.elapsed() < FRESH);
        if let Some((_, answer)) = known {
            return answer;
        }
        let answer = match topic_id(consumer.client(), &self.topic, AT_START) {
            Ok(id) => Ok(Some(id)),
            Err(TopicIdError::Never) => Ok(None),
            Err(e) => Err(e),
        };
        self.shared.lock().log = Some((Instant::now(), answer.clone()));
        answer
    }

    /// Whether the topic was recreated since the position was stored: by its id, or if one is
    /// unknown by the record before the position, if that still exists.
    pub(super) fn is_recreated(
        &self,
        partition: i32,
        wanted: i64,
        log: Option<&Arc<str>>,
        marks: Option<(i64, i64)>,
    ) -> bool {
        let id = PartitionId(partition);
        let before = self.positions.log(id);
        let by = match (&before, log) {
            (Some(was), Some(is)) if was == is => return false,
            (Some(_), Some(_)) => "id",
            _ if self.is_other_record(partition, wanted - 1, marks) => "last record",
            _ => return false,
        };
        tracing::warn!(
            topic = %self.topic, partition, position = wanted, by, was = before.as_deref(), is = log.map(|l| &**l),
            "the topic was deleted and recreated: reading starts at its first record"
        );
        true
    }

    fn is_other_record(&self, partition: i32, offset: i64, marks: Option<(i64, i64)>) -> bool {
        if !marks.is_some_and(|(low, high)| (low..high).contains(&offset)) {
            return false;
        }
        let mut look = || match self.value_at(partition, offset) {
            Ok(value) => value,
            Err(error) => {
                tracing::debug!(partition, offset, %error, "can't fetch the record before the position");
                None
            }
        };
        !self.positions.is_last_read(PartitionId(partition), &mut look)
    }

    /// The value of one record, up to the maximum length of messages; `None` if it no longer exists
    /// or does not arrive in time.
    fn value_at(&self, partition: i32, offset: i64) -> Result<Option<Vec<u8>>, SourceError> {
        let o = &self.options;
        let failed = |e| SourceError::kafka("can't fetch a record", e);
        // A separate client without a group, since this one is in the middle of an assignment.
        let consumer: BaseConsumer =
            client_config(&o.brokers, &o.group, &o.properties)?.create().map_err(failed)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, KafkaOffset::Offset(offset)).map_err(failed)?;
        consumer.assign(&list).map_err(failed)?;
        let until = Instant::now() + LOOK_BACK;
        while Instant::now() < until {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) if message.offset() == offset => {
                    let value = message.payload().unwrap_or_default();
                    return Ok(Some(value[..value.len().min(o.max_message + 1)].to_vec()));
                }
                Some(Ok(_)) | Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
                Some(Err(_)) | None => {}
            }
        }
        Ok(None)
    }
}

impl KafkaSource {
    /// Checks whether the topic was recreated: periodically, and soon after a related error.
    pub(super) fn check_for_recreated_topic(&mut self) -> Result<(), SourceError> {
        if self.options.clock.now() < self.next_topic_check || self.parts.values().all(|p| p.log.is_none()) {
            return Ok(());
        }
        self.next_topic_check = self.options.clock.now() + RECHECK;
        match topic_id(self.consumer.client(), &self.options.topic, WHILE_READING) {
            Ok(id) => self.follow(&id).map(|_| ()),
            Err(error) => {
                tracing::debug!(%error, "can't get the topic's id");
                Ok(())
            }
        }
    }

    /// Continues in the topic with this id with the partitions that were read in another one;
    /// returns whether there were any.
    pub(super) fn follow(&mut self, id: &Arc<str>) -> Result<bool, SourceError> {
        let other = |log: &Option<Arc<str>>| log.as_ref().is_some_and(|l| l != id);
        let stale: Vec<i32> =
            self.parts.iter().filter(|(_, p)| !p.ended && other(&p.log)).map(|(p, _)| *p).collect();
        if stale.is_empty() {
            return Ok(false);
        }
        let mut begins = Vec::new();
        for &partition in &stale {
            let Some(marks) = self.consumer.context().watermarks(&self.consumer, partition) else {
                self.check_topic_soon();
                return Ok(false);
            };
            begins.push((partition, marks));
        }
        self.consumer.context().shared.lock().log = None;
        for (partition, marks) in begins {
            self.hand_out(partition);
            let Some(part) = self.parts.get_mut(&partition) else { continue };
            let from = part.next.unwrap_or(0);
            tracing::warn!(
                topic = %self.options.topic, partition, position = from, was = part.log.as_deref(), is = &**id,
                "the topic was deleted and recreated: reading starts at its first record"
            );
            part.restart_log(Some(Arc::clone(id)), marks);
            let (at, begins) = (PartitionId(partition), Some(Offset(marks.0)));
            if from != marks.0 {
                self.ready.push_back(Polled::gap(partition, from, marks.0));
            }
            self.ready.push_back(Polled::Log { partition: at, id: Some(Arc::clone(id)), begins });
        }
        self.reassign()?;
        Ok(true)
    }

    /// Checks soon, after an error that a recreated topic may cause.
    pub(super) fn check_topic_soon(&mut self) {
        self.next_topic_check = self.next_topic_check.min(self.options.clock.now() + FRESH);
    }

    /// Checks now whether the topic was recreated, and then continues in the new one.
    pub(super) fn follow_recreated_topic(&mut self) -> Result<bool, SourceError> {
        match topic_id(self.consumer.client(), &self.options.topic, WHILE_READING) {
            Ok(id) => self.follow(&id),
            Err(_) => {
                self.check_topic_soon();
                Ok(false)
            }
        }
    }
}
