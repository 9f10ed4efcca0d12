//! Configurations and arguments that make no sense are refused in one line before anything happens,
//! and data is not lost by them.

use crate::support::*;
use std::path::{Path, PathBuf};

/// What a command that fails says: one line, with this exit code.
fn refused(args: &[&str], code: i32) -> String {
    let out = output(args);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
    let line: Vec<&str> = said.lines().filter(|l| l.starts_with("driftglass: ")).collect();
    assert_eq!(line.len(), 1, "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    line[0].to_owned()
}

fn wrote(dir: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

/// All files of an output with their sizes.
fn content(out: &Path) -> Vec<(PathBuf, u64)> {
    files(out).into_iter().map(|f| (f.clone(), std::fs::metadata(f).unwrap().len())).collect()
}

fn rule(feature: &str, more: &str) -> String {
    format!("[[rules]]\nname = \"r\"\nfeature = {feature}\n{more}\n")
}

#[test]
fn nothing_is_deleted_before_all_else_is_known_to_work() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let events = generated(d, 600, 1);
    let out = d.join("out");
    let (o, e) = (text(&out), text(&events));
    let good = quick_config(d, "");
    ok(&["replay", "-c", text(&good), "-o", o, e, "-q"]);
    let before = content(&out);
    assert!(before.len() > 5);

    let bad = |name: &str, more: &str| wrote(d, name, std::fs::read_to_string(&good).unwrap() + more);
    for (config, says) in [
        (bad("typo.toml", &rule("\"cfg\"", "when = \"verdict = 'drfit'\"")), "did you mean 'drift'?"),
        (
            bad("pin.toml", &rule("\"cfg\"", "baseline = \"pinned:x\"\nwhen = \"n > 0\"")),
            "this output has none",
        ),
        (bad("model.toml", "[embedding]\nmodel = \"nowhere.onnx\"\n"), "embedding.model"),
        (bad("key.toml", "[alert]\n"), "unknown key"),
        (bad("hook.toml", "[alerts]\nwebhook = \"ftp://x\"\n"), "alerts.webhook"),
        (bad("lines.toml", "[alerts]\njsonl = \"no/such/folder/a.jsonl\"\n"), "alerts.jsonl"),
    ] {
        let args = ["replay", "-c", text(&config), "-o", o, e, "--overwrite"];
        let said = refused(&args, if says == "alerts.jsonl" { 3 } else { 2 });
        assert!(said.contains(says), "{said}");
    }
    let cut = wrote(d, "cut.jsonl.gz", b"\x1f\x8b\x08\x00\x00");
    let table = wrote(d, "no-table.parquet", b"PAR1 but not really");
    for input in [d.join("nowhere.jsonl"), d.join("*.ndjson"), cut, table] {
        refused(&["replay", "-c", text(&good), "-o", o, text(&input), "--overwrite"], 3);
    }
    refused(&["replay", "-c", text(&good), "-o", o, e, "--overwrite", "--from", "2026-02-30"], 2);
    let inside = wrote(&out, "rejects/mine.jsonl", std::fs::read(&events).unwrap());
    let said = refused(&["replay", "-c", text(&good), "-o", o, text(&inside), "--overwrite"], 2);
    assert!(said.contains("--overwrite would delete the input"), "{said}");
    std::fs::remove_file(&inside).unwrap();
    // What the client of Kafka refuses, found by asking for the topic first.
    let kafka = "[input]\nkafka = { brokers = \"127.0.0.1:1\", topic = \"t\" }\n[kafka.properties]\n";
    let live = bad("live.toml", &format!("{kafka}\"fetch.max.bytes\" = \"many\"\n"));
    let said = refused(&["run", "-c", text(&live), "-o", o, "--overwrite"], 2);
    assert!(said.contains("fetch.max.bytes"), "{said}");
    assert_eq!(content(&out), before, "everything is as it was");

    let said = output(&["replay", "-c", text(&good), "-o", o, e, "--overwrite"]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains(&format!("output: {}", out.canonicalize().unwrap().display())), "{said}");
    assert!(said.contains("emptied by --overwrite"), "{said}");
}

#[test]
fn a_folder_that_is_no_job_s_output_is_not_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let event = r#"{"request_id":"r","timestamp":"2026-01-05T06:00:00Z","pipeline_stage":"generate"}"#;
    let events = wrote(d, "e.jsonl", event);
    let mine = wrote(d, "home/alerts/notes.txt", "mine");
    let said = refused(&["replay", "-o", text(&d.join("home")), text(&events), "--overwrite"], 2);
    assert!(said.contains("is not the output of a job") && mine.exists(), "{said}");
}

