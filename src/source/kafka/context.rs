//! The client's callbacks: start assigned partitions at their positions, record revocations for the
//! polling thread, and log errors.

use super::options::KafkaOptions;
use super::topic_id::TopicIdAnswer;
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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time limit of a request for a partition's first and last offset.
pub const WATERMARK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a partition's end before the position is not believed. A restarting broker may report
/// an end that is too low, and believing it would read everything twice.
const DOUBT: Duration = Duration::from_secs(5);
/// Time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// An assigned partition, and where reading starts.
#[derive(Debug, Clone)]
pub struct PartitionStart {
    /// The partition.
    pub partition: i32,
    /// The first offset to read; `None` if the start of the log is unknown.
    pub next: Option<i64>,
    /// One past the last offset, if known.
    pub high: Option<i64>,
    /// The lost position, if reading starts elsewhere.
    pub lost_position: Option<i64>,
    /// The id of the topic, if known.
    pub log: Option<Arc<str>>,
    /// Whether the topic was recreated since the position was stored.
    pub recreated: bool,
}

/// A change of the assignment.
#[derive(Debug)]
pub enum AssignmentChange {
    /// Partitions that this process now reads.
    Assigned(Vec<PartitionStart>),
    /// Partitions that this process no longer reads.
    Revoked(Vec<PartitionId>),
    /// An assigned partition whose position is not known yet.
    Waiting(PartitionId),
}

/// What callbacks record for the polling thread.
#[derive(Debug, Default)]
pub struct CallbackState {
    /// Changes in order.
    pub changes: VecDeque<AssignmentChange>,
    /// Why an assignment failed.
    pub failed: Option<SourceError>,
    /// All partitions of the topic.
    pub partitions: Vec<PartitionId>,
    /// Partitions of this member that the client does not read yet.
    pub waiting: BTreeSet<i32>,
    /// Number of transient errors.
    pub troubles: u64,
    /// When a partition's position was first beyond its end.
    beyond: HashMap<i32, Instant>,
    /// Partitions' ends by the latest statistics.
    pub highs: HashMap<i32, i64>,
    /// When the topic's id was last asked for, and the answer.
    pub(super) log: Option<(Instant, TopicIdAnswer)>,
    /// The broker that leads each partition by the latest statistics.
    leaders: HashMap<i32, i32>,
    /// The client's last error message.
    pub complaint: Option<String>,
    warned: Option<Instant>,
    suppressed: u64,
}

/// The callbacks.
pub struct ClientCallbacks {
    pub(super) topic: String,
    pub(super) options: KafkaOptions,
    pub(super) positions: Arc<dyn Positions>,
    /// What the poller reads.
    pub shared: Mutex<CallbackState>,
    /// Whether the member leaves the group: it then claims nothing.
    leaving: AtomicBool,
}

impl ClientCallbacks {
    /// Callbacks for one topic.
    pub fn new(options: &KafkaOptions, positions: Arc<dyn Positions>) -> Self {
        let (topic, options) = (options.topic.clone(), options.clone());
        Self { topic, options, positions, shared: Mutex::default(), leaving: AtomicBool::new(false) }
    }

