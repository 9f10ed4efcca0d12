//! Events: messages of up to 8 KiB, decoded, enriched and put through a partition's panes, as a job does it.
//!
//! Messages of one input are separated by the byte 0x1e. Checked is that
//!
//! - a message is refused with a reason, or is an event whose values keep their promises (times, ids, numbers in range, tokens);
//! - decoding holds memory in proportion to the message, and so does all that follows;
//! - nothing but admitted names, hashed ids and tokens goes on, and of a user who opted out nothing but volume;
//! - a partition that was stopped and restored gives the same panes, and these come back from their bytes;
//! - so does one whose open panes were packed between batches.
#![no_main]

use driftglass::config::features::FeatureKind;
use driftglass::config::watched::group;
use driftglass::enrich::vectors::inline;
use driftglass::enrich::{Batch, Enricher, ImageSource, Value};
use driftglass::event::text::{MAX_REQUEST_ID, is_admitted};
use driftglass::event::{
    Event, Num, Prompt, Ranges, Reject, RejectReason, VOCABULARY, decode, decode_within, time,
};
use driftglass::sketch::OTHER;
use driftglass::window::{EncodedSum, Events, Origins, Packed, Pane, PaneRow, Partition, Reach, SegmentSum};
use driftglass_fuzz::{DIMENSION, EVENTS, MIB, SAMPLE, bounded, same};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::sync::Arc;

/// Stands between messages. No JSON text holds it raw.
const SEPARATOR: u8 = 0x1e;
/// Messages of one input that are looked at: fewer than a partition keeps panes open.
const MAX_MESSAGES: usize = 256;
/// The default of `input.max_message`.
const MAX_MESSAGE: usize = MIB;
/// Inputs after which the enricher starts anew, so that its caches are not what is measured.
const RENEW: u32 = 50_000;

thread_local! {
    /// Shared by inputs as by the messages of a job, and how many it has seen.
    static ENRICHER: RefCell<(Enricher, u32)> = RefCell::new((enricher(), 0));
}

fuzz_target!(|data: &[u8]| run(data));

fn run(data: &[u8]) {
    ENRICHER.with_borrow_mut(|(shared, seen)| {
        *seen += 1;
        if *seen > RENEW {
            (*shared, *seen) = (enricher(), 0);
        }
        // The caches may grow with any input; each byte may become a token of each segment, and panes are held several times over.
        bounded(64 * MIB + 4096 * data.len(), || events(data, shared));
    });
}

/// An enricher that has read an event, so that what is made at the first use is there.
fn enricher() -> Enricher {
    let mut out = Enricher::new(Arc::clone(&SAMPLE.plan));
    let event = decode(EVENTS[0].as_bytes(), &mut Vec::new()).expect("a plain event decodes");
    out.push(&event, &mut Batch::default());
    out
}

fn events(data: &[u8], enricher: &mut Enricher) {
    let mut batch = Batch::default();
    let mut mistyped = Vec::new();
    for message in data.split(|b| *b == SEPARATOR).take(MAX_MESSAGES) {
        mistyped.clear();
        // An empty name takes three bytes of JSON and 24 of memory, and lists grow by doubling.
        let decoded =
            bounded(64 * 1024 + 32 * message.len(), || decode_within(message, MAX_MESSAGE, &mut mistyped));
        match decoded {
            Ok(mut event) => {
                check_event(&event, &mistyped);
                check_ranges(&mut event);
                enricher.push(&event, &mut batch);
                check_row(&event, &batch);
            }
            Err(reject) => check_reject(reject, message, &mistyped),
        }
    }
    check_names(&batch);
    place_vectors(&mut batch);
    if !batch.rows.is_empty() {
        panes(&batch);
    }
}

