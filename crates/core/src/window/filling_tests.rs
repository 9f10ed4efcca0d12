//! Events that are kept as values sum up to what their sketches would.

use super::*;
use crate::config::features::builtin;
use crate::config::segments::Groupings;
use crate::enrich::{Batch, Enricher, IdHasher, Plan};
use crate::event::decode;
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

struct Made {
    filler: Filler,
    batch: Batch,
}

/// Some minutes of generated traffic, with events of users who opted out.
static MADE: LazyLock<Made> = LazyLock::new(|| {
    let groupings = Arc::new(Groupings::new(&[vec![]]).unwrap());
    let hasher = IdHasher::new("a key");
    let plan = Arc::new(Plan {
        features: builtin(),
        dimensions: Vec::new(),
        hasher,
        hidden: crate::event::NameFields::default(),
        vectors: None,
    });
    let mut batch = Batch::default();
    let mut enricher = Enricher::new(Arc::clone(&plan));
    for line in include_str!("../../../../fixtures/events/generated.jsonl").lines() {
        enricher.push(&decode(line.as_bytes(), &mut Vec::new()).unwrap(), &mut batch);
    }
    assert!(batch.rows.len() > 200 && batch.rows.iter().any(|r| r.opt_out), "{}", batch.rows.len());
    Made { filler: Filler::new(&plan, groupings), batch }
});

/// Rows added in two goes: the second finds what the first has left.
fn filled(rows: &[usize]) -> SegmentSum {
    let mut out = MADE.filler.nothing();
    let rows: Vec<u32> = rows.iter().map(|i| (i % MADE.batch.rows.len()) as u32).collect();
    let (first, second) = rows.split_at(rows.iter().sum::<u32>() as usize % (rows.len() + 1));
    MADE.filler.add(&mut out, &MADE.batch, first).unwrap();
    MADE.filler.add(&mut out, &MADE.batch, second).unwrap();
    out
}

/// Every event sketched by itself, and the sketches merged.
fn sketched(rows: &[usize]) -> SketchSet {
    let mut sum = SketchSet::default();
    for i in rows {
        let mut one = SketchSet::default();
        MADE.filler.sketch(&mut one, &MADE.batch, &[(i % MADE.batch.rows.len()) as u32]);
        sum.merge(&one).unwrap();
    }
    sum
}

proptest! {
    #[test]
    fn any_way_of_summing_gives_the_same_sketches(
        parts in prop::collection::vec(prop::collection::vec(0usize..100_000, 0..30), 0..6)
    ) {
        let want = sketched(&parts.concat());
        let mut merged = MADE.filler.nothing();
        parts.iter().for_each(|p| merged.merge(&filled(p)).unwrap());
        let mut backwards = MADE.filler.nothing();
        parts.iter().rev().for_each(|p| backwards.merge(&filled(p)).unwrap());
        prop_assert_eq!(merged.filled_buckets(), want.filled_buckets());
        let packed = |p: &Vec<usize>| {
            let mut one = filled(p);
            one.pack();
            one
        };
        let packs: Vec<SegmentSum> = parts.iter().map(packed).collect();
        let summed = SegmentSum::sum(&packs.iter().collect::<Vec<_>>(), |_| true).unwrap();
        // Each is packed before the next is added.
        let mut repacked = MADE.filler.nothing();
        for p in &packs {
            repacked.merge(p).unwrap();
            repacked.pack();
        }
        prop_assert_eq!(repacked.filled_buckets(), want.filled_buckets());
        let sums = [merged, backwards, repacked].map(|f| f.into_sketches().unwrap());
        for got in sums.into_iter().chain([summed]) {
            let present = |c: &SketchSet| c.sketches.iter().flatten().cloned().collect::<Vec<_>>();
            prop_assert_eq!(present(&got), present(&want));
        }
    }

    #[test]
    fn bytes_come_back_and_any_cut_of_them_is_an_error_or_fewer_events(
        rows in prop::collection::vec(0usize..100_000, 0..6), cut in 0usize..1000
    ) {
        let SegmentSum::Events(events) = filled(&rows) else { panic!("few events are kept as they are") };
        let definitions = MADE.filler.definitions();
        prop_assert_eq!(&Events::read(events.bytes(), Arc::clone(definitions)).unwrap(), &events);
        let cut = cut.min(events.bytes().len());
        if let Ok(fewer) = Events::read(&events.bytes()[..cut], Arc::clone(definitions)) {
            prop_assert!(fewer.count() <= events.count());
        }
    }
}

