//! Sketches read back from bytes: single ones, those of a pane packed together, and files of panes.
//!
//! The first byte chooses; events that were kept one by one are among what is read. For single ones two bytes follow, the length of the first of two sketches. Checked is that
//!
//! - what reads is written and read again without a change, also after it was merged with itself;
//! - merging, subtracting and asking for statistics never panics, and two sketches merge to the same in either order;
//! - reading holds memory in proportion to the bytes, whatever lengths these claim;
//! - a file of panes reads or is an error. Parquet's own reader is known to panic at forged files, and is let; what it
//!   reserves is limited as all memory here.
#![no_main]

use driftglass::sketch::{Body, NumericSketch, Sketch};
use driftglass::store::panes::{all_to_parquet, decode_panes, packed_batches};
use driftglass::window::{Events, Packed, Pane, SegmentSum, packed};
use driftglass_fuzz::{MIB, SAMPLE, bounded, contained, same};
use libfuzzer_sys::fuzz_target;
use std::hint::black_box;

/// Bytes of memory for each of the input: an entry of a few bytes becomes a node of a map, and every sketch is held several
/// times here.
const FACTOR: usize = 256;
/// No value that a quantile stands for is larger.
const LARGEST: f64 = (1u128 << 81) as f64;

fuzz_target!(|data: &[u8]| run(data));

fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let limit = 4 * MIB + FACTOR * bytes.len();
    match kind % 5 {
        1 => bounded(limit, || pane(bytes)),
        2 => file(bytes),
        4 => bounded(limit, || events(bytes)),
        _ => bounded(limit, || sketches(bytes)),
    }
}

fn sketches(bytes: &[u8]) {
    let Some((length, bytes)) = bytes.split_first_chunk::<2>() else { return };
    let length = usize::from(u16::from_le_bytes(*length)).min(bytes.len());
    let (first, second) = bytes.split_at(length);
    if let (Some(first), Some(mut second)) = (sketch(first), sketch(second)) {
        second.id = first.id;
        merge(&first, &second);
    }
}

fn sketch(bytes: &[u8]) -> Option<Sketch> {
    let read = match Sketch::decode(bytes) {
        Ok(read) => read,
        Err(damage) => {
            assert!(!damage.to_string().is_empty());
            return None;
        }
    };
    comes_back(&read);
    look(&read);
    let mut sum = read.clone();
    assert!(sum.merge(&read).is_ok(), "a sketch does not merge with itself");
    comes_back(&sum);
    look(&sum);
    assert!(sum.subtract(&read).is_ok(), "a sketch is not taken off what it was merged into");
    look(&sum);
    Some(read)
}

fn comes_back(sketch: &Sketch) {
    let back = Sketch::decode(&sketch.encode());
    assert!(back.is_ok_and(|back| back == *sketch), "a sketch changed by its bytes");
}

fn merge(a: &Sketch, b: &Sketch) {
    let (mut ab, mut ba) = (a.clone(), b.clone());
    match (ab.merge(b), ba.merge(a)) {
        // Vectors of unlike lengths under one id are nothing that a job writes.
        (Ok(()), Ok(())) if matches!(a.body, Body::Vector(_)) => {}
        (Ok(()), Ok(())) => assert!(ab.encode() == ba.encode(), "the order of merging shows"),
        (Err(_), Err(_)) => assert!(ab == *a && ba == *b, "what was not merged changed"),
        _ => panic!("two sketches merge in one order only"),
    }
    look(&ab);
}

