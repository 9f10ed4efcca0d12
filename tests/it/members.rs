//! Several members of one group over a real Apache Kafka: they die, hang, leave and join, the broker crashes, and the record is what an
//! uninterrupted job leaves.
//!
//! `tests/chaos.sh` runs the long form. `DRIFTGLASS_CHAOS` is its number of faults, `DRIFTGLASS_CHAOS_SEED` draws them, and
//! `DRIFTGLASS_CHAOS_DIR` is an empty folder where all is kept. With `DRIFTGLASS_FAILPOINTS`, names of points separated by commas, and a
//! binary built with the feature `failpoints`, members also end themselves in the middle of a step.

mod group;
mod load;

use crate::broker::Broker;
use crate::support::*;
use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use group::{Group, MEMBERS};
use load::Load;
use rand::Rng;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a group shares partitions out; one group can't mix them.
const PROTOCOLS: [&str; 2] = ["range", "cooperative-sticky"];
const PARTITIONS: u32 = 12;
/// Milliseconds between two faults.
const GAP: std::ops::Range<u64> = 200..2_500;
/// Faults between two breathers. While faults come this fast a group is hardly ever settled (a dead member holds it up until its session
/// has run out), and there would be little to disturb.
const BURST: std::ops::RangeInclusive<u64> = 3..=12;
/// How long a group may take to have read everything once the faults pause. Most is over in ten seconds; this is for a busy machine.
const RECOVERS: Duration = Duration::from_secs(180);
const SESSION: Duration = Duration::from_secs(6);
/// A line that is no event comes after so many that are: rejects tell lost and doubled ones to the row.
const BAD_EVERY: usize = 400;
/// What the job is, however it gets its events.
const JOB: &str = "[privacy]\nkey = \"a key for tests\"\n[windows]\nrolling = [\"1h\", \"24h\"]\nidle = \"10m\"\n\
                   [engine]\ncommit_every = \"200ms\"\n\
                   [[segments]]\nby = [\"tenant\"]\n[[segments]]\nby = [\"model_version\"]\n[[segments]]\nby = []\n";
/// What members log (with -v) and the report counts.
const PARTITION_LOST: &str = "another process owns this partition";
const ROLE_LOST: &str = "another process evaluates now";
const ROLE_TAKEN: &str = "this process evaluates";
const GAP_FOUND: &str = "counted as a gap";

/// One storm: a topic, a group, an output.
struct Plan {
    protocol: &'static str,
    faults: u64,
    /// Of these, how often the broker is killed.
    crashes: u64,
    seed: u64,
}

#[test]
fn members_that_die_hang_and_leave_change_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("DRIFTGLASS_CHAOS_DIR").map(PathBuf::from);
    let d = kept.as_deref().unwrap_or(temporary.path());
    let Some(mut broker) = Broker::start(&d.join("kafka"), "members that die, hang and leave") else {
        return;
    };
    let seed = number("DRIFTGLASS_CHAOS_SEED").unwrap_or(1);
    let plans = match number("DRIFTGLASS_CHAOS") {
        None => vec![Plan { protocol: PROTOCOLS[(seed % 2) as usize], faults: 20, crashes: 1, seed }],
        Some(faults) => {
            // Half with each protocol; the first half has what can't be halved.
            let half = |n: u64, i: u64| (n + 1 - i) / 2;
            let crashes = (faults / 100).max(1);
            let plan = |(i, protocol)| Plan {
                protocol,
                faults: half(faults, i),
                crashes: half(crashes, i),
                seed: seed.wrapping_mul(2).wrapping_add(i),
            };
            (0..).zip(PROTOCOLS).map(plan).collect()
        }
    };
    let most = plans.iter().map(|p| p.faults).max().unwrap_or(0);
    let lines = events(d, (400 * most).max(60_000));

    let file = d.join("all.jsonl");
    std::fs::write(&file, lines.as_bytes()).unwrap();
    let config = written(d, "replay", JOB);
    let replayed = d.join("replayed");
    ok(&["replay", "-c", text(&config), "-o", text(&replayed), text(&file), "-q"]);
    plans.iter().for_each(|plan| storm(d, &mut broker, plan, &lines, &replayed));
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// Generated events, and now and then a line that is none.
fn events(dir: &Path, n: u64) -> Arc<str> {
    let good = std::fs::read_to_string(generated(dir, n, 8)).unwrap();
    let mut all = String::with_capacity(good.len() + good.len() / 50);
    for (i, line) in good.lines().enumerate() {
        writeln!(all, "{line}").unwrap();
        if i % BAD_EVERY == BAD_EVERY - 1 {
            writeln!(all, "{{\"cut off\": {i}").unwrap();
        }
    }
    all.into()
}

