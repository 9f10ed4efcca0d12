//! Nothing of what must never leave is found in anything that a job writes or says.

use crate::support::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

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

/// A server that takes every request and keeps what was sent.
pub fn webhook() -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let kept = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            let length = |r: &[u8]| {
                let text = String::from_utf8_lossy(r).to_lowercase();
                let head = text.split_once("\r\n\r\n")?.0;
                let body = head
                    .lines()
                    .find_map(|l| l.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
                Some(head.len() + 4 + body.unwrap_or(0))
            };
            while length(&request).is_none_or(|l| request.len() < l) {
                match stream.read(&mut buffer) {
                    Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
                    _ => break,
                }
            }
            kept.lock().unwrap().push(request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (address, seen)
}

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
            "model": {"version": "m1", "loras": [format!("{}{}", canary("unknown"), " and so on".repeat(13))]},
            // Slower in the end, so that there are alerts to look into.
            "metrics": {"latency_ms": if i < 3_300 { 100 + i % 7 } else { 4_000 + i % 7 }}, "error": (i % 10 == 0).then(|| serde_json::json!({"code": "oom", "message": c("message", i)})),
            "artifacts": match i % 3 {
                0 => serde_json::json!({"image_id": c("image", i), "image_uri": c("uri", i), "thumb_uri": c("thumb", i), "embedding_uri": c("embedding", i)}),
                1 => serde_json::json!({"image_uri": format!("https://127.0.0.1:1/{}", c("uri", i)), "embedding": []}),
                _ => serde_json::json!({"thumb_uri": format!("../{}", c("thumb", i))}),
            },
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
    let (address, posted) = webhook();
    let config = quick_config(
        d,
        &format!(
            "[alerts]\njsonl = {:?}\nwebhook = \"http://{address}/alerts\"\nfalse_alarms_per_quarter = 1000000.0\n\
             [baselines]\nrolling_days = [2]\n\
             [embedding]\nbase_uri = {:?}\nallow = [\"https://127.0.0.1:1/\"]\nallow_private = true\nretries = 0\nmodel = {:?}\n\
             size = 32\ndimension = 64\nprovider = \"tract\"\n",
            text(&alerts),
            text(d),
            concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/demo/encoder.onnx"),
        ),
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
    let posted = posted.lock().unwrap();
    assert!(!posted.is_empty(), "an alert was posted");
    posted.iter().for_each(|post| look("a webhook's request", post));
    let lines = std::fs::read(&alerts).unwrap();
    assert!(!lines.is_empty());
    look("the alerts' lines", &lines);
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
            rows(&batches, &["sketch", "sketches"])
                .iter()
                .for_each(|r| look(&path.display().to_string(), r.as_bytes()));
            for b in &batches {
                use arrow::array::{Array, AsArray};
                for column in ["sketch", "sketches"] {
                    if let Some(s) = b.column_by_name(column).and_then(|c| c.as_binary_opt::<i32>()) {
                        (0..s.len()).for_each(|i| look("a sketch", s.value(i)));
                    }
                }
            }
        }
    }
    assert!(table(&out, "rejects").iter().map(|b| b.num_rows()).sum::<usize>() >= 3);
    say(&format!("{} canaries found in none of {looked} places", FIELDS.len()));
}
