//! Names as services write them: with spaces, brackets, other scripts and separators. They stay
//! apart, and what is no name is found nowhere but as its hash.

use crate::support::*;
use arrow::array::AsArray;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const DAYS: usize = 7;
const SESSIONS: usize = 48;
const TENANTS: [&str; 4] = ["Acme Inc.", "Müller & Söhne", "a, b=c \\ d", "#1"];
const NAMED: [&str; 4] = ["gpu", "loras", "sampler", "style_collection"];

/// Two requests of a session on a day, with names as `old` until the last day.
fn events(change: impl Fn(&mut Value, usize, usize)) -> Vec<Value> {
    let mut out = Vec::new();
    for (day, s) in (0..DAYS).flat_map(|d| (0..SESSIONS).map(move |s| (d, s))) {
        let minute = s * 1440 / SESSIONS;
        for k in 0..2 {
            let mut e = json!({
                "request_id": format!("r{day}-{s}-{k}"), "pipeline_stage": "generate", "session_id": format!("s{day}-{s}"),
                "timestamp": format!("2026-01-{:02}T{:02}:{:02}:{:02}Z", 5 + day, minute / 60, minute % 60, 10 * k),
                "user_id_hash": format!("u{s}"), "tenant": TENANTS[s % 2], "model": {"version": "M1"},
            });
            change(&mut e, day, s);
            out.push(e);
        }
    }
    out
}

/// From one sampler, LoRA, GPU and style to another on the last day.
fn changing(e: &mut Value, day: usize, _: usize) {
    let new = day == DAYS - 1;
    let pick = |old: &str, now: &str| if new { now.to_owned() } else { old.to_owned() };
    e["params"] = json!({ "sampler": pick("Euler a", "DPM++ 2M Karras") });
    e["model"]["loras"] = json!([pick("add detail (v1.2)", "立绘拆分 lion")]);
    e["resources"] = json!({ "gpu_type": pick("NVIDIA A10G", "NVIDIA H100 80GB HBM3") });
    e["style"] = json!({ "collection": pick("Line Art", "Studio Ghibli") });
}

fn write(dir: &Path, events: &[Value]) -> PathBuf {
    let file = dir.join("events.jsonl");
    let lines: String = events.iter().map(|e| format!("{e}\n")).collect();
    std::fs::write(&file, lines).unwrap();
    file
}

fn config(dir: &Path, more: &str) -> PathBuf {
    let file = dir.join("job.toml");
    let base = "[windows]\nrolling = [\"24h\"]\n[baselines]\nrolling_days = [4]\n[[features]]\nname = \"gpu\"\n\
                from = \"resources.gpu_type\"\n[[segments]]\nby = []\n[[segments]]\nby = [\"tenant\"]\n\
                [[segments]]\nby = [\"model_version\", \"tenant\"]\n[privacy]\nkey = \"a key for tests\"\n";
    std::fs::write(&file, format!("{base}{more}")).unwrap();
    file
}

fn replay(config: &Path, out: &Path, input: &Path) {
    ok(&["replay", "-q", "-c", text(config), "-o", text(out), text(input)]);
}

/// Two text columns of a table, as pairs.
fn pairs(out: &Path, name: &str, columns: [&str; 2]) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for b in table(out, name) {
        let [x, y] = columns.map(|c| b.column_by_name(c).unwrap().as_string_opt::<i32>().unwrap().clone());
        let value = |a: &arrow::array::StringArray, i| {
            if arrow::array::Array::is_null(a, i) { "∅".to_owned() } else { a.value(i).to_owned() }
        };
        all.extend((0..b.num_rows()).map(|i| (value(&x, i), value(&y, i))));
    }
    all
}