fn written(dir: &Path, name: &str, config: &str) -> PathBuf {
    let file = dir.join(format!("{name}.toml"));
    std::fs::write(&file, config).unwrap();
    file
}

/// The configuration of a member of `group`; properties may be added at its end.
fn live(address: &str, topic: &str, group: &str, protocol: &str) -> String {
    format!(
        "{JOB}[input]\nkafka = {{ brokers = \"{address}\", topic = \"{topic}\", group = \"{group}\" }}\n\
         [kafka.properties]\n\"session.timeout.ms\" = \"{}\"\n\"heartbeat.interval.ms\" = \"1000\"\n\
         \"reconnect.backoff.max.ms\" = \"1000\"\n\"partition.assignment.strategy\" = \"{protocol}\"\n",
        SESSION.as_millis()
    )
}

/// Has a group live through the plan's faults and compares what it leaves with an uninterrupted run and with a replay.
fn storm(d: &Path, broker: &mut Broker, plan: &Plan, lines: &Arc<str>, replayed: &Path) {
    let Plan { protocol, faults, crashes, seed } = *plan;
    // Topic, group and folder are called by the protocol.
    let d = d.join(protocol);
    std::fs::create_dir(&d).unwrap();
    broker.topic(protocol, PARTITIONS);
    say(&format!("{protocol}: {faults} faults, {crashes} of them the broker's, seed {seed}"));
    let began = Instant::now();
    let output = d.join("output");
    let config = live(&broker.address, protocol, protocol, protocol);
    let whole = live(&broker.address, protocol, "reference", protocol);
    let load = Load::start(broker, protocol, lines);
    let total = load.total as u64;
    let group = Group::start(&d, &output, &config, protocol, seed);
    let mut storm = Storm {
        broker,
        group,
        load,
        output: &output,
        faults: BTreeMap::new(),
        calm: Vec::new(),
        read: 0,
        read_in_storm: 0,
    };
    storm.rage(plan);
    storm.end();
    storm.report(plan, began);
    drop(storm);
    let stopped = Instant::now();

    let reference = d.join("reference");
    let whole = written(&d, "reference", &whole);
    ok(&["run", "-c", text(&whole), "-o", text(&reference), "--until-caught-up", "-q"]);
    // A static member that stops keeps its partitions until its session has run out.
    std::thread::sleep((SESSION + Duration::from_secs(2)).saturating_sub(stopped.elapsed()));
    let last = written(&d, "last", &config);
    ok(&["run", "-c", text(&last), "-o", text(&output), "--until-caught-up", "-q"]);
    assert_eq!(committed(&reference), total, "{protocol}: records read without faults, of those produced");
    assert_eq!(committed(&output), total, "{protocol}: records read in the end, of those produced");
    compare(protocol, replayed, &reference, &output);
    say(&format!("{protocol}: over after {:.0} s", began.elapsed().as_secs_f64()));
}

/// A group, its broker and its load, while faults come.
struct Storm<'a> {
    broker: &'a mut Broker,
    group: Group,
    load: Load,
    output: &'a Path,
    /// Faults by kind.
    faults: BTreeMap<&'static str, u64>,
    /// How long each breather took until all was read.
    calm: Vec<Duration>,
    /// Records read at the end of the last breather.
    read: u64,
    /// Records read outside of breathers.
    read_in_storm: u64,
}

