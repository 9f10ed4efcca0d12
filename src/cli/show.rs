//! What a finished job prints: its counters and alerts, as text or JSON.

use super::{CliError, Global};
use crate::alert::{AlertRow, AlertState, alerts_from_batch};
use crate::engine::{Summary, Unjudged};
use crate::event::RejectReason;
use crate::event::time::{date, text};
use crate::store::Storage;
use indicatif::HumanCount;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

/// Alerts that are listed, of each rule and segment one.
const LISTED: usize = 30;

/// Prints a job's summary.
///
/// # Errors
/// When standard output is closed.
pub fn summary(s: &Summary, global: &Global) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    if global.json {
        let line = serde_json::to_string(s).map_err(CliError::failed)?;
        return writeln!(out, "{line}").map_err(CliError::failed);
    }
    let c = &s.counts;
    let mut text = format!(
        "{} events in {:.1} s ({}/s), {} windows ({} judged), {} alerts fired",
        HumanCount(c.events),
        s.seconds,
        HumanCount((c.events as f64 / s.seconds.max(1e-9)) as u64),
        HumanCount(c.windows),
        HumanCount(c.judged),
        c.alerts_fired,
    );
    if c.rejected > 0 {
        let reasons: Vec<String> = s.reasons.iter().map(|(r, n)| format!("{r} {n}")).collect();
        text += &format!("; {} messages rejected ({})", HumanCount(c.rejected), reasons.join(", "));
    }
    let refused: u64 = c.refused_vectors.values().sum();
    if c.vectors + refused > 0 {
        text += &format!("; {} images", HumanCount(c.vectors + refused));
    }
    if refused > 0 {
        let reasons: Vec<String> = c.refused_vectors.iter().map(|(r, n)| format!("{r} {n}")).collect();
        text += &format!(", {} refused ({})", HumanCount(refused), reasons.join(", "));
    }
    for (reason, fields) in &c.fields {
        text += &format!("; {}", refused_fields(reason, fields));
    }
    for (n, what) in [
        (c.late, "late events"),
        (c.undecided, "events so far ahead that later ones decide whether they count"),
        (c.tombstones, "tombstones"),
        (c.gaps, "offsets lost"),
    ] {
        if n > 0 {
            text += &format!("; {} {what}", HumanCount(n));
        }
    }
    text += &undelivered(s);
    writeln!(out, "{text}").map_err(CliError::failed)
}

/// How many fields were refused for one reason, and the most frequent ones.
pub fn refused_fields(reason: &str, fields: &BTreeMap<&'static str, u64>) -> String {
    const NAMED: usize = 3;
    let what = if reason == RejectReason::MistypedField.name() {
        "optional fields of the wrong type".to_owned()
    } else if reason == RejectReason::RefusedName.name() {
        "texts that are not valid names, written as hashes".to_owned()
    } else {
        format!("fields {reason}")
    };
    let mut all: Vec<_> = fields.iter().collect();
    all.sort_by_key(|(field, n)| (std::cmp::Reverse(**n), **field));
    let mut named: Vec<String> =
        all.iter().take(NAMED).map(|(field, n)| format!("{field} {}", HumanCount(**n))).collect();
    if all.len() > NAMED {
        named.push(format!("and {} more", all.len() - NAMED));
    }
    format!("{} {what} ({})", HumanCount(fields.values().sum()), named.join(", "))
}

/// Alerts that sinks did not accept, and why.
fn undelivered(s: &Summary) -> String {
    if s.undelivered == 0 {
        return String::new();
    }
    let of = |(sink, by): (&String, &BTreeMap<&'static str, u64>)| {
        let reasons: Vec<String> = by.iter().map(|(r, n)| format!("{} {n}", r.replace('_', " "))).collect();
        format!("{sink}: {}", reasons.join(", "))
    };
    let sinks: Vec<String> = s.undelivered_by.iter().map(of).collect();
    format!("; {} alerts not delivered ({})", HumanCount(s.undelivered), sinks.join("; "))
}

/// All rows of `alerts` in an output.
///
/// # Errors
/// When they can't be read.
pub fn alerts(storage: &Storage) -> Result<Vec<AlertRow>, CliError> {
    alerts_after(storage, i64::MIN)
}

/// The rows of `alerts` whose state began after an event time. Files of earlier days are not read.
///
/// # Errors
/// When they can't be read.
pub fn alerts_after(storage: &Storage, after: i64) -> Result<Vec<AlertRow>, CliError> {
    let first_day = date(after);
    let mut rows = Vec::new();
    for path in storage.list("alerts").map_err(CliError::failed)? {
        let day = path.split('/').find_map(|part| part.strip_prefix("date="));
        if day.is_some_and(|day| day < first_day.as_str()) {
            continue;
        }
        let Some(bytes) = storage.get(&path).map_err(CliError::failed)? else { continue };
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .and_then(|b| b.build())
            .map_err(CliError::failed)?;
        for batch in reader {
            rows.extend(alerts_from_batch(&batch.map_err(CliError::failed)?).map_err(CliError::failed)?);
        }
    }
    rows.retain(|a| a.at > after);
    rows.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    Ok(rows)
}

