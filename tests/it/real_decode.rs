//! Fields as they come: numbers outside of their ranges, values that can't be represented. Each costs its field, is
//! counted by path and reason, and decides nothing.

use crate::support::*;
use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn event(n: usize, more: &str) -> String {
    let (m, s) = (n / 60, n % 60);
    format!(
        r#"{{"request_id":"r{n}","session_id":"s{n}","timestamp":"2026-01-05T06:{m:02}:{s:02}Z","pipeline_stage":"generate",{more}}}"#
    )
}

/// Forty events, all of them good ones, one in ten with a fault of each kind.
fn events() -> String {
    let mut out = String::new();
    for n in 0..40 {
        let metrics = match n % 10 {
            0 => r#"{"latency_ms":-86400000.0,"cost_usd":-5}"#,
            1 => r#"{"latency_ms":1e400,"cost_usd":0.001}"#,
            _ => r#"{"latency_ms":3000,"cost_usd":0.001}"#,
        };
        let text = if n % 10 == 2 { r"cut here \ud83d" } else { "a castle by the sea" };
        let unread = if n % 10 == 3 { r#","x":{"\ud83d":[1e999,"\ud83d"]}"# } else { "" };
        let score = if n % 10 == 4 { 57.0 } else { 5.7 };
        let more = format!(
            r#""tenant":"birch","metrics":{metrics},"prompt":{{"text":"{text}"}},"quality":{{"aesthetic":{score}}}{unread}"#
        );
        out += &event(n, &more);
        out.push('\n');
    }
    out
}

/// Evaluated hour by hour, so that the hour of the events is closed at their end.
fn hourly_config(dir: &Path, more: &str) -> PathBuf {
    let file = dir.join("job.toml");
    let text = format!(
        "[privacy]\nkey = \"a key for tests\"\n[windows]\nrolling = [\"24h\"]\n[[segments]]\nby = []\n{more}"
    );
    std::fs::write(&file, text).unwrap();
    file
}

fn replayed(config: &Path, input: &Path, out: &Path) -> serde_json::Value {
    let printed = ok(&["replay", "-c", text(config), "-o", text(out), text(input), "-q", "--json"]);
    serde_json::from_str(printed.lines().last().unwrap()).unwrap()
}

/// Events that carried each feature, of all traffic.
fn carried(out: &Path) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for b in table(out, "panes") {
        let text = |name: &str| b.column_by_name(name).unwrap().as_string::<i32>().clone();
        let (segment, feature) = (text("segment"), text("feature"));
        let n = b.column_by_name("n").unwrap().as_primitive::<UInt64Type>();
        for i in (0..b.num_rows()).filter(|i| segment.value(*i).is_empty()) {
            *all.entry(feature.value(i).to_owned()).or_default() += n.value(i);
        }
    }
    all
}

#[test]
fn a_field_that_cannot_be_taken_costs_itself_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let input = d.join("events.jsonl");
    std::fs::write(&input, events()).unwrap();
    let config = hourly_config(d, "");
    let out = d.join("out");
    let summary = replayed(&config, &input, &out);
    assert_eq!((&summary["events"], &summary["rejected"]), (&40.into(), &0.into()), "{summary}");
    assert_eq!(summary["mistyped_fields"], 8);
    let outside =
        serde_json::json!({ "metrics.cost_usd": 4, "metrics.latency_ms": 4, "quality.aesthetic": 4 });
    let lost = serde_json::json!({ "metrics.latency_ms": 4, "prompt.text": 4 });
    assert_eq!(summary["fields"], serde_json::json!({ "mistyped_field": lost, "out_of_range": outside }));
    let all = carried(&out);
    let of = |feature: &str| all[feature];
    assert_eq!((of("volume"), of("latency_ms"), of("cost_usd")), (40, 32, 36));
    assert_eq!((of("prompt_tokens"), of("aesthetic")), (36, 36));
    let rejects = rows(&table(&out, "rejects"), &["time", "topic", "partition"]);
    assert_eq!(rejects.len(), 20, "{rejects:#?}");
    assert!(rejects.iter().all(|r| r.contains("fatal=false")));
    let of_length = rejects.iter().filter(|r| r.contains("reason=out_of_range field=metrics.cost_usd"));
    assert_eq!(of_length.count(), 4, "{rejects:#?}");

    let told = ok(&["check", "-c", text(&config), "--events", text(&input)]);
    assert!(told.contains("out_of_range") && told.contains("mistyped_field"), "{told}");
    let said = ok(&["replay", "-c", text(&config), "-o", text(&d.join("again")), text(&input), "-q"]);
    let expected = "12 fields out_of_range (metrics.cost_usd 4, metrics.latency_ms 4, quality.aesthetic 4)";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn an_archive_keeps_numbers_as_they_came_and_a_replay_checks_them() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let input = d.join("events.jsonl");
    std::fs::write(&input, events()).unwrap();
    let config = hourly_config(d, "");
    let (plain, kept, again) = (d.join("plain"), d.join("kept"), d.join("again"));
    replayed(&config, &input, &plain);
    ok(&["archive", "-c", text(&config), "-o", text(&kept), text(&input), "-q"]);
    let archive = kept.join("archive");
    let summary = replayed(&config, &archive, &again);
    assert_eq!(summary["fields"]["out_of_range"]["quality.aesthetic"], 4, "{summary}");
    assert_eq!(carried(&plain), carried(&again));

    // With the range of another scorer they count, from the messages and from the archive.
    let wide = hourly_config(d, "[[features]]\nname = \"aesthetic\"\nrange = [0, 100]\n");
    for (name, input) in [("messages", &input), ("rows", &archive)] {
        let out = d.join(name);
        let summary = replayed(&wide, input, &out);
        assert_eq!(summary["fields"]["out_of_range"]["quality.aesthetic"], serde_json::Value::Null);
        assert_eq!(carried(&out)["aesthetic"], 40);
    }
}
