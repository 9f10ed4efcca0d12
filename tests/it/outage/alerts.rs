//! Alerts that nobody takes for a while.

use super::job::Job;
use super::receiver::Receiver;
use super::{DAYS, EVENTS, WHOLE};
use crate::support::*;
use driftglass::alert::{AlertRow, alerts_from_batch};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A replay whose alerts go to a receiver that is down, and to a file that it must not hold up.
struct Alerted<'a> {
    d: &'a Path,
    /// What its files are called.
    name: &'a str,
    config: PathBuf,
    written: PathBuf,
    receiver: Receiver,
}

impl<'a> Alerted<'a> {
    fn new(d: &'a Path, name: &'a str) -> Self {
        let receiver = Receiver::start();
        let (config, written) = (d.join(format!("{name}.toml")), d.join(format!("{name}.jsonl")));
        let sinks = format!("[alerts]\njsonl = \"{}\"\nwebhook = \"{}\"\n", text(&written), receiver.url());
        std::fs::rename(quick_config(d, &sinks), &config).unwrap();
        Self { d, name, config, written, receiver }
    }

    fn output(&self) -> PathBuf {
        self.d.join(self.name)
    }

    /// Starts it, for the first time or again, and waits until it has tried in vain to post an alert.
    fn refused(&self, events: &Path) -> Job {
        let before = self.receiver.refused();
        let mut job = self.start(events);
        job.until("it has posted an alert", WHOLE, |_| self.receiver.refused() > before);
        job
    }

    fn start(&self, events: &Path) -> Job {
        let mut command = driftglass();
        command.args(["replay", "-q", "-c", text(&self.config), "-o", text(&self.output()), text(events)]);
        // It serves nothing.
        Job::start(command, 0, &self.d.join(format!("{}.log", self.name)))
    }

    /// Fails unless all that people are told of came, at least once and first in the table's order.
    fn check(&self) {
        let (told, taken) = (told(&self.output()), self.receiver.taken());
        let lines = std::fs::read_to_string(&self.written).unwrap();
        let written: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        for state in ["firing", "resolved"] {
            assert!(told.iter().any(|t| t.contains(state)), "nothing is {state}");
        }
        assert_eq!(first(&taken), told, "{}: what the receiver got", self.name);
        assert_eq!(first(&written), told, "{}: what the file got", self.name);
        say(&format!(
            "{}: {} alerts came, in order, after {} posts in vain; {} came again, {} again to the file",
            self.name,
            told.len(),
            self.receiver.refused(),
            taken.len() - told.len(),
            written.len() - told.len()
        ));
    }
}

/// What a receiver tells repeats by.
fn key(alert: &Value) -> String {
    format!("{} {} at {}", alert["id"], alert["state"], alert["at"])
}

/// The rows of `alerts` that people are told of, in the table's order.
fn told(output: &Path) -> Vec<String> {
    let rows = table(output, "alerts").into_iter().flat_map(|b| alerts_from_batch(&b).unwrap());
    rows.filter(AlertRow::notifies).map(|row| key(&row.json())).collect()
}

/// Alerts without repeats, in the order in which they came first.
fn first(alerts: &[Value]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    alerts.iter().map(key).filter(|k| seen.insert(k.clone())).collect()
}

#[test]
fn an_alert_receiver_that_is_down_gets_its_alerts_later_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let events = generated(d, EVENTS, DAYS);

    let waited = Alerted::new(d, "waited");
    let mut job = waited.refused(&events);
    std::thread::sleep(Duration::from_secs(10));
    waited.receiver.come_up();
    job.ends_well(WHOLE);
    assert!(waited.receiver.refused() > 1, "it did not try again while the receiver was down");
    waited.check();

    // Killed soon after the first alert, and again when there are more: the last commit holds what was not delivered.
    let killed = Alerted::new(d, "killed");
    for later in [Duration::from_millis(300), Duration::from_secs(6)] {
        let job = killed.refused(&events);
        std::thread::sleep(later);
        job.kill();
    }
    killed.receiver.come_up();
    killed.start(&events).ends_well(WHOLE);
    killed.check();
    assert_same(&waited.output(), &killed.output());
}
