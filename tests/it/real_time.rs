//! Times as they come: bursts of wrong clocks, pauses of the traffic, tombstones, a topic that is
//! deleted and created again.

use crate::broker::Broker;
use crate::outage::job::{Job, free_port};
use crate::support::*;
use driftglass::event::time::{DAY, parse};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The summary of a replay into an output of its own.
fn replay(d: &Path, name: &str, lines: &[String]) -> (PathBuf, serde_json::Value) {
    let (file, out) = (d.join(format!("{name}.jsonl")), d.join(name));
    std::fs::write(&file, lines.join("\n")).unwrap();
    let config = quick_config(d, "[output]\nkeep_panes = \"3d\"\n[baselines]\nrolling_days = [2]\n");
    let said = ok(&["replay", "-c", text(&config), "-o", text(&out), text(&file), "--json", "-q"]);
    (out, summary(&said))
}

fn summary(said: &str) -> serde_json::Value {
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

fn lines(d: &Path, events: u64, days: u64) -> Vec<String> {
    let all = std::fs::read_to_string(generated(d, events, days)).unwrap();
    all.lines().map(str::to_owned).collect()
}

const KEY: &str = "\"timestamp\":\"";

fn timestamp(line: &str) -> &str {
    let rest = &line[line.find(KEY).unwrap() + KEY.len()..];
    &rest[..rest.find('"').unwrap()]
}

fn at(line: &str, time: &str) -> String {
    line.replace(timestamp(line), time)
}

fn later(line: &str, by: i64) -> String {
    at(line, &driftglass::event::time::text(parse(timestamp(line)).unwrap() + by))
}

#[test]
fn bursts_of_wrong_clocks_cost_their_own_events_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let all = lines(d, 4_000, 6);
    let n = all.len();
    let far = |i: usize| format!("2099-06-01T{:02}:{:02}:00Z", i / 60 % 24, i % 60);
    // At the start, of any size, two days and 73 years ahead, every second one for a while, and at
    // the end.
    let bursts = [0..100, 800..807, 1_200..1_208, 2_000..2_199];
    let days = 2_700..2_720;
    let is_far = |i: usize| {
        bursts.iter().any(|r| r.contains(&i)) || ((3_000..3_060).contains(&i) && i.is_multiple_of(2))
    };
    let wrong = |i: usize| is_far(i) || days.contains(&i) || i >= n - 20;
    let burst: Vec<String> = (0..n)
        .map(|i| match wrong(i) {
            true if days.contains(&i) => later(&all[i], 2 * DAY),
            true => at(&all[i], &far(i)),
            false => all[i].clone(),
        })
        .collect();
    let right: Vec<String> = (0..n).filter(|i| !wrong(*i)).map(|i| all[i].clone()).collect();
    let (plain, a) = replay(d, "plain", &right);
    let (disturbed, b) = replay(d, "disturbed", &burst);
    assert_same(&plain, &disturbed);
    for same in ["events", "late", "windows", "evaluated_to"] {
        assert_eq!(a[same], b[same], "{same}: {b}");
    }
    assert_eq!(b["undecided"], 20, "{b}");
    assert_eq!(b["reasons"]["too_far_ahead"], (n - right.len() - 20) as u64, "{b}");
    let dates = |out: &Path| -> BTreeSet<PathBuf> {
        let all = files(&out.join("panes"));
        all.iter().filter_map(|f| f.parent()?.strip_prefix(out).ok().map(Path::to_owned)).collect()
    };
    assert_eq!(dates(&plain), dates(&disturbed));
}

#[test]
fn pauses_of_any_length_cost_no_event_and_no_history() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let all = lines(d, 3_000, 6);
    for days in [3, 400] {
        let paused: Vec<String> = (0..all.len())
            .map(|i| if i < 1_500 { all[i].clone() } else { later(&all[i], days * DAY) })
            .collect();
        let (out, said) = replay(d, &format!("paused-{days}"), &paused);
        assert_eq!((&said["events"], &said["rejected"]), (&all.len().into(), &0.into()), "{said}");
        let end = parse(timestamp(paused.last().unwrap())).unwrap();
        let evaluated = parse(said["evaluated_to"].as_str().unwrap()).unwrap();
        assert!(evaluated > end - DAY / 24, "{said}");
        let kept: BTreeSet<i64> =
            table(&out, "panes").iter().flat_map(|b| times(b, "start")).map(|t| t.div_euclid(DAY)).collect();
        assert!(kept.len() >= 5, "the newest days stay, by count: {kept:?}");
    }
}

