//! What a job stands on goes away for a while: its bucket, the room on its disk, the receiver of its alerts; and its topic grows. It waits,
//! says so, goes on by itself, and leaves what an undisturbed job leaves.

mod alerts;
mod bucket;
mod disk;
pub mod job;
mod receiver;

use crate::broker::Broker;
use crate::support::*;
use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use bucket::Bucket;
use disk::Disk;
use driftglass::event::time::{HOUR, floor, parse};
use job::{Job, free_port};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const TOPIC: &str = "events";
const EVENTS: u64 = 30_000;
const DAYS: u64 = 8;
/// How long what must come may take to come on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// How long a whole job may take there.
const WHOLE: Duration = Duration::from_secs(300);
/// How long an outage lasts, unless the job has not noticed it by then.
const AWAY: Duration = Duration::from_secs(8);
/// How long a job may take to end when it is told to while its output is away.
const ENDS: Duration = Duration::from_secs(20);

const READ: &str = "driftglass_events_total";
const JUDGED: &str = "driftglass_window_rows_total";
const FAILING: &str = "driftglass_storage_failing";
const FAILURES: &str = "driftglass_storage_failures_total";

/// A topic of four partitions, and what an undisturbed job makes of it.
struct Stage<'a> {
    d: &'a Path,
    broker: Broker,
    whole: PathBuf,
}

impl<'a> Stage<'a> {
    fn set(d: &'a Path, test: &str) -> Option<Self> {
        let broker = Broker::start(&d.join("kafka"), test)?;
        broker.topic(TOPIC, 4);
        broker.produce(TOPIC, &std::fs::read_to_string(generated(d, EVENTS, DAYS)).unwrap());
        let stage = Self { d, broker, whole: d.join("whole") };
        let mut undisturbed = stage.start(driftglass(), "undisturbed", text(&stage.whole));
        undisturbed.ends_well(WHOLE);
        Some(stage)
    }

    /// Starts a command as a job that reads the topic to its end; its group is called as its files are.
    fn start(&self, mut command: Command, group: &str, output: &str) -> Job {
        let port = free_port();
        let config = live(self.d, &self.broker, group, port, "");
        command.args(["run", "--until-caught-up", "-q", "-c", text(&config), "-o", output]);
        Job::start(command, port, &self.d.join(format!("{group}.log")))
    }
}

/// The configuration of a job that reads the topic and serves its metrics; properties of the client come last.
fn live(d: &Path, broker: &Broker, group: &str, port: u16, properties: &str) -> PathBuf {
    // A static member that comes back gets its partitions at once; another one would wait until the one before has timed out.
    let more = format!(
        "[input]\nkafka = {{ brokers = \"{}\", topic = \"{TOPIC}\", group = \"{group}\" }}\n\
         [serve]\nlisten = \"127.0.0.1:{port}\"\n\
         [kafka.properties]\n\"group.instance.id\" = \"one\"\n\"session.timeout.ms\" = \"6000\"\n{properties}",
        broker.address
    );
    let to = d.join(format!("{group}.toml"));
    std::fs::rename(quick_config(d, &more), &to).unwrap();
    to
}

fn above_zero(job: &Job, name: &str) -> bool {
    job.metric(name).is_some_and(|n| n > 0.0)
}

/// Whether a job says everywhere that it waits for its output.
fn waits(job: &Job) -> bool {
    job.health() == Some(503) && job.metric(FAILING) == Some(1.0)
}

fn well(job: &Job) -> bool {
    job.health() == Some(200)
}

