//! Partitions that are read again, paused or taken away, and members that join again.

use super::*;

#[test]
fn a_partition_read_again_starts_where_positions_say_and_others_go_on() {
    for strategy in ["range", "cooperative-sticky"] {
        let topic = format!("again-{strategy}-{}", std::process::id());
        let mock = Cluster::new("events", 2);
        // The mock cluster knows no cooperative groups.
        let (brokers, topic) = match strategy {
            "range" => (mock.brokers(), "events".to_owned()),
            _ => match real_broker(&topic, 2) {
                Some(brokers) => (brokers, topic),
                None => return,
            },
        };
        send(&brokers, &topic, messages(&crate::source::conformance::reference(2, 10)));
        let mut options = KafkaOptions::new(&brokers, &topic, &topic);
        options.properties.insert("partition.assignment.strategy".into(), strategy.into());
        let mut source =
            KafkaSource::connect(options, Arc::new(FixedPositions([(0, 7), (1, 0)].into()))).unwrap();
        let mut n = 0;
        until(&mut source, |p| {
            n += offsets(p).map_or(0, |o| o.len());
            (n == 13).then_some(())
        });
        assert_eq!(source.restart(PartitionId(7)).unwrap(), RestartOutcome::NotAssigned);
        assert_eq!(source.restart(PartitionId(0)).unwrap(), RestartOutcome::Restarted);
        send(&brokers, &topic, [(1, message(1, 10).into_bytes())].into_iter());
        let mut got = BTreeMap::<i32, Vec<i64>>::new();
        until(&mut source, |p| {
            if let Polled::Chunk(c) = p {
                got.entry(c.partition.0).or_default().extend(records(&c).iter().map(|r| r.offset));
            }
            (got.values().map(Vec::len).sum::<usize>() == 4).then_some(())
        });
        assert_eq!(got, [(0, vec![7, 8, 9]), (1, vec![10])].into(), "{strategy}");
    }
}

#[test]
fn a_partition_that_was_paused_when_it_was_taken_away_is_read_when_it_comes_back() {
    let cluster = Cluster::new("events", 1);
    cluster.produce(&crate::source::conformance::reference(1, 10));
    let mut source =
        KafkaSource::connect(cluster.options("g"), Arc::new(FixedPositions([(0, 7)].into()))).unwrap();
    assert_eq!(until(&mut source, offsets), [7, 8, 9]);
    source.pause(PartitionId(0)).unwrap();
    assert_eq!(source.restart(PartitionId(0)).unwrap(), RestartOutcome::Restarted);
    assert_eq!(until(&mut source, offsets), [7, 8, 9]);
}

#[test]
fn messages_are_gathered_for_a_while_and_come_before_silence_is_told() {
    let cluster = Cluster::new("events", 1);
    let (time, clock) = standing_clock();
    let linger = Duration::from_secs(1);
    let options = KafkaOptions { clock, linger, ..cluster.options("g") };
    let mut source = KafkaSource::connect(options, Arc::new(FromBeginning)).unwrap();
    let gathered = |source: &mut KafkaSource, offset: i64| {
        cluster.send([(0, message(0, offset).into_bytes())].into_iter());
        for _ in 0..1_200 {
            let polled = source.poll(Duration::from_millis(20)).unwrap();
            assert!(matches!(polled, Polled::Nothing | Polled::Log { .. }), "it waits");
            if source.parts.get(&0).is_some_and(|p| p.next == Some(offset + 1) && p.at_end) {
                return;
            }
        }
        panic!("nothing came");
    };
    (0..3).for_each(|offset| gathered(&mut source, offset));
    *time.lock() += linger;
    assert_eq!(until(&mut source, offsets), [0, 1, 2]);
    gathered(&mut source, 3);
    *time.lock() += Duration::from_secs(61);
    assert_eq!(offsets(source.poll(Duration::ZERO).unwrap()), Some(vec![3]));
    until(&mut source, |p| matches!(p, Polled::Idle(_)).then_some(()));
}

#[test]
fn the_client_is_polled_also_while_chunks_wait_to_be_taken() {
    let cluster = Cluster::new("events", 2);
    cluster.produce(&crate::source::conformance::reference(2, 10));
    let (time, clock) = standing_clock();
    let options = KafkaOptions { clock, ..cluster.options("g") };
    let mut source = KafkaSource::connect(options, Arc::new(FromBeginning)).unwrap();
    let mut n = 0;
    until(&mut source, |p| {
        n += offsets(p).map_or(0, |o| o.len());
        (n == 20).then_some(())
    });
    source.ready.extend((0..3).map(|_| Polled::Idle(PartitionId(0))));
    let last_polled = source.last_polled;
    assert!(matches!(source.poll(Duration::ZERO).unwrap(), Polled::Idle(_)));
    assert_eq!(source.last_polled, last_polled, "what waits is handed out");
    *time.lock() += MAX_UNPOLLED;
    assert!(matches!(source.poll(Duration::ZERO).unwrap(), Polled::Idle(_)));
    assert_eq!(source.last_polled, last_polled + MAX_UNPOLLED);
}

/// The mock cluster knows no static members.
#[test]
fn a_static_member_that_was_shut_out_joins_anew() {
    let topic = format!("static-{}", std::process::id());
    let Some(brokers) = real_broker(&topic, 2) else { return };
    send(&brokers, &topic, messages(&crate::source::conformance::reference(2, 10)));
    let connect = || {
        let mut o = KafkaOptions::new(&brokers, &topic, &topic);
        o.properties.insert("group.instance.id".into(), "one".into());
        let recorder = Arc::new(Recorder::default());
        (KafkaSource::connect(o, Arc::clone(&recorder) as Arc<dyn Positions>).unwrap(), recorder)
    };
    let read = |source: &mut KafkaSource| {
        let mut n = 0;
        until(source, |p| {
            n += offsets(p).map_or(0, |o| o.len());
            (n == 20).then_some(())
        });
    };
    let (mut first, recorder) = connect();
    read(&mut first);
    let (mut second, _) = connect();
    read(&mut second);
    drop(second);
    let mut n = 0;
    until(&mut first, |p| {
        n += offsets(p).map_or(0, |o| o.len());
        (n == 20).then_some(())
    });
    assert!(!recorder.0.lock().is_empty(), "what was in hand belongs to nobody");
}