    /// Claims no partition any more, since the member leaves the group.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Logs and counts a transient error; logs at most one every ten seconds.
    pub fn warn(&self, what: &str) {
        let mut shared = self.shared.lock();
        shared.complaint = Some(what.to_owned());
        shared.troubles += 1;
        if shared.warned.is_some_and(|t| t.elapsed() < WARN_EVERY) {
            shared.suppressed += 1;
            return;
        }
        shared.warned = Some(Instant::now());
        let suppressed = std::mem::take(&mut shared.suppressed);
        drop(shared);
        tracing::warn!(topic = %self.topic, suppressed, "kafka: {what}");
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

    /// Finds where a partition starts; `None` if that is not known now.
    ///
    /// # Errors
    /// When the position is permanently unknown.
    pub fn start(
        &self,
        consumer: &BaseConsumer<Self>,
        partition: i32,
    ) -> Result<Option<PartitionStart>, SourceError> {
        let id = PartitionId(partition);
        // Before the partition is claimed, which is useless while no broker answers.
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
                self.warn(&format!("partition {partition} waits for its position: {e}"));
                return Ok(None);
            }
            Err(source) => return Err(SourceError::Position { partition: id, source }),
        };
        let marks = self.watermarks(consumer, partition);
        if let Some(wanted) = wanted.filter(|w| self.is_recreated(partition, *w, log.as_ref(), marks)) {
            // The start must be known, since the next commits are about the new log.
            return Ok(marks.map(|(low, high)| PartitionStart {
                partition,
                next: Some(low),
                high: Some(high),
                lost_position: Some(wanted),
                log,
                recreated: true,
            }));
        }
        if self.is_doubtful(partition, wanted, marks) {
            self.warn(&format!(
                "partition {partition} waits: its position is beyond the end that the broker reports"
            ));
            return Ok(None);
        }
        let recreated = false;
        let at = |next, high, lost_position| PartitionStart {
            partition,
            next,
            high,
            lost_position,
            log,
            recreated,
        };
        Ok(Some(match (wanted, marks) {
            // Checked before the first fetch, since the client's error doesn't name the partition.
            (Some(w), Some((low, high))) if w < low || w > high => at(Some(low), Some(high), Some(w)),
            (None, Some((low, high))) => at(Some(low), Some(high), None),
            (wanted, marks) => at(wanted, marks.map(|m| m.1), None),
        }))
    }

    /// Whether the position has been beyond the partition's end for only a short time.
    fn is_doubtful(&self, partition: i32, wanted: Option<i64>, marks: Option<(i64, i64)>) -> bool {
        let beyond = matches!((wanted, marks), (Some(w), Some((_, high))) if w > high);
        let since = &mut self.shared.lock().beyond;
        if !beyond {
            since.remove(&partition);
            return false;
        }
        since.entry(partition).or_insert_with(Instant::now).elapsed() < DOUBT
    }

    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &mut TopicPartitionList,
    ) -> Result<(), SourceError> {
        let (mut assigned, mut waiting) = (Vec::new(), Vec::new());
        let mut placed = TopicPartitionList::new();
        for element in list.elements_for_topic(&self.topic) {
            let partition = element.partition();
            let Some(start) = self.start(consumer, partition)? else {
                waiting.push(partition);
                continue;
            };
            let offset = start.next.map_or(KafkaOffset::Beginning, KafkaOffset::Offset);
            placed
                .add_partition_offset(&self.topic, partition, offset)
                .map_err(|e| SourceError::kafka("can't set a partition's offset", e))?;
            assigned.push(start);
        }
        assign_partitions(consumer, &placed).map_err(|e| SourceError::kafka("can't assign partitions", e))?;
        let mut shared = self.shared.lock();
        shared.changes.push_back(AssignmentChange::Assigned(assigned));
        shared.changes.extend(waiting.iter().map(|p| AssignmentChange::Waiting(PartitionId(*p))));
        shared.waiting.extend(waiting);
        Ok(())
    }

    /// Releases revoked partitions.
    fn revoke(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        let revoked: Vec<i32> = list.elements_for_topic(&self.topic).iter().map(|e| e.partition()).collect();
        // Recorded first: data in flight must be dropped, and nothing waits for a commit here.
        revoked.iter().for_each(|p| self.positions.release(PartitionId(*p)));
        let mut reading = TopicPartitionList::new();
        {
            let mut shared = self.shared.lock();
            for p in &revoked {
                if !shared.waiting.remove(p) {
                    reading.add_partition(&self.topic, *p);
                }
            }
            shared
                .changes
                .push_back(AssignmentChange::Revoked(revoked.into_iter().map(PartitionId).collect()));
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(&reading),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
        }
    }
}

/// Assigns partitions to the client, according to the group's protocol.
fn assign_partitions(consumer: &BaseConsumer<ClientCallbacks>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list),
    }
}

impl ClientContext for ClientCallbacks {
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
        // The client follows a new leader by itself and logs nothing.
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
            // Not errors: the poll returns them too, and handles them.
            return;
        }
        self.warn(&format!("{error}: {reason}"));
    }
}

impl ConsumerContext for ClientCallbacks {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // A claim would take the partition from the member that has it.
            let leaving = self.leaving.load(Ordering::Relaxed);
            let done = if leaving { None } else { Some(self.assign(consumer, list)) };
            if !matches!(done, Some(Ok(()))) {
                self.shared.lock().failed = done.and_then(Result::err);
                // The group protocol needs an answer anyway; nothing is read.
                if let Err(e) = assign_partitions(consumer, &TopicPartitionList::new()) {
                    self.warn(&format!("can't answer the group: {e}"));
                }
            }
            return;
        }
        if let Err(e) = self.revoke(consumer, list) {
            self.warn(&format!("can't release revoked partitions: {e}"));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(e) = result {
            tracing::debug!(error = %e, "can't write offsets to kafka; only lag tools use them");
        }
    }
}
