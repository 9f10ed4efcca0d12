//! A topic that was deleted and created again: its offsets begin anew, and may have come beyond the
//! position that is kept of the old one.

use super::config::client_config;
use super::context::Context;
use super::source::{KafkaSource, LOOK_AGAIN};
use super::topic_id::{NoId, Told, topic_id};
use crate::source::error::SourceError;
use crate::source::interface::Polled;
use crate::source::records::{Offset, PartitionId};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the brokers may take to tell the topic's id when a partition is taken on.
const AT_START: Duration = Duration::from_secs(5);
/// And while it is read: nothing else is polled meanwhile.
const WHILE_READING: Duration = Duration::from_secs(1);
/// Partitions that are taken on together ask once.
const FRESH: Duration = Duration::from_secs(1);
/// How long a record may take to come that tells whether the log is still the same one.
const LOOK_BACK: Duration = Duration::from_secs(5);

impl Context {
    /// The topic's id; `None` from brokers that tell none.
    pub(super) fn log(&self, consumer: &BaseConsumer<Self>) -> Told {
        let known = self.shared.lock().log.clone().filter(|(at, _)| at.elapsed() < FRESH);
        if let Some((_, told)) = known {
            return told;
        }
        let told = match topic_id(consumer.client(), &self.topic, AT_START) {
            Ok(id) => Ok(Some(id)),
            Err(NoId::Never) => Ok(None),
            Err(e) => Err(e),
        };
        self.shared.lock().log = Some((Instant::now(), told.clone()));
        told
    }

    /// Whether the topic is another one than that which a position is of: by its id, or where that
    /// is not known of both by the record before the position, should it still be there.
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
            "the topic was deleted and created again: reading begins at its first record"
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
                tracing::debug!(partition, offset, %error, "can't look at the record before the position");
                None
            }
        };
        !self.positions.is_last_read(PartitionId(partition), &mut look)
    }

    /// The value of one record, as long as messages may be; `None` where it is not there any more,
    /// or does not come in time.
    fn value_at(&self, partition: i32, offset: i64) -> Result<Option<Vec<u8>>, SourceError> {
        let o = &self.options;
        let failed = |e| SourceError::kafka("can't look at a record", e);
        // A client of its own that joins no group: this one is being told what to read.
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
    /// Now and then, and soon after a trouble that may come of it, looks whether the topic is still
    /// the one that is read.
    pub(super) fn look_for_another_topic(&mut self) -> Result<(), SourceError> {
        if self.options.clock.now() < self.look || self.parts.values().all(|p| p.log.is_none()) {
            return Ok(());
        }
        self.look = self.options.clock.now() + LOOK_AGAIN;
        match topic_id(self.consumer.client(), &self.options.topic, WHILE_READING) {
            Ok(id) => self.follow(&id).map(|_| ()),
            Err(error) => {
                tracing::debug!(%error, "the topic's id was not told");
                Ok(())
            }
        }
    }

    /// Goes on in the topic of this id with the partitions that were read in another one; whether
    /// there were any.
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
                self.look_soon();
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
                "the topic was deleted and created again: reading begins at its first record"
            );
            part.begin_anew(Some(Arc::clone(id)), marks);
            let (at, begins) = (PartitionId(partition), Some(Offset(marks.0)));
            if from != marks.0 {
                self.ready.push_back(Polled::gap(partition, from, marks.0));
            }
            self.ready.push_back(Polled::Log { partition: at, id: Some(Arc::clone(id)), begins });
        }
        self.assign_anew()?;
        Ok(true)
    }

    /// Something happened that may mean that the topic is another one.
    pub(super) fn look_soon(&mut self) {
        self.look = self.look.min(self.options.clock.now() + FRESH);
    }

    /// Looks at once; whether it is another one, which is read now.
    pub(super) fn is_another_topic(&mut self) -> Result<bool, SourceError> {
        match topic_id(self.consumer.client(), &self.options.topic, WHILE_READING) {
            Ok(id) => self.follow(&id),
            Err(_) => {
                self.look_soon();
                Ok(false)
            }
        }
    }
}
