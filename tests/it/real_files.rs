//! Files as they come: in any order, by host, packed under the wrong name, in other encodings,
//! given day by day, edited afterwards. What comes out depends on the events, not on how files cut
//! them.

use crate::support::*;
use std::path::{Path, PathBuf};

/// A few lines of events a minute over some days, in order of time; from the third day on another
/// sampler.
fn events(days: i64) -> Vec<String> {
    let line = |i: i64| {
        let (day, second) = (i / 180, i % 180 * 480);
        let sampler = if day >= 2 { "dpmpp" } else { ["euler", "ddim"][(i % 2) as usize] };
        let (hour, minute, of_minute) = (second / 3600, second / 60 % 60, second % 60);
        format!(
            "{{\"request_id\":\"r{i}\",\"timestamp\":\"2026-01-{:02}T{hour:02}:{minute:02}:{of_minute:02}Z\",\
             \"pipeline_stage\":\"generate\",\"session_id\":\"s{}\",\"tenant\":\"{}\",\"params\":{{\"sampler\":\"{sampler}\"}}}}",
            day + 1,
            i / 3,
            ["birch", "dune"][(i / 3 % 2) as usize],
        )
    };
    (0..180 * days).map(line).collect()
}

fn write(path: &Path, lines: &[String]) -> PathBuf {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, lines.iter().map(|l| format!("{l}\n")).collect::<String>()).unwrap();
    path.to_owned()
}

fn config(dir: &Path) -> PathBuf {
    let file = dir.join("job.toml");
    let text = "[privacy]\nkey = \"a key for tests\"\n[windows]\nrolling = [\"6h\"]\n[baselines]\nrolling_days = [7]\n\
                [[segments]]\nby = []\n[[segments]]\nby = [\"tenant\"]\n[[features]]\nname = \"prompt_tokens\"\nenabled = false\n";
    std::fs::write(&file, text).unwrap();
    file
}

/// Windows and alerts of an output, with all of their columns.
fn said(out: &Path) -> (Vec<String>, Vec<String>) {
    (rows(&table(out, "windows"), &[]), rows(&table(out, "alerts"), &[]))
}

fn replay(config: &Path, out: &Path, inputs: &[&Path]) -> serde_json::Value {
    let mut args = vec!["replay", "-c", text(config), "-o", text(out), "--json", "-q"];
    args.extend(inputs.iter().map(|p| text(p)));
    let said = ok(&args);
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

/// Runs a command that must fail, with one line that says why.
fn refused(args: &[&str], code: i32) -> String {
    let out = output(args);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    said
}

#[test]
fn the_same_events_give_the_same_however_files_cut_them() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (all, config) = (events(4), config(d));
    let whole = d.join("out-whole");
    let summary = replay(&config, &whole, &[&write(&d.join("all.jsonl"), &all)]);
    let expected = said(&whole);
    assert!(expected.0.len() > 500, "{} rows", expected.0.len());
    assert!(expected.0.iter().all(|row| row.contains("complete=true")));

    let n = all.len() / 12 + 1;
    let parts: Vec<&[String]> = all.chunks(n).collect();
    for (i, part) in parts.iter().enumerate() {
        write(&d.join(format!("num/events-{}.jsonl", i + 1)), part);
        write(&d.join(format!("rev/events.{:02}.jsonl", 12 - i)), part);
    }
    let every =
        |of: usize, nth: usize| -> Vec<String> { all.iter().skip(nth).step_by(of).cloned().collect() };
    for host in 0..3 {
        write(&d.join(format!("host/host{host}.jsonl")), &every(3, host));
    }
    // Regions with files of their own days, of which one begins late, and one of which the first
    // line has a wrong clock.
    for (region, day) in [("a", 0), ("a", 1), ("a", 2), ("b", 1), ("b", 3), ("a", 3)] {
        let of_day = &all[day * 180..(day + 1) * 180];
        let half = |second: bool| -> Vec<String> {
            let shared = (1..=2).contains(&day) && region == "b" || day == 1 || day == 3;
            let mine = |(i, _): &(usize, &String)| !shared || (i % 2 == 1) == second;
            of_day.iter().enumerate().filter(mine).map(|l| l.1.clone()).collect()
        };
        write(&d.join(format!("region/{region}/{day}.jsonl")), &half(region == "b"));
    }
    for case in ["num", "rev", "host", "region"] {
        let out = d.join(format!("out-{case}"));
        let of_case = replay(&config, &out, &[&d.join(case)]);
        for key in ["messages", "events", "late", "rejected", "windows", "alerts_fired", "evaluated_to"] {
            assert_eq!(of_case[key], summary[key], "{key} of {case}");
        }
        let got = said(&out);
        assert_eq!(got.0.len(), expected.0.len(), "{case}");
        let differs = got.0.iter().zip(&expected.0).find(|(a, b)| a != b);
        assert!(differs.is_none(), "{case}: {differs:?}");
        assert_eq!(got.1, expected.1, "{case}");
    }

    // An archive made of the hosts' files has their lanes, and gives the same.
    let kept = d.join("kept");
    ok(&["archive", "-c", text(&config), "-o", text(&kept), text(&d.join("host")), "-q"]);
    let out = d.join("out-archive");
    replay(&config, &out, &[&kept.join("archive")]);
    assert_eq!(said(&out), expected, "from the archive");
    // It goes on with more files, too, and knows those that it has.
    let again = ok(&["archive", "-c", text(&config), "-o", text(&kept), text(&d.join("host")), "-q"]);
    assert!(again.contains("nothing new"), "{again}");
}