#[test]
fn an_output_in_a_bucket_that_is_away_for_a_while_loses_nothing() {
    let test = "an output in a bucket that is away for a while";
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let Some(bucket) = Bucket::start(&d.join("s3"), test) else { return };
    let Some(stage) = Stage::set(d, test) else { return };

    let line = bucket.line();
    let mut command = driftglass();
    line.lead(&mut command);
    let mut job = stage.start(command, "away", &bucket.url("away"));
    let mut failures = 0.0;
    // Once while it mostly reads, once while it mostly evaluates.
    for (began, with, last) in [("it reads", READ, false), ("it judges", JUDGED, true)] {
        job.until(began, WHOLE, |j| above_zero(j, with));
        line.cut();
        let cut = Instant::now();
        let noticed = job.until("it says that its output is away", SOON, waits);
        std::thread::sleep(AWAY.saturating_sub(cut.elapsed()));
        assert!(waits(&job), "it says so until the end of the outage:\n{}", job.tail());
        let away = cut.elapsed();
        failures = job.metric(FAILURES).unwrap_or(failures);
        line.mend();
        let back = match last {
            false => job.until("it is well again", SOON, well),
            true => job.until_or_done("it is well again", SOON, well),
        };
        say(&format!(
            "while {began} its bucket was away for {:.1} s: it said so after {:.1} s and was well {:.1} s after the end",
            away.as_secs_f64(),
            noticed.as_secs_f64(),
            back.as_secs_f64()
        ));
    }
    let status = job.ends(WHOLE, |j| failures = j.metric(FAILURES).unwrap_or(failures));
    assert!(status.success(), "{status}:\n{}", job.tail());

    let got = d.join("got");
    bucket.download("away", &got);
    let rows = assert_same(&stage.whole, &got);
    say(&format!("{failures} operations on the bucket failed, {rows} window rows are the same"));
    assert!(failures > 0.0, "no operation failed");
}

#[test]
fn sigterm_in_the_middle_of_an_outage_ends_well_and_loses_nothing() {
    let test = "SIGTERM in the middle of an outage";
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let Some(bucket) = Bucket::start(&d.join("s3"), test) else { return };
    let Some(stage) = Stage::set(d, test) else { return };

    let line = bucket.line();
    let start = || {
        let mut command = driftglass();
        line.lead(&mut command);
        stage.start(command, "told", &bucket.url("told"))
    };
    let mut job = start();
    job.until("it reads", WHOLE, |j| above_zero(j, READ));
    line.cut();
    job.until("it says that its output is away", SOON, waits);
    job.terminate();
    let told = Instant::now();
    let status = job.ends(ENDS, |_| ());
    say(&format!(
        "told to stop while its bucket was away it ended after {:.1} s",
        told.elapsed().as_secs_f64()
    ));
    assert_eq!(status.code(), Some(3), "{status}:\n{}", job.tail());
    let log = job.log();
    let last_words: Vec<&str> = log.lines().filter(|l| l.starts_with("driftglass: ")).collect();
    assert!(last_words.len() == 1 && last_words[0].contains("can't "), "not one line that says why:\n{log}");
    assert!(!log.contains("panic"), "{log}");

    line.mend();
    start().ends_well(WHOLE);
    let got = d.join("got");
    bucket.download("told", &got);
    let rows = assert_same(&stage.whole, &got);
    say(&format!("{rows} window rows are the same after the next start"));
}

/// Bytes that files take on a disk of pages.
fn taken(files: &[PathBuf]) -> u64 {
    files.iter().map(|f| f.metadata().unwrap().len().next_multiple_of(4096)).sum()
}

#[test]
fn a_full_disk_is_waited_for_and_nothing_is_lost() {
    let test = "a full disk";
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path().canonicalize().unwrap();
    let at = d.join("disk");
    std::fs::create_dir(&at).unwrap();
    // Whether it can be mounted is known at once, how large it must be only later.
    if Disk::mount(&at, 1 << 20, test).is_none() {
        return;
    }
    let Some(stage) = Stage::set(&d, test) else { return };
    // Twice what is there in the end, for what comes and goes on the way.
    let size = 2 * taken(&files(&stage.whole)) + (8 << 20);
    let Some(disk) = Disk::mount(&at, size, test) else { return };
    disk.fill(1 << 20);

    let output = disk.dir.join("out");
    let mut job = stage.start(disk.driftglass(), "full", text(&output));
    job.until("it says that its disk is full", WHOLE, waits);
    std::thread::sleep(Duration::from_secs(6));
    assert!(waits(&job), "there is no more room than before:\n{}", job.tail());
    disk.free();
    let back = job.until_or_done("it is well again", SOON, well);
    job.ends_well(WHOLE);

    let got = disk.seen.join("out");
    let left: Vec<PathBuf> =
        files(&got).into_iter().filter(|f| f.extension().is_some_and(|e| e == "tmp")).collect();
    assert!(left.is_empty(), "half-written files are left: {left:?}");
    let rows = assert_same(&stage.whole, &got);
    say(&format!(
        "on a disk of {} MiB that was full it was well {:.1} s after there was room, {rows} window rows are the same",
        size >> 20,
        back.as_secs_f64()
    ));
}

