//! A field that vanishes, or is hardly there any more, is told; what was always missing now and
//! then is not.

use crate::support::*;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The day from which a field is missing.
const CHANGE: u64 = 5;

/// Seven days of 60 sessions with two requests each. `change` may alter an event of a day from its
/// number.
fn events(dir: &Path, name: &str, change: impl Fn(&mut Value, u64, u64)) -> PathBuf {
    let mut lines = String::new();
    for day in 0..7u64 {
        for session in 0..60u64 {
            for request in 0..2u64 {
                let (number, minute) = (day * 60 + session, session * 24 + request);
                let spread = |m: u64| (number.wrapping_mul(0x9e37_79b9).wrapping_add(request * 77) >> 7) % m;
                let mut e = json!({
                    "request_id": format!("r-{number}-{request}"), "session_id": format!("s-{number}"),
                    "timestamp": format!("2026-01-{:02}T{:02}:{:02}:00Z", 1 + day, minute / 60, minute % 60),
                    "pipeline_stage": "generate", "tenant": if session % 2 == 0 { "birch" } else { "dune" },
                    "prompt": {"text": "a fox in the forest", "language": "en"},
                    "metrics": {"latency_ms": 900 + spread(200)},
                    "quality": {"aesthetic": 5.0 + spread(100) as f64 / 100.0, "clip_i": 0.3 + spread(50) as f64 / 1000.0},
                });
                // One in three has an outcome, one in fifteen fails and has no image to speak of.
                if spread(3) == 0 {
                    e["outcome"] = json!({"accepted": spread(2) == 0});
                }
                if number % 15 == 7 {
                    e["error"] = json!({"code": "oom"});
                    e["quality"] = Value::Null;
                }
                change(&mut e, day, number * 2 + request);
                writeln!(lines, "{e}").unwrap();
            }
        }
    }
    let file = dir.join(name);
    std::fs::write(&file, lines).unwrap();
    file
}

/// What an output says of alerts on missing fields: rule, state and summary.
fn said(output: &Path) -> Vec<String> {
    let without = |keep: &[&str], all: &[&str]| -> Vec<String> {
        all.iter().filter(|c| !keep.contains(c)).map(|c| (*c).to_owned()).collect()
    };
    let batches = table(output, "alerts");
    let Some(first) = batches.first() else { return Vec::new() };
    let schema = first.schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let left = without(&["rule", "state", "segment", "feature", "summary"], &names);
    let all = rows(&batches, &left.iter().map(String::as_str).collect::<Vec<_>>());
    all.into_iter().filter(|r| r.contains("feature=missing ")).collect()
}

/// The rows of `windows` about a feature, without what follows from the number of tests.
fn judged(output: &Path, feature: &str) -> Vec<String> {
    let all = rows(&table(output, "windows"), &["alpha", "baseline_id"]);
    all.into_iter().filter(|r| r.contains(&format!("feature={feature} "))).collect()
}

#[test]
fn a_field_that_vanishes_is_named_and_nothing_else_changes() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let config = d.join("job.toml");
    let settings = "[privacy]\nkey = \"a key for tests\"\n[windows]\nrolling = [\"24h\"]\n[baselines]\nrolling_days = [7]\n\
                    [[segments]]\nby = []\n[[segments]]\nby = [\"tenant\"]\n";
    std::fs::write(&config, settings).unwrap();
    let replay = |name: &str, change: &dyn Fn(&mut Value, u64, u64)| {
        let file = events(d, &format!("{name}.jsonl"), change);
        let out = d.join(name);
        ok(&["replay", "-c", text(&config), "-o", text(&out), text(&file), "-q"]);
        out
    };
    let seldom = |n: u64| n.wrapping_mul(0x9e37_79b9) >> 4 & 31 == 0;
    let quiet = replay("quiet", &|e, _, n| {
        if seldom(n) {
            e["metrics"]["latency_ms"] = Value::Null;
        }
    });
    assert_eq!(said(&quiet), Vec::<String>::new(), "what is missing as ever alarms nobody");
    let rows_of = judged(&quiet, "missing");
    assert!(rows_of.iter().any(|r| r.contains("verdict=ok ") && r.contains("kind=categorical ")));
    assert!(!rows_of.iter().any(|r| r.contains("verdict=drift ")));

    let null: &dyn Fn(&mut Value, u64, u64) = &|e, day, n| {
        if seldom(n) {
            e["metrics"]["latency_ms"] = Value::Null;
        }
        if day >= CHANGE {
            e["quality"]["aesthetic"] = Value::Null;
        }
    };
    let gone = replay("gone", null);
    assert_eq!(judged(&quiet, "clip_i"), judged(&gone, "clip_i"), "another feature's rows stay as they were");
    let mistyped = replay("mistyped", &|e, day, n| {
        null(e, day, n);
        if day >= CHANGE {
            e["quality"]["aesthetic"] = json!("high");
        }
    });
    let mostly = replay("mostly", &|e, day, n| {
        if day >= CHANGE && n % 20 != 0 || day < CHANGE && n % 20 == 0 {
            e["quality"]["aesthetic"] = Value::Null;
        }
    });
    for out in [&gone, &mistyped, &mostly] {
        let said = said(out);
        for rule in ["rule=field-missing ", "rule=field-gone "] {
            let fired = said
                .iter()
                .find(|r| r.contains(rule) && r.contains("state=firing ") && r.contains("segment= "));
            let fired = fired.unwrap_or_else(|| panic!("{rule}did not fire: {said:#?}"));
            assert!(fired.contains("all traffic: fields went missing in the 24h window"), "{fired}");
            assert!(fired.contains("quality.aesthetic from "), "{fired}");
            assert!(fired.contains(" of generate events, was "), "{fired}");
        }
        for tenant in ["segment=tenant=birch ", "segment=tenant=dune "] {
            assert!(
                said.iter().any(|r| r.contains(tenant) && r.contains("state=firing ")),
                "{tenant}{said:#?}"
            );
        }
        // Nothing but the field is named first.
        assert!(
            said.iter().all(|r| !r.contains("window ending") || r.contains("quality.aesthetic")),
            "{said:#?}"
        );
    }
}
