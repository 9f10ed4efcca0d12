//! What a cluster of several brokers does to a reader: leaders that move or go down, fetches that
//! fail. Nothing is lost or read twice, and each is told.

use super::tests::Cluster;
use super::*;
use crate::source::conformance::{Record, records, reference};
use crate::source::{FromBeginning, Polled, Source};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Reads until each of two partitions has been read up to offset `to`, adding to what was read
/// before.
fn read(source: &mut KafkaSource, seen: &mut BTreeMap<i32, Vec<i64>>, to: i64) {
    for _ in 0..1_200 {
        match source.poll(Duration::from_millis(50)).unwrap() {
            Polled::Chunk(chunk) => {
                for r in records(&chunk) {
                    seen.entry(r.partition).or_default().push(r.offset);
                }
            }
            Polled::Gap { partition, .. } => panic!("a gap in partition {partition}"),
            _ => {}
        }
        if (0..2).all(|p| seen.get(&p).is_some_and(|s| s.len() as i64 >= to)) {
            return;
        }
    }
    panic!("nothing came: {:?}", seen.iter().map(|(p, s)| (p, s.len())).collect::<Vec<_>>());
}

/// Whether a trouble is told within some seconds.
fn told(source: &mut KafkaSource, before: u64) -> bool {
    (0..100).any(|_| {
        source.poll(Duration::from_millis(50)).unwrap();
        source.troubles() > before
    })
}

/// The next `n` records of each partition.
fn after(before: i64, n: i64) -> Vec<Record> {
    reference(2, before + n).into_iter().filter(|r| r.offset >= before).collect()
}

#[test]
fn leaders_that_move_or_go_down_lose_nothing_and_are_told() {
    let cluster = Cluster::of(3, "events", 2);
    cluster.lead(0, 1);
    cluster.lead(1, 2);
    cluster.produce(&after(0, 500));
    let mut options = cluster.options("movers");
    options.properties.insert("statistics.interval.ms".into(), "100".into());
    let mut source = KafkaSource::connect(options, Arc::new(FromBeginning)).unwrap();
    let mut seen = BTreeMap::new();
    read(&mut source, &mut seen, 500);
    let before = source.troubles();

    cluster.lead(0, 3);
    cluster.produce(&after(500, 500));
    read(&mut source, &mut seen, 1_000);
    assert!(told(&mut source, before), "a leader that moved is told");

    cluster.down(2);
    cluster.lead(1, 1);
    cluster.produce(&after(1_000, 500));
    read(&mut source, &mut seen, 1_500);

    let each: Vec<i64> = (0..1_500).collect();
    assert!(seen.values().all(|s| *s == each));
}

#[test]
fn fetches_that_fail_lose_nothing_and_are_told() {
    let cluster = Cluster::of(1, "events", 2);
    cluster.produce(&after(0, 500));
    let mut source = KafkaSource::connect(cluster.options("fetchers"), Arc::new(FromBeginning)).unwrap();
    let mut seen = BTreeMap::new();
    read(&mut source, &mut seen, 500);
    let before = source.troubles();
    cluster.fail(
        RDKafkaApiKey::Fetch,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        ],
    );
    cluster.produce(&after(500, 500));
    read(&mut source, &mut seen, 1_000);
    let each: Vec<i64> = (0..1_000).collect();
    assert!(seen.values().all(|s| *s == each));
    assert!(told(&mut source, before), "fetches that fail are told");
}