/// Gives the topic more partitions.
fn grow(broker: &Broker, partitions: usize) {
    let admin: AdminClient<_> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &broker.address).create().unwrap();
    let more = NewPartitions::new(TOPIC, partitions);
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    let grown = futures::executor::block_on(admin.create_partitions([&more], &options)).unwrap();
    grown.into_iter().for_each(|topic| assert!(topic.is_ok(), "{topic:?}"));
}

/// Events by hour, as `panes` counts them over the whole stream.
fn counted(output: &Path) -> BTreeMap<i64, u64> {
    let mut out = BTreeMap::new();
    for b in table(output, "panes") {
        let start = times(&b, "start");
        let text = |n: &str| b.column_by_name(n).expect("a text column").as_string::<i32>().clone();
        let (by, feature) = (text("segment_by"), text("feature"));
        let n = b.column_by_name("n").expect("the column n").as_primitive::<UInt64Type>();
        // Every event counts once in the volume, whatever it carries.
        for i in (0..b.num_rows()).filter(|i| by.value(*i).is_empty() && feature.value(*i) == "volume") {
            *out.entry(start[i]).or_default() += n.value(i);
        }
    }
    out
}

/// Events by hour, as they say themselves.
fn produced(lines: &str) -> BTreeMap<i64, u64> {
    let mut out = BTreeMap::new();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let time = event["timestamp"].as_str().and_then(parse).expect("an event's time");
        *out.entry(floor(time, HOUR)).or_default() += 1;
    }
    out
}

/// How much of `a` is not in `b`.
fn missing(a: &BTreeMap<i64, u64>, b: &BTreeMap<i64, u64>) -> u64 {
    a.iter().map(|(hour, n)| n.saturating_sub(b.get(hour).copied().unwrap_or(0))).sum()
}

#[test]
fn a_topic_that_grows_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let Some(broker) = Broker::start(&d.join("kafka"), "a topic that grows") else { return };
    broker.topic(TOPIC, 2);
    let lines = std::fs::read_to_string(generated(d, EVENTS, DAYS)).unwrap();
    let half = lines.len() / 2 + lines[lines.len() / 2..].find('\n').unwrap() + 1;
    let count = |lines: &str| lines.lines().count() as f64;

    let (port, output) = (free_port(), d.join("output"));
    let config = live(d, &broker, "grown", port, "\"topic.metadata.refresh.interval.ms\" = \"1000\"\n");
    let args = ["run", "-q", "-c", text(&config), "-o", text(&output)];
    let mut command = driftglass();
    command.args(args);
    let mut job = Job::start(command, port, &d.join("grown.log"));
    broker.produce(TOPIC, &lines[..half]);
    job.until("it has read the first half", WHOLE, |j| j.metric(READ) == Some(count(&lines[..half])));
    grow(&broker, 4);
    let grown = Instant::now();
    // Before the job knows of the new partitions: it must read them from their beginning.
    broker.produce(TOPIC, &lines[half..]);
    // While the group is shared out anew, what was read and not yet committed is read again, and counted again by this counter. So it may
    // come to more than there is; that all is read is when it stands still.
    let (mut read, mut since) = (0.0, Instant::now());
    job.until("it has read all of four partitions", WHOLE, |j| {
        let now = j.metric(READ).unwrap_or(read);
        if now != read {
            (read, since) = (now, Instant::now());
        }
        let all = j.metric("driftglass_partitions") == Some(4.0) && read >= count(&lines);
        all && since.elapsed() > Duration::from_secs(3)
    });
    job.terminate();
    job.ends_well(SOON);

    let last = ok(&[&args[..], &["--until-caught-up", "--json"][..]].concat());
    let last: Value = serde_json::from_str(last.lines().next_back().unwrap()).unwrap();
    let panes = files(&output.join("_panes"));
    let of = |name: &str| panes.iter().any(|f| f.components().any(|c| c.as_os_str() == name));
    assert!(of("partition=00002") && of("partition=00003"), "nothing was produced to the new partitions");
    let (expected, found) = (produced(&lines), counted(&output));
    let (lost, doubled) = (missing(&expected, &found), missing(&found, &expected));
    say(&format!(
        "a topic that grew from 2 to 4 partitions: lost {lost}, doubled {doubled} of {} events; all were read {:.1} s after it had grown, \
         {} of them twice, and {} by the last start",
        count(&lines),
        since.duration_since(grown).as_secs_f64(),
        read - count(&lines),
        last["messages"],
    ));
    assert_eq!((lost, doubled), (0, 0), "lost and doubled");
    assert_eq!(found.values().sum::<u64>(), lines.lines().count() as u64, "events in all hours");
}
