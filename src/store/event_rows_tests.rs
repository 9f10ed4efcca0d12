//! The archive against the messages that it is made of: the same panes, and nothing that could tell a person or a prompt.

use super::*;
use crate::config::Config;
use crate::enrich::{Batch, Enricher, IdHasher, Plan, Value};
use crate::event::text::is_hashed;
use crate::event::{NameField, Ranges, decode};

const FULL: &str = r#"{"request_id":"r-1","session_id":"SESSION-7","user_id_hash":"USER-9","timestamp":"2026-01-12T06:00:00.123456Z",
 "pipeline_stage":"generate","region":"eu","tenant":"birch","traffic_source":"web","prompt":{"text":"zebra apple zebra mango on the beach"},
 "model":{"family":"sd","version":"M2","checkpoint_hash":"abc","loras":["b","a","add detail (v1.2)"]},
 "params":{"sampler":"ddim","steps":30,"cfg":7.5,"seed":-3,"resolution":"512x512"},"resources":{"gpu_type":"a10"},
 "metrics":{"latency_ms":812.5,"cost_usd":0.001},"quality":{"aesthetic":5.5,"nsfw_flag":false},"safety":{"category":"none"},
 "error":{"code":"oom","retriable":true},"outcome":{"accepted":true,"rerolls":2},"style":{"collection":"anime"}}"#;