/// Prints the alerts that fired. `in_this_run` is how many of them the summary counts. If none
/// fired, `unjudged` may explain why none could.
///
/// # Errors
/// When standard output is closed.
pub fn fired(rows: &[AlertRow], in_this_run: u64, unjudged: Option<&Unjudged>) -> Result<(), CliError> {
    let mut text = fired_text(rows, in_this_run);
    if let Some(why) = unjudged {
        text += &format!("{}\n", why.text());
    } else if text.is_empty() {
        text += "no alert fired\n";
    }
    write!(std::io::stdout().lock(), "{text}").map_err(CliError::failed)
}

/// The alerts of one rule that fired for one segment.
struct RuleFirings<'a> {
    first: &'a AlertRow,
    last_at: i64,
    times: u64,
}

/// The alerts that fired, each rule and segment once, the earliest first; empty where none did.
/// `rows` are sorted by time.
fn fired_text(rows: &[AlertRow], in_this_run: u64) -> String {
    let mut listed: Vec<RuleFirings<'_>> = Vec::new();
    for a in rows.iter().filter(|a| a.state == AlertState::Firing) {
        match listed.iter_mut().find(|l| l.first.rule == a.rule && l.first.segment == a.segment) {
            Some(l) => (l.last_at, l.times) = (a.at, l.times + 1),
            None => listed.push(RuleFirings { first: a, last_at: a.at, times: 1 }),
        }
    }
    let (fired, pairs) = (listed.iter().map(|l| l.times).sum::<u64>(), listed.len());
    let mut out = String::new();
    if fired > 0 && fired != in_this_run {
        let _ = writeln!(out, "{fired} alerts have fired in this output, with those of earlier runs:");
    }
    if pairs > LISTED {
        listed.sort_by_key(|l| std::cmp::Reverse(l.last_at));
        listed.truncate(LISTED);
        listed.sort_by_key(|l| l.first.at);
        let _ = writeln!(
            out,
            "the latest {LISTED} of {pairs} pairs of rule and segment (SELECT * FROM alert_history shows all):"
        );
    }
    for RuleFirings { first: a, times, .. } in listed {
        let segment = if a.segment.is_empty() { "all traffic" } else { &a.segment };
        let times = if times == 1 { String::new() } else { format!("  (fired {times} times)") };
        let _ = writeln!(
            out,
            "{}  {:<8} {:<22} {segment}{times}\n    {}",
            text(a.at),
            a.severity.name(),
            a.rule,
            a.summary
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::samples::firing;
    use crate::event::time::HOUR;

    fn alert(rule: &str, segment: &str, at: i64, state: AlertState) -> AlertRow {
        AlertRow { rule: rule.into(), segment: segment.into(), at, state, summary: "why".into(), ..firing() }
    }

    #[test]
    fn the_alerts_listed_add_up_to_those_that_fired() {
        let rows = [
            alert("mix", "", 0, AlertState::Firing),
            alert("mix", "", HOUR, AlertState::Resolved),
            alert("drift", "tenant=birch", HOUR, AlertState::Firing),
            alert("mix", "", 2 * HOUR, AlertState::Firing),
        ];
        assert_eq!(
            fired_text(&rows, 3),
            "1970-01-01T00:00:00Z  high     mix                    all traffic  (fired 2 times)\n    why\n\
             1970-01-01T01:00:00Z  high     drift                  tenant=birch\n    why\n"
        );
        let said = fired_text(&rows, 1);
        assert!(
            said.starts_with("3 alerts have fired in this output, with those of earlier runs:\n"),
            "{said}"
        );
        assert_eq!(fired_text(&rows[1..2], 0), "", "only resolved");
    }

    #[test]
    fn of_many_alerts_the_latest_are_listed() {
        let old = alert("old", "", -HOUR, AlertState::Firing);
        let again = alert("again", "", -HOUR, AlertState::Firing);
        let many = (0..LISTED as i64)
            .map(|i| alert("mix", &format!("tenant={i}"), i, AlertState::Firing))
            .chain([alert("again", "", HOUR, AlertState::Firing)]);
        let rows: Vec<AlertRow> = [old, again].into_iter().chain(many).collect();
        let said = fired_text(&rows, rows.len() as u64);
        assert!(said.starts_with("the latest 30 of 32 pairs of rule and segment"), "{said}");
        assert_eq!(said.lines().count(), 1 + 2 * LISTED, "{said}");
        assert!(
            !said.contains(" old ") && said.contains(" again  ") && said.contains("(fired 2 times)"),
            "{said}"
        );
        assert!(!said.contains("tenant=0\n") && said.contains("tenant=1\n"), "{said}");
    }

    #[test]
    fn a_line_names_the_fields_that_are_refused_most() {
        let fields = BTreeMap::from([("a", 1), ("b", 1200), ("c", 3), ("d", 3), ("e", 2)]);
        let said = refused_fields("out_of_range", &fields);
        assert_eq!(said, "1,209 fields out_of_range (b 1,200, c 3, d 3, and 2 more)");
        let said = refused_fields("mistyped_field", &BTreeMap::from([("prompt.text", 30)]));
        assert_eq!(said, "30 optional fields of the wrong type (prompt.text 30)");
        let said = refused_fields("refused_name", &BTreeMap::from([("params.sampler", 7)]));
        assert_eq!(said, "7 texts that are not valid names, written as hashes (params.sampler 7)");
    }
}
