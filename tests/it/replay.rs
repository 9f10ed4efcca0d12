//! Replay: the same tables from the same events, in whatever form they come.

use crate::support::*;

#[test]
fn plain_compressed_and_archived_events_give_the_same_tables() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let events = generated(d, 30_000, 6);
    let config = quick_config(d, "");
    let c = text(&config);
    let plain = d.join("plain");
    ok(&["replay", "-c", c, "-o", text(&plain), text(&events), "-q"]);
    assert!(complete_until(&plain) > i64::MIN);

    let packed = d.join("events.jsonl.zst");
    std::fs::write(&packed, zstd::encode_all(std::fs::File::open(&events).unwrap(), 1).unwrap()).unwrap();
    let zst = d.join("zst");
    ok(&["replay", "-c", c, "-o", text(&zst), text(&packed), "-q"]);
    assert_same(&plain, &zst);

    let kept = d.join("kept");
    ok(&["archive", "-c", c, "-o", text(&kept), text(&events), "-q"]);
    let again = d.join("again");
    ok(&["replay", "-c", c, "-o", text(&again), text(&kept.join("archive")), "-q"]);
    let compared = assert_same(&plain, &again);
    say(&format!("{compared} window rows are the same from JSONL, zstd and the archive"));
}

#[test]
fn a_second_replay_adds_nothing_and_another_job_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let events = generated(d, 3_000, 2);
    let config = quick_config(d, "");
    let out = d.join("out");
    let args = ["replay", "-c", text(&config), "-o", text(&out), text(&events), "--json", "-q"];
    ok(&args);
    let before = rows(&table(&out, "windows"), &[]);
    ok(&args);
    assert_eq!(before, rows(&table(&out, "windows"), &[]));

    let other = quick_config(d, "job = \"other\"\n".trim_start());
    std::fs::write(
        &other,
        std::fs::read_to_string(&other)
            .unwrap()
            .replace("job = \"other\"\n", "")
            .replace("[engine]\n", "[engine]\njob = \"other\"\n"),
    )
    .unwrap();
    let refused = output(&["replay", "-c", text(&other), "-o", text(&out), text(&events), "-q"]);
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("\"replay\"") && message.contains("--overwrite"), "{message}");
}

#[test]
fn a_time_range_leaves_the_rest_out() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let events = generated(d, 6_000, 4);
    let out = d.join("out");
    let summary = ok(&[
        "replay",
        "-o",
        text(&out),
        text(&events),
        "--from",
        "2026-01-06",
        "--to",
        "2026-01-07",
        "--json",
        "-q",
    ]);
    let summary: serde_json::Value = serde_json::from_str(summary.lines().last().unwrap()).unwrap();
    let n = summary["events"].as_u64().unwrap();
    assert!(n > 500 && n < 3_000, "{n}");
    let from = driftglass::event::time::parse("2026-01-06T00:00:00Z").unwrap();
    assert!(table(&out, "panes").iter().all(|b| times(b, "start").iter().all(|t| *t >= from)));
}

/// The evaluation stands at twenty past, and windows now end at full hours.
#[test]
fn windows_that_slide_by_more_than_before_go_on_at_their_own_ends() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let all = std::fs::read_to_string(generated(d, 3_000, 2)).unwrap();
    let out = d.join("out");
    let half = all.find("\"timestamp\":\"2026-01-06T12:2").and_then(|at| all[..at].rfind('\n')).unwrap() + 1;
    let replay = |name: &str, part: &str, rolling: &str| {
        let events = d.join(name);
        std::fs::write(&events, part).unwrap();
        let config = d.join("job.toml");
        std::fs::write(&config, format!("[windows]\nrolling = [{rolling}]\n[[segments]]\nby = []\n"))
            .unwrap();
        ok(&["replay", "-c", text(&config), "-o", text(&out), text(&events), "-q"]);
        let ends = table(&out, "windows").into_iter().flat_map(|b| times(&b, "window_end"));
        ends.max().unwrap()
    };
    let at = |time: &str| driftglass::event::time::parse(time).unwrap();
    assert_eq!(
        replay("first.jsonl", &all[..half], "{ length = \"30m\", slide = \"5m\" }"),
        at("2026-01-06T12:20:00Z")
    );
    assert_eq!(
        replay("second.jsonl", &all[half..], "{ length = \"6h\", slide = \"1h\" }"),
        at("2026-01-07T00:00:00Z")
    );
    let hours = table(&out, "panes").into_iter().flat_map(|b| times(&b, "start"));
    assert_eq!(hours.max(), Some(at("2026-01-06T23:00:00Z")));
}
