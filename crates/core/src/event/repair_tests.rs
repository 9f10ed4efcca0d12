//! What can't be represented costs its field, whatever it is and wherever it stands; everything else that is no JSON
//! stays none.

use super::repair;
use crate::event::{Event, RejectReason, Stage, decode};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Well formed, and without a value.
const LOST: [&str; 8] = [
    r#""\ud83d""#,
    r#""cut here \uD83D""#,
    r#""\ude00\ud83d of \"two\"""#,
    r#""\ud83d\n""#,
    "1e400",
    "-1E+309",
    "1.5e99999999999999999999",
    "9e0000000000000000000309",
];

const MINIMAL: &str = r#"{"request_id":"r","timestamp":"2026-01-12T06:00:00Z","pipeline_stage":"generate""#;

fn refused(rest: &str) -> RejectReason {
    let mut mistyped = Vec::new();
    let reject = decode(format!("{MINIMAL}{rest}").as_bytes(), &mut mistyped).unwrap_err();
    assert!(mistyped.is_empty());
    reject.reason
}

fn lost(rest: &str) -> Vec<&'static str> {
    let mut mistyped = Vec::new();
    let message = format!("{MINIMAL},{rest}}}");
    let event = decode(message.as_bytes(), &mut mistyped).unwrap_or_else(|r| panic!("{rest}: {r:?}"));
    assert_eq!((&*event.request_id, event.stage), ("r", Stage::Generate));
    mistyped
}

