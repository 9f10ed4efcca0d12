//! The Kafka source: reads the partitions that the consumer group assigns to this process, from the
//! positions that [`Positions`] returns.

use super::config::{client_config, creation_error};
use super::context::{AssignmentChange, ClientCallbacks, PartitionStart};
use super::membership::GroupMembership;
use super::metadata::partitions_of;
use super::options::KafkaOptions;
use super::partition::AssignedPartition;
use crate::source::buffer::BufferPool;
use crate::source::error::SourceError;
use crate::source::interface::{Polled, Positions, RestartOutcome, Source};
use crate::source::records::{CHUNK_MESSAGES, Offset, PartitionId, RecordTime};
use rdkafka::Message;
use rdkafka::consumer::{CommitMode, Consumer, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Timestamp};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of messages per poll, over all partitions.
const MESSAGES_PER_POLL: usize = 8 * CHUNK_MESSAGES;

/// Time between two attempts to find a partition's position.
const RETRY_START: Duration = Duration::from_secs(1);
/// The client is polled at least this often, even while chunks are waiting.
pub(super) const MAX_UNPOLLED: Duration = Duration::from_secs(1);

/// Time between two checks whether the topic was recreated.
pub(super) const RECHECK: Duration = Duration::from_secs(30);

/// Reads a topic as a member of a consumer group.
pub struct KafkaSource {
    pub(super) consumer: GroupMembership,
    pub(super) options: KafkaOptions,
    pub(super) parts: BTreeMap<i32, AssignedPartition>,
    pub(super) ready: VecDeque<Polled>,
    pub(super) spare: BufferPool,
    /// Assigned partitions whose position is not known yet, and when to ask again.
    pub(super) waiting: BTreeMap<i32, Instant>,
    pub(super) positions: Arc<dyn Positions>,
    /// When the brokers fenced this member recently.
    pub(super) fenced_at: VecDeque<Instant>,
    /// Whether the group has assigned partitions (or none) to this member.
    pub(super) joined: bool,
    /// When the client was last polled.
    pub(super) last_polled: Instant,
    /// When to check again whether the topic was recreated.
    pub(super) next_topic_check: Instant,
}

impl KafkaSource {
    /// Joins the group. Partitions come with later polls.
    ///
    /// # Errors
    /// When a property is wrong, no broker answers, or the topic does not exist.
    pub fn connect(options: KafkaOptions, positions: Arc<dyn Positions>) -> Result<Self, SourceError> {
        let consumer = Self::consumer(&options, &positions)?;
        let complaint = || {
            // Errors wait in the client's queue until it is polled.
            let polled = (0..20).find_map(|_| consumer.poll(Duration::from_millis(10))?.err());
            let recorded = consumer.context().shared.lock().complaint.clone();
            recorded.or_else(|| polled.map(|e| e.to_string()))
        };
        let partitions =
            partitions_of(&*consumer, &options.brokers, &options.topic, options.connect_timeout, complaint)?;
        consumer.context().shared.lock().partitions = partitions;
        consumer.subscribe(&[&options.topic]).map_err(|e| SourceError::kafka("can't subscribe", e))?;
        Ok(Self {
            consumer,
            last_polled: options.clock.now(),
            next_topic_check: options.clock.now() + RECHECK,
            options,
            parts: BTreeMap::new(),
            ready: VecDeque::new(),
            spare: BufferPool::default(),
            waiting: BTreeMap::new(),
            positions,
            fenced_at: VecDeque::new(),
            joined: false,
        })
    }

    pub(super) fn consumer(
        options: &KafkaOptions,
        positions: &Arc<dyn Positions>,
    ) -> Result<GroupMembership, SourceError> {
        let config = client_config(&options.brokers, &options.group, &options.properties)?;
        let context = ClientCallbacks::new(options, Arc::clone(positions));
        config.create_with_context(context).map(GroupMembership::new).map_err(creation_error)
    }