#[test]
fn rules_are_refused_with_their_file_and_line_by_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let o = d.join("out");
    for (text_of, says) in [
        (rule("\"cfg\"", "when = \"verdct = 'drift'\""), "c.toml:4: rule \"r\": when: no column verdct"),
        (rule("\"cfg\"", "when = \"psi\""), "c.toml:4: rule \"r\": when: is of type"),
        (rule("\"cfg\"", "when = \"psi = null\""), "write psi IS NULL"),
        (rule("\"cfg\"", "when = \"1=1\"\nfor = \"0s\""), "is always true"),
        (
            rule("\"cfg\"", "window = \"1h\"\nwhen = \"n > 0\""),
            "c.toml:4: rule \"r\": window: no window \"1h\"",
        ),
        (rule("\"cfg\"", "baseline = \"release:M2\"\nwhen = \"n > 0\""), "releases are no baselines"),
        (rule("[]", "when = \"n > 0\""), "c.toml:3: rules.feature: is an empty list"),
        (rule("\"cgf\"", "when = \"n > 0\""), "no feature \"cgf\"; did you mean \"cfg\"?"),
        (
            "[[features]]\nname = \"cfg\"\nenabled = false\n".to_owned()
                + &rule("\"cfg\"", "when = \"n > 0\""),
            "c.toml:6: rule \"r\": feature: no feature \"cfg\"",
        ),
    ] {
        let config = wrote(d, "c.toml", text_of);
        for command in ["check", "sql"] {
            let said = refused(&[command, "-c", text(&config), "-o", text(&o)], 2);
            assert!(said.contains(says), "{command}: {said}");
        }
        assert!(!o.exists(), "nothing was made");
    }
}

#[test]
fn what_is_no_configuration_is_named_for_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let many: String = (0..20_000)
        .map(|i| format!("[[rules]]\nname = \"r{i}\"\nfeature = \"cfg\"\nwhen = \"n > {i}\"\n"))
        .collect();
    for (path, says) in [
        (d.to_owned(), "is a folder"),
        (d.join("nope.toml"), "can't read configuration"),
        (wrote(d, "binary.toml", b"\x00\x01\xff"), "is a binary file"),
        (wrote(d, "latin.toml", b"[output]\ndir = \"M\xfcller\"\n"), "is not UTF-8 (line 2)"),
        (wrote(d, "wide.toml", b"\xff\xfe[\x00"), "is UTF-16"),
        (wrote(d, "many.toml", many), "rules: has 20000 entries, 2000 at most"),
    ] {
        let said = refused(&["check", "-c", text(&path)], 2);
        assert!(said.contains(says), "{said}");
    }
    // Many, and still fine.
    let letters = [
        "region",
        "tenant",
        "traffic_source",
        "model_family",
        "model_version",
        "sampler",
        "resolution",
        "gpu_type",
    ];
    let groupings: String = (0..256u32)
        .map(|i| {
            let by: Vec<_> =
                (0..8).filter(|b| i >> b & 1 == 1).map(|b| format!("{:?}", letters[b])).collect();
            format!("[[segments]]\nby = [{}]\n", by.join(","))
        })
        .collect();
    let config = wrote(d, "wide-open.toml", groupings);
    assert!(ok(&["check", "-c", text(&config), "-o", text(&d.join("out"))]).contains("256 groupings"));
}

