//! `driftglass check --events`: how far sample messages fit the reference event. Counts fields and reasons, never shows a value.

use super::{CliError, Global};
use crate::config::Config;
use crate::config::features::ranges;
use crate::enrich::{Batch, DEFAULT_KEY, Enricher, IdHasher, Plan, Value};
use crate::event::{Ranges, Reject, RejectReason, Text, decode, repair};
use crate::source::{FromBeginning, Inputs, JsonlSource, Payload, Polled, Source, resolve};
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

/// Counts by field and reason.
type Counted = BTreeMap<(String, &'static str), u64>;

/// What was found in the messages.
#[derive(Debug, Default)]
struct Found {
    messages: u64,
    events: u64,
    /// Messages that would be rejected, by field (where one is to blame) and reason.
    rejected: Counted,
    /// Optional fields that count as missing, by field and reason.
    left_out: BTreeMap<(&'static str, &'static str), u64>,
    /// Fields with what is no name, whose hash stands for it.
    refused: BTreeMap<&'static str, u64>,
    /// Departures from the schema, by field and keyword.
    schema: Counted,
    /// Events that carry each feature.
    carried: Vec<u64>,
}

/// Checks the messages of a JSONL input.
///
/// # Errors
/// [`CliError::No`] when a message would be rejected, [`CliError::Failed`] when the input can't be read.
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
    let mut source = JsonlSource::new(files, max, Arc::new(FromBeginning), handle.clone());
    let mut checker = Checker::new(config)?;
    loop {
        match source.poll(Duration::from_millis(100)).map_err(CliError::failed)? {
            Polled::Chunk(chunk) => {
                if let Payload::Messages { buffer, spans } = chunk.payload {
                    for s in spans {
                        checker.message(&buffer[s.start as usize..s.end as usize], max);
                    }
                    source.recycle(buffer);
                }
            }
            Polled::Finished => break,
            _ => {}
        }
    }
    let names: Vec<&str> = checker.plan.features.iter().map(|f| f.name.as_str()).collect();
    let text = if global.json { checker.found.json(&names) } else { checker.found.text(&names) };
    writeln!(std::io::stdout().lock(), "{text}").map_err(CliError::failed)?;
    let rejected: u64 = checker.found.rejected.values().sum();
    match rejected {
        0 if checker.found.messages == 0 => Err(CliError::No(format!("{input} holds no message"))),
        0 => Ok(()),
        n => Err(CliError::No(format!("{n} of {} messages would be rejected", checker.found.messages))),
    }
}

struct Checker {
    schema: jsonschema::Validator,
    plan: Arc<Plan>,
    enricher: Enricher,
    ranges: Ranges,
    batch: Batch,
    found: Found,
}

impl Checker {
    fn new(config: &Config) -> Result<Self, CliError> {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).map_err(CliError::failed)?;
        let schema = jsonschema::validator_for(&schema).map_err(|e| CliError::failed(e.to_string()))?;
        let features = config.feature_set().map_err(CliError::usage)?;
        let found = Found { carried: vec![0; features.len()], ..Found::default() };
        let ranges = ranges(&features);
        let plan = Arc::new(Plan {
            features,
            // Every name is looked at, whether or not a segment or a feature reads it.
            dimensions: Text::ALL.to_vec(),
            hasher: IdHasher::new(DEFAULT_KEY),
            hidden: config.hidden_fields().map_err(CliError::usage)?,
            vectors: None,
        });
        let enricher = Enricher::new(Arc::clone(&plan));
        Ok(Self { schema, plan, enricher, ranges, batch: Batch::default(), found })
    }

    fn message(&mut self, message: &[u8], max: usize) {
        let found = &mut self.found;
        found.messages += 1;
        let mut mistyped = Vec::new();
        let decoded = if message.len() > max {
            Err(Reject { reason: RejectReason::TooLarge, field: None })
        } else {
            decode(message, &mut mistyped)
        };
        for field in mistyped {
            *found.left_out.entry((field, RejectReason::MistypedField.name())).or_default() += 1;
        }
        match decoded {
            Err(r) => {
                let field = r.field.unwrap_or_default().to_owned();
                *found.rejected.entry((field, r.reason.name())).or_default() += 1;
            }
            Ok(mut event) => {
                found.events += 1;
                self.ranges.check(&mut event, |field| {
                    let reason = RejectReason::OutOfRange.name();
                    *found.left_out.entry((field.path(), reason)).or_default() += 1;
                });
                self.batch.clear();
                self.enricher.push(&event, &mut self.batch);
                for field in self.enricher.refused().paths() {
                    *found.refused.entry(field).or_default() += 1;
                }
                for (n, v) in found.carried.iter_mut().zip(&self.batch.values) {
                    *n += u64::from(*v != Value::Missing);
                }
            }
        }
        // Without the values that can't be represented, which the schema then finds to be of another type.
        let value = serde_json::from_slice::<serde_json::Value>(message).ok().or_else(|| {
            let repaired = repair(std::str::from_utf8(message).ok()?)?;
            serde_json::from_str(&repaired).ok()
        });
        if let Some(value) = value {
            let mut seen: Vec<(String, &'static str)> =
                self.schema.iter_errors(&value).map(|e| departure(&e)).collect();
            seen.sort();
            seen.dedup();
            for d in seen {
                *found.schema.entry(d).or_default() += 1;
            }
        }
    }
}

/// The field and the keyword of a departure, from the schema alone: neither value nor name of the message's own is in it.
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

