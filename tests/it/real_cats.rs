//! Names that clients choose: shown once enough users have sent them, and bounded in number.

use crate::privacy::webhook;
use crate::support::*;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The fields whose values clients choose, or the service from what clients send.
const FIELDS: [&str; 8] = [
    "loras",
    "sampler",
    "collection",
    "resolution",
    "source",
    "language of theirs",
    "code of theirs",
    "category of theirs",
];

/// What a client sends in a field: short, and no code where codes are shown at once.
fn secret(field: &str) -> String {
    format!("kanarienvogel-{field}")
}

/// Three days of events, the last one slower. A tenth of them, on the last day most, say a secret
/// in every field; they come from `users` users.
fn input(dir: &Path, users: usize) -> PathBuf {
    let mut lines = String::new();
    for i in 0..1_800usize {
        let minute = i * 3 * 1440 / 1_800;
        let (day, last) = (minute / 1440, minute >= 2 * 1440);
        let theirs = if last { i % 10 < 8 } else { i % 10 == 0 };
        let say = |field: &str, usual: &str| if theirs { secret(field) } else { usual.to_owned() };
        let user = if theirs { format!("k{}", i / 10 % users) } else { format!("u{}", i % 40) };
        let event = serde_json::json!({
            "request_id": format!("r{i}"), "pipeline_stage": "generate", "tenant": "birch",
            "timestamp": format!("2026-01-{:02}T{:02}:{:02}:00Z", 5 + day, minute / 60 % 24, minute % 60),
            "session_id": format!("s{i}"), "user_id_hash": user,
            "traffic_source": say(FIELDS[4], "app"),
            "prompt": {"text": "a dog", "language": say(FIELDS[5], "en")},
            "model": {"version": "m1", "loras": [say(FIELDS[0], "detail"), "usual"]},
            "params": {"sampler": say(FIELDS[1], "euler"), "resolution": say(FIELDS[3], "1024x1024")},
            "style": {"collection": say(FIELDS[2], "house")},
            "safety": {"category": say(FIELDS[7], "none")}, "error": {"code": say(FIELDS[6], "oom")},
            "metrics": {"latency_ms": if last { 9_000 + i % 7 } else { 100 + i % 7 }},
        });
        writeln!(lines, "{event}").unwrap();
    }
    let file = dir.join("events.jsonl");
    std::fs::write(&file, lines).unwrap();
    file
}

const MORE: &str = "[[segments]]\nby = [\"traffic_source\"]\n[[segments]]\nby = [\"params_sampler\", \"tenant\"]\n\
    [[features]]\nname = \"resolution\"\nfrom = \"params.resolution\"\nkind = \"categorical\"\n\
    [[features]]\nname = \"source\"\nfrom = \"traffic_source\"\nkind = \"categorical\"\n\
    [[features]]\nname = \"category\"\nfrom = \"safety.category\"\nkind = \"categorical\"\n\
    [[rules]]\nname = \"any\"\nfeature = [\"latency_ms\", \"loras\", \"sampler\", \"style_collection\", \"resolution\", \
    \"source\", \"category\", \"language\", \"error_code\"]\nwhen = \"verdict = 'drift'\"\n\
    [baselines]\nrolling_days = [2]\n";

/// Everything that a job writes or says outside its confidential folders: by place, its text.
fn said(dir: &Path, users: usize) -> Vec<(String, String)> {
    let (input, out, alerts) = (input(dir, users), dir.join("out"), dir.join("alerts.jsonl"));
    let (address, posted) = webhook();
    let config = quick_config(
        dir,
        &format!(
            "{MORE}[alerts]\njsonl = {:?}\nwebhook = \"http://{address}/\"\nfalse_alarms_per_quarter = 1000000.0\n",
            text(&alerts)
        ),
    );
    let mut all = Vec::new();
    let mut tell = |place: &str, args: &[&str]| {
        let done = output(args);
        // A check may find fault with such names; what matters is what it says of them.
        let well = done.status.success() || place == "check";
        assert!(well, "{place}: {}", String::from_utf8_lossy(&done.stderr));
        all.push((place.to_owned(), String::from_utf8_lossy(&done.stdout).into_owned()));
        all.push((format!("{place}, errors"), String::from_utf8_lossy(&done.stderr).into_owned()));
    };
    let of = ["-c", text(&config), "-o", text(&out)];
    tell("replay", &[&["replay"], &of[..], &["--json", "-vv", text(&input)]].concat());
    tell("check", &["check", "-c", text(&config), "--events", text(&input)]);
    tell("show", &[&["baseline", "show"], &of[..], &["rolling_2d", "--segment", "*"]].concat());
    tell(
        "show --json",
        &[&["baseline", "show"], &of[..], &["rolling_2d", "--segment", "*", "--json"]].concat(),
    );
    for post in posted.lock().unwrap().iter() {
        all.push(("a webhook's request".to_owned(), String::from_utf8_lossy(post).into_owned()));
    }
    all.push(("the alerts' lines".to_owned(), std::fs::read_to_string(&alerts).unwrap()));
    for name in ["windows", "alerts", "rejects", "exclusions", "vectors"] {
        all.push((name.to_owned(), rows(&table(&out, name), &[]).join("\n")));
    }
    // Nothing else lies outside the confidential folders.
    for file in files(&out) {
        let name = file.strip_prefix(&out).unwrap().iter().next().unwrap().to_str().unwrap().to_owned();
        let looked_at = all.iter().any(|(place, _)| *place == name);
        assert!(looked_at || name.starts_with('_') || name == "panes", "{name}");
    }
    all
}

#[test]
fn what_fewer_than_min_users_sent_is_shown_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    for (place, text) in said(dir.path(), 4) {
        let at = text.find("kanarienvogel").map(|i| text[i..].chars().take(60).collect::<String>());
        assert_eq!(at, None, "in {place}");
        if ["windows", "alerts", "exclusions", "the alerts' lines", "a webhook's request"].contains(&&*place)
        {
            assert!(text.contains("traffic_source=#") || !text.contains("segment"), "{place}: {text:.300}");
        }
    }
}

#[test]
fn what_enough_users_sent_is_shown_as_text() {
    let dir = tempfile::tempdir().unwrap();
    let said = said(dir.path(), 12);
    let of = |place: &str| &said.iter().find(|s| s.0 == place).unwrap().1;
    for field in FIELDS {
        // Names with spaces are names in a later version only.
        if !field.contains(' ') {
            for place in ["windows", "alerts", "the alerts' lines", "show"] {
                assert!(of(place).contains(&secret(field)), "{field} in {place}");
            }
        }
    }
    assert!(of("exclusions").contains("traffic_source=kanarienvogel-source"));
    assert!(of("windows").contains("segment=params_sampler=kanarienvogel-sampler,tenant=birch"));
    // At first, of few users, it was hidden: one alert of it goes by one id.
    assert!(of("windows").contains("segment=traffic_source=#"));
}