/// The verdicts of the last window over all traffic, by feature.
fn last_verdicts(out: &Path) -> BTreeMap<String, String> {
    let mut last: BTreeMap<String, (i64, String)> = BTreeMap::new();
    for b in table(out, "windows") {
        let column = |n: &str| b.column_by_name(n).unwrap().as_string::<i32>().clone();
        let (segment, feature, verdict) = (column("segment"), column("feature"), column("verdict"));
        for (i, end) in times(&b, "window_end").into_iter().enumerate() {
            if segment.value(i).is_empty() {
                let entry = last.entry(feature.value(i).to_owned()).or_default();
                *entry = entry.clone().max((end, verdict.value(i).to_owned()));
            }
        }
    }
    last.into_iter().map(|(f, (_, v))| (f, v)).collect()
}

#[test]
fn from_one_real_name_to_another_is_drift_and_two_tenants_are_two_segments() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (input, config) = (write(d, &events(changing)), config(d, ""));
    let out = d.join("out");
    replay(&config, &out, &input);
    let verdicts = last_verdicts(&out);
    for feature in NAMED {
        assert_eq!(verdicts.get(feature).map(String::as_str), Some("drift"), "{feature}: {verdicts:?}");
    }
    let segments = pairs(&out, "windows", ["segment", "tenant"]);
    for tenant in &TENANTS[..2] {
        assert!(segments.contains(&(format!("tenant={tenant}"), (*tenant).to_owned())), "{segments:?}");
    }
    assert!(table(&out, "rejects").is_empty(), "nothing was refused");
    let said = ok(&["check", "-c", text(&config), "--events", text(&input)]);
    assert!(!said.contains("refused_name"), "{said}");
}

#[test]
fn commands_and_rules_know_a_segment_by_whatever_its_name_is() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let input = write(
        d,
        &events(|e, day, s| {
            changing(e, day, s);
            e["tenant"] = json!(TENANTS[s % 4]);
        }),
    );
    let config = config(
        d,
        "[[rules]]\nname = \"odd\"\nfeature = \"volume\"\nwhen = '''tenant = 'a, b=c \\ d' and n > 0'''\n\
         [[rules]]\nname = \"plain\"\nfeature = \"volume\"\nwhen = '''tenant = 'Müller & Söhne' and n > 0'''\n\
         [[rules]]\nname = \"hash\"\nfeature = \"volume\"\nwhen = '''tenant = '\\#1' and n > 0'''\n",
    );
    let (c, out) = (text(&config).to_owned(), d.join("out"));
    replay(&config, &out, &input);
    let odd = r"tenant=a\, b\=c \\ d";
    let found = pairs(&out, "windows", ["segment", "tenant"]);
    for (segment, tenant) in [
        ("tenant=Müller & Söhne", "Müller & Söhne"),
        (odd, r"a, b=c \ d"),
        (r"model_version=M1,tenant=a\, b\=c \\ d", r"a, b=c \ d"),
        (r"tenant=\\#1", r"\#1"),
    ] {
        assert!(found.contains(&(segment.to_owned(), tenant.to_owned())), "{segment}: {found:?}");
    }
    let fired = pairs(&out, "alerts", ["rule", "segment"]);
    let of = |rule: &str| -> BTreeSet<&str> {
        fired.iter().filter(|(r, s)| r == rule && !s.contains("model")).map(|(_, s)| s.as_str()).collect()
    };
    assert_eq!(of("odd"), BTreeSet::from([odd]));
    assert_eq!(of("plain"), BTreeSet::from(["tenant=Müller & Söhne"]));
    assert_eq!(of("hash"), BTreeSet::from([r"tenant=\\#1"]));
    for segment in ["tenant=Müller & Söhne", odd, r"tenant=\\#1"] {
        let o = text(&out);
        let args = ["--segment", segment, "--feature", "volume", "-c", &c, "-o", o, "--json"];
        let shown = ok(&[&["baseline", "show", "rolling_4d"], &args[..]].concat());
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown.as_array().unwrap().len(), 1, "{segment}: {shown}");
        assert_eq!(shown[0]["segment"], segment);
        ok(&[&["baseline", "accept"], &args[..]].concat());
    }
    let worst =
        "select count(*) as n from windows where tenant = 'a, b=c \\ d' and segment like '%tenant=a%'";
    let counted = ok(&["sql", "-c", &c, "-o", text(&out), "--format", "csv", "-e", worst]);
    assert!(counted.lines().nth(1).unwrap().parse::<u64>().unwrap() > 0, "{counted}");
}

