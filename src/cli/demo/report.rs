//! What the demo tells at its end: what was injected, what was found, and what to try next.

use super::DemoOutcome;
use super::found::{Detection, IncidentFinding};
use crate::alert::range_in_words;
use crate::event::time::parse;
use chrono::DateTime;
use indicatif::HumanCount;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Alerts that no incident explains, shown by line.
const OTHERS_SHOWN: usize = 5;

/// The text for people; the table has 60 columns at most.
#[must_use]
pub fn text(p: &DemoOutcome, dir: &Path) -> String {
    let incidents = &p.found.incidents;
    let found = incidents.iter().filter(|f| f.first.is_some()).count();
    let mut out = format!("{found} of {} incidents found\n\n", incidents.len());
    let _ = writeln!(out, "{:<18}  {:<12}  {:<12}  delay", "incident", "began", "found");
    for f in incidents {
        out += &rows(f);
    }
    let told: usize = incidents.iter().map(|f| f.alerts).sum();
    let others = &p.found.others;
    let _ = writeln!(
        out,
        "\n{told:>5} alerts tell of these incidents\n{:>5} of what follows (shared traffic, related features)\n\
         {:>5} of anything else",
        p.found.consequences,
        others.len()
    );
    for o in others.iter().take(OTHERS_SHOWN) {
        let segment = if o.segment.is_empty() { "all traffic" } else { &o.segment };
        let _ = writeln!(out, "      {}  {} ({}) in {segment}", day_time(&o.at), o.rule, o.severity);
    }
    if others.len() > OTHERS_SHOWN {
        let _ = writeln!(out, "      and {} more", others.len() - OTHERS_SHOWN);
    }
    let first =
        p.first_found_seconds.map_or_else(String::new, |s| format!("first incident found after {s:.0} s, "));
    let _ = writeln!(
        out,
        "\n{} events produced and read, none missing\n{first}all done after {:.0} s\n",
        HumanCount(p.consumed),
        p.seconds
    );
    out + &next(dir)
}

/// One incident: the table's row, and below it what found it.
fn rows(f: &IncidentFinding) -> String {
    let l = &f.incident;
    let began = day_time(&l.start);
    let Some(d) = &f.first else {
        return format!("{:<18}  {began:<12}  NOT FOUND\n  in {}\n", l.kind, l.segment_text());
    };
    let p = d.p_value.map_or_else(String::new, |p| format!(", p {}", probability(p)));
    // An alert may fire for a part of the incident's segment.
    format!(
        "{:<18}  {began:<12}  {:<12}  {}\n  in {}, severity {}{p}\n  {}: {}\n",
        l.kind,
        day_time(&d.at),
        delay(d.delay_seconds),
        d.segment,
        d.severity,
        d.rule,
        moved(d)
    )
}

/// What moved most.
#[must_use]
pub fn moved(d: &Detection) -> String {
    match &d.top {
        // A style's share is a cosine, not a part of anything.
        Some((key, then, now)) if key.starts_with("style:") => {
            format!("towards {} (cosine {then:.3} to {now:.3})", &key["style:".len()..])
        }
        Some((key, then, now)) => {
            // A range of numbers says nothing without its feature.
            let what = range_in_words(key).map(|range| format!("{} {range}", d.feature));
            format!("{}: {} % to {} %", what.as_ref().unwrap_or(key), percent(*then), percent(*now))
        }
        None => match d.values {
            Some((then, now)) => format!("{}: {then:.3} to {now:.3}", d.feature),
            None => d.feature.clone(),
        },
    }
}

/// A share in percent with one decimal, or two where one would show almost nothing.
fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent > 0.0 && percent < 0.95 { format!("{percent:.2}") } else { format!("{percent:.1}") }
}

fn next(dir: &Path) -> String {
    let config = quoted(&dir.join("driftglass.toml"));
    let alerts = "SELECT at, severity, rule, segment, summary FROM alerts WHERE state = 'firing' ORDER BY at";
    let (out, script) = (quoted(&dir.join("out")), quoted(&script_path(dir)));
    format!(
        "What to do next

# what happened: one entry for each cause
driftglass incidents -c {config}
# the alerts
driftglass sql -c {config} -e \"{alerts}\"
# the SQL shell; try: SELECT * FROM drift_now;
driftglass sql -c {config}
# plots
DRIFTGLASS_OUT={out} jupyter lab notebooks/demo.ipynb
# the same events from a file, replayed into another output
sh {script}
# the configuration of the demo; one for your topic
cat {config}
driftglass check --print-default > driftglass.toml
"
    )
}

/// The script that replays the demo's events.
#[must_use]
pub fn script_path(dir: &Path) -> PathBuf {
    dir.join("replay.sh")
}

/// What that script holds; `generate` are the arguments that make the same events.
#[must_use]
pub fn replay_script(dir: &Path, generate: &str) -> String {
    let (config, events) = (quoted(&dir.join("driftglass.toml")), quoted(&dir.join("events.jsonl.zst")));
    let again = quoted(&replayed(dir));
    format!(
        "#!/bin/sh
# Written by driftglass demo: writes the demo's events to a file, and replays it into another output.
set -e
driftglass generate {generate} {events}
driftglass replay -c {config} -o {again} --overwrite {events}
"
    )
}

/// The output of the replay.
#[must_use]
pub fn replayed(dir: &Path) -> PathBuf {
    dir.join("replayed")
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    quote(&path.display().to_string())
}