fn check_reject(reject: Reject, message: &[u8], mistyped: &[&str]) {
    use RejectReason::{DuplicateField, ImpossibleTime, MissingField, MistypedField, NotJson, TooLarge};
    assert!(!reject.reason.name().is_empty());
    assert!(mistyped.is_empty(), "fields of a message that was refused were reported");
    let fits = match (reject.reason, reject.field) {
        (NotJson | DuplicateField, None) => true,
        (TooLarge, None) => message.len() > MAX_MESSAGE,
        (TooLarge, Some("request_id")) | (ImpossibleTime, Some("timestamp")) => true,
        (MissingField | MistypedField, Some("request_id" | "timestamp" | "pipeline_stage")) => true,
        _ => false,
    };
    assert!(fits, "a reason that names the wrong field");
}

fn check_event(event: &Event<'_>, mistyped: &[&str]) {
    assert!((time::EARLIEST..time::LATEST).contains(&event.time_us));
    assert!(time::parse(&time::text(event.time_us)) == Some(event.time_us), "a time that is not its text");
    assert!(!event.request_id.is_empty() && event.request_id.chars().count() <= MAX_REQUEST_ID);
    assert!(event.nums.iter().all(|n| !n.is_infinite()));
    assert!(event.texts.iter().flatten().all(|t| !t.is_empty()));
    if let Prompt::Tokens(tokens) = &event.prompt {
        assert!(tokens.iter().all(|t| *t < VOCABULARY));
    }
    let once = mistyped.iter().enumerate().all(|(i, field)| !mistyped[..i].contains(field));
    assert!(once, "a field was reported twice");
}

/// What a job takes in of its numbers.
fn check_ranges(event: &mut Event<'_>) {
    Ranges::default().check(event, |_| {});
    for field in Num::ALL {
        let x = event.nums[*field as usize];
        assert!(x.is_nan() || field.range().contains(x), "a number outside of its range");
    }
}

/// The row that an event became, which is the last one.
fn check_row(event: &Event<'_>, batch: &Batch) {
    let (features, dimensions) = (&SAMPLE.plan.features, SAMPLE.plan.dimensions.len());
    let rows = batch.rows.len();
    assert!(batch.values.len() == rows * features.len() && batch.dimensions.len() == rows * dimensions);
    let row = &batch.rows[rows - 1];
    assert!(row.time_us == event.time_us && row.stage == event.stage && row.opt_out == event.opt_out);
    let id = &batch.ids[Batch::range(&row.request_id)];
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._:/@+-".contains(&b);
    assert!(!id.is_empty() && id.len() <= MAX_REQUEST_ID && id.bytes().all(plain));
    if event.opt_out {
        assert!(row.user.is_none() && row.session == row.request, "ids of a user who opted out");
        assert!(batch.candidates.last().is_none_or(|c| c.row as usize != rows - 1), "an image of theirs");
    }
    let values = &batch.values[(rows - 1) * features.len()..];
    for (feature, value) in features.iter().zip(values) {
        let told = !event.opt_out || feature.kind == FeatureKind::Volume;
        match value {
            Value::Missing => {}
            _ if !told => panic!("a value of a user who opted out"),
            Value::Num(x) => assert!(x.is_finite()),
            Value::Text(name) => assert!(written(name)),
            Value::Names(at) => assert!(batch.names[Batch::range(at)].iter().all(|n| written(n))),
            Value::Tokens(at) => {
                let tokens = &batch.tokens[Batch::range(at)];
                assert!(!tokens.is_empty() && tokens.iter().all(|t| *t < VOCABULARY));
            }
            Value::Lacking { group: of, fields } => {
                let watched = feature.watched.as_ref().expect("what is missing is looked for");
                assert_eq!(*of, group(event.stage, event.failed));
                assert_eq!(fields.checked_shr(watched.at(event.stage).len() as u32).unwrap_or(0), 0);
            }
            Value::Event | Value::Flag(_) => {}
            Value::Vector(_) => panic!("a vector before any was placed"),
        }
    }
}

/// All names that may be written.
fn check_names(batch: &Batch) {
    assert!(batch.dimensions.iter().flatten().all(|name| written(name)));
    assert!(batch.names.iter().all(|name| written(name)));
    assert!(batch.candidates.iter().filter_map(|c| c.collection.as_deref()).all(written));
}

/// Whether a name is as names are written, or what LoRAs beyond the most are counted as.
fn written(name: &str) -> bool {
    is_admitted(name) || name == OTHER
}

