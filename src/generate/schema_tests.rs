//! The schema of the reference event agrees with generated events and with the fixtures, valid and
//! invalid.

use jsonschema::Validator;
use serde_json::Value;

use super::{Generator, GeneratorSettings, InjectedIncident};

const SCHEMA: &str = include_str!("../../schemas/event.v1.schema.json");
const VALID: &str = include_str!("../../fixtures/events/valid.jsonl");
const INVALID: &str = include_str!("../../fixtures/events/invalid.jsonl");
const TOLERATED: &str = include_str!("../../fixtures/events/tolerated.jsonl");

fn validator() -> Validator {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn violations(validator: &Validator, message: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(message).unwrap();
    validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

#[test]
fn generated_events_are_valid_whatever_the_settings() {
    let validator = validator();
    let incidents: Vec<InjectedIncident> =
        ["latency-and-errors:all:2026-01-05", "prompt-shift:all:2026-01-05", "language-shift:all:2026-01-05"]
            .map(|text| text.parse().unwrap())
            .to_vec();
    for (stages, incidents) in [(false, Vec::new()), (true, incidents)] {
        let settings = GeneratorSettings {
            duration: chrono::Duration::hours(1),
            events_per_day: 24_000.0,
            image_uris: stages,
            stages,
            incidents,
            ..GeneratorSettings::default()
        };
        let mut generator = Generator::new(settings).unwrap();
        let mut message = Vec::new();
        while generator.next_into(&mut message).is_some() {
            let text = std::str::from_utf8(&message).unwrap();
            assert_eq!(violations(&validator, text), Vec::<String>::new(), "{text}");
        }
        assert!(generator.counts().valid() > 300);
    }
}

#[test]
fn valid_fixtures_are_valid() {
    let validator = validator();
    for line in VALID.lines() {
        assert_eq!(violations(&validator, line), Vec::<String>::new(), "{line}");
    }
    assert!(VALID.lines().count() >= 15);
}

#[test]
fn invalid_fixtures_that_parse_are_rejected_unless_a_schema_cannot_see_why() {
    let validator = validator();
    let mut parsed = 0;
    for line in INVALID.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let Ok(message) = serde_json::from_str::<Value>(case["message"].as_str().unwrap()) else {
            assert_eq!(case["reason"], "not_json", "{line}");
            continue;
        };
        parsed += 1;
        let schema_sees = case["schema_sees"].as_bool().unwrap_or(true);
        assert_eq!(validator.is_valid(&message), !schema_sees, "{}", case["why"]);
    }
    assert!(parsed >= 20, "{parsed}");
}

#[test]
fn tolerated_fixtures_break_the_schema_only_in_the_field_they_name() {
    let validator = validator();
    for line in TOLERATED.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let message = case["message"].as_str().unwrap();
        let repaired = crate::event::repair(message);
        let message: Value = serde_json::from_str(repaired.as_deref().unwrap_or(message)).unwrap();
        let path = format!("/{}", case["field"].as_str().unwrap().replace('.', "/"));
        let errors: Vec<String> =
            validator.iter_errors(&message).map(|e| e.instance_path().to_string()).collect();
        assert!(!errors.is_empty() && errors.iter().all(|e| e.starts_with(&path)), "{line}: {errors:?}");
    }
}
