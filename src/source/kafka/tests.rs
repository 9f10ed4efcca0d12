//! The Kafka source against librdkafka's in-process mock cluster: gaps, idleness, rebalances, and
//! errors that say what to do.

mod rejoining;

use super::source::{MAX_UNPOLLED, RECHECK};
use super::*;
use crate::source::conformance::{FixedPositions, Record, message, records};
use crate::source::{
    Chunk, FromBeginning, MonotonicClock, Offset, PartitionId, Payload, Polled, RestartOutcome,
};
use crate::source::{PositionError, Positions, Source};
use parking_lot::Mutex;
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaErrorCode as Code, RDKafkaRespErr};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A mock cluster with one topic.
pub struct Cluster {
    cluster: MockCluster<'static, DefaultProducerContext>,
    topic: &'static str,
}

/// Sends messages, each to its partition, and waits until the brokers have them.
pub fn send(brokers: &str, topic: &str, messages: impl Iterator<Item = (i32, Vec<u8>)>) {
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "5")
        .create()
        .unwrap();
    for (partition, payload) in messages {
        let mut record = BaseRecord::<(), _>::to(topic).partition(partition).payload(&payload);
        while let Err((_, back)) = producer.send(record) {
            producer.poll(Duration::from_millis(10));
            record = back;
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

/// The real broker that `DRIFTGLASS_BROKERS` names, with a new topic; `None` where there is none.
pub fn real_broker(topic: &str, partitions: i32) -> Option<String> {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    let Ok(brokers) = std::env::var("DRIFTGLASS_BROKERS") else {
        eprintln!("skipped: DRIFTGLASS_BROKERS is not set");
        return None;
    };
    let admin: AdminClient<_> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let made = futures::executor::block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
    made.into_iter().for_each(|topic| assert!(topic.is_ok(), "{topic:?}"));
    Some(brokers)
}

/// Reference events as messages.
pub fn messages(records: &[Record]) -> impl Iterator<Item = (i32, Vec<u8>)> {
    records.iter().map(|r| (r.partition, message(r.partition, r.offset).into_bytes()))
}

impl Cluster {
    /// A cluster of one broker.
    pub fn new(topic: &'static str, partitions: i32) -> Self {
        Self::of(1, topic, partitions)
    }

    /// A cluster of several brokers, numbered from 1, each with a replica of all.
    pub fn of(brokers: i32, topic: &'static str, partitions: i32) -> Self {
        let cluster = MockCluster::new(brokers).unwrap();
        cluster.create_topic(topic, partitions, brokers).unwrap();
        Self { cluster, topic }
    }

    /// Makes a broker the leader of a partition.
    pub fn lead(&self, partition: i32, broker: i32) {
        self.cluster.partition_leader(self.topic, partition, Some(broker)).unwrap();
    }

    /// Takes a broker down.
    pub fn down(&self, broker: i32) {
        self.cluster.broker_down(broker).unwrap();
    }

    /// Answers the next requests of a kind with errors.
    pub fn fail(&self, requests: RDKafkaApiKey, errors: &[RDKafkaRespErr]) {
        self.cluster.request_errors(requests, errors);
    }

    /// Its bootstrap servers.
    pub fn brokers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    fn send(&self, messages: impl Iterator<Item = (i32, Vec<u8>)>) {
        send(&self.brokers(), self.topic, messages);
    }

    /// Produces reference events.
    pub fn produce(&self, records: &[Record]) {
        self.send(messages(records));
    }

    /// Options of a reader that hands out what comes at once.
    pub fn options(&self, group: &str) -> KafkaOptions {
        let linger = Duration::ZERO;
        KafkaOptions { linger, ..KafkaOptions::new(&self.brokers(), self.topic, group) }
    }
}

/// Every partition from its beginning; remembers which were taken away.
#[derive(Default)]
struct Recorder(Mutex<Vec<PartitionId>>);

impl Positions for Recorder {
    fn position(&self, _: PartitionId) -> Result<Option<Offset>, PositionError> {
        Ok(None)
    }

    fn release(&self, partition: PartitionId) {
        self.0.lock().push(partition);
    }
}

/// A clock that stands still until it is set.
fn standing_clock() -> (Arc<Mutex<Instant>>, MonotonicClock) {
    let time = Arc::new(Mutex::new(Instant::now()));
    let shown = Arc::clone(&time);
    (time, MonotonicClock::new(move || *shown.lock()))
}

/// Polls until `done` has an answer.
fn until<T>(source: &mut KafkaSource, mut done: impl FnMut(Polled) -> Option<T>) -> T {
    for _ in 0..1_200 {
        if let Some(t) = done(source.poll(Duration::from_millis(50)).unwrap()) {
            return t;
        }
    }
    panic!("nothing came");
}

fn offsets(polled: Polled) -> Option<Vec<i64>> {
    match polled {
        Polled::Chunk(c) => Some(records(&c).iter().map(|r| r.offset).collect()),
        _ => None,
    }
}

#[test]
fn a_position_that_is_gone_is_a_gap_and_reading_goes_on_at_the_beginning() {
    let cluster = Cluster::new("events", 2);
    cluster.produce(&crate::source::conformance::reference(1, 10));
    // The mock drops the oldest of a partition beyond 5 MiB.
    cluster.send((0..9).map(|_| (1, vec![b'x'; 900_000])));
    let at = FixedPositions([(0, 700), (1, 0)].into());
    let mut source = KafkaSource::connect(cluster.options("g"), Arc::new(at)).unwrap();
    let mut gaps = BTreeMap::new();
    let mut first = BTreeMap::new();
    until(&mut source, |p| {
        match p {
            Polled::Gap { partition, from, to } => {
                assert!(!first.contains_key(&partition), "the gap comes before the records");
                gaps.insert(partition.0, (from.0, to.0));
            }
            Polled::Chunk(c) => {
                let Payload::Messages { spans, .. } = &c.payload else { panic!() };
                first.entry(c.partition).or_insert(spans[0].offset);
            }
            _ => {}
        }
        (gaps.len() == 2 && first.len() == 2).then_some(())
    });
    assert_eq!(gaps[&0], (700, 0), "the log begins anew");
    assert!(gaps[&1].0 == 0 && gaps[&1].1 > 0, "retention: {gaps:?}");
    assert_eq!(first[&PartitionId(1)], gaps[&1].1);
}

#[test]
fn a_position_beyond_the_end_is_asked_for_again_and_only_that_partition_starts_anew() {
    let cluster = Cluster::new("events", 2);
    cluster.produce(&crate::source::conformance::reference(2, 10));
    let mut source = KafkaSource::connect(cluster.options("g"), Arc::new(FromBeginning)).unwrap();
    let mut n = 0;
    until(&mut source, |p| {
        n += offsets(p).map_or(0, |o| o.len());
        (n == 20).then_some(())
    });
    // As if partition 0 had been read to an offset that the broker does not have.
    source.parts.get_mut(&0).unwrap().next = Some(99);
    source.trouble(KafkaError::MessageConsumption(Code::AutoOffsetReset)).unwrap();
    cluster.send([(1, message(1, 10).into_bytes())].into_iter());
    let mut again = BTreeMap::<i32, Vec<i64>>::new();
    until(&mut source, |p| {
        if let Polled::Chunk(c) = p {
            let r = records(&c);
            again.entry(c.partition.0).or_default().extend(r.iter().map(|r| r.offset));
        }
        (again.values().map(Vec::len).sum::<usize>() == 11).then_some(())
    });
    assert_eq!(again[&0], (0..10).collect::<Vec<_>>());
    assert_eq!(again[&1], [10], "the other partition repeats nothing");
}

/// Positions in a log that this one is not, by its id or by its last record.
struct OtherLog {
    id: Option<&'static str>,
    last: &'static [u8],
}

impl Positions for OtherLog {
    fn position(&self, _: PartitionId) -> Result<Option<Offset>, PositionError> {
        Ok(Some(Offset(4)))
    }

    fn log(&self, _: PartitionId) -> Option<Arc<str>> {
        self.id.map(Arc::from)
    }

    fn is_last_read(&self, _: PartitionId, look: &mut dyn FnMut() -> Option<Vec<u8>>) -> bool {
        look().is_none_or(|value| value == self.last)
    }
}

#[test]
fn a_topic_that_was_created_again_is_read_from_its_beginning_though_the_position_is_there() {
    let cluster = Cluster::new("events", 1);
    cluster.produce(&crate::source::conformance::reference(1, 10));
    let last = message(0, 3).into_bytes().leak();
    for (id, last, other) in
        [(Some("another"), &*last, true), (None, b"another", true), (None, &*last, false)]
    {
        let positions = OtherLog { id, last };
        let mut source = KafkaSource::connect(cluster.options("g"), Arc::new(positions)).unwrap();
        let (mut gap, mut log) = (None, None);
        let read = until(&mut source, |p| {
            match &p {
                Polled::Gap { from, to, .. } => gap = Some((from.0, to.0)),
                Polled::Log { id, begins, .. } => log = Some((id.clone(), begins.map(|b| b.0))),
                _ => {}
            }
            offsets(p)
        });
        let (id, begins) = log.expect("the mock tells ids");
        assert!(id.is_some_and(|id| id.len() == 32));
        match other {
            true => assert_eq!((read[0], gap, begins), (0, Some((4, 0)), Some(0))),
            false => assert_eq!((read[0], gap, begins), (4, None, None)),
        }
    }
}

#[test]
fn a_topic_that_is_created_again_while_it_is_read_is_noticed() {
    let cluster = Cluster::new("events", 1);
    cluster.produce(&crate::source::conformance::reference(1, 10));
    let (time, clock) = standing_clock();
    let options = KafkaOptions { clock, ..cluster.options("g") };
    let mut source = KafkaSource::connect(options, Arc::new(FromBeginning)).unwrap();
    let mut n = 0;
    until(&mut source, |p| {
        n += offsets(p).map_or(0, |o| o.len());
        (n == 10).then_some(())
    });
    // As if these had been read in another one.
    source.parts.get_mut(&0).unwrap().log = Some("another".into());
    *time.lock() += RECHECK;
    let mut said = Vec::new();
    let again = until(&mut source, |p| {
        match &p {
            Polled::Gap { from, to, .. } => said.push((from.0, to.0)),
            Polled::Log { begins, .. } => said.push((begins.unwrap().0, -1)),
            _ => {}
        }
        offsets(p)
    });
    assert_eq!((said, again), (vec![(10, 0), (0, -1)], (0..10).collect()));
}

#[test]
fn retention_that_overtakes_a_paused_partition_is_a_gap() {
    let cluster = Cluster::new("events", 1);
    cluster.produce(&crate::source::conformance::reference(1, 10));
    let mut source = KafkaSource::connect(cluster.options("g"), Arc::new(FromBeginning)).unwrap();
    let mut n = 0;
    until(&mut source, |p| {
        n += offsets(p).map_or(0, |o| o.len());
        (n == 10).then_some(())
    });
    source.pause(PartitionId(0)).unwrap();
    cluster.send((0..12).map(|_| (0, vec![b'x'; 900_000])));
    assert!(matches!(source.poll(Duration::from_millis(300)).unwrap(), Polled::Nothing), "it is paused");
    source.resume(PartitionId(0)).unwrap();
    let mut gap = None;
    let mut first = None;
    until(&mut source, |p| {
        match p {
            Polled::Gap { from, to, .. } => gap = Some((from.0, to.0)),
            Polled::Chunk(Chunk { payload: Payload::Messages { spans, .. }, .. }) => {
                first = Some(spans[0].offset)
            }
            _ => {}
        }
        first
    });
    let (from, to) = gap.unwrap();
    assert!(from == 10 && to > 10 && first == Some(to), "{gap:?} {first:?}");
}

#[test]
fn a_cooperative_group_takes_only_what_moves() {
    let topic = format!("cooperative-{}", std::process::id());
    let Some(brokers) = real_broker(&topic, 2) else { return };
    send(&brokers, &topic, messages(&crate::source::conformance::reference(2, 10)));
    let options = || {
        let mut o = KafkaOptions::new(&brokers, &topic, &topic);
        o.properties.insert("partition.assignment.strategy".into(), "cooperative-sticky".into());
        o
    };
    let recorder = Arc::new(Recorder::default());
    let mut first = KafkaSource::connect(options(), Arc::clone(&recorder) as Arc<dyn Positions>).unwrap();
    let mut n = 0;
    until(&mut first, |p| {
        n += offsets(p).map_or(0, |o| o.len());
        (n == 20).then_some(())
    });
    let mut second = KafkaSource::connect(options(), Arc::new(FromBeginning)).unwrap();
    let mut got = Vec::new();
    for _ in 0..1_200 {
        if let Polled::Chunk(c) = first.poll(Duration::from_millis(20)).unwrap() {
            panic!("what stayed is not read again: {c:?}");
        }
        if let Polled::Chunk(c) = second.poll(Duration::from_millis(20)).unwrap() {
            got.extend(records(&c));
        }
        if got.len() == 10 {
            break;
        }
    }
    let revoked = recorder.0.lock().clone();
    assert_eq!(revoked.len(), 1);
    assert!(got.len() == 10 && got.iter().all(|r| r.partition == revoked[0].0));
}

#[test]
fn idle_is_said_once_after_quiet_at_the_end_and_again_after_new_records() {
    let cluster = Cluster::new("events", 1);
    cluster.produce(&crate::source::conformance::reference(1, 3));
    let (time, clock) = standing_clock();
    let mut source =
        KafkaSource::connect(KafkaOptions { clock, ..cluster.options("g") }, Arc::new(FromBeginning))
            .unwrap();
    until(&mut source, offsets);
    let mut idles = 0;
    for _ in 0..20 {
        idles += i32::from(matches!(source.poll(Duration::from_millis(50)).unwrap(), Polled::Idle(_)));
    }
    assert_eq!(idles, 0, "at the end, but the clock stands still");
    *time.lock() += Duration::from_secs(61);
    until(&mut source, |p| matches!(p, Polled::Idle(PartitionId(0))).then_some(()));
    *time.lock() += Duration::from_secs(600);
    for _ in 0..10 {
        assert!(matches!(source.poll(Duration::from_millis(20)).unwrap(), Polled::Nothing), "said once");
    }
    cluster.send([(0, message(0, 3).into_bytes())].into_iter());
    assert_eq!(until(&mut source, offsets), [3]);
    assert_eq!(source.lag(), Some(0));
    *time.lock() += Duration::from_secs(61);
    until(&mut source, |p| matches!(p, Polled::Idle(_)).then_some(()));
}

#[test]
fn a_second_member_takes_partitions_over_and_starts_where_positions_say() {
    let cluster = Cluster::new("events", 2);
    cluster.produce(&crate::source::conformance::reference(2, 10));
    // Sessions of six seconds: the mock lets a rebalance wait for nearly as long as a session
    // lasts.
    let options = || {
        let properties = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")];
        let properties = properties.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        KafkaOptions { properties, ..cluster.options("g") }
    };
    let recorder = Arc::new(Recorder::default());
    let mut first = KafkaSource::connect(options(), Arc::clone(&recorder) as Arc<dyn Positions>).unwrap();
    let mut n = 0;
    until(&mut first, |p| {
        n += offsets(p).map_or(0, |o| o.len());
        (n == 20).then_some(())
    });
    let at = FixedPositions([(0, 4), (1, 4)].into());
    let mut second = KafkaSource::connect(options(), Arc::new(at)).unwrap();
    let mut got: Vec<Record> = Vec::new();
    for _ in 0..1_200 {
        first.poll(Duration::from_millis(20)).unwrap();
        if let Polled::Chunk(c) = second.poll(Duration::from_millis(20)).unwrap() {
            got.extend(records(&c));
        }
        if got.len() == 6 {
            break;
        }
    }
    // On a slow machine the session may expire too, and what was left is then revoked as well.
    let mut revoked = recorder.0.lock()[..2].to_vec();
    revoked.sort_unstable();
    assert_eq!(revoked, [PartitionId(0), PartitionId(1)], "the eager protocol revokes all partitions first");
    let partition = got[0].partition;
    assert_eq!(
        got.iter().map(|r| (r.partition, r.offset)).collect::<Vec<_>>(),
        (4..10).map(|o| (partition, o)).collect::<Vec<_>>()
    );
    assert_eq!(second.partitions(), [PartitionId(0), PartitionId(1)], "all that exist");
    first.commit_hint(PartitionId(1 - partition), Offset(10));
}

#[test]
fn a_drain_counts_what_the_topic_holds() {
    let cluster = Cluster::new("events", 2);
    cluster.produce(&crate::source::conformance::reference(2, 500));
    let stats = drain(&cluster.brokers(), "events", &BTreeMap::new()).unwrap();
    assert_eq!(stats.events, 1000);
    assert!(stats.bytes > 90_000);
}

#[test]
fn errors_at_the_start_say_what_to_do() {
    let cluster = Cluster::new("events", 1);
    let error = |options| KafkaSource::connect(options, Arc::new(FromBeginning)).err().unwrap().to_string();
    let missing = error(KafkaOptions { topic: "nope".into(), ..cluster.options("g") });
    assert!(
        missing.starts_with("topic nope does not exist on 127.0.0.1:")
            && missing.contains("input.kafka.topic"),
        "{missing}"
    );
    let nobody = KafkaOptions {
        connect_timeout: Duration::from_secs(1),
        ..KafkaOptions::new("127.0.0.1:1", "events", "g")
    };
    let nobody = error(nobody);
    assert!(nobody.contains("127.0.0.1:1") && nobody.contains("input.kafka.brokers"), "{nobody}");
}

#[test]
fn a_position_that_is_not_known_stops_the_source() {
    struct DamagedStore;
    impl Positions for DamagedStore {
        fn position(&self, _: PartitionId) -> Result<Option<Offset>, PositionError> {
            Err(PositionError::Never("the store is damaged".into()))
        }
    }
    let cluster = Cluster::new("events", 1);
    let mut source = KafkaSource::connect(cluster.options("g"), Arc::new(DamagedStore)).unwrap();
    let error = (0..400).find_map(|_| source.poll(Duration::from_millis(50)).err()).unwrap().to_string();
    assert!(error.contains("partition 0") && error.contains("the store is damaged"), "{error}");
}

#[test]
fn a_position_that_is_not_known_yet_holds_up_its_partition_alone() {
    struct UnavailableStore(std::sync::atomic::AtomicU32);
    impl Positions for UnavailableStore {
        fn position(&self, p: PartitionId) -> Result<Option<Offset>, PositionError> {
            use std::sync::atomic::Ordering::Relaxed;
            match p.0 {
                1 if self.0.fetch_add(1, Relaxed) < 3 => {
                    Err(PositionError::NotNow("the store is away".into()))
                }
                1 => Ok(Some(Offset(4))),
                _ => Ok(None),
            }
        }
    }
    let cluster = Cluster::new("events", 2);
    cluster.produce(&crate::source::conformance::reference(2, 10));
    let away = Arc::new(UnavailableStore(0.into()));
    let mut source = KafkaSource::connect(cluster.options("g"), away).unwrap();
    let mut got = Vec::new();
    until(&mut source, |p| {
        if let Polled::Chunk(c) = p {
            got.extend(records(&c).iter().map(|r| (r.partition, r.offset)));
        }
        (got.len() == 16).then_some(())
    });
    let expected: Vec<(i32, i64)> = (0..10).map(|o| (0, o)).chain((4..10).map(|o| (1, o))).collect();
    assert_eq!(got, expected, "the other partition did not wait");
}
