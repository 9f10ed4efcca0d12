//! The client's callbacks: assignments start where [`Positions`] says, revocations are noted for the poller, troubles are logged.

use super::options::KafkaOptions;
use super::topic_id::Told;
use crate::source::error::{PositionError, SourceError};
use crate::source::interface::Positions;
use crate::source::records::PartitionId;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a broker may take to tell a partition's first and last offset.
pub const WATERMARK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a position beyond a partition's end is doubted. A broker that restarts may tell an end that lies behind its log's for a while,
/// and believing it would read everything twice.
const DOUBTED: Duration = Duration::from_secs(5);
/// Time between two warnings of the same kind.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A partition as it was assigned.
#[derive(Debug, Clone)]
pub struct Assigned {
    /// The partition.
    pub partition: i32,
    /// The first record that will be read; `None` where the broker did not tell where the log begins.
    pub next: Option<i64>,
    /// One past the last record, where the broker told it.
    pub high: Option<i64>,
    /// The position that is gone, where reading starts elsewhere.
    pub gone: Option<i64>,
    /// The id of the topic, where it is known.
    pub log: Option<Arc<str>>,
    /// Whether this is another topic of that name than the position is of.
    pub recreated: bool,
}

/// A change of the assignment.
#[derive(Debug)]
pub enum Change {
    /// Partitions that are read here from now on.
    Assigned(Vec<Assigned>),
    /// Partitions that are not read here any more.
    Revoked(Vec<PartitionId>),
    /// An assigned partition that is not read yet: where to start can't be told now.
    Unplaced(PartitionId),
}

/// What callbacks tell the poller.
#[derive(Debug, Default)]
pub struct Shared {
    /// Changes in the order in which they came.
    pub changes: VecDeque<Change>,
    /// Why an assignment could not be taken on.
    pub failed: Option<SourceError>,
    /// All partitions of the topic.
    pub partitions: Vec<PartitionId>,
    /// Partitions that the group assigns to this member and that the client was not told to read yet.
    pub unplaced: BTreeSet<i32>,
    /// Troubles so far.
    pub troubles: u64,
    /// Since when a partition's position has been beyond its end.
    beyond: HashMap<i32, Instant>,
    /// Partitions' ends by the latest statistics.
    pub highs: HashMap<i32, i64>,
    /// The topic's id as it was last told, and when.
    pub(super) log: Option<(Instant, Told)>,
    /// The broker that leads each partition by the latest statistics.
    leaders: HashMap<i32, i32>,
    /// The client's last complaint.
    pub complaint: Option<String>,
    warned: Option<Instant>,
    unsaid: u64,
}

/// The callbacks.
pub struct Context {
    pub(super) topic: String,
    pub(super) options: KafkaOptions,
    pub(super) positions: Arc<dyn Positions>,
    /// What the poller reads.
    pub shared: Mutex<Shared>,
}

impl Context {
    /// Callbacks for one topic.
    pub fn new(options: &KafkaOptions, positions: Arc<dyn Positions>) -> Self {
        let (topic, options) = (options.topic.clone(), options.clone());
        Self { topic, options, positions, shared: Mutex::default() }
    }

    /// Warns of a trouble that is expected to pass; the same stream of troubles is logged every ten seconds at most.
    pub fn warn(&self, what: &str) {
        let mut shared = self.shared.lock();
        shared.complaint = Some(what.to_owned());
        shared.troubles += 1;
        if shared.warned.is_some_and(|t| t.elapsed() < WARN_EVERY) {
            shared.unsaid += 1;
            return;
        }
        shared.warned = Some(Instant::now());
        let unsaid = std::mem::take(&mut shared.unsaid);
        drop(shared);
        tracing::warn!(topic = %self.topic, unsaid, "kafka: {what}");
    }

    /// Reads a partition's first offset and its end.
    pub fn watermarks(&self, consumer: &BaseConsumer<Self>, partition: i32) -> Option<(i64, i64)> {
        match consumer.fetch_watermarks(&self.topic, partition, WATERMARK_TIMEOUT) {
            Ok((low, high)) => Some((low.max(0), high.max(0))),
            Err(e) => {
                self.warn(&format!("can't ask for the offsets of partition {partition}: {e}"));
                None
            }
        }
    }

    /// Decides where a partition starts; `None` when that can't be told now.
    ///
    /// # Errors
    /// When it can't be told at all.
    pub fn start(
        &self,
        consumer: &BaseConsumer<Self>,
        partition: i32,
    ) -> Result<Option<Assigned>, SourceError> {
        let id = PartitionId(partition);
        // Before the partition is claimed: while no broker answers that would be in vain.
        let log = match self.log(consumer) {
            Ok(log) => log,
            Err(e) => {
                self.warn(&format!("partition {partition} waits: {e}"));
                return Ok(None);
            }
        };
        let wanted = match self.positions.position(id) {
            Ok(offset) => offset.map(|o| o.0),
            Err(PositionError::NotNow(e)) => {
                self.warn(&format!("partition {partition} waits, since where to go on can't be told: {e}"));
                return Ok(None);
            }
            Err(source) => return Err(SourceError::Position { partition: id, source }),
        };
        let marks = self.watermarks(consumer, partition);
        if let Some(wanted) = wanted.filter(|w| self.is_recreated(partition, *w, log.as_ref(), marks)) {
            // Where it begins must be known: what is committed from here on stands for the new one.
            return Ok(marks.map(|(low, high)| Assigned {
                partition,
                next: Some(low),
                high: Some(high),
                gone: Some(wanted),
                log,
                recreated: true,
            }));
        }
        if self.is_doubtful(partition, wanted, marks) {
            self.warn(&format!(
                "partition {partition} waits: its position lies beyond the end that the broker tells"
            ));
            return Ok(None);
        }
        let recreated = false;
        let at = |next, high, gone| Assigned { partition, next, high, gone, log, recreated };
        Ok(Some(match (wanted, marks) {
            // Asked before the first fetch: the client's own error would not say which partition it is about.
            (Some(w), Some((low, high))) if w < low || w > high => at(Some(low), Some(high), Some(w)),
            (None, Some((low, high))) => at(Some(low), Some(high), None),
            (wanted, marks) => at(wanted, marks.map(|m| m.1), None),
        }))
    }