proptest! {
    #[test]
    fn folding_and_users_depend_on_the_sum_and_not_on_its_form(
        rows in prop::collection::vec(0usize..100_000, 0..12), most in 1usize..6
    ) {
        let few = filled(&rows);
        let mut sketches = SegmentSum::Sketches(sketched(&rows));
        let mut packed = sketches.clone();
        packed.pack();
        let volume = builtin().iter().position(|f| f.kind == crate::config::features::FeatureKind::Volume).unwrap();
        let users = sketches.users(volume).unwrap();
        let named = rows.iter().map(|i| &MADE.batch.rows[i % MADE.batch.rows.len()]);
        let named = named.filter(|r| r.stage == crate::event::Stage::Generate).filter_map(|r| r.user);
        prop_assert_eq!(users, named.fold(0, |all, u| all | 1 << (u & 63)));
        let folded = sketches.fold(most).unwrap();
        let want = sketches.into_sketches().unwrap();
        for mut other in [few, packed] {
            prop_assert_eq!(other.users(volume).unwrap(), users);
            prop_assert_eq!(other.fold(most).unwrap(), folded);
            let got = other.into_sketches().unwrap();
            prop_assert!(got.sketches.iter().flatten().eq(want.sketches.iter().flatten()));
        }
    }
}

#[test]
fn events_take_a_fraction_of_the_room_of_sketches() {
    let (mut events, mut sketches) = (0, 0);
    for i in 0..200 {
        let one = filled(&[i]);
        let mut bytes = Vec::new();
        one.write(&mut bytes);
        events += bytes.len();
        bytes.clear();
        packed::write(&one.into_sketches().unwrap(), &mut bytes);
        sketches += bytes.len();
    }
    assert!(3 * events < sketches, "{events} bytes as they are, {sketches} as sketches");
}

#[test]
fn wanted_features_only_are_summed() {
    let few = filled(&[1, 2, 3]);
    let sketches = SegmentSum::Sketches(few.clone().into_sketches().unwrap());
    let mut packed = sketches.clone();
    packed.pack();
    assert!(matches!(packed, SegmentSum::Packed(_)));
    for part in [few, sketches, packed] {
        let some = SegmentSum::sum(&[&part], |f| f == 0).unwrap();
        assert_eq!(some.sketches.iter().flatten().count(), 1);
        assert_eq!(some.sketches[0], part.into_sketches().unwrap().sketches[0]);
    }
}

#[test]
fn neither_order_nor_users_nor_ids_that_no_sketch_would_hold_are_kept() {
    for i in 0..MADE.batch.rows.len() {
        let SegmentSum::Events(events) = filled(&[i]) else { panic!("one event is kept as it is") };
        let row = &MADE.batch.rows[i];
        let id = &MADE.batch.ids[Batch::range(&row.request_id)];
        let holds = |what: &[u8]| events.bytes().windows(what.len()).any(|w| w == what);
        let has_examples = sketched(&[i]).sketches.iter().flatten().any(|s| match &s.body {
            crate::sketch::Body::Rate(r) => r.examples().ids().next().is_some(),
            _ => false,
        });
        assert_eq!(holds(id.as_bytes()), has_examples);
        assert!(row.user.is_none_or(|u| !holds(&u.to_le_bytes())));
    }
}
