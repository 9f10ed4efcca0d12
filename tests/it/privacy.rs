//! Nothing of what must never leave is found in anything that a job writes or says.

use crate::support::*;
use std::io::Write;

/// A word that stands in a text field of every event and must not be found anywhere.
fn canary(field: &str) -> String {
    format!("kanarienvogel{field}")
}

const FIELDS: [&str; 11] = [
    "prompt",
    "message",
    "session",
    "user",
    "trace",
    "span",
    "image",
    "uri",
    "thumb",
    "embedding",
    "unknown",
];

#[test]
fn canaries_in_text_fields_are_found_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let input = d.join("in").join("events.jsonl");
    std::fs::create_dir(input.parent().unwrap()).unwrap();
    let mut f = std::fs::File::create(&input).unwrap();
    let c = |field: &str, i: usize| format!("{}{i}", canary(field));
    for i in 0..4_000usize {
        let event = serde_json::json!({
            "request_id": format!("r{i}"), "timestamp": format!("2026-01-{:02}T{:02}:{:02}:00Z", 5 + i / 1440, (i / 60) % 24, i % 60),
            "pipeline_stage": "generate", "tenant": "birch", "region": "eu", "session_id": c("session", i / 3), "user_id_hash": c("user", i / 9),
            "trace_id": c("trace", i), "span_id": c("span", i), "prompt": {"text": format!("a dog with a {} on a hill {}", canary("prompt"), c("prompt", i))},
            "model": {"version": "m1", "loras": [format!("{} with spaces", canary("unknown"))]},
            "metrics": {"latency_ms": 100 + i % 7}, "error": (i % 10 == 0).then(|| serde_json::json!({"code": "oom", "message": c("message", i)})),
            "artifacts": {"image_id": c("image", i), "image_uri": c("uri", i), "thumb_uri": c("thumb", i), "embedding_uri": c("embedding", i)},
            "unknown": {"deep": c("unknown", i)},
        });
        writeln!(f, "{event}").unwrap();
    }
    // Messages that are no events: their text must not appear either.
    for bad in [
        canary("unknown"),
        format!("{{\"request_id\": \"{}\"}}", canary("unknown")),
        format!("{{\"timestamp\": {{\"{}\": 1}}, \"request_id\":\"x\"}}", canary("unknown")),
    ] {
        writeln!(f, "{bad}").unwrap();
    }
    // A request id with the look of a sentence.
    writeln!(f, "{{\"request_id\":\"{} and more\",\"timestamp\":\"2026-01-07T18:00:00Z\",\"pipeline_stage\":\"generate\"}}", canary("prompt")).unwrap();
    drop(f);

    let out = d.join("out");
    let alerts = d.join("alerts.jsonl");
    let config = quick_config(
        d,
        &format!("[alerts]\njsonl = {:?}\nfalse_alarms_per_quarter = 1000000.0\n", text(&alerts)),
    );
    let said = driftglass()
        .args(["replay", "-c", text(&config), "-o", text(&out), text(&input), "-vv"])
        .output()
        .unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let archived = d.join("archived");
    let kept = driftglass()
        .args(["archive", "-c", text(&config), "-o", text(&archived), text(&input), "-vv"])
        .output()
        .unwrap();
    assert!(kept.status.success(), "{}", String::from_utf8_lossy(&kept.stderr));

    let mut looked = 0;
    let mut look = |name: &str, bytes: &[u8]| {
        looked += 1;
        for field in FIELDS {
            let word = canary(field);
            assert!(!bytes.windows(word.len()).any(|w| w == word.as_bytes()), "{word} stands in {name}");
        }
    };
    for (name, said) in [("replay", &said), ("archive", &kept)] {
        look(&format!("{name}'s output"), &said.stdout);
        look(&format!("{name}'s messages"), &said.stderr);
    }
    for path in files(&out).into_iter().chain(files(&archived)) {
        look(&path.display().to_string(), &std::fs::read(&path).unwrap());
        // Compressed pages hide words: the decoded text of every column is looked at too.
        if path.extension().is_some_and(|e| e == "parquet") {
            let file = std::fs::File::open(&path).unwrap();
            let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)
                .unwrap()
                .build()
                .unwrap();
            let batches: Vec<_> = reader.map(Result::unwrap).collect();
            rows(&batches, &["sketch"]).iter().for_each(|r| look(&path.display().to_string(), r.as_bytes()));
            for b in &batches {
                use arrow::array::{Array, AsArray};
                if let Some(s) = b.column_by_name("sketch").and_then(|c| c.as_binary_opt::<i32>()) {
                    (0..s.len()).for_each(|i| look("a sketch", s.value(i)));
                }
            }
        }
    }
    assert!(table(&out, "rejects").iter().map(|b| b.num_rows()).sum::<usize>() >= 3);
    say(&format!("{} canaries found in none of {looked} places", FIELDS.len()));
}