#[test]
fn sparse_traffic_is_counted_and_evaluated_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let all = lines(d, 300, 2);
    let start = parse(timestamp(&all[0])).unwrap();
    let sparse: Vec<String> = (0..120)
        .map(|i| at(&all[i as usize], &driftglass::event::time::text(start + i * DAY / 12)))
        .collect();
    let (_, said) = replay(d, "sparse", &sparse);
    assert_eq!((&said["events"], &said["rejected"], &said["late"]), (&120.into(), &0.into(), &0.into()));
    let evaluated = parse(said["evaluated_to"].as_str().unwrap()).unwrap();
    assert!(evaluated >= start + 112 * DAY / 12, "{said}");
}

fn run_config(d: &Path, broker: &Broker, topic: &str, more: &str) -> PathBuf {
    let kafka = format!(
        "{more}[input]\nkafka = {{ brokers = \"{}\", topic = \"{topic}\", group = \"g\" }}\n\
         [kafka.properties]\n\"session.timeout.ms\" = \"6000\"\n",
        broker.address
    );
    quick_config(d, &kafka)
}

fn caught_up(config: &Path, out: &Path) -> serde_json::Value {
    summary(&ok(&["run", "-c", text(config), "-o", text(out), "--until-caught-up", "--json", "-q"]))
}

#[test]
fn tombstones_are_counted_apart() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let Some(broker) = Broker::start(&d.join("kafka"), "tombstones") else { return };
    broker.topic("compacted", 1);
    let all = lines(d, 1_200, 2);
    broker.produce("compacted", &all.join("\n"));
    broker.delete_keys("compacted", 1_500);
    // An empty value is a message, and no event.
    broker.produce("compacted", "\n");
    let (config, out) = (run_config(d, &broker, "compacted", ""), d.join("out"));
    let said = caught_up(&config, &out);
    assert_eq!(said["events"], all.len() as u64, "{said}");
    assert_eq!((&said["tombstones"], &said["reasons"]), (&1_500.into(), &serde_json::json!({"not_json": 1})));
    assert_eq!(rows(&table(&out, "rejects"), &[]).len(), 1);
    let again = caught_up(&config, &out);
    assert_eq!(
        (&again["messages"], &again["tombstones"]),
        (&0.into(), &0.into()),
        "they moved the position on"
    );
}

#[test]
fn a_topic_that_is_created_again_is_read_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let Some(broker) = Broker::start(&d.join("kafka"), "a topic that is created again") else { return };
    let all = lines(d, 2_600, 6);
    let (first, rest) = all.split_at(600);
    for (topic, n) in [("fewer", 400), ("more", 1_000)] {
        let (config, out) = (run_config(d, &broker, topic, ""), d.join(topic));
        broker.topic(topic, 1);
        broker.produce(topic, &first.join("\n"));
        assert_eq!(caught_up(&config, &out)["events"], 600);
        broker.delete_topic(topic);
        broker.topic(topic, 1);
        broker.produce(topic, &rest[..n].join("\n"));
        let said = caught_up(&config, &out);
        assert_eq!((&said["events"], &said["gaps"]), (&n.into(), &600.into()), "{topic}: {said}");
        let said = caught_up(&config, &out);
        assert_eq!((&said["messages"], &said["gaps"]), (&0.into(), &0.into()), "{topic}: {said}");
    }
    // And while it is read.
    let port = free_port();
    broker.topic("live", 1);
    broker.produce("live", &first.join("\n"));
    let config = run_config(d, &broker, "live", &format!("[serve]\nlisten = \"127.0.0.1:{port}\"\n"));
    let mut command = driftglass();
    command.args(["run", "-c", text(&config), "-o", text(&d.join("live"))]);
    let mut job = Job::start(command, port, &d.join("log"));
    let limit = Duration::from_secs(120);
    job.until("the first topic is read", limit, |j| j.metric("driftglass_messages_total") == Some(600.0));
    broker.delete_topic("live");
    broker.topic("live", 1);
    broker.produce("live", &rest[..1_000].join("\n"));
    job.until("the second one is read", limit, |j| j.metric("driftglass_messages_total") == Some(1_600.0));
    assert_eq!(job.metric("driftglass_gap_offsets_total"), Some(600.0));
}
