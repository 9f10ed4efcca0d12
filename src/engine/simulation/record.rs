//! What a job left, read back and compared.

use crate::alert::alerts_from_batch;
use crate::engine::evaluate::commits::EvaluatorCommit;
use crate::engine::ingest::commits::PartitionCommit;
use crate::sketch::Sketch;
use crate::store::Storage;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that is promised to be the same.
pub struct Record {
    /// Complete rows, all values.
    windows: Vec<String>,
    alerts: Vec<String>,
    /// Sketches of hours, merged over late additions.
    hours: BTreeMap<String, Vec<u8>>,
    rejects: Vec<String>,
    /// The last end of a complete window.
    until: i64,
    /// Rows of windows that are there twice, complete or not.
    doubled: Vec<String>,
}

fn table(storage: &Storage, name: &str) -> Vec<RecordBatch> {
    let mut out = Vec::new();
    for path in storage.list(name).unwrap() {
        let bytes = storage.get(&path).unwrap().unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        out.extend(reader.map(Result::unwrap));
    }
    out
}

fn text(b: &RecordBatch, row: usize, columns: &[&str]) -> String {
    let options = FormatOptions::default().with_null("∅");
    let mut out = String::new();
    for (f, c) in b.schema().fields().iter().zip(b.columns()) {
        if columns.is_empty() || columns.contains(&f.name().as_str()) {
            let shown = ArrayFormatter::try_new(c, &options).unwrap();
            out += &format!("{}={} ", f.name(), shown.value(row));
        }
    }
    out
}

fn time(b: &RecordBatch, row: usize, column: &str) -> i64 {
    b.column_by_name(column).unwrap().as_primitive::<TimestampMicrosecondType>().value(row)
}

fn rows(storage: &Storage, name: &str, keep: impl Fn(&RecordBatch, usize) -> bool) -> Vec<String> {
    let mut out = Vec::new();
    for b in table(storage, name) {
        out.extend((0..b.num_rows()).filter(|i| keep(&b, *i)).map(|i| text(&b, i, &[])));
    }
    out.sort();
    out
}

impl Record {
    pub fn read(storage: &Storage) -> Self {
        let complete =
            |b: &RecordBatch, i: usize| b.column_by_name("complete").unwrap().as_boolean().value(i);
        let mut until = i64::MIN;
        let (mut keys, mut doubled) = (BTreeSet::new(), Vec::new());
        for b in table(storage, "windows") {
            for i in 0..b.num_rows() {
                if complete(&b, i) {
                    until = until.max(time(&b, i, "window_end"));
                }
                let key =
                    text(&b, i, &["window_end", "window", "segment_by", "segment", "feature", "baseline"]);
                if !keys.insert(key.clone()) {
                    doubled.push(key);
                }
            }
        }
        let mut hours: BTreeMap<String, Sketch> = BTreeMap::new();
        for b in table(storage, "panes") {
            let sketches = b.column_by_name("sketch").unwrap().as_binary::<i32>();
            for i in (0..b.num_rows()).filter(|i| time(&b, *i, "end") <= until) {
                let key = text(&b, i, &["start", "segment_by", "segment", "feature"]);
                let sketch = Sketch::decode(sketches.value(i)).unwrap();
                match hours.get_mut(&key) {
                    Some(s) => s.merge(&sketch).unwrap(),
                    None => {
                        hours.insert(key, sketch);
                    }
                }
            }
        }
        Self {
            windows: rows(storage, "windows", |b, i| complete(b, i) && time(b, i, "window_end") <= until),
            alerts: rows(storage, "alerts", |b, i| time(b, i, "at") <= until),
            hours: hours.into_iter().map(|(k, s)| (k, s.encode())).collect(),
            rejects: rows(storage, "rejects", |_, _| true),
            until,
            doubled,
        }
    }

    /// Fails where a comparison with this record would say little.
    pub fn assert_telling(&self) {
        let sizes = (self.windows.len(), self.alerts.len(), self.hours.len(), self.rejects.len());
        assert!(
            sizes.0 > 50 && sizes.1 > 2 && sizes.2 > 20 && sizes.3 > 0,
            "windows, alerts, hours, rejects: {sizes:?}"
        );
    }

