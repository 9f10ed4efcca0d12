//! What a finished job prints: its counters and alerts, as text or JSON.

use super::{CliError, Global};
use crate::alert::{AlertRow, AlertState, alerts_from_batch};
use crate::engine::{Summary, Unjudged};
use crate::event::RejectReason;
use crate::event::time::text;
use crate::store::Storage;
use indicatif::HumanCount;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::io::Write;

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
    let mut rows = Vec::new();
    for path in storage.list("alerts").map_err(CliError::failed)? {
        let Some(bytes) = storage.get(&path).map_err(CliError::failed)? else { continue };
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .and_then(|b| b.build())
            .map_err(CliError::failed)?;
        for batch in reader {
            rows.extend(alerts_from_batch(&batch.map_err(CliError::failed)?).map_err(CliError::failed)?);
        }
    }
    rows.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    Ok(rows)
}

/// Prints the alerts that fired, earliest first, one per rule and segment. If none fired,
/// `unjudged` may explain why none could.
///
/// # Errors
/// When standard output is closed.
pub fn fired(rows: &[AlertRow], unjudged: Option<&Unjudged>) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for a in rows.iter().filter(|a| a.state == AlertState::Firing) {
        if seen.contains(&(&a.rule, &a.segment)) {
            continue;
        }
        seen.push((&a.rule, &a.segment));
        let segment = if a.segment.is_empty() { "everything" } else { &a.segment };
        writeln!(out, "{}  {:<8} {:<22} {segment}", text(a.at), a.severity.name(), a.rule)
            .map_err(CliError::failed)?;
        writeln!(out, "    {}", a.summary).map_err(CliError::failed)?;
    }
    if let Some(why) = unjudged {
        writeln!(out, "{}", why.text()).map_err(CliError::failed)?;
    } else if seen.is_empty() {
        writeln!(out, "no alert fired").map_err(CliError::failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
