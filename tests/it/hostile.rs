//! Input that means harm: each message costs itself at most, memory stays bounded, and reasons are counted.

use crate::support::*;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

fn event(n: usize, more: &str) -> String {
    let (h, m, s) = (n / 3600 % 24, n / 60 % 60, n % 60);
    format!(
        r#"{{"request_id":"r{n}","session_id":"s{}","timestamp":"2026-01-05T{h:02}:{m:02}:{s:02}Z","pipeline_stage":"generate"{more}}}"#,
        n % 997
    )
}

/// Messages and what becomes of each: an event, or the reason for which it is refused.
fn attacks() -> Vec<(String, &'static str)> {
    // What no feature reads is passed over without going down into it, however deep it is.
    let deep = |open: &str, close: &str| {
        event(1, &format!(r#","x":{}1{}"#, open.repeat(10_000), close.repeat(10_000)))
    };
    let read = |open: &str, close: &str| {
        event(1, &format!(r#","prompt":{}1{}"#, open.repeat(10_000), close.repeat(10_000)))
    };
    let with = |more: &str| event(1, more);
    vec![
        (deep("[", "]"), "event"),
        (deep(r#"{"a":"#, "}"), "event"),
        (deep("[", ""), "not_json"),
        (read("[", "]"), "event"),
        (read(r#"{"text":"#, "}"), "event"),
        (with(&format!(r#","prompt":{{"text":"{}"}}"#, "a".repeat(100 << 20))), "too_large"),
        (with(&format!(r#","prompt":{{"text":"{}"}}"#, "kitten ".repeat(100_000))), "event"),
        (with(r#","metrics":{"latency_ms":NaN}"#), "not_json"),
        (with(r#","metrics":{"latency_ms":1e999}"#), "event"),
        (with(r#","prompt":{"text":"\ud800 half a pair"}"#), "event"),
        (with(r#","prompt":{"text":"\ud800 half a pair}"#), "not_json"),
        (with(&format!(r#","x":[{}]"#, many(100_000, |_| "1e999".into()))), "event"),
        (with(&format!(r#","metrics":{{"latency_ms":{}}}"#, "9".repeat(1 << 19))), "event"),
        (with(r#","tenant":"a","tenant":"b""#), "duplicate_field"),
        (with("").replace("2026-01-05", "9999-12-31"), "impossible_time"),
        (with("").replace("2026-01-05", "0000-01-01"), "impossible_time"),
        (with("").replace("2026-01-05T", "2026-01-05 "), "event"),
        (with(r#","metrics":{"latency_ms":-1e308,"cost_usd":1e308}"#), "event"),
        (with(&format!(r#","model":{{"loras":[{}]}}"#, many(20_000, |i| format!(r#""l{i}""#)))), "event"),
        (
            with(&format!(r#","prompt":{{"token_ids":[{}]}}"#, many(49_000, |i| (49_000 - i).to_string()))),
            "event",
        ),
        ("[]".into(), "not_json"),
        ("null".into(), "not_json"),
        ("{}".into(), "missing_field"),
        (with(r#","pipeline_stage":"generate""#).replace("request_id", "request_ID"), "duplicate_field"),
    ]
}

fn many(n: usize, item: impl Fn(usize) -> String) -> String {
    (0..n).map(item).collect::<Vec<_>>().join(",")
}

/// Runs the binary and returns what it printed and the most memory that it held, in MiB.
fn watched(args: &[&str]) -> (String, u64) {
    let mut child =
        driftglass().args(args).stdout(std::process::Stdio::piped()).spawn().expect("the binary starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("a child").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
        peak = peak.max(line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    }
    let out = child.wait_with_output().expect("a child");
    assert!(out.status.success(), "{args:?}");
    (String::from_utf8_lossy(&out.stdout).into_owned(), peak / 1024)
}

#[test]
fn hostile_messages_are_counted_by_reason_and_cost_nobody_else_anything() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let input = d.join("hostile.jsonl");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&input).unwrap());
    let attacks = attacks();
    let (mut good, mut expected) = (0u64, std::collections::BTreeMap::<&str, u64>::new());
    for (n, (message, becomes)) in attacks.iter().enumerate() {
        // Bytes that are no UTF-8 and good events stand between them.
        writeln!(file, "{message}\n{}", event(n, "")).unwrap();
        file.write_all(b"{\"request_id\":\"\xff\xfe\"}\n").unwrap();
        good += 1;
        *expected.entry("not_json").or_default() += 1;
        match *becomes {
            "event" => good += 1,
            reason => *expected.entry(reason).or_default() += 1,
        }
    }
    drop(file);
    let config = quick_config(d, "[input]\nmax_bad_share = 1.0\n");
    let out = d.join("out");
    let args = ["replay", "-c", text(&config), "-o", text(&out), text(&input), "-q", "--json"];
    let (printed, mib) = watched(&args);
    let summary: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(summary["events"], good, "{summary}");
    let reasons: std::collections::BTreeMap<&str, u64> = summary["reasons"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_u64().unwrap()))
        .collect();
    assert_eq!(reasons, expected);
    say(&format!(
        "{} hostile messages, {} refused, {mib} MiB",
        attacks.len(),
        expected.values().sum::<u64>()
    ));
    assert!(mib < 400, "{mib} MiB");
}

#[test]
fn names_without_end_fill_a_bounded_memory() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let input = d.join("names.jsonl");
    let mut all = String::new();
    // Every event brings a tenant, a language and a LoRA that nobody has seen.
    for n in 0..60_000 {
        let more = format!(
            r#","tenant":"t{n}","model":{{"version":"v{n}","loras":["l{n}"]}},"prompt":{{"text":"w{n}","language":"x{n}"}}"#
        );
        writeln!(all, "{}", event(n, &more)).unwrap();
    }
    std::fs::write(&input, all).unwrap();
    let base = "[privacy]\nkey = \"k\"\n[windows]\nrolling = [\"1h\"]\nmax_segments = 100\n[[segments]]\nby = [\"tenant\"]\n[[segments]]\nby = [\"model_version\"]\n";
    let config = d.join("job.toml");
    std::fs::write(&config, base).unwrap();
    let out = d.join("out");
    let args = ["replay", "-c", text(&config), "-o", text(&out), text(&input), "-q", "--json"];
    let (printed, mib) = watched(&args);
    let summary: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&summary["events"], &summary["rejected"]), (&60_000.into(), &0.into()), "{summary}");
    assert!(summary["folded"].as_u64().unwrap() > 50_000, "{summary}");
    let segments: std::collections::BTreeSet<String> = table(&out, "windows")
        .iter()
        .flat_map(|b| {
            use arrow::array::{Array, AsArray};
            let c = b.column_by_name("segment").unwrap().as_string::<i32>().clone();
            (0..c.len()).map(|i| c.value(i).to_owned()).collect::<Vec<_>>()
        })
        .collect();
    say(&format!("60,000 tenants became {} segments, {mib} MiB", segments.len()));
    assert!(segments.len() <= 202 && segments.iter().any(|s| s.contains("__other__")), "{}", segments.len());
    assert!(mib < 700, "{mib} MiB");
}
