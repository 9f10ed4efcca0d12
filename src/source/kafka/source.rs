//! Kafka: a consumer group's share of a topic, polled by whoever calls [`Source::poll`], started where [`Positions`] says.

use super::config::{client_config, creation_error};
use super::context::{Assigned, Change, Context};
use super::metadata::partitions_of;
use super::options::KafkaOptions;
use super::partition::Part;
use crate::source::buffer::Spare;
use crate::source::error::SourceError;
use crate::source::interface::{Again, Polled, Positions, Source};
use crate::source::records::{CHUNK_MESSAGES, Offset, PartitionId, RecordTime};
use rdkafka::Message;
use rdkafka::consumer::{CommitMode, Consumer, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Timestamp};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages gathered in one call, over all partitions.
const MESSAGES_PER_POLL: usize = 8 * CHUNK_MESSAGES;

/// Time between two attempts to learn where a partition starts.
const PLACE_AGAIN: Duration = Duration::from_secs(1);
/// The client is polled after so long also while chunks wait to be taken.
pub(super) const SERVE: Duration = Duration::from_secs(1);

/// Time between two looks at whether the topic is still the same one.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The client under this source.
pub(super) type Consuming = rdkafka::consumer::BaseConsumer<Context>;

/// Reads a topic as a member of a consumer group.
pub struct KafkaSource {
    pub(super) consumer: Consuming,
    pub(super) options: KafkaOptions,
    pub(super) parts: BTreeMap<i32, Part>,
    pub(super) ready: VecDeque<Polled>,
    pub(super) spare: Spare,
    /// Assigned partitions that wait to be told where they start, and when to ask again.
    pub(super) unplaced: BTreeMap<i32, Instant>,
    pub(super) positions: Arc<dyn Positions>,
    /// When it was shut out lately.
    pub(super) shut_out: VecDeque<Instant>,
    /// Whether the group has assigned partitions (or none) to this member.
    pub(super) joined: bool,
    /// When the client was last polled.
    pub(super) served: Instant,
    /// When to look again whether the topic is still the same one.
    pub(super) look: Instant,
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
            let noted = consumer.context().shared.lock().complaint.clone();
            noted.or_else(|| polled.map(|e| e.to_string()))
        };
        let partitions =
            partitions_of(&consumer, &options.brokers, &options.topic, options.connect_timeout, complaint)?;
        consumer.context().shared.lock().partitions = partitions;
        consumer.subscribe(&[&options.topic]).map_err(|e| SourceError::kafka("can't subscribe", e))?;
        Ok(Self {
            consumer,
            served: options.clock.now(),
            look: options.clock.now() + LOOK_AGAIN,
            options,
            parts: BTreeMap::new(),
            ready: VecDeque::new(),
            spare: Spare::default(),
            unplaced: BTreeMap::new(),
            positions,
            shut_out: VecDeque::new(),
            joined: false,
        })
    }

    pub(super) fn consumer(
        options: &KafkaOptions,
        positions: &Arc<dyn Positions>,
    ) -> Result<Consuming, SourceError> {
        let config = client_config(&options.brokers, &options.group, &options.properties)?;
        let context = Context::new(options, Arc::clone(positions));
        config.create_with_context(context).map_err(creation_error)
    }

    /// The partitions that the topic has now, asked of the brokers.
    ///
    /// # Errors
    /// When no broker answers or the topic does not exist.
    pub fn partitions_of(&self, topic: &str) -> Result<Vec<PartitionId>, SourceError> {
        let o = &self.options;
        partitions_of(&self.consumer, &o.brokers, topic, o.connect_timeout, || None)
    }

    pub(super) fn one(&self, partition: i32, offset: KafkaOffset) -> Result<TopicPartitionList, SourceError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.options.topic, partition, offset)
            .map_err(|e| SourceError::kafka("can't name a partition", e))?;
        Ok(list)
    }

    /// Takes over what the callbacks noted while the client was polled.
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
                Change::Assigned(assigned) => {
                    self.joined = true;
                    assigned.iter().try_for_each(|a| self.begin(a))?;
                    self.refresh_partitions();
                }
                Change::Unplaced(p) => {
                    self.unplaced.insert(p.0, self.options.clock.now() + PLACE_AGAIN);
                }
                Change::Revoked(gone) => {
                    // What is still in hand belongs to the next owner.
                    self.ready.retain(|p| !p.partition().is_some_and(|p| gone.contains(&p)));
                    for p in &gone {
                        self.parts.remove(&p.0);
                        self.unplaced.remove(&p.0);
                    }
                    self.joined = !(self.parts.is_empty() && self.unplaced.is_empty());
                }
            }
        }
        Ok(())
    }

    /// Reading of a partition begins.
    fn begin(&mut self, a: &Assigned) -> Result<(), SourceError> {
        if let (Some(from), Some(to)) = (a.gone, a.next) {
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
        let part = Part::new(a, self.options.until_caught_up, self.options.clock.now());
        self.parts.insert(a.partition, part);
        // The client does not forget a pause when a partition is taken away and comes back.
        let one = self.one(a.partition, KafkaOffset::Invalid)?;
        self.consumer.resume(&one).map_err(|e| SourceError::kafka("can't resume", e))
    }

    /// Asks again where waiting partitions start, and begins to read those that know.
    fn place(&mut self) -> Result<(), SourceError> {
        let now = self.options.clock.now();
        let due: Vec<i32> = self.unplaced.iter().filter(|(_, at)| **at <= now).map(|(p, _)| *p).collect();
        for partition in due {
            let Some(start) = self.consumer.context().start(&self.consumer, partition)? else {
                self.unplaced.insert(partition, self.options.clock.now() + PLACE_AGAIN);
                continue;
            };
            self.unplaced.remove(&partition);
            self.consumer.context().shared.lock().unplaced.remove(&partition);
            self.begin(&start)?;
            match self.consumer.rebalance_protocol() {
                RebalanceProtocol::Cooperative => {
                    let offset = start.next.map_or(KafkaOffset::Beginning, KafkaOffset::Offset);
                    let one = self.one(partition, offset)?;
                    self.consumer
                        .incremental_assign(&one)
                        .map_err(|e| SourceError::kafka("can't take on a partition", e))?;
                }
                RebalanceProtocol::Eager | RebalanceProtocol::None => self.assign_anew()?,
            }
        }
        Ok(())
    }

    /// An assignment may mean that the topic has grown.
    fn refresh_partitions(&self) {
        if let Ok(all) = self.partitions_of(&self.options.topic) {
            self.consumer.context().shared.lock().partitions = all;
        }
    }

    /// Asks the client for messages: the first with patience, then all that wait. Ends early with a full chunk.
    fn gather(&mut self, timeout: Duration) -> Result<(), SourceError> {
        self.served = self.options.clock.now();
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
            // Nothing more waits with the client.
            None => {
                self.parts.keys().copied().collect::<Vec<_>>().into_iter().for_each(|p| self.hand_out_due(p))
            }
        }
        Ok(())
    }

    /// Hands out what was gathered, unless it may still grow.
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

    /// Says which partitions have ended or gone idle.
    fn quiet_ones(&mut self) -> Result<(), SourceError> {
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
            let one = self.one(partition, KafkaOffset::Invalid)?;
            self.consumer.pause(&one).map_err(|e| SourceError::kafka("can't pause", e))?;
            self.ready.push_back(Polled::Ended(PartitionId(partition)));
        }
        Ok(())
    }

    /// The next thing to say that is not about a paused partition's records.
    fn next_ready(&mut self) -> Option<Polled> {
        let held = |p: &Polled| match p.partition() {
            Some(id) => self.parts.get(&id.0).is_some_and(|part| part.paused),
            None => false,
        };
        let at = self.ready.iter().position(|p| !held(p))?;
        self.ready.remove(at)
    }

    fn finished(&self) -> bool {
        self.options.until_caught_up
            && self.joined
            && self.unplaced.is_empty()
            && self.ready.is_empty()
            && self.parts.values().all(|p| p.ended)
    }
}