/// A text that no name is: longer than any, with the look of a prompt.
fn sentence(field: &str) -> String {
    format!("kanarienvogel {field} {}", "on a hill in the morning fog ".repeat(5))
}

/// Sets a value at a dotted path.
fn set(e: &mut Value, path: &str, value: Value) {
    let mut at = e;
    for part in path.split('.') {
        at = &mut at[part];
    }
    *at = value;
}

const FIELDS: [&str; 13] = [
    "region",
    "tenant",
    "traffic_source",
    "prompt.language",
    "model.family",
    "model.version",
    "model.checkpoint_hash",
    "params.sampler",
    "params.resolution",
    "resources.gpu_type",
    "safety.category",
    "error.code",
    "style.collection",
];

#[test]
fn what_is_no_name_is_found_nowhere_and_still_keeps_its_identity() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    // In the first half of the sessions a sentence in every name field, in one of the others an
    // escape sequence.
    let events = events(|e, day, s| {
        for field in FIELDS {
            let value = if s % 2 == 0 { sentence(field) } else { format!("{field} as usual") };
            set(e, field, json!(value));
        }
        let lora = if day == DAYS - 1 { "another sentence" } else { "sentence" };
        e["model"]["loras"] = json!([sentence(lora), "fine (v1.2)"]);
        if s == 1 {
            e["tenant"] = json!("kanarienvogel\u{1b}[31m");
        }
    });
    let input = write(d, &events);
    let by: String = FIELDS.iter().map(|f| format!("[[segments]]\nby = [{f:?}]\n")).collect();
    let by = by.replace("[[segments]]\nby = [\"tenant\"]\n", "");
    let alerts = format!("[alerts]\njsonl = {:?}\n", d.join("alerts.jsonl"));
    let config = config(d, &format!("{alerts}{by}"));
    let (out, kept) = (d.join("out"), d.join("kept"));
    let mut said = Vec::new();
    for args in [
        vec!["replay", "-c", text(&config), "-o", text(&out), text(&input), "-vv"],
        vec!["archive", "-c", text(&config), "-o", text(&kept), text(&input), "-vv"],
        vec!["check", "-c", text(&config), "--events", text(&input)],
        vec!["check", "-c", text(&config), "--events", text(&input), "--json"],
        vec!["baseline", "show", "rolling_4d", "--segment", "*", "-c", text(&config), "-o", text(&out)],
    ] {
        let done = output(&args);
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        said.push(done.stdout);
        said.push(done.stderr);
    }
    let look = |place: &str, bytes: &[u8]| {
        let word = b"kanarienvogel";
        assert!(!bytes.windows(word.len()).any(|w| w == word), "a sentence stands in {place}");
    };
    said.iter().for_each(|s| look("what was said", s));
    let written = files(&out).into_iter().chain(files(&kept)).chain([d.join("alerts.jsonl")]);
    for path in written.filter(|p| p.is_file()) {
        look(&path.display().to_string(), &std::fs::read(&path).unwrap());
    }
    for (root, name) in [&out, &kept].into_iter().flat_map(|o| tables_of(o).into_iter().map(move |t| (o, t)))
    {
        for b in table(root, &name) {
            rows(std::slice::from_ref(&b), &["sketch", "sketches"])
                .iter()
                .for_each(|r| look(&name, r.as_bytes()));
            for column in ["sketch", "sketches"] {
                if let Some(s) = b.column_by_name(column).and_then(|c| c.as_binary_opt::<i32>()) {
                    s.iter().flatten().for_each(|bytes| look("a sketch", bytes));
                }
            }
        }
    }

    let refused = pairs(&out, "rejects", ["reason", "field"]);
    let expected: BTreeSet<_> =
        FIELDS.iter().chain(&["model.loras"]).map(|f| ("refused_name".to_owned(), (*f).to_owned())).collect();
    assert_eq!(refused, expected);
    let kept_rejects: usize = table(&kept, "archive/_rejects").iter().map(|b| b.num_rows()).sum();
    assert_eq!(kept_rejects, table(&out, "rejects").iter().map(|b| b.num_rows()).sum::<usize>());
    let checked = String::from_utf8_lossy(&said[4]).into_owned();
    for field in FIELDS {
        assert!(
            checked.lines().any(|l| l.contains(field) && l.contains("refused_name")),
            "{field}: {checked}"
        );
    }
    let hash = |s: &str| s.len() == "tenant=#".len() + 16 && s.starts_with("tenant=#");
    let tenants: BTreeSet<String> = pairs(&out, "windows", ["segment_by", "segment"])
        .into_iter()
        .filter_map(|(by, s)| (by == "tenant").then_some(s))
        .collect();
    assert_eq!(
        tenants.iter().filter(|s| hash(s)).count(),
        2,
        "the sentence, and the escape sequence: {tenants:?}"
    );
    assert!(tenants.contains("tenant=tenant as usual"));
    assert_eq!(last_verdicts(&out)["loras"], "drift", "one sentence to another");
}

