use super::*;
use crate::config::features::builtin;
use crate::sketch::{Body, RateSketch};
use crate::window::{Contents, Definition, Filling};

fn row(id: u64, start: i64) -> PaneRow {
    let mut rate = RateSketch::default();
    rate.add(true, 3, 3 << 59, (1, "r"));
    let sketch = Sketch { id: SketchId(id), body: Body::Rate(rate) };
    let segment = Segment { grouping: 0, name: Arc::from("") };
    PaneRow {
        start,
        close_at: start + 60,
        segment,
        contents: Contents { sketches: vec![Some(Box::new(sketch))] },
    }
}

fn names() -> Names {
    Names::new(Arc::new(Groupings::new(&[vec![]]).unwrap()), &builtin()[..1])
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
        contents: Filling::Sketches(contents),
    });
    let packed = packed_batch(&as_panes, &names).unwrap();
    let files = [to_parquet(&packed).unwrap(), encode(&rows, 60, &names).unwrap()];
    for file in files {
        let read = decode(file.into(), &names).unwrap();
        assert_eq!(read, [row(2, 0), row(2, 60)].map(|r| with_room(r, read[0].contents.sketches.len())));
    }
}

fn with_room(mut r: PaneRow, features: usize) -> PaneRow {
    r.contents.sketches.resize_with(features, || None);
    r
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
        assert!(decode(bytes::Bytes::from_static(&file[1..]), &Names::new(groupings, &builtin())).is_err());
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
    assert!(decode(file, &Names::new(groupings, &builtin())).is_err());
}