impl Found {
    fn text(&self, features: &[&str]) -> String {
        let mut out = format!("{} messages: {} events", HumanCount(self.messages), HumanCount(self.events));
        let n = |f: &mut String, word: &str, field: &str, why: &str, n: u64| {
            let field = if field.is_empty() { "(message)" } else { field };
            let _ = write!(f, "\n{word:<9} {field:<30} {why:<24} {n:>9} {:>7}", percent(n, self.messages));
        };
        for ((field, reason), count) in &self.rejected {
            n(&mut out, "rejected", field, reason, *count);
        }
        for ((field, reason), count) in &self.left_out {
            n(&mut out, "left out", field, reason, *count);
        }
        for (field, count) in &self.refused {
            n(&mut out, "hashed", field, "refused_name", *count);
        }
        for ((field, what), count) in &self.schema {
            n(&mut out, "schema", field, what, *count);
        }
        for (name, count) in features.iter().zip(&self.carried) {
            let carried = if *count == 0 { "no event carries it" } else { "carried by" };
            let _ = write!(
                out,
                "\nfeature   {name:<30} {carried:<24} {count:>9} {:>7}",
                percent(*count, self.events)
            );
        }
        out
    }

    fn json(&self, features: &[&str]) -> String {
        let counted = |c: &Counted, why: &str| -> Vec<serde_json::Value> {
            c.iter().map(|((field, w), n)| json!({ "field": field, why: w, "messages": n })).collect()
        };
        let left_out = self.left_out.iter();
        let left_out: Vec<_> = left_out
            .map(|((field, reason), n)| json!({ "field": field, "reason": reason, "messages": n }))
            .collect();
        let by_field = |c: &BTreeMap<&'static str, u64>| -> Vec<serde_json::Value> {
            c.iter().map(|(f, n)| json!({ "field": f, "messages": n })).collect()
        };
        let carried: BTreeMap<&str, u64> =
            features.iter().copied().zip(self.carried.iter().copied()).collect();
        json!({
            "messages": self.messages, "events": self.events, "rejected": counted(&self.rejected, "reason"),
            "left_out": left_out, "refused_names": by_field(&self.refused),
            "schema": counted(&self.schema, "departure"), "features": carried,
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(messages: &[&str]) -> Found {
        let mut checker = Checker::new(&Config::default()).unwrap();
        messages.iter().for_each(|m| checker.message(m.as_bytes(), 1 << 20));
        checker.found
    }

    #[test]
    fn good_messages_have_nothing_to_say() {
        let lines: Vec<&str> = include_str!("../../fixtures/events/valid.jsonl").lines().collect();
        let found = checked(&lines);
        assert_eq!((found.messages, found.events), (lines.len() as u64, lines.len() as u64));
        assert!(
            found.rejected.is_empty() && found.left_out.is_empty() && found.schema.is_empty(),
            "{found:?}"
        );
    }

    #[test]
    fn names_that_are_none_are_counted_by_field() {
        let event = |more: &str| {
            format!(
                r#"{{"request_id":"r","timestamp":"2026-01-12T06:00:00Z","pipeline_stage":"generate",{more}}}"#
            )
        };
        let long = "a secret prompt ".repeat(10);
        let found = checked(&[
            &event(&format!(r#""error":{{"code":{long:?}}},"params":{{"sampler":{long:?}}}"#)),
            &event(&format!(r#""region":"a\nb","model":{{"loras":["fine (v1.2)",{long:?},{long:?}]}}"#)),
            &event(r#""params":{"sampler":"DPM++ 2M Karras"}"#),
        ]);
        let expected = [("error.code", 1), ("model.loras", 1), ("params.sampler", 1), ("region", 1)];
        assert_eq!(found.refused.clone().into_iter().collect::<Vec<_>>(), expected);
        assert!(
            found.left_out.is_empty() && found.text(&[]).contains("hashed    error.code"),
            "{}",
            found.text(&[])
        );
        assert!(!found.text(&[]).contains("secret") && !found.json(&[]).contains("secret"));
    }

    #[test]
    fn faults_are_counted_by_field_and_no_value_is_told() {
        let secret = "my-secret-value";
        let found = checked(&[
            r#"{"request_id":"r","pipeline_stage":"generate"}"#,
            &format!(
                r#"{{"request_id":"r","timestamp":"2026-01-12T06:00:00Z","pipeline_stage":"generate","metrics":{{"latency_ms":"{secret}"}},"{secret}":1}}"#
            ),
            secret,
            r#"{"request_id":"r","timestamp":"2026-01-12T06:00:00Z","pipeline_stage":"generate","tenant":"\ud83d","metrics":{"cost_usd":-5}}"#,
        ]);
        assert_eq!((found.messages, found.events), (4, 2));
        assert_eq!(found.left_out[&("tenant", "mistyped_field")], 1);
        assert_eq!(found.schema[&("tenant".to_owned(), "has another type")], 1);
        assert_eq!(found.left_out[&("metrics.cost_usd", "out_of_range")], 1);
        assert_eq!(found.schema[&("metrics.cost_usd".to_owned(), "is out of range")], 1);
        assert_eq!(found.rejected[&("timestamp".to_owned(), "missing_field")], 1);
        assert_eq!(found.rejected[&(String::new(), "not_json")], 1);
        assert_eq!(found.left_out[&("metrics.latency_ms", "mistyped_field")], 1);
        assert_eq!(found.schema[&("timestamp".to_owned(), "is missing")], 1);
        assert_eq!(found.schema[&("metrics.latency_ms".to_owned(), "has another type")], 1);
        let names: Vec<String> =
            Config::default().feature_set().unwrap().into_iter().map(|f| f.name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(!found.text(&names).contains(secret) && !found.json(&names).contains(secret));
        let volume = names.iter().position(|n| *n == "volume").unwrap();
        assert_eq!(found.carried[volume], 2);
    }
}