/// Copies a message out. The partition, when its chunk is full.
fn take(
    parts: &mut BTreeMap<i32, Part>,
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
        // Chunks of a burst wait here, and may be taken slowly; the client tells of rebalances only when it is polled.
        let served = self.options.clock.now().duration_since(self.served) < SERVE;
        let mut wait = timeout;
        match self.next_ready() {
            Some(p) if served => return Ok(p),
            Some(p) => {
                self.ready.push_front(p);
                wait = Duration::ZERO;
            }
            None => {}
        }
        self.place()?;
        self.look_for_another_topic()?;
        self.gather(wait)?;
        self.quiet_ones()?;
        match self.next_ready() {
            Some(p) => Ok(p),
            None if self.finished() => Ok(Polled::Finished),
            None => Ok(Polled::Nothing),
        }
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        let one = self.one(partition.0, KafkaOffset::Invalid)?;
        let Some(part) = self.parts.get_mut(&partition.0) else { return Ok(()) };
        if part.paused || part.ended {
            return Ok(());
        }
        part.paused = true;
        self.consumer.pause(&one).map_err(|e| SourceError::kafka("can't pause", e))
    }

    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        let one = self.one(partition.0, KafkaOffset::Invalid)?;
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

    fn again(&mut self, partition: PartitionId) -> Result<Again, SourceError> {
        if self.parts.remove(&partition.0).is_none() {
            let waits = self.unplaced.contains_key(&partition.0);
            return Ok(if waits { Again::Reading } else { Again::NotMine });
        }
        self.ready.retain(|p| p.partition() != Some(partition));
        if matches!(self.consumer.rebalance_protocol(), RebalanceProtocol::Cooperative) {
            let one = self.one(partition.0, KafkaOffset::Invalid)?;
            self.consumer
                .incremental_unassign(&one)
                .map_err(|e| SourceError::kafka("can't let go of a partition", e))?;
        }
        self.consumer.context().shared.lock().unplaced.insert(partition.0);
        self.unplaced.insert(partition.0, self.options.clock.now());
        Ok(Again::Reading)
    }

    fn goes_on(&self) -> bool {
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
        let Ok(one) = self.one(partition.0, KafkaOffset::Offset(next.0)) else { return };
        if let Err(e) = self.consumer.commit(&one, CommitMode::Async) {
            tracing::debug!("kafka's own offsets were not written (they serve lag tools only): {e}");
        }
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        self.spare.put(buffer);
    }
}