#[test]
fn paths_of_a_configuration_start_from_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path().canonicalize().unwrap();
    let events = generated(&d, 300, 1);
    let config =
        wrote(&d, "etc/job.toml", "[output]\ndir = \"../var/out\"\n[alerts]\njsonl = \"alerts.jsonl\"\n");
    let elsewhere = d.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let run = |args: &[&str]| {
        let out = driftglass().args(args).current_dir(&elsewhere).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let said = run(&["replay", "-c", "../etc/job.toml", text(&events)]);
    assert!(said.contains(&format!("output: {}", d.join("var/out").display())), "{said}");
    assert!(d.join("var/out/_job.json").exists() && !elsewhere.join("var").exists());
    // What is named on the command line starts from the working directory.
    run(&["replay", "-c", text(&config), "-o", "here", text(&events), "-q"]);
    assert!(elsewhere.join("here/_job.json").exists());
    assert_eq!(
        std::fs::read_dir(d.join("etc")).unwrap().filter(|f| f.as_ref().unwrap().path().is_dir()).count(),
        0
    );
}

#[test]
fn single_quotes_and_number_signs_do_not_hide_a_variable() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let config = wrote(d, "c.toml", "[privacy]\nkey = 'a#${NOT_SET_ANYWHERE}'\n");
    let said = refused(&["check", "-c", text(&config), "-o", text(&d.join("out"))], 2);
    assert!(said.contains("c.toml:2: environment variable NOT_SET_ANYWHERE is not set"), "{said}");
}

#[test]
fn pins_segments_and_features_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let events = generated(d, 3_000, 2);
    let config = quick_config(d, "");
    let out = d.join("out");
    let (c, o) = (text(&config), text(&out));
    ok(&["replay", "-c", c, "-o", o, text(&events), "-q"]);
    let end = ["-c", c, "-o", o];
    let baseline = |args: &[&str]| refused(&[&["baseline"], args, &end].concat(), 2);
    for (segment, says) in [
        ("tenant=brich", "did you mean \"tenant=birch\"?"),
        ("region=eu-west", "no grouping by \"region\""),
        ("tenants=birch", "no grouping by \"tenants\"; did you mean \"tenant\"?"),
    ] {
        let said = baseline(&["accept", "--segment", segment]);
        assert!(said.contains(says), "{said}");
    }
    assert!(baseline(&["accept", "--feature", "latency"]).contains("did you mean \"latency_ms\"?"));
    assert!(baseline(&["accept", "--at", "2027-01-01"]).contains("later than the newest data"));
    ok(&[&["baseline", "accept", "--segment", "tenant=zebra", "--force"], &end[..]].concat());
    ok(&[&["baseline", "accept", "--segment", "tenant=b*"], &end[..]].concat());
    ok(&[&["baseline", "accept"], &end[..]].concat());
    let range = ["--from", "2026-01-05", "--to", "2026-01-06"];
    for name in ["rolling_7d", "pinned:x", "release:x", "a b", "..", ""] {
        let said = baseline(&[&["pin", name], &range[..]].concat());
        assert!(said.contains("is not a valid name of a baseline"), "{name}: {said}");
    }
    ok(&[&["baseline", "pin", "launch"], &range[..], &end[..]].concat());
    assert!(baseline(&["show", "lunch"]).contains("did you mean \"launch\"?"));
    assert!(baseline(&["show", "release:2"]).contains("no baseline \"release:2\""));
    assert!(
        baseline(&["show", "launch", "--segment", "tenant=brich"]).contains("did you mean \"tenant=birch\"?")
    );
    assert!(baseline(&["drop", "lunch"]).contains("did you mean \"launch\"?"));

    let on = |name: &str| {
        let more = format!("baseline = \"pinned:{name}\"\nwhen = \"n > 0\"");
        wrote(d, "pins.toml", std::fs::read_to_string(&config).unwrap() + &rule("\"cfg\"", &more))
    };
    let wrong = on("lunch");
    let said = output(&["check", "-c", text(&wrong), "-o", o]);
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("FAIL rules") && said.contains("did you mean \"launch\"?"), "{said}");
    let said = refused(&["replay", "-c", text(&wrong), "-o", o, text(&events)], 2);
    assert!(said.contains("pins.toml:") && said.contains("no baseline \"pinned:lunch\""), "{said}");
    let right = on("launch");
    ok(&["check", "-c", text(&right), "-o", o]);
    // A pin can be made while a rule already names it.
    let wrong = on("spring");
    ok(&[&["baseline", "pin", "spring"], &range[..], &["-c", text(&wrong), "-o", o]].concat());
    let said = ok(&["baseline", "drop", "pinned:spring", "-c", text(&wrong), "-o", o]);
    assert!(said.contains("no job starts until these rules name another baseline: r"), "{said}");
}