    /// What is not as in `expected`.
    pub fn differences(&self, expected: &Self) -> Vec<String> {
        let mut out: Vec<String> = self.doubled.iter().map(|d| format!("doubled: {d}")).take(3).collect();
        if self.until != expected.until {
            out.push(format!("complete until {} instead of {}", self.until, expected.until));
        }
        for (name, mine, theirs) in [
            ("windows", &self.windows, &expected.windows),
            ("alerts", &self.alerts, &expected.alerts),
            ("rejects", &self.rejects, &expected.rejects),
        ] {
            let (a, b): (BTreeSet<_>, BTreeSet<_>) = (mine.iter().collect(), theirs.iter().collect());
            out.extend(b.difference(&a).take(2).map(|r| format!("{name}: lost {r}")));
            out.extend(a.difference(&b).take(2).map(|r| format!("{name}: too much {r}")));
            if mine.len() != theirs.len() {
                out.push(format!("{name}: {} rows instead of {}", mine.len(), theirs.len()));
            }
        }
        if self.hours != expected.hours {
            let wrong = expected.hours.iter().filter(|(k, v)| self.hours.get(*k) != Some(*v)).count();
            out.push(format!("hours: {wrong} of {} are not the same", expected.hours.len()));
        }
        out
    }
}

#[derive(serde::Deserialize)]
struct Link<T> {
    commit: Option<T>,
}

fn commit<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice::<Link<T>>(bytes).unwrap().commit
}

/// Checks what was committed over time: offsets and evaluations go forward, published files are
/// exactly those that manifests name. A manifest behind the head of its chain does not count: a
/// process that slept wrote it where a sweep had deleted one, and must notice.
pub fn manifests(written: &[(String, Vec<u8>)], storage: &Storage) -> Vec<String> {
    let (mut out, mut named) = (Vec::new(), BTreeSet::new());
    let mut heads: BTreeMap<&str, &str> = BTreeMap::new();
    let mut offsets: BTreeMap<String, i64> = BTreeMap::new();
    let mut at = i64::MIN;
    for (path, bytes) in written {
        let Some((chain, link)) = path.rsplit_once('/') else { continue };
        let head = heads.entry(chain).or_default();
        if link <= *head {
            continue;
        }
        *head = link;
        let files = if chain.ends_with("evaluator") {
            let Some(c) = commit::<EvaluatorCommit>(bytes) else { continue };
            if let Some(now) = c.state.at {
                if now < at {
                    out.push(format!("{path}: evaluated to {now} after {at}"));
                }
                at = now;
            }
            c.files
        } else {
            let Some(c) = commit::<PartitionCommit>(bytes) else { continue };
            let before = offsets.insert(chain.to_owned(), c.next_offset);
            if before.is_some_and(|b| b > c.next_offset) {
                out.push(format!("{path}: went back to offset {}", c.next_offset));
            }
            c.files
        };
        named.extend(files.into_iter().map(|f| f.to));
    }
    for table in ["windows", "alerts", "exclusions", "rejects", "panes"] {
        let there: BTreeSet<String> = storage.list(table).unwrap().into_iter().collect();
        out.extend(there.iter().filter(|f| !named.contains(*f)).map(|f| format!("{f} is in no commit")));
        let mine = named.iter().filter(|f| f.starts_with(&format!("{table}/")) && !there.contains(*f));
        out.extend(mine.map(|f| format!("{f} was committed and not published")));
    }
    out
}

/// Alerts of the table that were never sent.
pub fn unsent(storage: &Storage, sent: &BTreeSet<String>) -> Vec<String> {
    let mut out = Vec::new();
    for b in table(storage, "alerts") {
        for a in alerts_from_batch(&b).unwrap() {
            let key = format!("{} {:?} {}", a.id, a.state, a.at);
            if !sent.contains(&key) {
                out.push(format!("never sent: {key}"));
            }
        }
    }
    out.truncate(3);
    out
}
