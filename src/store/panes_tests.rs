//! Files of panes: what another job made, and what lies about itself.

use super::*;
use crate::config::features::builtin;
use crate::config::segments::Groupings;
use crate::enrich::{Batch, Enricher, IdHasher, Plan};
use crate::sketch::{Body, RateSketch, SketchId};
use crate::window::{Definition, Filler, SegmentSum, SketchSet};

fn row(id: u64, start: i64) -> PaneRow {
    let mut rate = RateSketch::default();
    rate.add(true, 3, 3 << 59, (1, "r"));
    let sketch = Sketch { id: SketchId(id), body: Body::Rate(rate) };
    let segment = Segment { grouping: 0, name: Arc::from("") };
    PaneRow {
        start,
        close_at: start + 60,
        segment,
        contents: SketchSet { sketches: vec![Some(Box::new(sketch))] },
    }
}

fn decode(file: bytes::Bytes, names: &TableNames) -> Result<Vec<PaneRow>, PaneFileError> {
    PaneTable::read(file, names)?.rows()
}

fn names() -> TableNames {
    TableNames::new(Arc::new(Groupings::new(&[vec![]]).unwrap()), &builtin()[..1])
}

#[test]
fn what_another_definition_made_is_passed_over() {
    let now = Definition::new(&builtin()[0], SketchId(2));
    let names = names().with_definitions(&Arc::from([now]));
    let rows = [row(1, 0), row(2, 0), row(2, 60), row(1, 120)];
    let as_panes = rows.clone().map(|PaneRow { start, close_at, segment, contents }| PaneRow {
        start,
        close_at,
        segment,
        contents: SegmentSum::Sketches(contents),
    });
    let packed = packed_batches(&as_panes, &names).unwrap();
    let files = [all_to_parquet(&packed).unwrap(), encode(&rows, 60, &names).unwrap()];
    for file in files {
        let read = decode(file.into(), &names).unwrap();
        assert_eq!(read, [row(2, 0), row(2, 60)].map(|r| with_room(r, read[0].contents.sketches.len())));
    }
}

fn with_room(mut r: PaneRow, features: usize) -> PaneRow {
    r.contents.sketches.resize_with(features, || None);
    r
}

/// The names of a job with two features in this order, and a pane of it with one event.
fn pane_of_one_event(features: [usize; 2], key: &str) -> (TableNames, Pane) {
    let all = builtin();
    let features = features.map(|f| all[f].clone()).to_vec();
    let groupings = Arc::new(Groupings::new(&[vec![]]).unwrap());
    let (dimensions, hasher) = (Vec::new(), IdHasher::new(key));
    let plan = Arc::new(Plan {
        features: features.clone(),
        dimensions,
        hasher,
        hidden: crate::event::NameFields::default(),
        vectors: None,
    });
    let filler = Filler::new(&plan, Arc::clone(&groupings));
    let message = br#"{"request_id":"r","timestamp":"2026-01-12T06:00:00Z","pipeline_stage":"generate","prompt":{"text":"a castle"}}"#;
    let mut batch = Batch::default();
    let event = crate::event::decode(message, &mut Vec::new()).unwrap();
    Enricher::new(plan).push(&event, &mut batch);
    let mut contents = filler.nothing();
    filler.add(&mut contents, &batch, &[0]).unwrap();
    let segment = Segment { grouping: 0, name: Arc::from("") };
    let names = TableNames::new(groupings, &features).with_definitions(filler.definitions());
    (names, Pane { start: 0, close_at: 60, segment, contents })
}

#[test]
fn events_are_read_by_a_job_whose_features_have_changed() {
    let at = |name: &str| builtin().iter().position(|f| f.name == name).unwrap();
    let (volume, length) = (at("volume"), at("prompt_length"));
    let (names, pane) = pane_of_one_event([volume, length], "a key");
    let file = all_to_parquet(&packed_batches(std::slice::from_ref(&pane), &names).unwrap()).unwrap();
    let read_by = |names: &TableNames| decode_panes(file.clone().into(), names).unwrap();

    let same = read_by(&names);
    assert!(matches!(same[0].contents, SegmentSum::Events(_)), "as they are");
    assert_eq!(same, [pane]);

    let (turned, want) = pane_of_one_event([length, volume], "a key");
    let got: Vec<_> = read_by(&turned).into_iter().map(|p| p.contents.into_sketches().unwrap()).collect();
    assert_eq!(got, [want.contents.into_sketches().unwrap()]);

    let (other_key, _) = pane_of_one_event([volume, length], "another key");
    assert_eq!(read_by(&other_key), [], "hashed by another key");
}

#[test]
fn rows_of_more_bytes_than_a_batch_takes_become_several_of_one_file() {
    let names = names();
    let rows = [row(1, 0), row(1, 60), row(1, 120)];
    let mut bytes = Vec::new();
    crate::window::packed::write(&rows[0].contents, &mut bytes);
    let mut packed = PackedRows { max_bytes: 2 * bytes.len(), ..PackedRows::new(&names) };
    for r in &rows {
        bytes.clear();
        crate::window::packed::write(&r.contents, &mut bytes);
        packed.push(r.start, r.close_at, r.segment.clone(), &bytes).unwrap();
    }
    let batches = packed.finish().unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [2, 1]);
    let read = decode(all_to_parquet(&batches).unwrap().into(), &names).unwrap();
    assert_eq!(read, rows.map(|r| with_room(r, read[0].contents.sketches.len())));
    assert!(PackedRows::new(&names).finish().unwrap().is_empty());
}

#[test]
fn sketches_of_more_bytes_than_a_batch_takes_become_several_of_one_file() {
    let names = names();
    let rows = [row(1, 0), row(1, 60), row(1, 120)];
    let of = |row: &PaneRow| row.contents.sketches[0].as_ref().unwrap().encode().len();
    let batches = batches_of(&rows, 60, &names, of(&rows[0]) + of(&rows[1])).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [2, 1]);
    let in_one = decode(encode(&rows, 60, &names).unwrap().into(), &names).unwrap();
    assert_eq!(decode(all_to_parquet(&batches).unwrap().into(), &names).unwrap(), in_one);
    assert!(decode(encode(&[], 60, &names).unwrap().into(), &names).unwrap().is_empty());
}

#[test]
fn a_page_that_lies_about_itself_is_refused_at_once() {
    let (counts, types) = (
        include_bytes!("../../fixtures/fuzz/sketch/found-page-header").as_slice(),
        include_bytes!("../../fixtures/fuzz/sketch/found-page-header-types").as_slice(),
    );
    for file in [counts, types] {
        let groupings = Arc::new(Groupings::new(&[Vec::new()]).unwrap());
        let began = std::time::Instant::now();
        assert!(
            decode(bytes::Bytes::from_static(&file[1..]), &TableNames::new(groupings, &builtin())).is_err()
        );
        assert!(began.elapsed().as_secs() < 5, "Parquet's reader went through what the header claims");
    }
}

/// A file of a few hundred bytes that claims to have more row groups than memory could hold.
#[test]
fn a_file_that_lies_about_its_size_is_refused() {
    let file = include_bytes!("../../fixtures/fuzz/sketch/file-row-groups");
    let groupings = Arc::new(Groupings::new(&[Vec::new()]).unwrap());
    // The first byte chooses what the seed is read as.
    let file = bytes::Bytes::from_static(&file[1..]);
    assert!(decode(file, &TableNames::new(groupings, &builtin())).is_err());
}