impl Storm<'_> {
    fn done(&self) -> u64 {
        self.faults.values().sum::<u64>() + self.group.aborted
    }

    fn rage(&mut self, plan: &Plan) {
        self.load.allow(0.02);
        self.wait(Duration::from_secs(1), true);
        self.breathe();
        while self.done() < plan.faults {
            let burst = self.done() + self.group.rng.random_range(BURST);
            while self.done() < burst.min(plan.faults) {
                let gap = Duration::from_millis(self.group.rng.random_range(GAP));
                self.wait(gap, true);
                // What can't be done now is drawn again, but not for ever: sometimes there is nobody to do it to.
                let _ = self.crash(plan) || (0..8).any(|_| self.fault());
                // All is produced when nine tenths of the faults have come.
                self.load.allow((self.done() + 1) as f64 / (0.9 * plan.faults as f64));
            }
            if self.done() < plan.faults {
                self.breathe();
            }
        }
    }

    /// Kills the broker when its turn has come; its crashes are spread evenly.
    fn crash(&mut self, plan: &Plan) -> bool {
        let crashed = self.faults.get("broker killed").copied().unwrap_or(0);
        let due = self.done() * (plan.crashes + 1) >= (crashed + 1) * plan.faults;
        if crashed == plan.crashes || !due || !self.broker.serves() {
            return false;
        }
        let down = self.group.rng.random_range(200..2_000);
        self.broker.crash(Duration::from_millis(down));
        *self.faults.entry("broker killed").or_default() += 1;
        true
    }

    /// Does one thing to one member; false where that can't be done now.
    fn fault(&mut self) -> bool {
        let (kind, done) = match self.group.rng.random_range(0..100) {
            0..45 => ("killed", self.group.kill()),
            45..70 => ("held", self.group.hold()),
            70..85 => ("left", self.group.leave()),
            _ => ("joined", self.broker.serves() && self.group.join()),
        };
        if done {
            *self.faults.entry(kind).or_default() += 1;
        }
        done
    }

    fn wait(&mut self, time: Duration, armed: bool) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            let serves = self.broker.serves();
            self.group.tend(serves, armed);
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    /// Leaves the group in peace until it has read what was produced before. A group that never gets there hangs.
    fn breathe(&mut self) {
        let began = Instant::now();
        let wanted = self.load.sent() as u64;
        let mut read = committed(self.output);
        self.read_in_storm += read.saturating_sub(self.read);
        while read < wanted {
            let waited = began.elapsed();
            assert!(
                waited < RECOVERS,
                "after {} faults and {waited:.0?} of peace only {read} of {wanted} records are read\n{}",
                self.done(),
                self.group.tails()
            );
            self.wait(Duration::from_millis(250), false);
            read = committed(self.output);
        }
        self.read = read;
        self.calm.push(began.elapsed());
    }

    /// Has the rest produced and all members stop.
    fn end(&mut self) {
        self.read_in_storm += committed(self.output).saturating_sub(self.read);
        while !self.broker.serves() {
            self.wait(Duration::from_millis(100), false);
        }
        self.load.finish();
        self.group.stop();
    }

    fn report(&mut self, plan: &Plan, began: Instant) {
        let p = plan.protocol;
        let mut kinds: Vec<String> = self.faults.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
        if self.group.aborted > 0 {
            kinds.push(format!("ended at a failpoint {}", self.group.aborted));
        }
        say(&format!(
            "{p}: {} faults in {:.0} s: {}; {MEMBERS} members and their successors were started {} times ({} gave up without a broker)",
            self.done(),
            began.elapsed().as_secs_f64(),
            kinds.join(", "),
            self.group.starts,
            self.group.gave_up,
        ));
        self.calm.sort_unstable();
        let middle = self.calm[self.calm.len() / 2].as_secs_f64();
        let longest = self.calm.last().map_or(0.0, Duration::as_secs_f64);
        say(&format!(
            "{p}: {} rebalances, {} of {} records read between the faults; in {} breathers all was read within {middle:.1} s (median), \
             {longest:.1} s at most",
            self.broker.rebalances(p),
            self.read_in_storm,
            self.load.total,
            self.calm.len(),
        ));
        let said = |what| self.group.said(what);
        say(&format!(
            "{p}: another process had taken a partition {} times and the evaluator's role {} times; the role was taken {} times; \
             {} gaps in the log (there are none)",
            said(PARTITION_LOST),
            said(ROLE_LOST),
            said(ROLE_TAKEN),
            said(GAP_FOUND),
        ));
    }
}

