//! `driftglass check --events`: checks sample messages against the event schema. Counts fields and
//! reasons and gives line numbers; never shows a value.

mod fields;

use super::{CliError, Global};
use crate::config::Config;
use crate::config::features::ranges;
use crate::enrich::{Batch, DEFAULT_KEY, Enricher, IdHasher, Plan, Value};
use crate::event::{Ranges, Reject, RejectReason, Text, decode, repair};
use crate::source::{FromBeginning, Inputs, JsonlSource, Payload, Polled, Source, resolve};
use fields::{SchemaFields, absent, showable};
use indicatif::HumanCount;
use jsonschema::error::ValidationErrorKind;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// The reference event.
const SCHEMA: &str = include_str!("../../schemas/event.v1.schema.json");
/// Line numbers given for each finding.
const LINES: usize = 3;
/// Unknown fields that are named.
const NAMES: usize = 50;
/// Replaces the names of unknown fields that are not shown.
const OTHER_NAMES: &str = "(other names)";

/// What is wrong with a field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum FieldFinding {
    /// The message would be rejected for this reason; the field is empty if no field is the cause.
    Rejected(&'static str),
    /// The optional field counts as missing, for this reason.
    LeftOut(&'static str),
    /// The field holds text that is not a valid name, and is replaced by its hash.
    Hashed(&'static str),
    /// The field departs from the schema in this way.
    Schema(&'static str),
    /// No part of driftglass reads the field.
    Unknown,
}

impl FieldFinding {
    /// Its name in the report, and why.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Rejected(why) => ("rejected", why),
            Self::LeftOut(why) => ("left out", why),
            Self::Hashed(why) => ("hashed", why),
            Self::Schema(how) => ("schema", how),
            Self::Unknown => ("unknown", "is not read"),
        }
    }
}

/// How often something was found, and on which lines first.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Occurrences {
    messages: u64,
    lines: Vec<String>,
}

/// What was found in all messages.
#[derive(Debug, Default)]
struct SampleFindings {
    messages: u64,
    events: u64,
    findings: BTreeMap<(FieldFinding, String), Occurrences>,
    /// Events that carry each field of the schema.
    fields: BTreeMap<String, u64>,
    /// Events that carry each feature.
    carried: Vec<u64>,
}

impl SampleFindings {
    fn note(&mut self, finding: FieldFinding, field: &str, line: &str) {
        let seen = self.findings.entry((finding, field.to_owned())).or_default();
        seen.messages += 1;
        if seen.lines.len() < LINES {
            seen.lines.push(line.to_owned());
        }
    }

    fn rejected(&self) -> u64 {
        let rejected = self.findings.iter().filter(|((f, _), _)| matches!(f, FieldFinding::Rejected(_)));
        rejected.map(|(_, seen)| seen.messages).sum()
    }
}

/// Checks the messages of a JSONL input.
///
/// # Errors
/// [`CliError::No`] when a message would be rejected, [`CliError::Failed`] when the input can't be
/// read.
pub fn run(
    input: &str,
    config: &Config,
    handle: &tokio::runtime::Handle,
    global: &Global,
) -> Result<(), CliError> {
    let Inputs::Jsonl(files) = resolve(&[input.to_owned()], handle).map_err(CliError::failed)? else {
        return Err(CliError::usage("--events takes JSON lines, not an archive"));
    };
    let max = usize::try_from(config.input.max_message.0).unwrap_or(usize::MAX);
    let mut checker = SampleChecker::new(config)?;
    let several = files.len() > 1;
    // One file at a time, so that line numbers are those of the file.
    for file in files {
        let name = if several { format!("{}:", file.name) } else { String::new() };
        let mut source = JsonlSource::new(vec![file], max, Arc::new(FromBeginning), handle.clone());
        loop {
            match source.poll(Duration::from_millis(100)).map_err(CliError::failed)? {
                Polled::Chunk(chunk) => {
                    if let Payload::Messages { buffer, spans } = chunk.payload {
                        for s in spans {
                            let line = format!("{name}{}", s.offset + 1);
                            checker.message(&buffer[s.start as usize..s.end as usize], max, &line);
                        }
                        source.recycle(buffer);
                    }
                }
                Polled::Finished => break,
                _ => {}
            }
        }
    }
    let names: Vec<&str> = checker.plan.features.iter().map(|f| f.name.as_str()).collect();
    let without = if checker.found.events > 0 { absent(config, &checker.found.fields) } else { Vec::new() };
    let report =
        SampleReport { found: &checker.found, known: &checker.known, features: &names, absent: &without };
    let text = if global.json { report.json() } else { report.text() };
    writeln!(std::io::stdout().lock(), "{text}").map_err(CliError::failed)?;
    match checker.found.rejected() {
        0 if checker.found.messages == 0 => Err(CliError::No(format!("{input} has no messages"))),
        0 => Ok(()),
        n => Err(CliError::No(format!("{n} of {} messages would be rejected", checker.found.messages))),
    }
}

