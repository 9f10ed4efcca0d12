//! The real archive with default rules: its three incidents are found, its quiet tenants stay quiet.

use crate::support::*;
use arrow::array::AsArray;

/// Rule, segment, feature, firing time and contributors of every alert that fired.
fn fired(out: &std::path::Path) -> Vec<(String, String, String, i64, String)> {
    let mut all = Vec::new();
    for b in table(out, "alerts") {
        let col = |n: &str| b.column_by_name(n).unwrap().as_string::<i32>().clone();
        let (state, rule, segment, feature) = (col("state"), col("rule"), col("segment"), col("feature"));
        let at = times(&b, "at");
        let contributors = rows(&[b.project(&[b.schema().index_of("contributors").unwrap()]).unwrap()], &[]);
        for (i, at) in at.into_iter().enumerate() {
            if state.value(i) == "firing" {
                all.push((
                    rule.value(i).into(),
                    segment.value(i).into(),
                    feature.value(i).into(),
                    at,
                    contributors.join(" "),
                ));
            }
        }
    }
    all
}

#[test]
fn the_incidents_of_the_real_archive_are_found_and_quiet_tenants_stay_quiet() {
    let Some(data) = data("the real archive") else { return };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    ok(&["replay", "-o", text(&out), text(&data.join("events/generation-events.jsonl.gz")), "-q"]);
    let alerts = fired(&out);
    let labels: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(data.join("events/incidents.json")).unwrap()).unwrap();
    for incident in labels["incidents"].as_array().unwrap() {
        let (key, value) = incident["segment"].as_object().unwrap().iter().next().unwrap();
        let segment = format!("{key}={}", value.as_str().unwrap());
        let start =
            driftglass::event::time::parse(&incident["start"].as_str().unwrap().replace("+00:00", "Z"))
                .unwrap();
        let wanted: &[&str] = match incident["id"].as_str().unwrap() {
            "prompt-style-shift" => &["prompt_tokens"],
            "release-aesthetic-drop" => &["aesthetic"],
            "region-latency" => &["latency_ms", "error_code"],
            other => panic!("an incident that this test does not know: {other}"),
        };
        for feature in wanted {
            let found = alerts
                .iter()
                .filter(|a| a.1 == segment && a.2 == *feature && a.3 >= start)
                .min_by_key(|a| a.3);
            let found = found.unwrap_or_else(|| panic!("{segment}: no alert on {feature}"));
            say(&format!(
                "{segment} {feature}: {} after {} h",
                found.0,
                (found.3 - start) / driftglass::event::time::HOUR
            ));
            if *feature == "prompt_tokens" {
                assert!(found.4.contains("anime"), "named by its tokens");
            }
        }
    }
    for quiet in labels["quiet"]["prompt_tokens"].as_array().unwrap() {
        let of =
            alerts.iter().filter(|a| a.2 == "prompt_tokens" && a.1.contains(quiet.as_str().unwrap())).count();
        assert_eq!(of, 0, "{quiet} is quiet");
    }
}