#[test]
fn one_wrong_clock_in_a_first_line_decides_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (mut all, config) = (events(3), config(d));
    for (day, wrong) in [(0, "2099-01-01"), (1, "2001-01-01"), (2, "2099-01-01")] {
        let right = format!("2026-01-{:02}", day + 1);
        all[day * 180] = all[day * 180].replace(&right, wrong);
    }
    let paths: Vec<PathBuf> = (0..3)
        .map(|day| write(&d.join(format!("{}.jsonl", 9 - day)), &all[day * 180..(day + 1) * 180]))
        .collect();
    let out = d.join("out");
    let summary = replay(&config, &out, &paths.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    assert!(summary["late"].as_u64().unwrap() <= 1, "{summary}");
    let memory = std::fs::read_to_string(out.join("_inputs/replay/version=000001.json")).unwrap();
    assert_eq!(memory.matches("\"lane\":0").count(), 3, "{memory}");
}

#[test]
fn day_by_day_gives_what_one_replay_gives() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (all, config) = (events(4), config(d));
    let whole = d.join("out-whole");
    replay(&config, &whole, &[&write(&d.join("all.jsonl"), &all)]);
    // Two hosts on each day but the first.
    let mut days: Vec<Vec<PathBuf>> = Vec::new();
    for (day, lines) in all.chunks(180).enumerate() {
        let hosts = if day == 0 { 1 } else { 2 };
        let of_host = |h: usize| lines.iter().skip(h).step_by(hosts).cloned().collect::<Vec<_>>();
        days.push((0..hosts).map(|h| write(&d.join(format!("day{day}-{h}.jsonl")), &of_host(h))).collect());
    }
    let (only_new, growing) = (d.join("out-new"), d.join("out-growing"));
    for n in 0..4 {
        let new: Vec<&Path> = days[n].iter().map(PathBuf::as_path).collect();
        let list: Vec<&Path> = days[..=n].iter().flatten().map(PathBuf::as_path).collect();
        for (out, inputs) in [(&only_new, &new), (&growing, &list)] {
            assert_eq!(replay(&config, out, inputs)["events"], 180, "day {n}");
            assert_eq!(replay(&config, out, inputs)["messages"], 0, "the same again");
        }
    }
    assert_eq!(said(&only_new), said(&whole), "only the new files");
    assert_eq!(said(&growing), said(&whole), "all files so far");
}

#[test]
fn an_interrupted_replay_goes_on_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (all, config) = (events(4), config(d));
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap() + "[engine]\ncommit_every = \"1ms\"\n")
        .unwrap();
    for (day, lines) in all.chunks(180).enumerate() {
        write(&d.join(format!("in/day{day}.jsonl")), lines);
    }
    let whole = d.join("out-whole");
    let (input, out) = (d.join("in"), d.join("out"));
    replay(&config, &whole, &[&input]);
    let args = ["replay", "-c", text(&config), "-o", text(&out), text(&input)];
    let mut child = start(&args);
    std::thread::sleep(std::time::Duration::from_millis(60));
    let _ = child.kill();
    child.wait().unwrap();
    let again = output(&args);
    let said_so = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.success(), "{said_so}");
    say(&format!("killed after 60 ms: {said_so}"));
    assert_eq!(said(&out), said(&whole));
}