struct SampleChecker {
    schema: jsonschema::Validator,
    known: SchemaFields,
    plan: Arc<Plan>,
    enricher: Enricher,
    ranges: Ranges,
    batch: Batch,
    found: SampleFindings,
    /// Unknown fields that were named so far.
    named: usize,
}

impl SampleChecker {
    fn new(config: &Config) -> Result<Self, CliError> {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).map_err(CliError::failed)?;
        let known = SchemaFields::of(&schema);
        let schema = jsonschema::validator_for(&schema).map_err(|e| CliError::failed(e.to_string()))?;
        let features = config.feature_set().map_err(CliError::usage)?;
        let found = SampleFindings { carried: vec![0; features.len()], ..SampleFindings::default() };
        let ranges = ranges(&features);
        let plan = Arc::new(Plan {
            features,
            // Checks every name, whether or not a segment or a feature uses it.
            dimensions: Text::ALL.to_vec(),
            hasher: IdHasher::new(DEFAULT_KEY),
            hidden: config.hidden_fields().map_err(CliError::usage)?,
            vectors: None,
        });
        let enricher = Enricher::new(Arc::clone(&plan));
        Ok(Self { schema, known, plan, enricher, ranges, batch: Batch::default(), found, named: 0 })
    }

    fn message(&mut self, message: &[u8], max: usize, line: &str) {
        self.found.messages += 1;
        let mut mistyped = Vec::new();
        let decoded = if message.len() > max {
            Err(Reject { reason: RejectReason::TooLarge, field: None })
        } else {
            decode(message, &mut mistyped)
        };
        for field in mistyped {
            self.found.note(FieldFinding::LeftOut(RejectReason::MistypedField.name()), field, line);
        }
        let is_event = match decoded {
            Err(r) => {
                self.found.note(FieldFinding::Rejected(r.reason.name()), r.field.unwrap_or_default(), line);
                false
            }
            Ok(mut event) => {
                self.found.events += 1;
                let found = &mut self.found;
                self.ranges.check(&mut event, |field| {
                    found.note(FieldFinding::LeftOut(RejectReason::OutOfRange.name()), field.path(), line);
                });
                self.batch.clear();
                self.enricher.push(&event, &mut self.batch);
                for field in self.enricher.refused().paths() {
                    self.found.note(FieldFinding::Hashed(RejectReason::RefusedName.name()), field, line);
                }
                for (n, v) in self.found.carried.iter_mut().zip(&self.batch.values) {
                    *n += u64::from(*v != Value::Missing);
                }
                true
            }
        };
        // Without the values that can't be represented, which the schema then finds to be of
        // another type.
        let value = serde_json::from_slice::<serde_json::Value>(message).ok().or_else(|| {
            let repaired = repair(std::str::from_utf8(message).ok()?)?;
            serde_json::from_str(&repaired).ok()
        });
        let Some(value) = value else { return };
        let mut seen: Vec<(String, &'static str)> =
            self.schema.iter_errors(&value).map(|e| departure(&e)).collect();
        seen.sort();
        seen.dedup();
        for (field, how) in seen {
            self.found.note(FieldFinding::Schema(how), &field, line);
        }
        if let Some(object) = value.as_object() {
            let mut unknown = Vec::new();
            let fields = &mut self.found.fields;
            self.known.walk(object, &mut |path, known| match known {
                true if is_event => *fields.entry(path.to_owned()).or_default() += 1,
                true => {}
                false => unknown.push(path.to_owned()),
            });
            self.unknown(unknown, line);
        }
    }

    /// Counts unknown fields, by name if the name may be shown; each name once per message.
    fn unknown(&mut self, unknown: Vec<String>, line: &str) {
        let mut others = false;
        for path in unknown {
            let key = (FieldFinding::Unknown, path);
            let new = !self.found.findings.contains_key(&key);
            if !showable(&key.1) || (new && self.named == NAMES) {
                others = true;
                continue;
            }
            self.named += usize::from(new);
            self.found.note(FieldFinding::Unknown, &key.1, line);
        }
        if others {
            self.found.note(FieldFinding::Unknown, OTHER_NAMES, line);
        }
    }
}