/// A word as a shell takes it.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-=:,+".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// "17 Jan 14:00" of an RFC 3339 time.
fn day_time(time: &str) -> String {
    parse(time)
        .and_then(DateTime::from_timestamp_micros)
        .map_or_else(|| time.to_owned(), |t| t.format("%d %b %H:%M").to_string())
}

/// "1 h 20 min".
#[must_use]
pub fn delay(seconds: i64) -> String {
    match (seconds / 3600, seconds % 3600 / 60) {
        (0, m) => format!("{m} min"),
        (h, 0) => format!("{h} h"),
        (h, m) => format!("{h} h {m} min"),
    }
}

/// "3e-12".
#[must_use]
pub fn probability(p: f64) -> String {
    if p < 1e-300 { "< 1e-300".into() } else { format!("{p:.0e}") }
}

#[cfg(test)]
mod tests {
    use super::super::found::{DemoFindings, IncidentLabel, UnexplainedAlert};
    use super::*;
    use crate::engine::{Finish, Progress, Summary};

    fn played() -> DemoOutcome {
        let label = |kind: &str, segment: (&str, &str), end: Option<&str>| IncidentLabel {
            id: format!("{kind}-1"),
            kind: kind.into(),
            segment: [(segment.0.to_owned(), segment.1.to_owned())].into(),
            start: "2026-01-17T14:00:00Z".into(),
            end: end.map(Into::into),
            signals: Vec::new(),
            follows: Vec::new(),
            what: String::new(),
        };
        let first = Detection {
            id: "a".into(),
            rule: "prompt-drift".into(),
            segment: "tenant=birch".into(),
            feature: "prompt_tokens".into(),
            window: "1h".into(),
            severity: "high",
            at: "2026-01-17T15:20:00.000Z".into(),
            delay_seconds: 4_800,
            p_value: Some(2.6e-12),
            top: Some(("anime".into(), 0.021, 0.313)),
            values: None,
            summary: String::new(),
        };
        let other = UnexplainedAlert {
            at: "2026-01-18T01:00:00.000Z".into(),
            rule: "cost-up".into(),
            segment: String::new(),
            feature: "cost_usd".into(),
            severity: "medium",
        };
        let (shift, drop) = (
            label("prompt-shift", ("tenant", "birch"), Some("2026-01-19T14:00:00Z")),
            label("aesthetic-drop", ("model_version", "sdxl-1.1"), None),
        );
        let incidents = vec![
            IncidentFinding { incident: shift, first: Some(first), alerts: 4 },
            IncidentFinding { incident: drop, first: None, alerts: 0 },
        ];
        let summary = Summary {
            finish: Finish::InputEnded,
            seconds: 20.0,
            counts: Progress::default().counts(),
            reasons: Default::default(),
            undelivered: 0,
            undelivered_by: Default::default(),
            unjudged: None,
        };
        DemoOutcome {
            produced: 2_000_000,
            consumed: 2_000_000,
            seconds: 40.0,
            first_found_seconds: Some(17.2),
            found: DemoFindings { incidents, consequences: 3, others: vec![other; 7] },
            summary,
        }
    }

    #[test]
    fn the_end_says_what_was_injected_what_was_found_and_what_was_missed() {
        let text = text(&played(), Path::new("demo dir"));
        let table = "1 of 2 incidents found

incident            began         found         delay
prompt-shift        17 Jan 14:00  17 Jan 15:20  1 h 20 min
  in tenant=birch, severity high, p 3e-12
  prompt-drift: anime: 2.1 % to 31.3 %
aesthetic-drop      17 Jan 14:00  NOT FOUND
  in model_version=sdxl-1.1

    4 alerts tell of these incidents
    3 of what follows (shared traffic, related features)
    7 of anything else
      18 Jan 01:00  cost-up (medium) in all traffic
";
        assert!(text.starts_with(table), "{text}");
        for line in [
            "      and 2 more",
            "2,000,000 events produced and read, none missing",
            "first incident found after 17 s, all done after 40 s",
            "sh 'demo dir/replay.sh'",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n---\n{text}");
        }
    }

    #[test]
    fn what_moved_is_told_in_plain_words() {
        let mut first = played().found.incidents.remove(0).first.unwrap();
        (first.feature, first.top) = ("aesthetic".into(), Some(("≤ 5.10938".into(), 0.101, 0.395)));
        assert_eq!(moved(&first), "aesthetic at most 5.11: 10.1 % to 39.5 %");
        first.top = Some(("girl".into(), 0.000_34, 0.006));
        assert_eq!(moved(&first), "girl: 0.03 % to 0.60 %");
    }

    #[test]
    fn the_replay_is_a_script_of_two_commands() {
        let text = replay_script(Path::new("/demo dir"), "--events 10");
        assert!(
            text.ends_with(
                "driftglass generate --events 10 '/demo dir/events.jsonl.zst'\n\
                 driftglass replay -c '/demo dir/driftglass.toml' -o '/demo dir/replayed' --overwrite \
                 '/demo dir/events.jsonl.zst'\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn delays_and_words_read_well() {
        assert_eq!([delay(600), delay(7_200), delay(4_800)], ["10 min", "2 h", "1 h 20 min"]);
        assert_eq!(probability(0.0), "< 1e-300");
        assert_eq!(quote("it's"), "'it'\\''s'");
        assert_eq!(quote("./driftglass-demo"), "./driftglass-demo");
    }
}
