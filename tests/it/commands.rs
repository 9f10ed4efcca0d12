//! Exit codes, errors, and the commands around the engine.

use crate::support::*;
use std::io::BufRead;

fn fails(args: &[&str], code: i32) -> String {
    let out = output(args);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
    said
}

#[test]
fn errors_say_what_and_where_on_one_line_with_their_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let config = d.join("bad.toml");
    std::fs::write(&config, "[windows]\nlatenes = \"5m\"\n").unwrap();
    let said = fails(&["check", "-c", text(&config)], 2);
    assert!(said.contains("bad.toml:2") && said.contains("did you mean `lateness`"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    let said = fails(&["replay", "-o", text(&d.join("o")), text(&d.join("nothing-here.jsonl"))], 3);
    assert!(said.contains("nothing-here.jsonl"), "{said}");
    let said = fails(&["run", "-o", text(&d.join("o"))], 2);
    assert!(said.contains("input.kafka"), "{said}");
    fails(&["replay"], 2);
    fails(&["no-such-command"], 2);
}

#[test]
fn a_wrong_rule_is_found_by_check() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("job.toml");
    let rule = |when: &str| {
        format!(
            "[output]\ndir = {:?}\n[[rules]]\nname = \"r\"\nfeature = \"latency_ms\"\nwhen = \"{when}\"\n",
            text(&dir.path().join("out"))
        )
    };
    std::fs::write(&config, rule("p_valu < 0.01")).unwrap();
    let said = fails(&["check", "-c", text(&config)], 2);
    assert!(said.contains("p_value"), "{said}");
    std::fs::write(&config, rule("p_value < 0.01")).unwrap();
    ok(&["check", "-c", text(&config)]);
}

#[test]
fn mostly_bad_input_stops_the_job_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.jsonl");
    std::fs::write(&file, "not an event\n".repeat(5_000)).unwrap();
    let said = fails(&["replay", "-o", text(&dir.path().join("out")), text(&file), "-q"], 3);
    assert!(said.contains("max_bad_share") && said.contains("not_json"), "{said}");
}

#[test]
fn sql_reads_the_tables_and_merges_sketches() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let events = generated(d, 5_000, 2);
    let out = d.join("out");
    ok(&["replay", "-o", text(&out), text(&events), "-q"]);
    let query = "select sketch_mean(merge_sketch(sketch)) > 0 as positive from panes where feature = 'latency_ms' and segment_by = ''";
    let said = ok(&["sql", "-o", text(&out), "-e", query, "--format", "csv"]);
    assert!(said.contains("true"), "{said}");
    let n = ok(&[
        "sql",
        "-o",
        text(&out),
        "-e",
        "select sum(n) as n from panes where feature = 'volume' and segment_by = ''",
        "--format",
        "csv",
    ]);
    // Every event but those of the last hour, if that is not over.
    let lines = std::fs::read_to_string(&events).unwrap();
    let hours: Vec<&str> =
        lines.lines().map(|l| &l[l.find("\"timestamp\":\"").unwrap() + 13..][..13]).collect();
    let last = hours.iter().max().unwrap();
    let before = hours.iter().filter(|h| h != &last).count();
    // The last hour is there if an event in its last tick closed it.
    let n: usize = n.lines().last().unwrap().trim().parse().unwrap();
    assert!(n == before || n == hours.len(), "{n}, neither {before} nor {}", hours.len());
    let said = fails(&["sql", "-o", text(&out), "-e", "select nothing from windows"], 2);
    assert!(said.contains("nothing"), "{said}");
}

#[test]
fn a_baseline_is_pinned_listed_used_and_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let events = generated(d, 20_000, 4);
    let config = quick_config(d, "");
    let (c, out) = (text(&config), d.join("out"));
    let o = text(&out);
    ok(&["replay", "-c", c, "-o", o, text(&events), "-q"]);
    ok(&["baseline", "pin", "first", "--from", "2026-01-05", "--to", "2026-01-07", "-c", c, "-o", o]);
    assert!(ok(&["baseline", "list", "-c", c, "-o", o]).contains("first"));
    fails(&["baseline", "pin", "first", "--from", "2026-01-05", "--to", "2026-01-07", "-c", c, "-o", o], 2);
    ok(&["replay", "-c", c, "-o", o, text(&events), "-q", "--overwrite"]);
    let pinned =
        rows(&table(&out, "windows"), &[]).iter().filter(|r| r.contains("baseline=pinned:first ")).count();
    assert!(pinned > 0, "windows are compared with the pin");
    ok(&["baseline", "drop", "first", "-c", c, "-o", o]);
    assert!(!ok(&["baseline", "list", "-c", c, "-o", o]).contains("first"));
}

#[test]
fn the_demo_finds_its_four_incidents_and_says_so_as_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path().join("demo");
    // Both outputs go into one pipe, so that their lines have an order.
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = driftglass();
    command.args(["demo", "--dir", text(&d), "--json"]).stdin(std::process::Stdio::null());
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    let lines: Vec<String> = std::io::BufReader::new(reader).lines().map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{lines:?}");
    assert!(!lines.iter().any(|l| l.chars().any(char::is_control)), "plain lines: {lines:?}");
    let found: Vec<usize> = (0..lines.len()).filter(|i| lines[*i].starts_with("found incident=")).collect();
    assert_eq!(found.len(), 4, "{lines:?}");
    let days: Vec<usize> = (0..lines.len()).filter(|i| lines[*i].starts_with("progress ")).collect();
    assert!(found[0] < *days.last().unwrap(), "the first finding is told before the end: {lines:?}");
    let said: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(said["produced"], said["consumed"], "{said}");
    assert!(said["produced"].as_u64().unwrap() > 280_000, "{said}");
    for incident in said["found"]["incidents"].as_array().unwrap() {
        assert!(!incident["first"].is_null(), "missed: {incident}");
    }
    let others = said["found"]["others"].as_array().unwrap();
    assert!(others.iter().all(|o| o["severity"] != "high"), "nothing else is severe: {others:?}");
    assert!(d.join("incidents.json").exists() && d.join("driftglass.toml").exists());
    assert!(!table(&d.join("out"), "alerts").is_empty());

    let config = d.join("driftglass.toml");
    let listed: serde_json::Value =
        serde_json::from_str(&ok(&["incidents", "-c", text(&config), "--json"])).unwrap();
    let about = |of: &serde_json::Value| of["segment"].as_str().unwrap().to_owned();
    let mut segments: Vec<String> = listed.as_array().unwrap().iter().map(about).collect();
    segments.sort();
    let want = ["model_version=sdxl-1.1", "region=ap-south", "tenant=birch", "tenant=cobalt"];
    assert_eq!(segments, want, "one incident for each cause: {listed}");
    let told = ok(&["incidents", "-c", text(&config)]);
    assert!(told.starts_with("4 open, 0 resolved, as of 2026-01-11T00:00:00Z\n"), "{told}");
    assert!(told.contains("tenant=birch: prompts: anime "), "{told}");
}