/// The field and the keyword of a departure, from the schema alone: neither value nor name of the
/// message's own is in it.
fn departure(e: &jsonschema::ValidationError<'_>) -> (String, &'static str) {
    let pointer = e.instance_path().to_string();
    let mut parts: Vec<&str> = pointer
        .split('/')
        .filter(|p| !p.is_empty())
        .map(|p| if p.bytes().all(|b| b.is_ascii_digit()) { "[]" } else { p })
        .collect();
    let what = match e.kind() {
        ValidationErrorKind::Required { property } => {
            if let Some(p) = property.as_str() {
                parts.push(p);
            }
            return (parts.join("."), "is missing");
        }
        ValidationErrorKind::Type { .. } => "has another type",
        ValidationErrorKind::Enum { .. } | ValidationErrorKind::Constant { .. } => "is none of the values",
        ValidationErrorKind::Minimum { .. }
        | ValidationErrorKind::ExclusiveMinimum { .. }
        | ValidationErrorKind::Maximum { .. }
        | ValidationErrorKind::ExclusiveMaximum { .. } => "is out of range",
        ValidationErrorKind::MinLength { .. } | ValidationErrorKind::MinItems { .. } => "is too short",
        ValidationErrorKind::MaxLength { .. } | ValidationErrorKind::MaxItems { .. } => "is too long",
        ValidationErrorKind::Pattern { .. } | ValidationErrorKind::Format { .. } => "has another form",
        _ => "does not fit",
    };
    (parts.join("."), what)
}

fn percent(n: u64, of: u64) -> String {
    format!("{:.1}%", 100.0 * n as f64 / of.max(1) as f64)
}

/// The report on all messages.
struct SampleReport<'a> {
    found: &'a SampleFindings,
    known: &'a SchemaFields,
    /// Names of the features, in their order.
    features: &'a [&'a str],
    /// Useful fields that no event has, and the consequence.
    absent: &'a [(String, String)],
}