/// Folders of an output that hold Parquet files.
fn tables_of(out: &Path) -> BTreeSet<String> {
    let parquet = files(out).into_iter().filter(|p| p.extension().is_some_and(|e| e == "parquet"));
    let first = |p: PathBuf| p.strip_prefix(out).ok()?.iter().next()?.to_str().map(str::to_owned);
    parquet.filter_map(first).collect()
}

#[test]
fn an_archive_of_odd_names_gives_what_the_messages_gave() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let odd = [
        "#0123456789abcdef",
        "\\x",
        "__other__",
        "__missing__",
        "Mu\u{308}ller",
        " ",
        "__invalid__",
        "a,b=c\\",
    ];
    let input = write(
        d,
        &events(|e, day, s| {
            changing(e, day, s);
            e["model"]["loras"] =
                json!([odd[s % odd.len()], sentence(odd[(s + 1) % odd.len()]), odd[(s + 3) % odd.len()]]);
            e["tenant"] = json!(odd[(s / 2) % odd.len()]);
            e["params"]["sampler"] =
                json!(if s % 3 == 0 { sentence("sampler") } else { " Euler a\n".to_owned() });
        }),
    );
    let config = config(d, "");
    let (direct, kept, again) = (d.join("direct"), d.join("kept"), d.join("again"));
    replay(&config, &direct, &input);
    ok(&["archive", "-q", "-c", text(&config), "-o", text(&kept), text(&input)]);
    replay(&config, &again, &kept.join("archive"));
    assert!(assert_same(&direct, &again) > 0);
    let tenants = pairs(&direct, "windows", ["segment_by", "tenant"]);
    for tenant in
        ["\\#0123456789abcdef", "\\\\x", "\\__other__", "\\__missing__", "Müller", "__missing__", "a,b=c\\"]
    {
        assert!(tenants.contains(&("tenant".to_owned(), tenant.to_owned())), "{tenant}: {tenants:?}");
    }
    assert!(table(&again, "rejects").is_empty(), "they were counted when they were archived");
}

#[test]
fn a_field_that_is_to_be_hashed_is_never_text() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let input = write(d, &events(changing));
    let config = config(d, "hash_fields = [\"tenant\", \"model.loras\"]\n");
    let out = d.join("out");
    replay(&config, &out, &input);
    for name in tables_of(&out) {
        for row in rows(&table(&out, &name), &["sketch", "sketches"]) {
            for hidden in ["Acme", "Söhne", "add detail", "lion"] {
                assert!(!row.contains(hidden), "{name}: {row}");
            }
        }
    }
    let tenants = pairs(&out, "windows", ["segment_by", "tenant"]);
    assert_eq!(tenants.iter().filter(|(by, t)| by == "tenant" && t.starts_with('#')).count(), 2);
    assert!(table(&out, "rejects").is_empty(), "it was asked for: nothing was refused");
    let verdicts = last_verdicts(&out);
    assert!(verdicts["loras"] == "drift" && verdicts["sampler"] == "drift", "{verdicts:?}");
}