    /// The current partitions of a topic, as the brokers report them.
    ///
    /// # Errors
    /// When no broker answers or the topic does not exist.
    pub fn partitions_of(&self, topic: &str) -> Result<Vec<PartitionId>, SourceError> {
        let o = &self.options;
        partitions_of(&*self.consumer, &o.brokers, topic, o.connect_timeout, || None)
    }

    pub(super) fn partition_list(
        &self,
        partition: i32,
        offset: KafkaOffset,
    ) -> Result<TopicPartitionList, SourceError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.options.topic, partition, offset)
            .map_err(|e| SourceError::kafka("can't name a partition", e))?;
        Ok(list)
    }

    /// Applies what the callbacks recorded while the client was polled.
    fn changes(&mut self) -> Result<(), SourceError> {
        let (changes, failed) = {
            let mut shared = self.consumer.context().shared.lock();
            (std::mem::take(&mut shared.changes), shared.failed.take())
        };
        if let Some(e) = failed {
            return Err(e);
        }
        for change in changes {
            match change {
                AssignmentChange::Assigned(assigned) => {
                    self.joined = true;
                    assigned.iter().try_for_each(|a| self.start_reading(a))?;
                    self.refresh_partitions();
                }
                AssignmentChange::Waiting(p) => {
                    self.waiting.insert(p.0, self.options.clock.now() + RETRY_START);
                }
                AssignmentChange::Revoked(revoked) => {
                    // Gathered messages belong to the next owner.
                    self.ready.retain(|p| !p.partition().is_some_and(|p| revoked.contains(&p)));
                    for p in &revoked {
                        self.parts.remove(&p.0);
                        self.waiting.remove(&p.0);
                    }
                    self.joined = !(self.parts.is_empty() && self.waiting.is_empty());
                }
            }
        }
        Ok(())
    }

    /// Starts to read a partition.
    fn start_reading(&mut self, a: &PartitionStart) -> Result<(), SourceError> {
        if let (Some(from), Some(to)) = (a.lost_position, a.next) {
            self.ready.push_back(Polled::gap(a.partition, from, to));
        }
        if a.log.is_some() || a.recreated {
            let begins = a.next.filter(|_| a.recreated).map(Offset);
            self.ready.push_back(Polled::Log {
                partition: PartitionId(a.partition),
                id: a.log.clone(),
                begins,
            });
        }
        let part = AssignedPartition::new(a, self.options.until_caught_up, self.options.clock.now());
        self.parts.insert(a.partition, part);
        // The client keeps a partition paused across revocation and assignment.
        let one = self.partition_list(a.partition, KafkaOffset::Invalid)?;
        self.consumer.resume(&one).map_err(|e| SourceError::kafka("can't resume", e))
    }

    /// Asks again for the positions of waiting partitions, and starts those that have one.
    fn start_waiting(&mut self) -> Result<(), SourceError> {
        let now = self.options.clock.now();
        let due: Vec<i32> = self.waiting.iter().filter(|(_, at)| **at <= now).map(|(p, _)| *p).collect();
        for partition in due {
            let Some(start) = self.consumer.context().start(&self.consumer, partition)? else {
                self.waiting.insert(partition, self.options.clock.now() + RETRY_START);
                continue;
            };
            self.waiting.remove(&partition);
            self.consumer.context().shared.lock().waiting.remove(&partition);
            self.start_reading(&start)?;
            match self.consumer.rebalance_protocol() {
                RebalanceProtocol::Cooperative => {
                    let offset = start.next.map_or(KafkaOffset::Beginning, KafkaOffset::Offset);
                    let one = self.partition_list(partition, offset)?;
                    self.consumer
                        .incremental_assign(&one)
                        .map_err(|e| SourceError::kafka("can't assign a partition", e))?;
                }
                RebalanceProtocol::Eager | RebalanceProtocol::None => self.reassign()?,
            }
        }
        Ok(())
    }

    /// Updates the partitions of the topic, which may have grown.
    fn refresh_partitions(&self) {
        if let Ok(all) = self.partitions_of(&self.options.topic) {
            self.consumer.context().shared.lock().partitions = all;
        }
    }

    /// Polls the client: waits for the first message, then takes all that are ready. Ends early
    /// when a chunk is full.
    fn gather(&mut self, timeout: Duration) -> Result<(), SourceError> {
        self.last_polled = self.options.clock.now();
        let mut troubles = Vec::new();
        let mut wait = timeout;
        let mut now = None;
        let mut full = None;
        for _ in 0..MESSAGES_PER_POLL {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let now = *now.get_or_insert_with(|| self.options.clock.now());
                    full = take(&mut self.parts, &message, self.options.max_message, now);
                }
                Some(Err(e)) => {
                    let end = matches!(e, KafkaError::PartitionEOF(_));
                    troubles.push(e);
                    if !end {
                        break;
                    }
                }
            }
            wait = Duration::ZERO;
            if full.is_some() {
                break;
            }
        }
        self.changes()?;
        for e in troubles {
            self.trouble(e)?;
        }
        match full {
            Some(partition) => self.hand_out(partition),
            // The client has no more messages ready.
            None => {
                self.parts.keys().copied().collect::<Vec<_>>().into_iter().for_each(|p| self.hand_out_due(p))
            }
        }
        Ok(())
    }

    /// Returns the gathered messages, unless they should wait for more.
    pub(super) fn hand_out_due(&mut self, partition: i32) {
        let (now, linger) = (self.options.clock.now(), self.options.linger);
        if self.parts.get(&partition).is_some_and(|p| p.is_due(now, linger)) {
            self.hand_out(partition);
        }
    }

    pub(super) fn hand_out(&mut self, partition: i32) {
        if let Some(part) = self.parts.get_mut(&partition)
            && !part.gathered.is_empty()
        {
            self.ready.push_back(Polled::Chunk(part.gathered.take(PartitionId(partition), &mut self.spare)));
        }
    }

    /// Reports partitions that have ended or become idle.
    fn report_quiet(&mut self) -> Result<(), SourceError> {
        let now = self.options.clock.now();
        let (mut ended, mut idle) = (Vec::new(), Vec::new());
        for (&partition, part) in &mut self.parts {
            if self.options.until_caught_up {
                if part.is_caught_up() {
                    part.ended = true;
                    ended.push(partition);
                }
                continue;
            }
            if part.may_be_idle(now, self.options.idle) {
                let marks = self.consumer.context().watermarks(&self.consumer, partition);
                if part.is_idle(marks.map(|m| m.1), now) {
                    idle.push(partition);
                }
            }
        }
        for partition in idle {
            self.hand_out(partition);
            self.ready.push_back(Polled::Idle(PartitionId(partition)));
        }
        for partition in ended {
            let one = self.partition_list(partition, KafkaOffset::Invalid)?;
            self.consumer.pause(&one).map_err(|e| SourceError::kafka("can't pause", e))?;
            self.ready.push_back(Polled::Ended(PartitionId(partition)));
        }
        Ok(())
    }

    /// The next event that is not of a paused partition.
    fn next_ready(&mut self) -> Option<Polled> {
        let is_paused = |p: &Polled| match p.partition() {
            Some(id) => self.parts.get(&id.0).is_some_and(|part| part.paused),
            None => false,
        };
        let at = self.ready.iter().position(|p| !is_paused(p))?;
        self.ready.remove(at)
    }

    fn finished(&self) -> bool {
        self.options.until_caught_up
            && self.joined
            && self.waiting.is_empty()
            && self.ready.is_empty()
            && self.parts.values().all(|p| p.ended)
    }
}