    /// Whether a position beyond the partition's end is too young to be believed.
    fn is_doubtful(&self, partition: i32, wanted: Option<i64>, marks: Option<(i64, i64)>) -> bool {
        let beyond = matches!((wanted, marks), (Some(w), Some((_, high))) if w > high);
        let since = &mut self.shared.lock().beyond;
        if !beyond {
            since.remove(&partition);
            return false;
        }
        since.entry(partition).or_insert_with(Instant::now).elapsed() < DOUBTED
    }

    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &mut TopicPartitionList,
    ) -> Result<(), SourceError> {
        let (mut assigned, mut unplaced) = (Vec::new(), Vec::new());
        let mut placed = TopicPartitionList::new();
        for element in list.elements_for_topic(&self.topic) {
            let partition = element.partition();
            let Some(start) = self.start(consumer, partition)? else {
                unplaced.push(partition);
                continue;
            };
            let offset = start.next.map_or(KafkaOffset::Beginning, KafkaOffset::Offset);
            placed
                .add_partition_offset(&self.topic, partition, offset)
                .map_err(|e| SourceError::kafka("can't set a partition's offset", e))?;
            assigned.push(start);
        }
        take_on(consumer, &placed)
            .map_err(|e| SourceError::kafka("can't take on the assigned partitions", e))?;
        let mut shared = self.shared.lock();
        shared.changes.push_back(Change::Assigned(assigned));
        shared.changes.extend(unplaced.iter().map(|p| Change::Unplaced(PartitionId(*p))));
        shared.unplaced.extend(unplaced);
        Ok(())
    }

    /// Lets go of revoked partitions.
    fn revoke(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        let gone: Vec<i32> = list.elements_for_topic(&self.topic).iter().map(|e| e.partition()).collect();
        // Noted before the partitions are let go: what is in flight must be dropped, and nothing waits for a commit here.
        gone.iter().for_each(|p| self.positions.let_go(PartitionId(*p)));
        let mut reading = TopicPartitionList::new();
        {
            let mut shared = self.shared.lock();
            for p in &gone {
                if !shared.unplaced.remove(p) {
                    reading.add_partition(&self.topic, *p);
                }
            }
            shared.changes.push_back(Change::Revoked(gone.into_iter().map(PartitionId).collect()));
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(&reading),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
        }
    }
}

/// Tells the client what it reads, in the words of the group's protocol.
fn take_on(consumer: &BaseConsumer<Context>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list),
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!(facility, "librdkafka: {message}");
            }
            _ => self.warn(message),
        }
    }

    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        let mut moved = Vec::new();
        {
            let mut shared = self.shared.lock();
            for (partition, p) in topic.partitions.iter().filter(|(number, _)| **number >= 0) {
                if p.hi_offset >= 0 {
                    shared.highs.insert(*partition, p.hi_offset);
                }
                let was = shared.leaders.insert(*partition, p.leader);
                moved.extend(was.filter(|was| *was != p.leader).map(|was| (*partition, was, p.leader)));
            }
        }
        // The client follows by itself and without a word.
        for (partition, was, now) in moved {
            self.warn(&match (was, now) {
                (_, ..0) => {
                    format!("partition {partition} has no leader: waiting for one (it was broker {was})")
                }
                (..0, _) => format!("partition {partition} has a leader again: broker {now}"),
                _ => format!("partition {partition} is led by broker {now} now, before by {was}"),
            });
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use rdkafka::types::RDKafkaErrorCode::{AutoOffsetReset, PartitionEOF};
        if matches!(error.rdkafka_error_code(), Some(PartitionEOF | AutoOffsetReset)) {
            // Not troubles: they come out of the poll as well, and are dealt with there.
            return;
        }
        self.warn(&format!("{error}: {reason}"));
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            if let Err(e) = self.assign(consumer, list) {
                self.shared.lock().failed = Some(e);
                // The group protocol must be answered even so; nothing is read.
                if let Err(e) = take_on(consumer, &TopicPartitionList::new()) {
                    self.warn(&format!("can't answer the group: {e}"));
                }
            }
            return;
        }
        if let Err(e) = self.revoke(consumer, list) {
            self.warn(&format!("can't let go of revoked partitions: {e}"));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(e) = result {
            tracing::debug!("kafka's own offsets were not written (they serve lag tools only): {e}");
        }
    }
}
