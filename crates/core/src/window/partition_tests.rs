//! A partition is a function of its records: the ends of batches, the time at which panes are taken
//! out and which of them are packed make no difference.

use super::super::events::Events;
use super::super::segment_sum::EncodedSum;
use super::*;
use crate::config::features::{FeatureKind, builtin};
use crate::config::segments::Groupings;
use crate::enrich::{Plan, Row, Value};
use crate::event::Stage;
use crate::event::time::MINUTE;
use crate::window::{PaneRow, Reach};
use proptest::prelude::*;

const START: i64 = 1_000 * MINUTE;

/// A record: its minute, its tenant and its session.
type Record = (i64, u16, u64);

fn filler() -> Arc<Filler> {
    let groupings = Arc::new(Groupings::new(&[vec!["tenant".into()], vec!["region".into()]]).unwrap());
    let features = builtin().into_iter().filter(|f| f.kind == FeatureKind::Volume).collect();
    let dimensions = groupings.dimensions.clone();
    let plan = Plan {
        features,
        dimensions,
        hasher: crate::enrich::IdHasher::new("a key"),
        hidden: crate::event::NameFields::default(),
        vectors: None,
    };
    Arc::new(Filler::new(&plan, groupings))
}

fn batch(records: &[Record]) -> Batch {
    let mut out = Batch::default();
    for (minute, tenant, session) in records {
        out.rows.push(Row {
            time_us: START + minute * MINUTE,
            stage: Stage::Generate,
            session: session.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            user: None,
            request: session.wrapping_mul(0x2545_f491_4f6c_dd1d),
            request_id: 0..0,
            opt_out: false,
        });
        out.values.push(Value::Event);
        // Region and tenant, in the order of their columns.
        out.dimensions.push(None);
        out.dimensions.push(Some(format!("t{tenant}").into()));
    }
    out
}

/// What a partition made of records, however they were cut into batches.
struct Outcome {
    panes: Vec<PaneRow>,
    refused: Vec<i64>,
    counters: Counters,
    names: usize,
}

fn offsets(from: usize, n: usize) -> Vec<i64> {
    (from as i64..).take(n).collect()
}

/// Like a process that continues where another one has stopped.
fn restarted(p: &Partition) -> Partition {
    let state = serde_json::from_str(&serde_json::to_string(&p.state()).unwrap()).unwrap();
    let open = p.open_panes().into_iter().map(|row| {
        let PaneRow { start, close_at, segment, contents } = row;
        let mut bytes = Vec::new();
        contents.write(&mut bytes);
        let contents = match SegmentSum::read(&bytes).unwrap() {
            EncodedSum::Events(b) => {
                SegmentSum::Events(Events::read(b, filler().definitions().clone()).unwrap())
            }
            EncodedSum::Sketches(_) => contents.clone(),
        };
        Pane { start, close_at, segment, contents }
    });
    Partition::within(filler(), p.times, p.limits).go_on(&state, open.collect())
}

fn ingest(records: &[Record], cuts: &[usize], limits: PartitionLimits) -> Outcome {
    play(records, cuts, limits, |_| false)
}

/// Takes records in, restarted behind the cuts that `restart` picks.
fn play(
    records: &[Record],
    cuts: &[usize],
    limits: PartitionLimits,
    restart: impl Fn(usize) -> bool,
) -> Outcome {
    let mut p = Partition::within(
        filler(),
        Times { pane: MINUTE, lateness: 2 * MINUTE, confirming_records: 15 },
        limits,
    );
    let mut cuts: Vec<usize> =
        cuts.iter().map(|c| c % (records.len() + 1)).chain([0, records.len()]).collect();
    cuts.sort_unstable();
    let (mut panes, mut refused, mut names) = (Vec::new(), Vec::new(), 0);
    for (n, cut) in cuts.windows(2).enumerate() {
        let offsets = offsets(cut[0], cut[1] - cut[0]);
        let origins = Origins { offsets: &offsets, appended: &[] };
        p.ingest(&batch(&records[cut[0]..cut[1]]), origins, |offset, _, _| refused.push(offset)).unwrap();
        panes.extend(p.take_closed());
        names = names.max(p.segments.len());
        p.pack_others();
        if restart(n) {
            p = restarted(&p);
        }
    }
    panes.extend(p.flush(Reach::Ended).0);
    let sketches = |Pane { start, close_at, segment, contents }: Pane| {
        let contents = contents.into_sketches().unwrap();
        PaneRow { start, close_at, segment, contents }
    };
    let panes = panes.into_iter().map(sketches).collect();
    Outcome { panes, refused, counters: p.counters(), names }
}

/// Minutes to a time that no clock should have.
const FAR: i64 = 40_000_000;