/// Places the vectors that events carry, as a job does it once it has them.
fn place_vectors(batch: &mut Batch) {
    let plan = &SAMPLE.plan;
    let vectors = plan.vectors.as_ref().expect("the sample job looks at images");
    for candidate in std::mem::take(&mut batch.candidates) {
        let ImageSource::Inline(at) = &candidate.source else { continue };
        let Ok(vector) = inline(&batch.addresses[Batch::range(at)]) else { continue };
        if let Err(reason) = vectors.place(&plan.features, batch, &candidate, &vector) {
            assert!(matches!(reason, "wrong_dimension" | "not_finite" | "zero_vector"));
        }
    }
    assert!(batch.units.len() == batch.vectors as usize * DIMENSION);
    batch.addresses.clear();
}

fn panes(batch: &Batch) {
    let mut whole = Partition::new(Arc::clone(&SAMPLE.filler), SAMPLE.times);
    let mut refused = 0;
    ingest(&mut whole, batch, 0, &mut refused);
    assert!(whole.counters().events + refused + whole.undecided() as u64 == batch.rows.len() as u64);
    let (state, open) = (whole.state(), whole.open_panes());
    assert!(open.len() == whole.open_rows());
    let open = open.into_iter().map(|PaneRow { start, close_at, segment, contents }| {
        let contents = contents.clone();
        Pane { start, close_at, segment, contents }
    });
    let open = open.collect();
    let mut restored = Partition::restore(Arc::clone(&SAMPLE.filler), SAMPLE.times, &state, open);
    assert!(restored.state() == state, "a state changed by a restart");
    let closed = whole.take_closed();
    assert!(closed == restored.take_closed(), "panes that closed are others after a restart");
    let ((rest, likely), again) = (whole.flush(Reach::Ended), restored.flush(Reach::Ended));
    assert!((&rest, likely) == (&again.0, again.1), "open panes are others after a restart");
    closed.iter().chain(&rest).for_each(check_pane);
    packed_between(batch);
}

fn ingest(partition: &mut Partition, batch: &Batch, from: i64, refused: &mut u64) {
    let offsets: Vec<i64> = (from..).take(batch.rows.len()).collect();
    let origins = Origins { offsets: &offsets, appended: &[] };
    let done = partition.ingest(batch, origins, |_, _, _| *refused += 1);
    done.expect("panes that were filled and packed here are sound");
}

/// Panes that were packed before more was added to them are those that never were.
fn packed_between(batch: &Batch) {
    let [plain, packed] = [false, true].map(|pack| {
        let mut partition = Partition::new(Arc::clone(&SAMPLE.filler), SAMPLE.times);
        for time in 0..2 {
            ingest(&mut partition, batch, time * batch.rows.len() as i64, &mut 0);
            if pack {
                partition.pack_others();
            }
        }
        partition.flush(Reach::Ended).0
    });
    assert!(plain.len() == packed.len());
    for (a, b) in plain.into_iter().zip(packed) {
        assert!((a.start, a.close_at, &a.segment) == (b.start, b.close_at, &b.segment));
        let [a, b] = [a, b].map(|row| row.contents.into_sketches().expect("what was filled here is sound"));
        assert!(same(&a, &b), "a pane that was packed in between is another");
    }
}

fn check_pane(row: &Pane) {
    assert!(row.close_at > row.start);
    let mut written = Vec::new();
    row.contents.write(&mut written);
    if let (SegmentSum::Events(events), Ok(EncodedSum::Events(bytes))) =
        (&row.contents, SegmentSum::read(&written))
    {
        let back = Events::read(bytes, SAMPLE.filler.definitions().clone());
        assert!(back.is_ok_and(|back| back == *events), "events changed by their bytes");
    }
    let contents = row.contents.clone().into_sketches().expect("what a job filled has one definition");
    let packed = Packed::of(&contents);
    assert!(packed.filled_buckets() == row.contents.filled_buckets());
    let back = packed.unpack(|_| true);
    assert!(back.is_ok_and(|back| same(&back, &contents)), "a pane changed by its bytes");
}
