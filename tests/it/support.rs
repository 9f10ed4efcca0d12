//! Running the binary, reading its tables, comparing outputs.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use driftglass::sketch::Sketch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The binary under test: the one built with the tests, or another that `DRIFTGLASS_BIN` names.
pub fn driftglass() -> Command {
    let built = std::ffi::OsString::from(env!("CARGO_BIN_EXE_driftglass"));
    let mut c = Command::new(std::env::var_os("DRIFTGLASS_BIN").unwrap_or(built));
    c.env_remove("DRIFTGLASS_CONFIG").env_remove("RUST_LOG");
    c
}

/// Runs the binary and returns what it printed; fails the test with its error otherwise.
pub fn ok(args: &[&str]) -> String {
    let out = output(args);
    assert!(out.status.success(), "driftglass {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Runs the binary.
pub fn output(args: &[&str]) -> Output {
    driftglass().args(args).output().expect("the binary starts")
}

/// Starts the binary.
pub fn start(args: &[&str]) -> Child {
    driftglass().args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// Says a line that is seen even where the test passes: the harness holds back what macros print, not this.
pub fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The folder of real data, or a line that says why the test is passed over.
pub fn data(test: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("DRIFTGLASS_DATA").map(PathBuf::from).filter(|d| d.join("events").is_dir());
    if dir.is_none() {
        say(&format!("skipped {test}: DRIFTGLASS_DATA does not name a folder with events/"));
    }
    dir
}

/// Generated events: `events` over `days`, with an incident of each of three kinds.
pub fn generated(dir: &Path, events: u64, days: u64) -> PathBuf {
    let file = dir.join("events.jsonl");
    let at = |day: u64| format!("2026-01-{:02}T06:00:00Z", 5 + day);
    let shift = format!("prompt-shift:tenant=birch:{}", at(days / 2));
    let drop = format!("aesthetic-drop:model_version=sdxl-1.0:{}", at(days / 2 + 1));
    let (n, d) = (events.to_string(), days.to_string());
    let mut args = vec!["generate", "--events", &n, "--days", &d, "--start", "2026-01-05", "--seed", "7"];
    args.extend(["--incident", &shift]);
    // Of a day or two, the second would begin after the end.
    if days / 2 + 1 < days {
        args.extend(["--incident", &drop]);
    }
    args.extend([text(&file), "--quiet"]);
    ok(&args);
    file
}

/// A configuration whose evaluation is quick: two windows, three groupings.
pub fn quick_config(dir: &Path, more: &str) -> PathBuf {
    let file = dir.join("job.toml");
    let base = "[privacy]\nkey = \"a key for tests\"\n[windows]\nrolling = [\"1h\", \"24h\"]\n[engine]\ncommit_every = \"200ms\"\n\
                [[segments]]\nby = [\"tenant\"]\n[[segments]]\nby = [\"model_version\"]\n[[segments]]\nby = []\n";
    std::fs::write(&file, format!("{base}{more}")).expect("a file in a temporary folder");
    file
}

/// All files under a folder.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(f) = folders.pop() {
        for entry in std::fs::read_dir(&f).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { out.push(path) }
        }
    }
    out.sort();
    out
}

/// The record batches of a public table.
pub fn table(output: &Path, name: &str) -> Vec<RecordBatch> {
    let mut out = Vec::new();
    let parquet = |path: &PathBuf| path.extension().is_some_and(|e| e == "parquet");
    for path in files(&output.join(name)).into_iter().filter(parquet) {
        let file = std::fs::File::open(&path).expect("a listed file opens");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(|b| b.build())
            .expect("a table's file reads");
        out.extend(reader.map(|b| b.expect("a table's rows read")));
    }
    out
}