#[test]
fn what_can_not_continue_an_output_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (all, config) = (events(3), config(d));
    let (c, out) = (text(&config).to_owned(), d.join("out"));
    let day = |n: usize| write(&d.join(format!("day{n}.jsonl")), &all[n * 180..(n + 1) * 180]);
    let (one, two) = (day(0), day(1));
    let o = text(&out);
    ok(&["replay", "-c", &c, "-o", o, text(&one), text(&two), "-q"]);
    let before: Vec<(PathBuf, Vec<u8>)> =
        files(&out).into_iter().map(|f| (f.clone(), std::fs::read(f).unwrap())).collect();
    let small = write(&d.join("small.jsonl"), &all[330..360]);
    let said = refused(&["replay", "-c", &c, "-o", o, text(&small), "-q"], 2);
    assert!(
        said.contains("small.jsonl begins at 2026-01-02T20:00:00Z") && said.contains("--overwrite"),
        "{said}"
    );
    let said =
        refused(&["replay", "-c", &c, "-o", o, text(&one), text(&two), "--from", "2026-01-02", "-q"], 2);
    assert!(said.contains("no --from and --to") && said.contains("--from 2026-01-02T00:00:00Z"), "{said}");
    let other: Vec<String> = all[180..360].iter().map(|l| l.replace("birch", "maple")).collect();
    for (change, how) in [(&all[180..359], "shorter"), (&all[180..362], "longer"), (&other[..], "as long")] {
        write(&two, change);
        let said = refused(&["replay", "-c", &c, "-o", o, text(&one), text(&two), "-q"], 2);
        assert!(said.contains("day1.jsonl has changed") && said.contains(how), "{said}");
    }
    day(1);
    let kept = d.join("kept");
    ok(&["archive", "-c", &c, "-o", text(&kept), text(&day(2)), "-q"]);
    let said = refused(&["replay", "-c", &c, "-o", o, text(&kept.join("archive")), "-q"], 2);
    assert!(said.contains("JSON lines"), "{said}");
    let after: Vec<(PathBuf, Vec<u8>)> =
        files(&out).into_iter().map(|f| (f.clone(), std::fs::read(f).unwrap())).collect();
    assert!(before == after, "nothing has changed");
    // As an earlier build leaves an output.
    std::fs::remove_dir_all(out.join("_inputs")).unwrap();
    let said = refused(&["replay", "-c", &c, "-o", o, text(&one), text(&two), "-q"], 2);
    assert!(said.contains("earlier build"), "{said}");
    ok(&["replay", "-c", &c, "-o", o, text(&one), text(&two), "-q", "--overwrite"]);
    assert_eq!(replay(&config, &out, &[&day(2)])["events"], 180);
    // Renamed it is the same file.
    std::fs::rename(&two, d.join("renamed.jsonl")).unwrap();
    assert_eq!(replay(&config, &out, &[&one, &d.join("renamed.jsonl")])["messages"], 0);
}

#[test]
fn files_in_other_forms_are_read_or_named() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (all, config) = (events(1), config(d));
    let joined = all.iter().map(|l| format!("{l}\n")).collect::<String>();
    let wide = |mark: u16, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        std::iter::once(mark).chain(joined.encode_utf16()).flat_map(bytes).collect()
    };
    let gzip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut out, bytes).unwrap();
        out.finish().unwrap()
    };
    let half = joined[..joined.len() / 2].rfind('\n').unwrap() + 1;
    let marked = format!("\u{feff}{}\u{feff}{}", &joined[..half], &joined[half..]);
    let read: [(&str, Vec<u8>); 8] = [
        ("packed.jsonl", gzip(joined.as_bytes())),
        ("plain.jsonl.gz", joined.clone().into_bytes()),
        ("zst.jsonl.gz", zstd::encode_all(joined.as_bytes(), 1).unwrap()),
        ("json.parquet", joined.clone().into_bytes()),
        ("joined.jsonl", marked.replace('\n', "\r\n").into_bytes()),
        ("separated.jsonl", all.iter().map(|l| format!("\x1e{l}\n")).collect::<String>().into_bytes()),
        ("open.jsonl", joined.trim_end().as_bytes().to_vec()),
        ("zeros.jsonl", [joined.as_bytes(), &[0; 4096]].concat()),
    ];
    for (name, bytes) in read {
        let (path, out) = (d.join(name), d.join(format!("out-{name}")));
        std::fs::write(&path, bytes).unwrap();
        let summary = replay(&config, &out, &[&path]);
        assert_eq!(
            (summary["events"].as_u64(), summary["rejected"].as_u64()),
            (Some(180), Some(0)),
            "{name}"
        );
    }
    let named: [(&str, Vec<u8>, &str); 8] = [
        ("utf16le.jsonl", wide(0xfeff, u16::to_le_bytes), "iconv"),
        ("utf16be.jsonl.gz", gzip(&wide(0xfeff, u16::to_be_bytes)), "iconv"),
        ("array.json", format!("[{}]", all.join(",\n")).into_bytes(), "jq -c '.[]'"),
        ("pretty.json", all.join("\n").replace(",\"", ",\n \"").into_bytes(), "jq -c"),
        ("glued.jsonl", all.concat().into_bytes(), "without line ends"),
        ("cr.jsonl", joined.replace('\n', "\r").into_bytes(), "tr '\\r' '\\n'"),
        ("twice.jsonl.gz", gzip(&gzip(joined.as_bytes())), "compressed twice"),
        ("table.jsonl", b"a,b,c\n1,2,3\n".to_vec(), "CSV"),
    ];
    let good = write(&d.join("good.jsonl"), &all);
    for (name, bytes, todo) in named {
        let (path, out) = (d.join(name), d.join("never"));
        std::fs::write(&path, bytes).unwrap();
        for command in ["replay", "archive"] {
            let said =
                refused(&[command, "-c", text(&config), "-o", text(&out), text(&good), text(&path)], 3);
            assert!(said.contains(name) && said.contains(todo), "{said}");
        }
        let said = refused(&["check", "-c", text(&config), "--events", text(&path)], 3);
        assert!(said.contains(todo), "{said}");
        assert!(!out.exists(), "{name}: nothing is written before all inputs are looked at");
    }
}

