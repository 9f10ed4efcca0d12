//! What the demo tells at its end: what was injected, what was found, and what to try next.

use super::Played;
use super::found::{Detection, Finding};
use indicatif::HumanCount;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Alerts that no incident explains, shown by line.
const OTHERS_SHOWN: usize = 5;

/// The text for people.
#[must_use]
pub fn text(p: &Played, dir: &Path, generate: &str) -> String {
    let mut out = String::new();
    let mut injected = vec![row(["", "injected", "segment", "from", "to"])];
    let mut found = vec![row(["", "first found by", "on", "after", "severity", "p", "moved most"])];
    for (i, f) in p.found.incidents.iter().enumerate() {
        let (l, n) = (&f.incident, (i + 1).to_string());
        let end = l.end.as_deref().map_or_else(|| "lasts".to_owned(), minute);
        injected.push(row([&n, &l.kind, &l.segment_text(), &minute(&l.start), &end]));
        found.push(finding(&n, f));
    }
    let _ = writeln!(out, "{}\n{}", table(&injected), table(&found));
    let told: usize = p.found.incidents.iter().map(|f| f.alerts).sum();
    let others = &p.found.others;
    let _ = writeln!(
        out,
        "{told} alerts tell of these incidents, {} of their consequences (features that follow, segments that share the traffic), \
         {} of anything else",
        p.found.consequences,
        others.len()
    );
    for o in others.iter().take(OTHERS_SHOWN) {
        let segment = if o.segment.is_empty() { "everything" } else { &o.segment };
        let _ = writeln!(out, "  {}  {} on {segment} ({})", minute(&o.at), o.rule, o.feature);
    }
    if others.len() > OTHERS_SHOWN {
        let _ = writeln!(out, "  and {} more", others.len() - OTHERS_SHOWN);
    }
    let _ = writeln!(
        out,
        "produced = consumed = {} messages, no offset missing; {} events/s from the producer to the last alert, {:.0} s in all\n",
        HumanCount(p.consumed),
        HumanCount((p.consumed as f64 / p.seconds.max(1e-9)) as u64),
        p.seconds
    );
    out + &next(dir, generate)
}

fn finding(n: &str, f: &Finding) -> Vec<String> {
    let Some(d) = &f.first else { return row([n, "NOT FOUND"]) };
    let p = d.p_value.map_or_else(|| "-".to_owned(), probability);
    row([n, &d.rule, &d.segment, &delay(d.delay_seconds), d.severity, &p, &moved(d)])
}

fn moved(d: &Detection) -> String {
    match &d.top {
        // A style's share is a cosine, not a part of anything.
        Some((key, then, now)) if key.starts_with("style:") => {
            format!("towards {} (cosine {then:.3} to {now:.3})", &key["style:".len()..])
        }
        Some((key, then, now)) => format!("{key}: {:.1} % to {:.1} %", 100.0 * then, 100.0 * now),
        None => d.feature.clone(),
    }
}

fn next(dir: &Path, generate: &str) -> String {
    let config = quoted(&dir.join("driftglass.toml"));
    let (events, again) = (quoted(&dir.join("events.jsonl.zst")), quoted(&replayed(dir)));
    let (alerts, drifts) = (
        "SELECT at, severity, rule, segment, summary FROM alerts WHERE state = 'firing' ORDER BY at",
        "SELECT window_end, segment, feature, psi_excess, p_value FROM windows WHERE verdict = 'drift' ORDER BY p_value LIMIT 20",
    );
    let out = quoted(&dir.join("out"));
    format!(
        "what to try next
  the alerts          driftglass sql -c {config} -e \"{alerts}\"
  what drifted most   driftglass sql -c {config} -e \"{drifts}\"
  plots               DRIFTGLASS_OUT={out} jupyter lab notebooks/demo.ipynb
  the same events     driftglass generate {generate} {events}
  and a replay        driftglass replay -c {config} -o {again} --overwrite {events}
  your own topic      driftglass check --print-default > driftglass.toml
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

/// "2026-01-17 14:00" of an RFC 3339 time.
fn minute(time: &str) -> String {
    time.get(..16).unwrap_or(time).replace('T', " ")
}

/// "1 h 20 min".
fn delay(seconds: i64) -> String {
    match (seconds / 3600, seconds % 3600 / 60) {
        (0, m) => format!("{m} min"),
        (h, 0) => format!("{h} h"),
        (h, m) => format!("{h} h {m} min"),
    }
}

fn probability(p: f64) -> String {
    if p < 1e-300 { "< 1e-300".into() } else { format!("{p:.0e}") }
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

/// Columns as wide as their widest cell, two blanks between them.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for r in rows {
        let line: Vec<String> = r.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}")).collect();
        let _ = writeln!(out, "{}", line.join("  ").trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::found::{Found, Label, Other};
    use super::*;
    use crate::engine::{Finish, Progress, Summary};

    fn played() -> Played {
        let label = |kind: &str, segment: (&str, &str), end: Option<&str>| Label {
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
            summary: String::new(),
        };
        let other = Other {
            at: "2026-01-18T01:00:00.000Z".into(),
            rule: "cost-up".into(),
            segment: String::new(),
            feature: "cost_usd".into(),
        };
        let (shift, drop) = (
            label("prompt-shift", ("tenant", "birch"), Some("2026-01-19T14:00:00Z")),
            label("aesthetic-drop", ("model_version", "sdxl-1.1"), None),
        );
        let incidents = vec![
            Finding { incident: shift, first: Some(first), alerts: 4 },
            Finding { incident: drop, first: None, alerts: 0 },
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
        Played {
            produced: 2_000_000,
            consumed: 2_000_000,
            seconds: 40.0,
            found: Found { incidents, consequences: 3, others: vec![other; 7] },
            summary,
        }
    }

    #[test]
    fn the_end_says_what_was_injected_what_was_found_and_what_was_missed() {
        let text = text(&played(), Path::new("demo dir"), "--events 10");
        for line in [
            "   injected        segment                 from              to",
            "1  prompt-shift    tenant=birch            2026-01-17 14:00  2026-01-19 14:00",
            "2  aesthetic-drop  model_version=sdxl-1.1  2026-01-17 14:00  lasts",
            "   first found by  on            after       severity  p      moved most",
            "1  prompt-drift    tenant=birch  1 h 20 min  high      3e-12  anime: 2.1 % to 31.3 %",
            "2  NOT FOUND",
            "  2026-01-18 01:00  cost-up on everything (cost_usd)",
            "  and 2 more",
            "produced = consumed = 2,000,000 messages, no offset missing; 50,000 events/s from the producer to the last alert, 40 s in all",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n---\n{text}");
        }
        assert!(
            text.contains("replay -c 'demo dir/driftglass.toml' -o 'demo dir/replayed' --overwrite "),
            "{text}"
        );
        assert!(text.contains("generate --events 10 'demo dir/events.jsonl.zst'"), "{text}");
    }

    #[test]
    fn delays_and_words_read_well() {
        assert_eq!([delay(600), delay(7_200), delay(4_800)], ["10 min", "2 h", "1 h 20 min"]);
        assert_eq!(probability(0.0), "< 1e-300");
        assert_eq!(quote("it's"), "'it'\\''s'");
        assert_eq!(quote("./driftglass-demo"), "./driftglass-demo");
    }
}