/// Records that advance in time, with pauses, some of them late, some ahead, some of wrong clocks.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let one = (0i64..30, -30i64..3, 0u16..8, 0u64..40);
    prop::collection::vec(one, 0..250).prop_map(|steps| {
        let mut paused = 0;
        let mut wrong = 0;
        let mut at = |i: usize, jump: i64, off: i64| {
            // Most are in time.
            paused += if jump == 1 && off > 0 { 70 } else { 0 };
            if jump == 2 {
                wrong = 8 - off;
            }
            wrong -= 1;
            let off = match jump {
                _ if wrong > 0 => [FAR + i as i64 % 3, 90, 5_000][off.unsigned_abs() as usize % 3],
                0 => off,
                _ => 0,
            };
            (i as i64 / 6 + paused + off).max(0)
        };
        steps
            .iter()
            .enumerate()
            .map(|(i, (jump, off, tenant, session))| (at(i, *jump, *off), *tenant, *session))
            .collect()
    })
}

proptest! {
    #[test]
    fn where_batches_end_and_processes_restart_changes_nothing(
        records in records(),
        cuts in prop::collection::vec(0usize..250, 0..12),
        restarts in prop::collection::vec(any::<bool>(), 14),
        panes in 2usize..12,
        segments in 3usize..9,
    ) {
        let limits = PartitionLimits { panes, segments, names: 2 };
        let whole = ingest(&records, &[], limits);
        for cut in [ingest(&records, &cuts, limits), play(&records, &cuts, limits, |n| restarts[n])] {
            prop_assert_eq!(&whole.refused, &cut.refused);
            prop_assert_eq!(whole.counters, cut.counters);
            prop_assert_eq!(&whole.panes, &cut.panes);
        }
    }

    #[test]
    fn an_event_is_counted_or_refused_or_undecided_and_counted_where_it_lies(records in records()) {
        let limits = PartitionLimits::default();
        let got = ingest(&records, &[], limits);
        let n = |r: &PaneRow| r.contents.sketches[0].as_ref().map_or(0, |s| s.n());
        let regions = got.panes.iter().filter(|p| p.segment.name.starts_with("region="));
        prop_assert_eq!(regions.map(n).sum::<u64>(), got.counters.events);
        prop_assert!(got.counters.events as usize + got.refused.len() <= records.len());
    }
}

#[test]
fn panes_that_stand_apart_are_marked_for_a_checkpoint_and_join_when_they_are_believed() {
    let mut p = Partition::new(filler(), Times { pane: MINUTE, lateness: MINUTE, confirming_records: 15 });
    let mut next = 0;
    let mut add = |p: &mut Partition, records: &[Record]| {
        let offsets = offsets(next, records.len());
        next += records.len();
        let mut refused = Vec::new();
        let origins = Origins { offsets: &offsets, appended: &[] };
        p.ingest(&batch(records), origins, |o, time, _| refused.push((o, (time - START) / MINUTE))).unwrap();
        refused
    };
    let apart = |p: &Partition| p.open_panes().iter().filter(|r| r.close_at == r.start).count();
    add(&mut p, &(0..40).map(|i| (i / 4, 0, i as u64)).collect::<Vec<_>>());
    assert_eq!((apart(&p), p.counters().events), (0, 40));
    add(&mut p, &[(FAR, 0, 1), (FAR, 0, 2), (500, 0, 3), (FAR, 1, 4)]);
    assert_eq!(
        (apart(&p), p.counters().events, p.undecided()),
        (5, 41, 3),
        "two tenants far ahead, one near"
    );
    let mut p = restarted(&p);
    assert_eq!((apart(&p), p.undecided()), (5, 3));
    let refused = add(&mut p, &[(10, 0, 5); 15]);
    assert_eq!(refused, [(40, 10), (41, 10), (43, 10)], "with the time that was believed");
    assert_eq!((apart(&p), p.counters().events), (0, 56));
    let n: u64 = p
        .flush(Reach::Idle)
        .0
        .iter()
        .filter(|r| r.start == START + 500 * MINUTE && r.segment.name.starts_with("tenant"))
        .map(|r| r.contents.clone().into_sketches().unwrap().sketches[0].as_ref().unwrap().n())
        .sum();
    assert_eq!(n, 1, "less than a day ahead it is kept where it says");
}

#[test]
fn the_state_of_an_earlier_version_goes_on_where_it_stood() {
    let recent: Vec<i64> = (0..15).map(|i| START + i * MINUTE).collect();
    let before = serde_json::json!({
        "watermark": {"seen": 30, "median": START + 7 * MINUTE, "recent": recent},
        "counters": {"events": 30, "opted_out": 0, "late": 0, "folded": 0},
    });
    let state: PartitionState = serde_json::from_value(before).unwrap();
    let times = Times { pane: MINUTE, lateness: MINUTE, confirming_records: 15 };
    let mut p = Partition::restore(filler(), times, &state, Vec::new());
    assert_eq!((p.watermark(), p.newest()), (START + 6 * MINUTE, START + 12 * MINUTE));
    let records: Vec<Record> = (0..24).map(|i| (if i < 8 { FAR } else { 15 }, 0, i)).collect();
    let (offsets, mut refused) = (offsets(30, 24), 0);
    let origins = Origins { offsets: &offsets, appended: &[] };
    p.ingest(&batch(&records), origins, |_, _, _| refused += 1).unwrap();
    assert_eq!((refused, p.counters().events, p.counters().late), (8, 46, 0));
}

