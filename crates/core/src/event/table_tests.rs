//! The table against the schema and the decoder. Each test goes through the rows: a new row needs no test of its own.

use super::super::decode;
use super::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What the schema has and nobody reads.
const UNREAD: [&str; 3] = ["trace_id", "span_id", "error.message"];
/// What the decoder reads without a row: it is required, or read in another place.
const WITHOUT_ROW: [&str; 4] = ["request_id", "timestamp", "pipeline_stage", "artifacts"];

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../../schemas/event.v1.schema.json")).unwrap()
}

/// What the schema says of a field.
fn declared(schema: &Value, path: &str) -> Value {
    let pointer: String = path.split('.').map(|part| format!("/properties/{part}")).collect();
    let field = schema.pointer(&pointer).unwrap_or_else(|| panic!("the schema has no {path}"));
    match field["$ref"].as_str() {
        Some(shared) => schema.pointer(shared.trim_start_matches('#')).unwrap().clone(),
        None => field.clone(),
    }
}

/// A message with one optional field.
fn message(path: &str, value: &Value) -> String {
    let mut message =
        json!({"request_id": "r", "timestamp": "2026-01-12T06:00:00Z", "pipeline_stage": "generate"});
    match path.split_once('.') {
        Some((group, name)) => message[group] = json!({ name: value }),
        None => message[path] = value.clone(),
    }
    message.to_string()
}

/// The one event of a message, and the fields of the wrong type.
fn read(message: &str) -> (Event<'_>, Vec<&'static str>) {
    let mut mistyped = Vec::new();
    (decode(message.as_bytes(), &mut mistyped).unwrap(), mistyped)
}

/// All fields of an event that have a value.
fn values(event: &Event<'_>) -> Vec<String> {
    let numbers = Num::ALL.iter().filter(|f| !event.nums[**f as usize].is_nan()).map(|f| f.path());
    let flags = Flag::ALL.iter().filter(|f| event.flags[**f as usize].is_some()).map(|f| f.path());
    let texts = Text::ALL.iter().filter(|f| event.texts[**f as usize].is_some()).map(|f| f.path());
    numbers.chain(flags).chain(texts).map(str::to_owned).collect()
}

fn paths() -> impl Iterator<Item = &'static str> {
    let numbers = Num::ALL.iter().map(|f| f.path());
    let flags = Flag::ALL.iter().map(|f| f.path());
    let texts = Text::ALL.iter().map(|f| f.path());
    numbers.chain(flags).chain(texts)
}

#[test]
fn the_schema_has_the_fields_of_the_table_and_no_others() {
    let schema = schema();
    let mut in_schema = BTreeSet::new();
    for (name, field) in schema["properties"].as_object().unwrap() {
        if GROUPS.contains(&name.as_str()) {
            in_schema.extend(field["properties"].as_object().unwrap().keys().map(|f| format!("{name}.{f}")));
        } else {
            in_schema.insert(name.clone());
        }
    }
    let known = paths().chain(OTHERS.iter().copied()).chain(UNREAD).chain(WITHOUT_ROW);
    assert_eq!(in_schema, known.map(str::to_owned).collect());
}

#[test]
fn the_schema_says_the_same_types() {
    let schema = schema();
    for field in Num::ALL {
        let types = &declared(&schema, field.path())["type"];
        assert!([json!(["number", "null"]), json!(["integer", "null"])].contains(types), "{field:?}");
    }
    for field in Flag::ALL {
        assert_eq!(declared(&schema, field.path())["type"], json!(["boolean", "null"]), "{field:?}");
    }
    for field in Text::ALL {
        assert_eq!(declared(&schema, field.path())["type"], json!(["string", "null"]), "{field:?}");
    }
}

#[test]
fn paths_and_columns_are_unique() {
    let (all, distinct) = (paths().count(), paths().collect::<BTreeSet<_>>().len());
    assert_eq!(all, distinct);
    let columns = paths().map(|path| path.replace('.', "_"));
    assert_eq!(columns.collect::<BTreeSet<_>>().len(), all);
    Num::ALL.iter().for_each(|f| assert_eq!(f.column(), crate::event::column(f.path())));
    Flag::ALL.iter().for_each(|f| assert_eq!(f.column(), crate::event::column(f.path())));
    Text::ALL.iter().for_each(|f| assert_eq!(f.column(), crate::event::column(f.path())));
}

#[test]
fn each_field_is_read_into_its_own_place() {
    for field in Num::ALL {
        let message = message(field.path(), &json!(0.25));
        let (event, mistyped) = read(&message);
        assert_eq!((event.nums[*field as usize], mistyped.len()), (0.25, 0), "{field:?}");
        assert_eq!(values(&event), [field.path()]);
    }
    for field in Flag::ALL {
        let message = message(field.path(), &json!(true));
        let (event, mistyped) = read(&message);
        assert_eq!((event.flags[*field as usize], mistyped.len()), (Some(true), 0), "{field:?}");
        assert_eq!(values(&event), [field.path()]);
    }
    for field in Text::ALL {
        let message = message(field.path(), &json!("a name"));
        let (event, mistyped) = read(&message);
        assert_eq!(
            (event.texts[*field as usize].as_deref(), mistyped.len()),
            (Some("a name"), 0),
            "{field:?}"
        );
        assert!(matches!(event.texts[*field as usize], Some(Cow::Borrowed(_))), "{field:?}");
        assert_eq!(values(&event), [field.path()]);
    }
}

#[test]
fn each_field_of_the_wrong_type_is_missing_and_named() {
    for path in paths().chain(OTHERS.iter().copied()) {
        let message = message(path, &json!({"of": "no type"}));
        let (event, mistyped) = read(&message);
        assert_eq!((mistyped, values(&event)), (vec![path], Vec::new()));
    }
    for group in GROUPS {
        let message = message(group, &json!([1, "two"]));
        let (event, mistyped) = read(&message);
        assert_eq!((mistyped, values(&event)), (vec![*group], Vec::new()));
    }
}