/// Copies a message. Returns the partition if its chunk is full.
fn take(
    parts: &mut BTreeMap<i32, AssignedPartition>,
    message: &BorrowedMessage<'_>,
    max_message: usize,
    now: Instant,
) -> Option<i32> {
    let partition = message.partition();
    let part = parts.get_mut(&partition)?;
    let payload = message.payload().map(|p| &p[..p.len().min(max_message + 1)]);
    let time = message.timestamp();
    let appended = matches!(time, Timestamp::LogAppendTime(_));
    let us = time.to_millis().map(|ms| ms.saturating_mul(1000));
    part.take(message.offset(), payload, RecordTime { us, appended }, now);
    part.gathered.is_full().then_some(partition)
}

impl Source for KafkaSource {
    fn partitions(&self) -> Vec<PartitionId> {
        self.consumer.context().shared.lock().partitions.clone()
    }

    fn poll(&mut self, timeout: Duration) -> Result<Polled, SourceError> {
        // Chunks of a burst wait here for slow workers, but the client reports rebalances only when
        // polled.
        let recently_polled = self.options.clock.now().duration_since(self.last_polled) < MAX_UNPOLLED;
        let mut wait = timeout;
        match self.next_ready() {
            Some(p) if recently_polled => return Ok(p),
            Some(p) => {
                self.ready.push_front(p);
                wait = Duration::ZERO;
            }
            None => {}
        }
        self.start_waiting()?;
        self.check_for_recreated_topic()?;
        self.gather(wait)?;
        self.report_quiet()?;
        match self.next_ready() {
            Some(p) => Ok(p),
            None if self.finished() => Ok(Polled::Finished),
            None => Ok(Polled::Nothing),
        }
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        let one = self.partition_list(partition.0, KafkaOffset::Invalid)?;
        let Some(part) = self.parts.get_mut(&partition.0) else { return Ok(()) };
        if part.paused || part.ended {
            return Ok(());
        }
        part.paused = true;
        self.consumer.pause(&one).map_err(|e| SourceError::kafka("can't pause", e))
    }

    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        let one = self.partition_list(partition.0, KafkaOffset::Invalid)?;
        let Some(part) = self.parts.get_mut(&partition.0) else { return Ok(()) };
        if !part.paused {
            return Ok(());
        }
        part.paused = false;
        if part.ended {
            Ok(())
        } else {
            self.consumer.resume(&one).map_err(|e| SourceError::kafka("can't resume", e))
        }
    }

    fn restart(&mut self, partition: PartitionId) -> Result<RestartOutcome, SourceError> {
        if self.parts.remove(&partition.0).is_none() {
            let waits = self.waiting.contains_key(&partition.0);
            return Ok(if waits { RestartOutcome::Restarted } else { RestartOutcome::NotAssigned });
        }
        self.ready.retain(|p| p.partition() != Some(partition));
        if matches!(self.consumer.rebalance_protocol(), RebalanceProtocol::Cooperative) {
            let one = self.partition_list(partition.0, KafkaOffset::Invalid)?;
            self.consumer
                .incremental_unassign(&one)
                .map_err(|e| SourceError::kafka("can't unassign a partition", e))?;
        }
        self.consumer.context().shared.lock().waiting.insert(partition.0);
        self.waiting.insert(partition.0, self.options.clock.now());
        Ok(RestartOutcome::Restarted)
    }

    fn may_continue(&self) -> bool {
        true
    }

    fn troubles(&self) -> u64 {
        self.consumer.context().shared.lock().troubles
    }

    fn lag(&self) -> Option<u64> {
        let shared = self.consumer.context().shared.lock();
        let lags = self.parts.iter().map(|(p, part)| {
            let high = shared.highs.get(p).copied().max(part.high)?;
            Some(u64::try_from(high - part.next?).unwrap_or(0))
        });
        lags.sum()
    }

    fn commit_hint(&mut self, partition: PartitionId, next: Offset) {
        let Ok(one) = self.partition_list(partition.0, KafkaOffset::Offset(next.0)) else { return };
        if let Err(e) = self.consumer.commit(&one, CommitMode::Async) {
            tracing::debug!(error = %e, "can't write offsets to kafka; only lag tools use them");
        }
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        self.spare.put(buffer);
    }
}
