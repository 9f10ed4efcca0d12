//! Embeddings through the whole job: vectors in events and in files, recorded ones, and what drifts.

use crate::support::*;
use arrow::array::{Array, AsArray};
use arrow::datatypes::Float64Type;
use std::path::Path;

/// Segment, feature and time of every alert that fired.
fn fired(out: &Path) -> Vec<(String, String, i64)> {
    let mut all = Vec::new();
    for b in table(out, "alerts") {
        let col = |n: &str| b.column_by_name(n).unwrap().as_string::<i32>().clone();
        let (state, segment, feature) = (col("state"), col("segment"), col("feature"));
        for (i, at) in times(&b, "at").into_iter().enumerate() {
            if state.value(i) == "firing" {
                all.push((segment.value(i).into(), feature.value(i).into(), at));
            }
        }
    }
    all
}

/// Outcomes of the `vectors` table: how many by source and reason.
fn outcomes(out: &Path) -> std::collections::BTreeMap<(String, String), usize> {
    let mut all = std::collections::BTreeMap::new();
    for b in table(out, "vectors") {
        let col = |n: &str| b.column_by_name(n).unwrap().as_string::<i32>().clone();
        let (source, reason) = (col("source"), col("reason"));
        for i in 0..b.num_rows() {
            let reason = if reason.is_valid(i) { reason.value(i) } else { "" };
            *all.entry((source.value(i).into(), reason.into())).or_default() += 1;
        }
    }
    all
}

#[test]
fn the_style_incidents_of_the_real_archive_are_found_by_their_vectors() {
    let Some(data) = data("the real archive with embeddings") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (config, out) = (dir.path().join("job.toml"), dir.path().join("out"));
    let embedding = |more: &str| {
        let section = format!("[privacy]\nkey = \"k\"\n[embedding]\n{more}\n");
        std::fs::write(&config, section).unwrap();
    };
    embedding(&format!("base_uri = {:?}", text(&data)));
    let events = data.join("events/generation-events.jsonl.gz");
    ok(&["replay", "-c", text(&config), "-o", text(&out), text(&events), "-q"]);
    let outcomes = outcomes(&out);
    let found = outcomes.get(&("embedding_uri".into(), String::new())).copied().unwrap_or(0);
    assert!(found > 20_000 && outcomes.len() == 1, "{outcomes:?}");

    let alerts = fired(&out);
    let start = |t: &str| driftglass::event::time::parse(t).unwrap();
    for (segment, from) in
        [("tenant=birch", "2024-12-02T06:00:00Z"), ("model_version=M0002", "2024-12-04T00:00:00Z")]
    {
        let at = alerts
            .iter()
            .filter(|a| a.0 == segment && a.1 == "embedding" && a.2 >= start(from))
            .map(|a| a.2)
            .min()
            .unwrap_or_else(|| panic!("{segment}: no alert on embedding"));
        say(&format!("{segment} embedding after {} h", (at - start(from)) / driftglass::event::time::HOUR));
    }
    for quiet in ["aurora", "cobalt", "dune", "ember", "fjord"] {
        let name = format!("tenant={quiet}");
        assert!(!alerts.iter().any(|a| a.0 == name && a.1 == "embedding"), "{quiet} is quiet");
    }

    // A replay of what was recorded needs neither the files nor the vectors' folder, and says the same.
    let again = dir.path().join("again");
    embedding(&format!("recorded = {:?}", text(&out)));
    ok(&["replay", "-c", text(&config), "-o", text(&again), text(&events), "-q"]);
    let compared = assert_same(&out, &again);
    say(&format!("{compared} window rows are the same from recorded vectors"));
}

/// An event of a session with a vector of four numbers around a direction.
fn event(i: u64, at: i64, direction: usize, more: &str) -> String {
    let wobble = |k: u64| ((i * 31 + k * 17) % 23) as f64 / 40.0;
    let mut v: Vec<f64> = (0..4).map(wobble).collect();
    v[direction] += 2.0;
    format!(
        r#"{{"request_id":"r{i}","session_id":"s{}","timestamp":"{}","pipeline_stage":"generate","tenant":"birch","artifacts":{{"embedding":{v:?}{more}}}}}"#,
        i / 2,
        driftglass::event::time::text(at),
    )
}

#[test]
fn vectors_in_events_are_watched_and_their_drift_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (config, out) = (quick_config(d, "[embedding]\ndimension = 4\n"), d.join("out"));
    let begin = driftglass::event::time::parse("2026-01-05T00:00:00Z").unwrap();
    let hour = driftglass::event::time::HOUR;
    let mut lines: Vec<String> = Vec::new();
    // What is no vector is refused with its reason and costs nothing else.
    lines.push(event(900_001, begin, 0, "").replace("[", "[9,"));
    lines.push(event(900_002, begin, 0, "").replace("\"embedding\":[", "\"embedding\":[\"x\","));
    for i in 0..9 * 24 * 60 {
        let at = begin + i as i64 * hour / 60;
        // From the ninth day on another kind of image.
        lines.push(event(i, at, if i < 8 * 24 * 60 { 0 } else { 1 }, ""));
    }
    let events = d.join("events.jsonl");
    std::fs::write(&events, lines.join("\n")).unwrap();
    ok(&["replay", "-c", text(&config), "-o", text(&out), text(&events), "-q"]);

    let outcomes = outcomes(&out);
    let reasons: Vec<&str> = outcomes.keys().map(|k| k.1.as_str()).collect();
    assert_eq!(reasons, ["", "not_a_vector", "wrong_dimension"]);
    let alerts = fired(&out);
    assert!(alerts.iter().any(|a| a.0 == "tenant=birch" && a.1 == "embedding"), "{alerts:?}");
    let mut farthest: f64 = 0.0;
    for b in table(&out, "windows") {
        let col = |n: &str| b.column_by_name(n).unwrap();
        let (feature, verdict) = (col("feature").as_string::<i32>(), col("verdict").as_string::<i32>());
        let cosine = col("centroid_cosine").as_primitive::<Float64Type>();
        for i in 0..b.num_rows() {
            if feature.value(i) == "embedding" && verdict.is_valid(i) && verdict.value(i) == "drift" {
                farthest = farthest.max(cosine.value(i));
            }
        }
    }
    assert!(farthest > 0.05, "{farthest}");
}