impl SampleReport<'_> {
    fn meant(&self, finding: FieldFinding, field: &str) -> Option<String> {
        (finding == FieldFinding::Unknown && field != OTHER_NAMES)
            .then(|| self.known.nearest(field))
            .flatten()
    }

    fn text(&self) -> String {
        let found = self.found;
        let mut out = format!("{} messages: {} events", HumanCount(found.messages), HumanCount(found.events));
        for ((finding, field), seen) in &found.findings {
            let (word, why) = finding.words();
            let name = if field.is_empty() { "(message)" } else { field };
            let share = percent(seen.messages, found.messages);
            let _ = write!(out, "\n{word:<9} {name:<30} {why:<24} {:>9} {share:>7}", seen.messages);
            let more = if seen.messages > seen.lines.len() as u64 { ", …" } else { "" };
            let _ = write!(out, "  line {}{more}", seen.lines.join(", "));
            if let Some(meant) = self.meant(*finding, field) {
                let _ = write!(out, "; did you mean {meant}?");
            }
        }
        let mut unused = Vec::new();
        for (name, count) in self.features.iter().zip(&found.carried) {
            if *count == 0 {
                unused.push(*name);
                continue;
            }
            let share = percent(*count, found.events);
            let _ = write!(out, "\nfeature   {name:<30} {:<24} {count:>9} {share:>7}", "in events");
        }
        if !unused.is_empty() && found.events > 0 {
            let (n, names) = (unused.len(), unused.join(", "));
            let _ = write!(
                out,
                "\nunused    {n} features are in none of these events, and are not judged: {names}"
            );
        }
        for (field, without) in self.absent {
            let _ = write!(out, "\nabsent    {field:<30} in no event: {without}");
        }
        out
    }

    fn json(&self) -> String {
        let found = self.found;
        let list = |key: &str, wanted: fn(FieldFinding) -> bool| -> Vec<serde_json::Value> {
            let wanted = found.findings.iter().filter(|((f, _), _)| wanted(*f));
            wanted
                .map(|((finding, field), seen)| {
                    let mut row = json!({ "field": field, "messages": seen.messages, "lines": seen.lines });
                    row[key] = match finding {
                        FieldFinding::Unknown => json!(self.meant(*finding, field)),
                        _ => json!(finding.words().1),
                    };
                    row
                })
                .collect()
        };
        let carried: BTreeMap<&str, u64> =
            self.features.iter().copied().zip(found.carried.iter().copied()).collect();
        let absent: Vec<_> = self.absent.iter().map(|(f, w)| json!({ "field": f, "without": w })).collect();
        json!({
            "messages": found.messages, "events": found.events,
            "rejected": list("reason", |f| matches!(f, FieldFinding::Rejected(_))),
            "left_out": list("reason", |f| matches!(f, FieldFinding::LeftOut(_))),
            "refused_names": list("reason", |f| matches!(f, FieldFinding::Hashed(_))),
            "schema": list("departure", |f| matches!(f, FieldFinding::Schema(_))),
            "unknown": list("nearest", |f| f == FieldFinding::Unknown),
            "absent": absent, "features": carried,
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(messages: &[&str]) -> SampleChecker {
        let mut checker = SampleChecker::new(&Config::default()).unwrap();
        for (i, m) in messages.iter().enumerate() {
            checker.message(m.as_bytes(), 1 << 20, &(i + 1).to_string());
        }
        checker
    }

    fn rendered(checker: &SampleChecker) -> (String, String) {
        let names: Vec<&str> = checker.plan.features.iter().map(|f| f.name.as_str()).collect();
        let absent = absent(&Config::default(), &checker.found.fields);
        let report =
            SampleReport { found: &checker.found, known: &checker.known, features: &names, absent: &absent };
        (report.text(), report.json())
    }

    fn lines(checker: &SampleChecker, finding: FieldFinding, field: &str) -> String {
        checker.found.findings[&(finding, field.to_owned())].lines.join(",")
    }

    #[test]
    fn good_messages_have_nothing_to_say() {
        let lines: Vec<&str> = include_str!("../../fixtures/events/valid.jsonl").lines().collect();
        let found = checked(&lines).found;
        assert_eq!((found.messages, found.events), (lines.len() as u64, lines.len() as u64));
        let departures = found.findings.keys().filter(|(f, _)| *f != FieldFinding::Unknown);
        assert_eq!(departures.count(), 0, "{found:?}");
    }

    #[test]
    fn faults_are_counted_with_their_lines_and_no_value_is_told() {
        let secret = "my-secret-value";
        let event = r#""request_id":"r","timestamp":"2026-01-12T06:00:00Z","pipeline_stage":"generate""#;
        let checker = checked(&[
            r#"{"request_id":"r","pipeline_stage":"generate"}"#,
            &format!(r#"{{{event},"metrics":{{"latency_ms":"{secret}"}},"a {secret}":1,"u-20260112":2}}"#),
            secret,
            &format!(
                r#"{{{event},"metrics":{{"latencyms":3,"{secret}":{{"x":"{secret}"}}}},"sessionId":"{secret}"}}"#
            ),
            &format!(r#"{{{event},"tenant":"\ud83d","metrics":{{"cost_usd":-5}}}}"#),
        ]);
        assert_eq!((checker.found.messages, checker.found.events), (5, 3));
        assert_eq!(lines(&checker, FieldFinding::LeftOut("mistyped_field"), "tenant"), "5");
        assert_eq!(lines(&checker, FieldFinding::Schema("has another type"), "tenant"), "5");
        assert_eq!(lines(&checker, FieldFinding::LeftOut("out_of_range"), "metrics.cost_usd"), "5");
        assert_eq!(lines(&checker, FieldFinding::Schema("is out of range"), "metrics.cost_usd"), "5");
        assert_eq!(lines(&checker, FieldFinding::Rejected("missing_field"), "timestamp"), "1");
        assert_eq!(lines(&checker, FieldFinding::Rejected("not_json"), ""), "3");
        assert_eq!(lines(&checker, FieldFinding::LeftOut("mistyped_field"), "metrics.latency_ms"), "2");
        assert_eq!(lines(&checker, FieldFinding::Schema("is missing"), "timestamp"), "1");
        assert_eq!(lines(&checker, FieldFinding::Schema("has another type"), "metrics.latency_ms"), "2");
        assert_eq!(lines(&checker, FieldFinding::Unknown, "metrics.latencyms"), "4");
        assert_eq!(lines(&checker, FieldFinding::Unknown, OTHER_NAMES), "2");
        let (text, json) = rendered(&checker);
        assert!(
            text.contains("did you mean metrics.latency_ms?") && text.contains("did you mean session_id?")
        );
        assert!(text.contains("line 4") && text.contains("absent    session_id"), "{text}");
        let unused: Vec<&str> = text.lines().filter(|l| l.starts_with("unused")).collect();
        assert!(unused.len() == 1 && unused[0].contains("none of these events"), "{text}");
        assert!(unused[0].contains("cost_usd") && !unused[0].contains("volume"), "{text}");
        assert!(text.contains("feature   volume ") && !text.contains("feature   cost_usd "), "{text}");
        for said in [text, json] {
            // As a field's name it looks like one; as a value or part of a text it does not leave.
            assert!(!said.contains(&format!("a {secret}")) && !said.contains("20260112"), "{said}");
            assert_eq!(
                said.matches(secret).count(),
                said.matches(&format!("metrics.{secret}")).count(),
                "{said}"
            );
        }
        let volume = checker.plan.features.iter().position(|f| f.name == "volume").unwrap();
        assert_eq!(checker.found.carried[volume], 3);
    }

    #[test]
    fn names_that_are_none_are_counted_by_field() {
        let event = |more: &str| {
            format!(
                r#"{{"request_id":"r","timestamp":"2026-01-12T06:00:00Z","pipeline_stage":"generate",{more}}}"#
            )
        };
        let long = "a secret prompt ".repeat(10);
        let checker = checked(&[
            &event(&format!(r#""error":{{"code":{long:?}}},"params":{{"sampler":{long:?}}}"#)),
            &event(&format!(r#""region":"a\nb","model":{{"loras":["fine (v1.2)",{long:?},{long:?}]}}"#)),
            &event(r#""params":{"sampler":"DPM++ 2M Karras"}"#),
        ]);
        for (field, line) in
            [("error.code", "1"), ("model.loras", "2"), ("params.sampler", "1"), ("region", "2")]
        {
            assert_eq!(lines(&checker, FieldFinding::Hashed("refused_name"), field), line, "{field}");
        }
        assert!(!checker.found.findings.keys().any(|(f, _)| matches!(f, FieldFinding::LeftOut(_))));
        let (text, json) = rendered(&checker);
        assert!(text.contains("hashed    error.code"), "{text}");
        assert!(!text.contains("secret") && !json.contains("secret"));
    }

    #[test]
    fn a_map_keyed_by_data_does_not_fill_the_report() {
        let keys: Vec<String> = (0..200).map(|i| format!("\"key_{}{}\":1", ["a", "b"][i % 2], i)).collect();
        let checker = checked(&[&format!("{{{}}}", keys.join(","))]);
        let unknown = checker.found.findings.keys().filter(|(f, _)| *f == FieldFinding::Unknown).count();
        assert_eq!(unknown, NAMES + 1);
    }
}