fn messages() -> Vec<String> {
    let change = |from: &str, to: &str| FULL.replace(from, to);
    vec![
        FULL.to_owned(),
        r#"{"request_id":"r-2","timestamp":"2026-01-12T06:00:01Z","pipeline_stage":"deliver"}"#.to_owned(),
        change(r#""request_id":"r-1""#, r#""request_id":"a secret prompt""#),
        change(r#""region""#, r#""consent":{"opt_out":true},"region""#),
        change(
            r#"{"text":"zebra apple zebra mango on the beach"}"#,
            r#"{"token_ids":[9,3,3],"length":7,"language":"fr"}"#,
        ),
        change("zebra apple zebra mango on the beach", ""),
        change(r#""prompt":{"#, r#""prompt":{"length":-3,"#),
        change("812.5", "-86400000"),
        change(r#""aesthetic":5.5"#, r#""aesthetic":57.5"#),
        change("birch", r"white\nbirch"),
        change("birch", &"willow ".repeat(30)),
        change("birch", " Mu\u{308}ller & Söhne\u{a0}"),
        change(r#""birch""#, r#""  ""#),
        change(
            r#"["b","a","add detail (v1.2)"]"#,
            r##"["#1","\\x","__other__","#0123456789abcdef"," ","(new)","__invalid__","\u001b[31m"]"##,
        ),
    ]
}

fn enricher() -> Enricher {
    let features = Config::default().feature_set().unwrap();
    Enricher::new(Arc::new(Plan {
        features,
        dimensions: Text::ALL.to_vec(),
        hasher: IdHasher::new("k"),
        hidden: crate::event::NameFields::default(),
        vectors: None,
    }))
}

fn archived(messages: &[String]) -> RecordBatch {
    let mut enricher = enricher();
    let mut builder = ArchiveBuilder::default();
    for (offset, m) in (100..).zip(messages) {
        let event = decode(m.as_bytes(), &mut Vec::new()).unwrap();
        let clean = enricher.clean(&event);
        builder.push(
            &event,
            &clean,
            Place { topic: "events", partition: 3, offset, record_time_us: Some(offset * 7) },
        );
    }
    assert_eq!(builder.len(), messages.len());
    builder.finish().unwrap()
}

/// An event as a job takes it in: without the numbers that lie outside of their ranges.
fn checked(mut event: Event<'_>) -> Event<'_> {
    Ranges::default().check(&mut event, |_| {});
    event
}

/// What panes are made of, with tokens sorted.
fn contents(batch: &Batch) -> Vec<String> {
    let per_row = |all: &[String], n: usize, i: usize| all[i * n..(i + 1) * n].join(" ");
    let values: Vec<String> = batch
        .values
        .iter()
        .map(|v| match v {
            Value::Tokens(r) => {
                let mut tokens = batch.tokens[Batch::range(r)].to_vec();
                tokens.sort_unstable();
                format!("{tokens:?}")
            }
            Value::Names(r) => format!("{:?}", &batch.names[Batch::range(r)]),
            other => format!("{other:?}"),
        })
        .collect();
    let dimensions: Vec<String> = batch.dimensions.iter().map(|d| format!("{d:?}")).collect();
    let n = batch.rows.len();
    (0..n)
        .map(|i| {
            let r = &batch.rows[i];
            let id = &batch.ids[Batch::range(&r.request_id)];
            let ids = (r.time_us, r.stage, r.session, r.user, r.request, id, r.opt_out);
            let (v, d) =
                (per_row(&values, values.len() / n, i), per_row(&dimensions, dimensions.len() / n, i));
            format!("{ids:?} {v} {d}")
        })
        .collect()
}

#[test]
fn a_replay_of_the_archive_fills_the_same_panes() {
    let messages = messages();
    let (mut from_json, mut from_archive) = (Batch::default(), Batch::default());
    let mut e = enricher();
    for m in &messages {
        e.push(&checked(decode(m.as_bytes(), &mut Vec::new()).unwrap()), &mut from_json);
    }
    let rows = archived(&messages);
    let reader = ArchiveReader::new(&rows).unwrap();
    let mut e = enricher();
    for row in 0..reader.len() {
        e.push(&checked(reader.event(row)), &mut from_archive);
        assert_eq!((reader.partition(row), reader.offset(row)), (3, 100 + row as i64));
        assert_eq!(reader.record_time_us(row), Some((100 + row as i64) * 7));
    }
    for (a, b) in contents(&from_json).iter().zip(&contents(&from_archive)) {
        assert_eq!(a, b);
    }
    assert_eq!(from_json.rows.len(), from_archive.rows.len());
}

#[test]
fn a_field_that_is_to_be_hashed_is_so_from_an_older_archive_too() {
    let hiding = || {
        let hidden = [NameField::Text(Text::Tenant), NameField::Loras].into_iter().collect();
        let features = Config::default().feature_set().unwrap();
        let (dimensions, hasher) = (Text::ALL.to_vec(), IdHasher::new("k"));
        Enricher::new(Arc::new(Plan { features, dimensions, hasher, hidden, vectors: None }))
    };
    let messages = messages();
    let (mut from_json, mut from_archive) = (Batch::default(), Batch::default());
    let mut e = hiding();
    for m in &messages {
        e.push(&checked(decode(m.as_bytes(), &mut Vec::new()).unwrap()), &mut from_json);
    }
    let rows = archived(&messages);
    let reader = ArchiveReader::new(&rows).unwrap();
    let mut e = hiding();
    (0..reader.len()).for_each(|row| e.push(&checked(reader.event(row)), &mut from_archive));
    assert_eq!(contents(&from_json), contents(&from_archive));
    let shown = format!("{:?} {:?}", from_json.names, from_json.dimensions);
    for hidden in ["birch", "Müller", "add detail", "__other__"] {
        assert!(!shown.contains(hidden), "{hidden}");
    }
    assert!(shown.contains("ddim"));
}

#[test]
fn an_archive_of_the_archive_is_the_archive() {
    let rows = archived(&messages());
    let reader = ArchiveReader::new(&rows).unwrap();
    let (mut enricher, mut builder) = (enricher(), ArchiveBuilder::default());
    for row in 0..reader.len() {
        let event = reader.event(row);
        let clean = enricher.clean(&event);
        let (partition, offset) = (reader.partition(row), reader.offset(row));
        builder.push(
            &event,
            &clean,
            Place { topic: "events", partition, offset, record_time_us: reader.record_time_us(row) },
        );
    }
    assert_eq!(builder.finish().unwrap(), rows);
}

#[test]
fn each_field_comes_back_from_its_own_column() {
    let (mut enricher, mut builder) = (enricher(), ArchiveBuilder::default());
    let mut events = Vec::new();
    let mut push = |fill: &dyn Fn(&mut Event<'static>)| {
        let mut event = Event::new(Cow::Borrowed("r"), 1_700_000_000_000_000, Stage::Generate);
        fill(&mut event);
        let clean = enricher.clean(&event);
        builder.push(
            &event,
            &clean,
            Place { topic: "events", partition: 0, offset: 0, record_time_us: None },
        );
        events.push(event);
    };
    Num::ALL.iter().for_each(|f| push(&|event| event.nums[*f as usize] = 0.25));
    Flag::ALL.iter().for_each(|f| push(&|event| event.flags[*f as usize] = Some(true)));
    Text::ALL.iter().for_each(|f| push(&|event| event.texts[*f as usize] = Some(Cow::Borrowed("name"))));
    let rows = builder.finish().unwrap();
    let reader = ArchiveReader::new(&rows).unwrap();
    for (row, event) in events.iter().enumerate() {
        let back = reader.event(row);
        let bits = |event: &Event<'_>| event.nums.map(f64::to_bits);
        assert_eq!((bits(&back), back.flags, &back.texts), (bits(event), event.flags, &event.texts));
    }
    let columns = Num::ALL.iter().map(|f| f.column()).chain(Flag::ALL.iter().map(|f| f.column()));
    for (row, name) in columns.chain(Text::ALL.iter().map(|f| f.column())).enumerate() {
        let column = rows.column_by_name(name).unwrap();
        assert!((0..rows.num_rows()).all(|r| column.is_valid(r) == (r == row)), "{name}");
    }
}

#[test]
fn nothing_personal_is_written() {
    let rows = archived(&messages());
    let text = format!("{rows:?}");
    for secret in ["SESSION", "USER", "zebra", "mango", "secret", "white", "willow", "[31m"] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(
        text.contains("hashed-") && text.contains("Müller & Söhne") && text.contains("add detail (v1.2)")
    );
    let tenants = rows.column_by_name("tenant").unwrap().as_string::<i32>();
    assert!(
        is_hashed(tenants.value(9)) && is_hashed(tenants.value(10)) && tenants.value(9) != tenants.value(10)
    );
    assert!(tenants.is_null(12), "nothing but space");
    let tokens = rows.column_by_name("prompt_tokens").unwrap().as_list::<i32>().value(0);
    let tokens = tokens.as_primitive::<UInt16Type>().values().to_vec();
    assert!(tokens.len() >= 7 && tokens.is_sorted(), "the order of the words is gone: {tokens:?}");
}

#[test]
fn of_an_opted_out_event_only_the_volume_stays() {
    let rows = archived(&messages());
    let event = ArchiveReader::new(&rows).unwrap().event(3);
    assert!(event.opt_out && !event.failed);
    assert_eq!((&event.session, &event.user, &event.prompt), (&Id::Missing, &Id::Missing, &Prompt::Missing));
    assert_eq!((&event.loras, event.seed), (&None, None));
    assert!(event.nums.iter().all(|n| n.is_nan()) && event.flags.iter().all(Option::is_none));
    assert_eq!(event.texts[Text::Tenant as usize].as_deref(), Some("birch"));
    assert_eq!(event.texts[Text::StyleCollection as usize], None);
    assert_eq!(event.texts[Text::Language as usize], None);
}

#[test]
fn rows_of_another_kind_are_refused_by_name() {
    let rows = archived(&messages());
    let without = rows.project(&[0, 1, 2]).unwrap();
    assert!(ArchiveReader::new(&without).unwrap_err().to_string().contains("pipeline_stage is missing"));
    let mut fields: Vec<Field> = schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    fields[2] = Field::new("offset", DataType::Int32, false);
    let mut columns = rows.columns().to_vec();
    columns[2] = Arc::clone(&columns[1]);
    let wrong = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let error = ArchiveReader::new(&wrong).unwrap_err().to_string();
    assert!(error.contains("column offset is Int32, not Int64"), "{error}");
}