#[test]
fn wholly_refused_input_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let config = config(d);
    for (name, text_of, looks) in [
        ("words.jsonl", "some words\n", "not JSON"),
        ("other.jsonl", "{\"a\":1}\n", "not in the form of the reference"),
    ] {
        let path = d.join(name);
        std::fs::write(&path, text_of.repeat(20)).unwrap();
        for command in ["replay", "archive"] {
            let out = d.join(format!("out-{command}-{name}"));
            let said = refused(&[command, "-c", text(&config), "-o", text(&out), text(&path), "-q"], 3);
            assert!(
                said.contains("no message of the input is an event (20 rejected") && said.contains(looks),
                "{said}"
            );
        }
    }
}

#[test]
fn a_range_that_holds_nothing_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (config, input) = (config(d), write(&d.join("in.jsonl"), &events(2)));
    let out = d.join("out");
    let args = ["replay", "-c", text(&config), "-o", text(&out), text(&input), "-q"];
    for to in ["2026-01-02", "2026-01-03"] {
        let said = refused(&[&args[..], &["--from", "2026-01-03", "--to", to]].concat(), 2);
        assert!(said.contains("--from 2026-01-03T00:00:00Z is not before --to"), "{said}");
    }
    assert!(!out.exists());
    let said = refused(&[&args[..], &["--from", "2026-02-01"]].concat(), 3);
    assert!(said.contains("no event lies between") && said.contains("to 2026-01-02T23:52:00Z"), "{said}");
    assert_eq!(output(&[&args[..], &["--from", "-1d"]].concat()).status.code(), Some(2));
    let kept = d.join("kept");
    ok(&["archive", "-c", text(&config), "-o", text(&kept), text(&input), "-q"]);
    let (archive, out) = (kept.join("archive"), d.join("out-archive"));
    let args =
        ["replay", "-c", text(&config), "-o", text(&out), text(&archive), "-q", "--from", "2026-02-01"];
    assert!(refused(&args, 3).contains("no event lies between"));
}

#[test]
fn a_stream_goes_on_only_if_it_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (all, config) = (events(2), config(d));
    for command in ["replay", "archive"] {
        let out = d.join(command);
        let piped = |lines: &[String], packed: bool| {
            let joined = lines.iter().map(|l| format!("{l}\n")).collect::<String>();
            let bytes =
                if packed { zstd::encode_all(joined.as_bytes(), 1).unwrap() } else { joined.into_bytes() };
            let file = d.join("piped");
            std::fs::write(&file, bytes).unwrap();
            let mut run = driftglass();
            run.args([command, "-c", text(&config), "-o", text(&out), "-", "-q", "--json"]);
            let done = run.stdin(std::fs::File::open(&file).unwrap()).output().unwrap();
            let said = String::from_utf8_lossy(&done.stdout).into_owned();
            let messages = said.lines().last().map_or(0, |l| {
                let summary: serde_json::Value = serde_json::from_str(l).unwrap();
                summary["messages"].as_u64().unwrap()
            });
            (done.status.code().unwrap(), messages, String::from_utf8_lossy(&done.stderr).into_owned())
        };
        assert_eq!(piped(&all[..180], true).1, 180, "what it holds is told by its first bytes");
        assert_eq!(piped(&all[..180], false).1, 0, "the same again");
        assert_eq!(piped(&all, false).1, 180, "it went on");
        let (code, _, said) = piped(&all[5..], false);
        assert!(code == 3 && said.contains("standard input is not the stream"), "{said}");
        assert_eq!(piped(&all[..300], false).0, 3, "shorter");
    }
}

#[test]
fn parquet_is_read_through_parent_folders() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (config, input) = (config(d), write(&d.join("in.jsonl"), &events(1)));
    let kept = d.join("kept");
    ok(&["archive", "-c", text(&config), "-o", text(&kept), text(&input), "-q"]);
    let around = d.join("kept/../kept/archive");
    assert_eq!(replay(&config, &d.join("out"), &[&around])["events"], 180);
}