/// Records that all partitions together have committed.
fn committed(output: &Path) -> u64 {
    let links = files(&output.join("_chain"));
    let mut newest: BTreeMap<&Path, &Path> = BTreeMap::new();
    for link in links.iter().filter(|l| l.extension().is_some_and(|e| e == "json")) {
        let folder = link.parent().unwrap_or(link);
        if folder.file_name().is_some_and(|f| f.to_string_lossy().starts_with("partition=")) {
            // They are sorted by epoch: the last one stays.
            newest.insert(folder, link);
        }
    }
    // One that is swept away meanwhile counts at the next look.
    newest.values().filter_map(|link| next_offset(link)).sum()
}

/// The offset that the newest commit up to a link of a chain goes on from.
fn next_offset(link: &Path) -> Option<u64> {
    let read = |path: &Path| -> Option<Value> { serde_json::from_slice(&std::fs::read(path).ok()?).ok() };
    let mut newest = read(link)?;
    if newest["commit"].is_null() {
        // A claim, which says where the last commit is.
        let epoch = newest["last_commit"].as_u64()?;
        newest = read(&link.with_file_name(format!("epoch={epoch:012}.json")))?;
    }
    newest["commit"]["next_offset"].as_u64()
}

/// Compares three outputs of the same events, and says first what is lost and doubled.
fn compare(protocol: &str, replayed: &Path, reference: &Path, output: &Path) {
    let until = complete_until(reference).min(complete_until(output));
    let (expected, found) = (hours(reference, until), hours(output, until));
    let (lost, doubled) = (missing(&expected, &found), missing(&found, &expected));
    say(&format!("{protocol}: lost {lost}, doubled {doubled} of {} events", expected.values().sum::<u64>()));
    let (expected, found) = (rejects(reference), rejects(output));
    let (lost_rejects, doubled_rejects) = (missing(&expected, &found), missing(&found, &expected));
    say(&format!("{protocol}: lost {lost_rejects}, doubled {doubled_rejects} of {} rejects", expected.len()));
    assert_eq!((lost, doubled, lost_rejects, doubled_rejects), (0, 0, 0, 0), "{protocol}: lost and doubled");
    assert!(!expected.is_empty(), "{protocol}: nothing was rejected");
    assert_eq!(complete_until(output), complete_until(reference), "{protocol}: the last complete time");
    let rows = assert_same(reference, output);
    let replay = assert_same(replayed, output);
    assert_same(replayed, reference);
    say(&format!(
        "{protocol}: {rows} window rows, all alerts and panes are those of one member, {replay} those of a replay"
    ));
}

/// What `panes` counts over the whole stream, by the hour's start and the feature.
fn hours(output: &Path, until: i64) -> BTreeMap<(i64, String), u64> {
    let mut out = BTreeMap::new();
    for b in table(output, "panes") {
        let (start, end) = (times(&b, "start"), times(&b, "end"));
        let text = |n: &str| b.column_by_name(n).expect("a text column").as_string::<i32>().clone();
        let (by, feature) = (text("segment_by"), text("feature"));
        let n = b.column_by_name("n").expect("the column n").as_primitive::<UInt64Type>();
        for i in (0..b.num_rows()).filter(|i| end[*i] <= until && by.value(*i).is_empty()) {
            *out.entry((start[i], feature.value(i).to_owned())).or_default() += n.value(i);
        }
    }
    out
}

/// How often each row of `rejects` is there.
fn rejects(output: &Path) -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    for row in rows(&table(output, "rejects"), &[]) {
        *out.entry(row).or_default() += 1;
    }
    out
}

/// How much of `a` is not in `b`.
fn missing<K: Ord>(a: &BTreeMap<K, u64>, b: &BTreeMap<K, u64>) -> u64 {
    a.iter().map(|(k, n)| n.saturating_sub(b.get(k).copied().unwrap_or(0))).sum()
}
