//! The pieces that an event's cost is made of: decoding a message, filling a pane with a batch,
//! merging two panes, comparing a window with a baseline.
//!
//! ```sh
//! cargo bench -p driftglass-core              # all of them
//! cargo bench -p driftglass-core -- decode    # one
//! ```

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use driftglass_core::baseline::{BaselineInfo, BlocksOfWeek, Prepared, UnseenDays};
use driftglass_core::config::features::builtin;
use driftglass_core::config::segments::Groupings;
use driftglass_core::enrich::{Batch, Enricher, IdHasher, Plan};
use driftglass_core::event::{NameFields, decode};
use driftglass_core::window::{Filler, SegmentSum, SketchSet};
use std::hint::black_box;
use std::sync::Arc;

/// An hour of the generator's traffic (`fixtures/events/README.md`).
const EVENTS: &str = include_str!("../../../fixtures/events/generated.jsonl");

fn plan() -> Arc<Plan> {
    Arc::new(Plan {
        features: builtin(),
        dimensions: Vec::new(),
        hasher: IdHasher::new("a key"),
        hidden: NameFields::default(),
        vectors: None,
    })
}

/// All events, enriched, and what fills panes with them.
fn batch(plan: &Arc<Plan>) -> (Filler, Batch) {
    let (mut enricher, mut batch) = (Enricher::new(Arc::clone(plan)), Batch::default());
    let mut notes = Vec::new();
    for line in EVENTS.lines() {
        enricher.push(&decode(line.as_bytes(), &mut notes).expect("the fixture holds events"), &mut batch);
    }
    let groupings = Arc::new(Groupings::new(&[vec![]]).expect("one grouping without dimensions"));
    (Filler::new(plan, groupings), batch)
}

/// What some rows of the batch add up to.
fn filled(filler: &Filler, batch: &Batch, rows: std::ops::Range<usize>) -> SegmentSum {
    let rows: Vec<u32> = rows.map(|i| i as u32).collect();
    let mut out = filler.nothing();
    filler.add(&mut out, batch, &rows).expect("fresh sketches are alike");
    out
}

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(EVENTS.lines().count() as u64));
    let mut notes = Vec::new();
    group.bench_function("decode", |b| {
        b.iter(|| {
            for line in EVENTS.lines() {
                let _ = black_box(decode(black_box(line.as_bytes()), &mut notes));
            }
        });
    });
    let mut enricher = Enricher::new(plan());
    group.bench_function("decode and enrich", |b| {
        b.iter_batched_ref(
            Batch::default,
            |batch| {
                for line in EVENTS.lines() {
                    if let Ok(event) = decode(line.as_bytes(), &mut notes) {
                        enricher.push(&event, batch);
                    }
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn filling(c: &mut Criterion) {
    let (filler, batch) = batch(&plan());
    let rows: Vec<u32> = (0..batch.rows.len() as u32).collect();
    let mut group = c.benchmark_group("pane");
    group.throughput(Throughput::Elements(rows.len() as u64));
    group.bench_function("fill", |b| {
        b.iter_batched_ref(
            || filler.nothing(),
            |pane| filler.add(pane, &batch, &rows),
            BatchSize::SmallInput,
        );
    });
    group.finish();
    let half = batch.rows.len() / 2;
    let [first, second] = [0..half, half..batch.rows.len()].map(|of| filled(&filler, &batch, of));
    c.bench_function("merge/two panes of half an hour", |b| {
        b.iter_batched_ref(|| first.clone(), |sum| sum.merge(&second), BatchSize::SmallInput);
    });
}

fn scoring(c: &mut Criterion) {
    let (filler, batch) = batch(&plan());
    let cut = batch.rows.len() * 3 / 4;
    let sum = |rows| -> SketchSet {
        filled(&filler, &batch, rows).into_sketches().expect("sketches made here are read back")
    };
    let (baseline, window) = (sum(0..cut), sum(cut..batch.rows.len()));
    let about = BaselineInfo {
        name: "b".into(),
        id: "b".into(),
        days: 7,
        enough_days: true,
        blocks: BlocksOfWeek::ALL,
        unseen: UnseenDays::default(),
        hours: 168.0,
    };
    let features = builtin();
    let pairs: Vec<_> = features
        .iter()
        .zip(baseline.sketches.iter().zip(&window.sketches))
        .filter_map(|(feature, (baseline, window))| {
            let (baseline, window) = (baseline.as_deref()?, window.as_deref()?);
            Some((feature, Prepared::new(about.clone(), feature, baseline, None), window))
        })
        .collect();
    let mut group = c.benchmark_group("score");
    group.throughput(Throughput::Elements(pairs.len() as u64));
    group.bench_function("every feature of one segment", |b| {
        b.iter(|| {
            for (feature, prepared, window) in &pairs {
                let _ = black_box(prepared.compare(feature, window, None));
            }
        });
    });
    group.finish();
}

criterion_group!(pieces, decoding, filling, scoring);
criterion_main!(pieces);