/// Asks for everything that tables and baselines ask for.
fn look(sketch: &Sketch) {
    black_box((sketch.n(), sketch.events().sum(), sketch.events().iter().count(), sketch.sessions().count()));
    match &sketch.body {
        Body::Tokens(s) => {
            black_box((s.total(), s.tokens().count(), s.presence().count()));
        }
        Body::Category(s) => s.values().iter().for_each(|value| {
            black_box(s.count(value.name));
        }),
        Body::Numeric(s) => numbers(s),
        Body::Rate(s) => {
            black_box((s.hits(), s.examples().ids().count()));
        }
        Body::Vector(s) => {
            black_box((s.mean(), s.projected_length()));
            s.projected().for_each(|(_, _, sums)| {
                black_box(sums.count());
            });
            s.samples().for_each(|(_, projected)| {
                black_box(projected.count());
            });
        }
        Body::Missing(s) => {
            black_box(s.mean());
            s.groups().iter().for_each(|g| {
                black_box((g.n(), g.fields(), (0..64).map(|f| g.lacking(f).len()).sum::<usize>()));
            });
        }
    }
}

fn numbers(sketch: &NumericSketch) {
    black_box((sketch.mean(), sketch.sd(), sketch.test_sq()));
    let quantiles = sketch.quantiles();
    black_box([0.0, 0.5, 0.95, 0.99, 1.0].map(|q| quantiles.quantile(q)));
    let values = quantiles.values();
    assert!(values.iter().all(|v| v.0.abs() <= LARGEST), "a bucket beyond the largest");
    assert!(
        values.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "buckets are not in the order of their values"
    );
}

fn pane(bytes: &[u8]) {
    let features = SAMPLE.plan.features.len();
    let Ok(contents) = packed::read(bytes, |f| (f < features).then_some(f)) else { return };
    let again = Packed::of(&contents);
    assert!(again.unpack(|_| true).is_ok_and(|back| same(&back, &contents)), "a pane changed by its bytes");
    assert!(again.filled_buckets() == contents.filled_buckets());
    let buckets = contents.filled_buckets();
    let sum = SegmentSum::sum(&[&SegmentSum::Packed(again), &SegmentSum::Sketches(contents)], |_| true);
    assert!(sum.is_ok_and(|sum| sum.filled_buckets() == buckets));
}

/// Events that were kept one by one.
fn events(bytes: &[u8]) {
    let Ok(read) = Events::read(bytes, SAMPLE.filler.definitions().clone()) else { return };
    let sum = read.contents(|_| true).expect("events that were read are of one definition");
    assert!(sum.filled_buckets() == read.filled_buckets());
    let mut written = Vec::new();
    SegmentSum::Events(read.clone()).write(&mut written);
    assert!(written[1..] == *bytes, "events changed by their bytes");
    let mut twice = SegmentSum::Sketches(sum.clone());
    assert!(twice.merge(&SegmentSum::Events(read)).is_ok());
    assert!(twice.into_sketches().is_ok_and(|t| t.filled_buckets() == sum.filled_buckets()));
}

fn file(bytes: &[u8]) {
    let Some(Ok(rows)) = contained(|| decode_panes(bytes.to_vec().into(), &SAMPLE.names)) else { return };
    if rows.is_empty() || rows.iter().any(|r| has_vectors(&r.contents)) {
        return;
    }
    let batches = packed_batches(&rows, &SAMPLE.names).expect("rows that were read become batches");
    let file = all_to_parquet(&batches).expect("and the batches a file");
    let back = decode_panes(file.into(), &SAMPLE.names).expect("which reads");
    assert!(back.len() == rows.len() && back.iter().zip(&rows).all(alike), "rows changed by their file");
}

/// Rows of one place may have been merged, and vectors of unlike lengths don't come back from that.
fn has_vectors(filling: &SegmentSum) -> bool {
    let SegmentSum::Sketches(contents) = filling else { return false };
    contents.sketches.iter().flatten().any(|s| matches!(s.body, Body::Vector(_)))
}

fn alike((a, b): (&Pane, &Pane)) -> bool {
    let contents = match (&a.contents, &b.contents) {
        (SegmentSum::Sketches(a), SegmentSum::Sketches(b)) => same(a, b),
        (a, b) => a == b,
    };
    contents && (a.start, a.close_at, &a.segment) == (b.start, b.close_at, &b.segment)
}