/// Rows of a table as text, sorted: `key=value` for every column but those left out.
pub fn rows(batches: &[RecordBatch], without: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    for b in batches {
        let options = FormatOptions::default().with_null("∅");
        let columns: Vec<(String, ArrayFormatter<'_>)> = b
            .schema()
            .fields()
            .iter()
            .zip(b.columns())
            .filter(|(f, _)| !without.contains(&f.name().as_str()))
            .map(|(f, c)| {
                (f.name().clone(), ArrayFormatter::try_new(c, &options).expect("a printable column"))
            })
            .collect();
        for i in 0..b.num_rows() {
            out.push(columns.iter().map(|(n, c)| format!("{n}={} ", c.value(i))).collect::<String>());
        }
    }
    out.sort();
    out
}

/// The values of a timestamp column.
pub fn times(batch: &RecordBatch, column: &str) -> Vec<i64> {
    let c =
        batch.column_by_name(column).expect("a timestamp column").as_primitive::<TimestampMicrosecondType>();
    (0..c.len()).map(|i| c.value(i)).collect()
}

/// Complete rows of `windows` that end at or before `until`.
pub fn complete_windows(output: &Path, until: i64) -> Vec<String> {
    let mut out = Vec::new();
    for b in table(output, "windows") {
        let complete = b.column_by_name("complete").expect("the column complete").as_boolean().clone();
        let ends = times(&b, "window_end");
        let keep: arrow::array::BooleanArray =
            (0..b.num_rows()).map(|i| Some(complete.value(i) && ends[i] <= until)).collect();
        out.push(arrow::compute::filter_record_batch(&b, &keep).expect("a filter of the right length"));
    }
    rows(&out, &[])
}

/// The last time up to which all rows of `windows` are complete.
pub fn complete_until(output: &Path) -> i64 {
    let mut last = i64::MIN;
    for b in table(output, "windows") {
        let complete = b.column_by_name("complete").expect("the column complete").as_boolean().clone();
        let ends = times(&b, "window_end");
        last = last
            .max((0..b.num_rows()).filter(|i| complete.value(*i)).map(|i| ends[i]).max().unwrap_or(i64::MIN));
    }
    last
}

/// Rows of `alerts` at or before `until`.
pub fn alerts_until(output: &Path, until: i64) -> Vec<String> {
    let mut out = Vec::new();
    for b in table(output, "alerts") {
        let at = times(&b, "at");
        let keep: arrow::array::BooleanArray = at.iter().map(|t| Some(*t <= until)).collect();
        out.push(arrow::compute::filter_record_batch(&b, &keep).expect("a filter of the right length"));
    }
    rows(&out, &[])
}

/// Hours of `panes` that end at or before `until`, merged over late additions: key to the sketch's bytes.
pub fn merged_panes(output: &Path, until: i64) -> BTreeMap<String, Vec<u8>> {
    let mut out: BTreeMap<String, Sketch> = BTreeMap::new();
    for b in table(output, "panes") {
        let (start, end) = (times(&b, "start"), times(&b, "end"));
        let text = |n: &str| b.column_by_name(n).expect("a text column").as_string::<i32>().clone();
        let (by, segment, feature) = (text("segment_by"), text("segment"), text("feature"));
        let sketches = b.column_by_name("sketch").expect("the column sketch").as_binary::<i32>();
        for i in (0..b.num_rows()).filter(|i| end[*i] <= until) {
            let key = format!("{} {} {} {}", start[i], by.value(i), segment.value(i), feature.value(i));
            let sketch = Sketch::decode(sketches.value(i)).expect("a sketch decodes");
            match out.get_mut(&key) {
                Some(s) => s.merge(&sketch).expect("like sketches merge"),
                None => {
                    out.insert(key, sketch);
                }
            }
        }
    }
    out.into_iter().map(|(k, s)| (k, s.encode())).collect()
}

/// Fails unless two outputs hold the same up to the last time that is complete in both; returns the number of window rows compared.
pub fn assert_same(a: &Path, b: &Path) -> usize {
    let until = complete_until(a).min(complete_until(b));
    let (x, y) = (complete_windows(a, until), complete_windows(b, until));
    assert!(!x.is_empty(), "no complete windows to compare");
    same("windows", &x, &y);
    same("alerts", &alerts_until(a, until), &alerts_until(b, until));
    let (p, q) = (merged_panes(a, until), merged_panes(b, until));
    assert_eq!(p.len(), q.len(), "hours");
    for (k, v) in &p {
        assert_eq!(Some(v), q.get(k), "hour {k}");
    }
    x.len()
}

fn same(what: &str, x: &[String], y: &[String]) {
    if let Some(i) = (0..x.len().min(y.len())).find(|i| x[*i] != y[*i]) {
        panic!("{what} differ:\n  {}\n  {}", x[i], y[i]);
    }
    assert_eq!(x.len(), y.len(), "number of {what}");
}

/// A text file beside the tests.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// The numbers of a `.npy` file of `f32`, row by row.
pub fn npy(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("a matrix of vectors");
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[header..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}