#[test]
fn sample_events_are_told_with_lines_unknown_fields_and_what_they_lack() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let event = |more: &str| {
        format!(
            "{{\"request_id\":\"r\",\"timestamp\":\"2026-01-12T06:00:00Z\",\"pipeline_stage\":\"generate\"{more}}}\n"
        )
    };
    let lines = [
        event(",\"metrics\":{\"latencyms\":5}"),
        "\n".to_owned(),
        event(",\"sessionId\":\"a secret session\",\"prompt\":{\"txt\":\"a secret prompt\"}"),
        "no json, but a secret\n".to_owned(),
        event(",\"metrics\":{\"latency_ms\":\"a secret\"}"),
        event(",\"a secret key\":1"),
    ];
    let file = wrote(d, "sample.jsonl", lines.concat());
    let out = output(&["check", "--events", text(&file)]);
    assert_eq!(out.status.code(), Some(1), "a message would be rejected");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let line = |begin: &str| {
        let found =
            said.lines().find(|l| l.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(begin));
        found.unwrap_or_else(|| panic!("no {begin} in {said}")).to_owned()
    };
    assert!(line("rejected (message) not_json").contains("line 4"));
    assert!(line("left out metrics.latency_ms mistyped_field").contains("line 5"));
    assert!(line("unknown metrics.latencyms").contains("line 1; did you mean metrics.latency_ms?"));
    assert!(line("unknown sessionId").contains("line 3; did you mean session_id?"));
    assert!(line("unknown prompt.txt").contains("did you mean prompt.text?"));
    assert!(line("unknown (other names)").contains("line 6"));
    assert!(line("absent session_id").contains("as its own session"));
    assert!(line("absent tenant").contains("[tenant]"));
    assert!(!said.contains("secret"), "{said}");
    let json = output(&["check", "--events", text(&file), "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["rejected"][0]["lines"][0], "4");
    let nearest = json["unknown"].as_array().unwrap().iter().find(|u| u["field"] == "sessionId").unwrap();
    assert_eq!(nearest["nearest"], "session_id");
    assert!(json["absent"].as_array().unwrap().iter().any(|a| a["field"] == "user_id_hash"));
}

#[test]
fn wrong_arguments_are_told_on_one_line() {
    for (args, says) in [
        (&["replay"][..], "<INPUT>"),
        (&["replay", "x.jsonl", "--from", "2026-02-30"], "is not a time"),
        (&["replay", "x.jsonl", "--frm", "2026-02-03"], "--from"),
        (&["no-such-command"], "no-such-command"),
        (&["generate", "--incident", "prompt-shft:all:2026-01-12"], "prompt-shift"),
        (
            &["generate", "--days", "2", "--incident", "cost-rise:all:2027-01-01", "/dev/null"],
            "outside the traffic",
        ),
        (&["check", "-o", ""], "--output is empty"),
        (&["check", "-c", ""], "--config"),
        (&["style", "fit", "x.json", "--most", "0"], "--most"),
        (&["archive", "x.jsonl", "--every", "0s"], "must be above 0"),
    ] {
        let said = refused(args, 2);
        assert!(said.contains(says), "{said}");
    }
    assert!(ok(&["generate", "--help"]).contains("style-shift"));
}
