//! What a new user meets: SQL that only reads, output cut short by `head`, runs that could judge nothing, receivers that refuse
//! alerts, and the replay that the demo suggests.

use crate::support::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

#[test]
fn sql_writes_nothing_into_the_output() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let out = d.join("out");
    let config = quick_config(d, "");
    ok(&["replay", "-q", "-c", text(&config), "-o", text(&out), text(&generated(d, 500, 2))]);
    let before = files(&out);
    let copy = format!("COPY (SELECT 1 AS a) TO '{}'", text(&out.join("windows/x.parquet")));
    let copy_out = format!("COPY (SELECT 1 AS a) TO '{}'", text(&d.join("x.csv")));
    let script = d.join("q.sql");
    std::fs::write(&script, "SELECT 1; DELETE FROM windows").unwrap();
    for statement in ["INSERT INTO windows SELECT * FROM windows", "DROP TABLE panes", &copy] {
        let said = output(&["sql", "-o", text(&out), "-e", statement]);
        let error = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(2), "{statement}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    assert_eq!(output(&["sql", "-o", text(&out), text(&script)]).status.code(), Some(2));
    assert_eq!(files(&out), before);
    ok(&["sql", "-o", text(&out), "-e", &copy_out]);
    assert!(d.join("x.csv").exists());
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (events, out, config) = (generated(d, 500, 2), d.join("out"), quick_config(d, ""));
    let (c, o, e) = (text(&config), text(&out), text(&events));
    ok(&["replay", "-q", "-c", c, "-o", o, e]);
    let many = "SELECT * FROM generate_series(1, 200000)";
    for args in [
        &["generate", "--events", "20000", "--days", "1", "-q"][..],
        &["sql", "-o", o, "-e", many],
        &["sql", "-o", o, "--format", "csv", "-e", many],
        &["sql", "-o", o, "--json", "-e", many],
        &["replay", "-c", c, "-o", o, "--overwrite", e],
        &["replay", "--json", "-c", c, "-o", o, "--overwrite", e],
        &["archive", "-q", "-c", c, "-o", o, e],
        &["check", "-c", c, "--events", e],
        &["check", "--print-default"],
        &["check", "--print-rules"],
        &["baseline", "list", "-c", c, "-o", o],
        &["style", "list", "-c", c, "-o", o],
    ] {
        let mut child =
            driftglass().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}: {said}");
        assert!(!said.contains("roken pipe") && !said.contains("panic"), "{args:?}: {said}");
    }
}

#[test]
fn a_run_that_could_judge_nothing_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (events, out, config) = (generated(d, 2_000, 2), d.join("out"), quick_config(d, ""));
    let (c, o, e) = (text(&config), text(&out), text(&events));
    let said = ok(&["replay", "-q", "-c", c, "-o", o, e]);
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with(
            "nothing could be judged: baselines need 4 days of data before a window, this input has 2 days"
        ),
        "{said}"
    );
    assert!(last.ends_with("windows from 2026-01-09 on can be judged"), "{said}");
    assert!(!said.contains("no alert fired"), "{said}");
    let said = ok(&["replay", "-q", "--json", "--overwrite", "-c", c, "-o", o, e]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((said["judged"].as_u64(), said["unjudged"]["reason"].as_str()), (Some(0), Some("days")));
    assert!(said["insufficient"].as_u64().unwrap() > 0, "{said}");
    assert_eq!(said["unjudged"]["judged_from"], "2026-01-09");
}

/// A receiver that answers everything with a status; returns its address.
fn receiver(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = n.trim().parse().unwrap();
                }
                line.clear();
            }
            let _ = reader.read_exact(&mut vec![0; length]);
            let head = format!("HTTP/1.1 {status}\r\nlocation: http://127.0.0.1:1/secret\r\n");
            let _ = (&stream)
                .write_all(format!("{head}content-length: 0\r\nconnection: close\r\n\r\n").as_bytes());
        }
    });
    address
}

#[test]
fn alerts_that_a_receiver_refuses_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let events = generated(d, 500, 2);
    let rule = "[[rules]]\nname = \"any\"\nfeature = \"volume\"\nwindow = \"24h\"\nsegment_by = \"\"\nwhen = \"n > 0\"\n";
    for (status, reason) in [("400 Bad Request", "refused"), ("302 Found", "redirected")] {
        let address = receiver(status);
        let sink = format!("[alerts]\nwebhook = \"http://{address}/secret-path\"\n");
        let config = quick_config(d, &format!("{sink}{rule}"));
        let out = d.join(reason);
        let (c, o, e) = (text(&config), text(&out), text(&events));
        let ran = output(&["replay", "-q", "--json", "-c", c, "-o", o, e]);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{said}");
        let summary: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        let n = summary["undelivered"].as_u64().unwrap();
        assert!(n > 0, "{summary}");
        assert_eq!(summary["undelivered_by"][format!("webhook http://{address}")][reason], n, "{summary}");
        assert!(said.contains(&status[..3]) && said.contains(&address), "{said}");
        assert!(said.contains("alerts.webhook") || said.contains("relay"), "what to do: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn the_replay_that_the_demo_suggests_finds_what_the_demo_found() {
    let dir = tempfile::tempdir().unwrap();
    let demo = dir.path().join("demo");
    let said = ok(&["demo", "--dir", text(&demo), "--events", "15000", "--days", "10", "-q"]);
    // The command as it is told, run by a shell that finds the binary under test by its name.
    let program = driftglass().get_program().to_owned();
    std::os::unix::fs::symlink(&program, dir.path().join("driftglass")).unwrap();
    let path = format!("{}:{}", text(dir.path()), std::env::var("PATH").unwrap_or_default());
    let label = "# the same events from a file, replayed into another output";
    let line = said.lines().skip_while(|l| *l != label).nth(1).unwrap_or_else(|| panic!("{said}"));
    let ran = Command::new("sh").args(["-c", line]).env("PATH", &path).output().unwrap();
    assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
    assert_same(&demo.join("out"), &demo.join("replayed"));
    let styles = rows(&table(&demo.join("replayed"), "windows"), &[]);
    assert!(
        styles.iter().any(|r| r.contains("feature=style_distance ")),
        "images are measured against the styles"
    );
}
