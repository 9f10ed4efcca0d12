//! An output of the build before: a job goes on with it, and what changed its meaning reads as too
//! little data, never as drift.

use crate::broker::Broker;
use crate::support::*;
use arrow::array::{Array, AsArray};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Lines of the events that the output holds.
const READ: usize = 1081;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/outputs/before-names").join(name)
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let at = to.join(file.strip_prefix(from).expect("a file below the folder"));
        std::fs::create_dir_all(at.parent().expect("a file has a folder")).unwrap();
        std::fs::copy(&file, at).unwrap();
    }
}

fn config(dir: &Path, input: &str) -> PathBuf {
    let file = dir.join("job.toml");
    let text = format!(
        "{input}[privacy]\nkey = \"a key for tests\"\n[windows]\nrolling = [\"24h\"]\n\
         [baselines]\nrolling_days = [7]\n[[segments]]\nby = []\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// Verdicts of windows that end after a time, counted by feature.
fn verdicts(output: &Path, after: &str) -> BTreeMap<String, BTreeMap<String, usize>> {
    let after = driftglass::event::time::parse(after).unwrap();
    let mut out: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for b in table(output, "windows") {
        let ends = times(&b, "window_end");
        let text = |n: &str| b.column_by_name(n).expect("a text column").as_string::<i32>().clone();
        let (feature, verdict) = (text("feature"), text("verdict"));
        for i in (0..b.num_rows()).filter(|i| ends[*i] > after) {
            let verdict = if verdict.is_valid(i) { verdict.value(i) } else { "" };
            *out.entry(feature.value(i).to_owned()).or_default().entry(verdict.to_owned()).or_default() += 1;
        }
    }
    out
}

#[test]
fn a_job_goes_on_with_the_output_of_the_build_before() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let Some(broker) = Broker::start(&d.join("kafka"), "an output of the build before goes on") else {
        return;
    };
    let mut events = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(fixture("events.jsonl.gz")).unwrap())
        .read_to_string(&mut events)
        .unwrap();
    let lines: Vec<&str> = events.lines().collect();
    let out = d.join("out");
    copy(&fixture("out"), &out);
    broker.topic("events", 2);
    broker.produce("events", &lines[..READ].join("\n"));
    broker.produce("events", &lines[READ..].join("\n"));
    let kafka = format!(
        "[input]\nkafka = {{ brokers = \"{}\", topic = \"events\", group = \"before\" }}\n",
        broker.address
    );
    let config = config(d, &kafka);
    let told = ok(&["run", "-c", text(&config), "-o", text(&out), "--until-caught-up", "--json", "-q"]);
    let told: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(told["events"], lines.len() - READ, "it goes on where the job stopped: {told}");
    assert_eq!((&told["gaps"], &told["rejected"]), (&0.into(), &0.into()), "{told}");
    assert_eq!(told["alerts_fired"], 0, "an upgrade is no drift: {told}");

    let verdicts = verdicts(&out, "2026-01-14T12:00:00Z");
    assert!(verdicts.values().all(|v| !v.contains_key("drift")), "{verdicts:?}");
    // Their definition is what it was: the days that the build before has left are their baseline.
    for feature in ["prompt_tokens", "clip_i", "aesthetic", "nsfw", "accepted"] {
        let of = &verdicts[feature];
        // A few of the windows hold too few sessions.
        assert!(of.get("ok").is_some_and(|n| *n >= 10), "{feature}: {of:?}");
    }
    // Theirs is another one: history begins afresh.
    for feature in ["sampler", "loras", "style_collection"] {
        let of = &verdicts[feature];
        assert!(of.contains_key("insufficient_data") && of.len() == 1, "{feature}: {of:?}");
    }
}

#[test]
fn a_replay_into_the_output_of_the_build_before_is_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let events = generated(d, 600, 2);
    let config = config(d, "");
    let out = d.join("out");
    let args = ["replay", "-c", text(&config), "-o", text(&out), text(&events), "-q"];
    ok(&args);
    // It noted no inputs.
    std::fs::remove_dir_all(out.join("_inputs")).unwrap();
    let before = files(&out);
    let refused = output(&args);
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.lines().count() == 1 && message.contains("--overwrite"), "{message}");
    assert_eq!(files(&out), before, "nothing changed");
}