#[test]
fn a_broker_that_says_when_it_took_a_record_bounds_its_time() {
    let mut p = Partition::new(filler(), Times { pane: MINUTE, lateness: MINUTE, confirming_records: 15 });
    let records: Vec<Record> = (0..30).map(|i| (if i % 3 == 2 { FAR } else { i }, 0, i as u64)).collect();
    let offsets = offsets(0, 30);
    let appended: Vec<_> = (0..30).map(|i| Some(START + i * MINUTE)).collect();
    let origins = Origins { offsets: &offsets, appended: &appended };
    let mut refused = Vec::new();
    p.ingest(&batch(&records), origins, |offset, _, _| refused.push(offset)).unwrap();
    assert_eq!(refused, (0..10).map(|i| 3 * i + 2).collect::<Vec<_>>());
    assert_eq!((p.counters().events, p.is_unsettled()), (20, false));
    assert!(p.watermark() > START, "fifteen are enough");
}

#[test]
fn panes_that_little_is_added_to_are_packed_and_take_what_comes_late() {
    let mut p =
        Partition::new(filler(), Times { pane: MINUTE, lateness: 10 * MINUTE, confirming_records: 15 });
    let mut next = 0;
    let mut add = |p: &mut Partition, records: &[Record]| {
        let offsets = offsets(next, records.len());
        next += records.len();
        let origins = Origins { offsets: &offsets, appended: &[] };
        p.ingest(&batch(records), origins, |_, _, _| panic!("refused")).unwrap();
    };
    let packed = |p: &Partition| {
        let all = p.open_panes().into_iter().filter(|r| r.segment.name.starts_with("tenant="));
        let mut all: Vec<_> =
            all.map(|r| ((r.start - START) / MINUTE, matches!(r.contents, SegmentSum::Packed(_)))).collect();
        all.sort_unstable();
        all
    };
    add(&mut p, &(0..4).flat_map(|m| (0..20).map(move |s| (m, 0, 20 * m as u64 + s))).collect::<Vec<_>>());
    // A producer whose clock is an hour ahead: its pane is not the one that is being filled.
    add(&mut p, &(0..40).map(|s| (if s % 4 == 3 { 60 } else { 3 }, 0, 200 + s)).collect::<Vec<_>>());
    let before = p.memory_bytes();
    p.pack_others();
    assert_eq!(packed(&p), [(0, true), (1, true), (2, true), (3, false), (60, true)]);
    assert!(p.memory_bytes() < before, "{} bytes were {before}", p.memory_bytes());
    add(&mut p, &[(0, 0, 1_000)]);
    assert_eq!(packed(&p), [(0, false), (1, true), (2, true), (3, false), (60, true)]);
    p.pack_others();
    let mut rows = p.flush(Reach::Idle).0;
    rows.sort_by_key(|r| r.start);
    let n: Vec<u64> = rows
        .into_iter()
        .filter(|r| r.segment.name.starts_with("tenant="))
        .filter_map(|r| Some(r.contents.into_sketches().unwrap().sketches[0].as_ref()?.n()))
        .collect();
    assert_eq!(n, [21, 20, 20, 50, 10]);
}

#[test]
fn a_full_pane_folds_new_segments_and_counts_an_event_once() {
    let mut records: Vec<Record> = (0..10).map(|i| (0, i % 10, u64::from(i))).collect();
    records.push((0, 1, 77));
    let got = ingest(&records, &[], PartitionLimits { panes: 10, segments: 5, names: 2 });
    let n = |name: &str| {
        let row = got.panes.iter().find(|p| &*p.segment.name == name)?;
        Some(row.contents.sketches[0].as_ref()?.n())
    };
    // Four tenants and the missing region have room; that of the last record is there already.
    assert_eq!(
        ["tenant=t0", "tenant=t1", "tenant=t2", "tenant=t3"].map(n),
        [Some(1), Some(2), Some(1), Some(1)]
    );
    assert_eq!(["tenant=t4", "tenant=__other__", "region=__missing__"].map(n), [None, Some(6), Some(11)]);
    assert_eq!(got.counters.folded, 6);
}

#[test]
fn names_of_segments_that_are_gone_are_forgotten_while_others_are_open() {
    let records: Vec<Record> = (0..3_000).map(|i| (i / 20, (i % 1_500) as u16, i as u64)).collect();
    let every: Vec<usize> = (0..150).map(|i| i * 20).collect();
    let got = ingest(&records, &every, PartitionLimits { panes: 100, segments: 100, names: 10 });
    assert!(got.names < 500, "{} names are kept", got.names);
    assert_eq!(got.panes.iter().filter(|p| p.segment.name.starts_with("tenant=")).count(), 3_000);
    assert!(got.refused.is_empty());
}