#[test]
fn a_value_that_cannot_be_costs_its_field() {
    let digits = "9".repeat(400);
    for value in LOST.into_iter().chain([digits.as_str()]) {
        assert_eq!(lost(&format!(r#""tenant":{value}"#)), ["tenant"]);
        assert_eq!(lost(&format!(r#""metrics":{{"latency_ms": {value} ,"rps":1}}"#)), ["metrics.latency_ms"]);
        assert_eq!(lost(&format!(r#""prompt":{value}"#)), ["prompt"]);
        assert_eq!(lost(&format!(r#""prompt":{{"token_ids":[1,{value}]}}"#)), ["prompt.token_ids"]);
        assert_eq!(lost(&format!(r#""model":{{"loras":[{value}]}}"#)), ["model.loras"]);
        assert_eq!(lost(&format!(r#""params":{{"seed":{value}}}"#)), ["params.seed"]);
        assert_eq!(lost(&format!(r#""unknown":{{"a":[{value}]}},"x":{value}"#)), Vec::<&str>::new());
        assert_eq!(lost(&format!(r#""error":{{"code":"oom","message":{value}}}"#)), Vec::<&str>::new());
    }
    let nested = format!(r#""prompt":{{"text":"a","x":{}1e400{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    assert_eq!(lost(&nested), Vec::<&str>::new(), "without recursion");
}

#[test]
fn a_key_that_is_no_text_is_nobody_s() {
    assert_eq!(lost(r#""\ud83d" : 1,"\ud83d":2,"prompt":{"\udead":1e999,"text":"a"}"#), Vec::<&str>::new());
    assert_eq!(refused(r#","\ud83d":1,"tenant":"a","tenant":"b"}"#), RejectReason::DuplicateField);
    assert_eq!(refused(r#","tenant":"\ud83d","tenant":"b"}"#), RejectReason::DuplicateField);
}

#[test]
fn in_a_required_field_it_costs_the_event() {
    for field in ["request_id", "timestamp", "pipeline_stage"] {
        for value in LOST {
            let mut message: Value = serde_json::from_str(&format!("{MINIMAL}}}")).unwrap();
            message[field] = json!("@");
            let message = message.to_string().replace("\"@\"", value);
            let reject = decode(message.as_bytes(), &mut Vec::new()).unwrap_err();
            assert_eq!(
                (reject.reason, reject.field),
                (RejectReason::MistypedField, Some(field)),
                "{message}"
            );
        }
    }
}

#[test]
fn what_is_no_json_stays_none() {
    let lost = r#","tenant":"\ud83d""#;
    let also = [
        r#","x":NaN}"#,
        r#","x":-Infinity}"#,
        r#","x":"\x"}"#,
        r#","x":"\ud83"}"#,
        r#","x":"\ud83d"#,
        r#","x":01e400}"#,
        r#","x":1.e400}"#,
        r#","x":+1e400}"#,
        r#","x":1e}"#,
        r#","x":1e400-}"#,
        r#","x":1e4001e400,}"#,
        r#","x":"a"1e400}"#,
        r#","x":tru1e400}"#,
        r#","x":0x1e400}"#,
        "} trailing",
        "",
    ];
    for rest in also {
        assert_eq!(refused(rest), RejectReason::NotJson, "{rest}");
        assert_eq!(refused(&format!("{lost}{rest}")), RejectReason::NotJson, "{lost}{rest}");
    }
    assert_eq!(refused(",\"tenant\":\"a\n\\ud83d\"}"), RejectReason::NotJson, "a raw line break");
    assert_eq!(decode(br#"["\ud83d"]"#, &mut Vec::new()).unwrap_err().reason, RejectReason::NotJson);
    assert_eq!(decode(br#"1e400"#, &mut Vec::new()).unwrap_err().reason, RejectReason::NotJson);
}

#[test]
fn what_can_be_is_left_alone() {
    for text in [
        MINIMAL,
        r#"{"a":"\ud83d\ude00","b":[1e308,-1E-400,0e999999,1.7976931348623157e308,"1e400","\\ud83d"]}"#,
        "\"a",
        "\"a\\",
        "",
    ] {
        assert_eq!(repair(text), None, "{text}");
    }
    let digits = format!("[{},0.{}1]", "9".repeat(308), "0".repeat(3000));
    assert_eq!(repair(&digits), None);
    let text = "{\"é\\ud83d\":1e400,\"b\":\"é\\ud83d\"}";
    assert_eq!(repair(text).unwrap(), "{\"\u{fffd}\":[[]],\"b\":[[]]}");
}

/// The places of all texts and numbers in a message.
fn places(node: &Value, at: &str, out: &mut Vec<String>) {
    match node {
        Value::Object(fields) => fields.iter().for_each(|(k, v)| places(v, &format!("{at}/{k}"), out)),
        Value::Array(all) => all.iter().enumerate().for_each(|(i, v)| places(v, &format!("{at}/{i}"), out)),
        Value::String(_) | Value::Number(_) => out.push(at.to_owned()),
        Value::Bool(_) | Value::Null => {}
    }
}

/// The field that a place belongs to, by its dotted path: of a list the whole.
fn field_of(place: &str) -> String {
    let parts: Vec<&str> = place.split('/').skip(1).filter(|p| p.parse::<usize>().is_err()).collect();
    parts.join(".")
}

fn decoded(message: &str) -> (Result<Event<'static>, crate::event::Reject>, BTreeSet<&'static str>) {
    let mut mistyped = Vec::new();
    let event = decode(message.as_bytes(), &mut mistyped).map(Event::into_owned);
    (event, mistyped.into_iter().collect())
}

proptest! {
    #[test]
    fn planted_anywhere_they_cost_what_they_stand_in(
        line in 0..18usize,
        plants in prop::collection::vec((0..1000usize, 0..LOST.len(), any::<bool>()), 1..8),
    ) {
        let lines: Vec<&str> = include_str!("../../../../fixtures/events/valid.jsonl").lines().collect();
        let whole: Value = serde_json::from_str(lines[line % lines.len()]).unwrap();
        let mut all = Vec::new();
        places(&whole, "", &mut all);
        // The same event with what is lost left out, and with marks where it is planted.
        let (mut without, mut marked) = (whole.clone(), whole.clone());
        let (mut fields, mut texts) = (BTreeSet::new(), Vec::new());
        for (i, (place, text, beside)) in plants.into_iter().enumerate() {
            let place = &all[place % all.len()];
            if beside {
                let (parent, _) = place.rsplit_once('/').unwrap();
                if let Some(Value::Object(parent)) = marked.pointer_mut(parent) {
                    parent.insert(format!("@{i}@"), json!(format!("@{i}@")));
                    texts.push((format!("\"@{i}@\":"), format!("{}:", LOST[text % 4])));
                    texts.push((format!("\"@{i}@\""), LOST[text].to_owned()));
                }
                continue;
            }
            let field = field_of(place);
            *marked.pointer_mut(place).unwrap() = json!(format!("@{i}@"));
            texts.push((format!("\"@{i}@\""), LOST[text].to_owned()));
            *without.pointer_mut(&format!("/{}", field.replace('.', "/"))).unwrap() = Value::Null;
            fields.insert(field);
        }
        let planted = texts.into_iter().fold(marked.to_string(), |m, (mark, text)| m.replace(&mark, &text));
        let (got, mistyped) = decoded(&planted);
        if let Some(required) = ["request_id", "timestamp", "pipeline_stage"].iter().find(|f| fields.contains(**f)) {
            let reject = got.unwrap_err();
            prop_assert_eq!((reject.reason, reject.field), (RejectReason::MistypedField, Some(*required)));
            return Ok(());
        }
        let mistyped: BTreeSet<String> = mistyped.into_iter().map(str::to_owned).collect();
        prop_assert_eq!(mistyped, read_of(&fields, &whole), "{}", planted);
        let (mut got, mut want) = (got.unwrap(), decoded(&without.to_string()).0.unwrap());
        // Its text is read where images are looked at, and then by a pass of its own.
        (got.artifacts, want.artifacts) = (None, None);
        prop_assert_eq!(format!("{got:?}"), format!("{want:?}"), "{}", planted);
    }
}

/// Of these fields those that the decoder reads: a value of the wrong type in any other is nothing to it.
fn read_of(fields: &BTreeSet<String>, whole: &Value) -> BTreeSet<String> {
    let read = |field: &&String| {
        let mut other = whole.clone();
        *other.pointer_mut(&format!("/{}", field.replace('.', "/"))).unwrap() = json!([[]]);
        !decoded(&other.to_string()).1.is_empty()
    };
    fields.iter().filter(read).cloned().collect()
}
