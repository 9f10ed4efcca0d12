//! JSON to [`Event`]: typed, borrowed, one pass. A required field that is wrong rejects the event; an optional one of the wrong
//! type counts as missing and is reported by its path, and so does one whose value can't be represented ([`repair`]). No error
//! holds any of the message's text.

use super::raw::{NameList, ObjectField, Opt, Seed, TokenIds};
use super::repair::repair;
use super::table::Raw;
use super::{Event, Flag, Id, Num, Prompt, Stage, Text};
use serde_json::error::Category;
use std::borrow::Cow;
use std::fmt;

/// Why a message is not an event. The names are those of the `rejects` table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectReason {
    /// Not a JSON object.
    NotJson,
    /// A required field is absent or null.
    MissingField,
    /// A field has the wrong type, or a value that can't be represented, or a stage that does not exist.
    MistypedField,
    /// A number lies outside the range of its field, which is missing then.
    OutOfRange,
    /// A field stands twice, so that nobody can say which value counts.
    DuplicateField,
    /// The timestamp is not RFC 3339, or not between 2000 and 2100.
    ImpossibleTime,
    /// The event lies so far ahead of its partition that no pane can be kept open for it.
    TooFarAhead,
    /// Longer than `input.max_message`.
    TooLarge,
    /// A text is no name (too long, or with characters that break a line): its hash stands for it.
    RefusedName,
    /// Decoding it crashed: a bug of driftglass, from which the rest of the input is kept safe.
    Crashed,
}

impl RejectReason {
    /// Its name in tables and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::MissingField => "missing_field",
            Self::MistypedField => "mistyped_field",
            Self::OutOfRange => "out_of_range",
            Self::DuplicateField => "duplicate_field",
            Self::ImpossibleTime => "impossible_time",
            Self::TooFarAhead => "too_far_ahead",
            Self::TooLarge => "too_large",
            Self::RefusedName => "refused_name",
            Self::Crashed => "crashed",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A message that is not an event: why, and the field where one is to blame. Holds no text of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// Dotted path of the field, if one is to blame.
    pub field: Option<&'static str>,
}

impl Reject {
    /// A rejection for one field.
    #[must_use]
    pub fn field(reason: RejectReason, field: &'static str) -> Self {
        Self { reason, field: Some(field) }
    }
}

/// Characters that a request id may have.
const MAX_ID: usize = 128;

/// Decodes one message of up to `max` bytes, as [`decode`].
///
/// # Errors
/// As [`decode`], and when it is larger.
pub fn decode_within<'a>(
    message: &'a [u8],
    max: usize,
    mistyped: &mut Vec<&'static str>,
) -> Result<Event<'a>, Reject> {
    if message.len() > max {
        return Err(Reject { reason: RejectReason::TooLarge, field: None });
    }
    decode(message, mistyped)
}

/// Decodes one message. Paths of optional fields that had the wrong type are pushed to `mistyped`.
///
/// # Errors
/// A [`Reject`] when the message is no JSON object or a required field (`request_id`, `timestamp`, `pipeline_stage`) is wrong.
pub fn decode<'a>(message: &'a [u8], mistyped: &mut Vec<&'static str>) -> Result<Event<'a>, Reject> {
    // serde reads an array into a struct field by field; an event is an object.
    if message.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Reject { reason: RejectReason::NotJson, field: None });
    }
    // Checked as a whole: string by string, as serde_json does it for bytes, costs a tenth of the decoding.
    let text =
        std::str::from_utf8(message).map_err(|_| Reject { reason: RejectReason::NotJson, field: None })?;
    match decode_text(text, mistyped) {
        Err(reject) if reject.reason == RejectReason::NotJson => match repair(text) {
            Some(repaired) => decode_text(&repaired, mistyped).map(Event::into_owned),
            None => Err(reject),
        },
        done => done,
    }
}

fn decode_text<'a>(text: &'a str, mistyped: &mut Vec<&'static str>) -> Result<Event<'a>, Reject> {
    let mut raw: Raw<'a> = serde_json::from_str(text).map_err(|e| {
        // serde_json's own text may quote the message; only what kind of error it is goes on.
        let duplicate = e.classify() == Category::Data && e.to_string().starts_with("duplicate field");
        let reason = if duplicate { RejectReason::DuplicateField } else { RejectReason::NotJson };
        Reject { reason, field: None }
    })?;
    let request_id = required(std::mem::take(&mut raw.request_id), "request_id")?;
    if request_id.is_empty() {
        return Err(Reject::field(RejectReason::MissingField, "request_id"));
    }
    if request_id.len() > MAX_ID && request_id.chars().count() > MAX_ID {
        return Err(Reject::field(RejectReason::TooLarge, "request_id"));
    }
    let timestamp = required(std::mem::take(&mut raw.timestamp), "timestamp")?;
    let time_us =
        super::time::parse(&timestamp).ok_or(Reject::field(RejectReason::ImpossibleTime, "timestamp"))?;
    let stage = Stage::from_name(&required(std::mem::take(&mut raw.pipeline_stage), "pipeline_stage")?)
        .ok_or(Reject::field(RejectReason::MistypedField, "pipeline_stage"))?;

    let mut event = Event::new(request_id, time_us, stage);
    event.failed = matches!(raw.error.0, Opt::Value(_));
    event.artifacts = raw.artifacts.map(|a| Cow::Borrowed(a.get()));
    raw.fill(&mut event, &mut Taker { mistyped });
    Ok(event)
}

fn required<'a>(value: Opt<Cow<'a, str>>, path: &'static str) -> Result<Cow<'a, str>, Reject> {
    match value {
        Opt::Value(v) => Ok(v),
        Opt::Missing => Err(Reject::field(RejectReason::MissingField, path)),
        Opt::Mistyped => Err(Reject::field(RejectReason::MistypedField, path)),
    }
}

/// Moves optional values into the event and notes those of the wrong type. The [`table`](super::table) says which
/// method moves which field.
pub struct Taker<'m> {
    mistyped: &'m mut Vec<&'static str>,
}

impl Taker<'_> {
    fn value<T>(&mut self, value: Opt<T>, path: &'static str) -> Option<T> {
        match value {
            Opt::Value(v) => Some(v),
            Opt::Missing => None,
            Opt::Mistyped => {
                self.mistyped.push(path);
                None
            }
        }
    }

    /// A nested object.
    pub fn group<T>(&mut self, value: ObjectField<T>, path: &'static str) -> Option<T> {
        self.value(value.0, path)
    }

    /// A number.
    pub fn num(&mut self, event: &mut Event<'_>, field: Num, value: Opt<f64>) {
        if let Some(v) = self.value(value, field.path()) {
            event.nums[field as usize] = v;
        }
    }

    /// Yes or no.
    pub fn flag(&mut self, event: &mut Event<'_>, field: Flag, value: Opt<bool>) {
        event.flags[field as usize] = self.value(value, field.path());
    }

    /// A name. One of nothing but space is none.
    pub fn text<'a>(&mut self, event: &mut Event<'a>, field: Text, value: Opt<Cow<'a, str>>) {
        event.texts[field as usize] = self.value(value, field.path()).filter(|v| !v.trim().is_empty());
    }

    /// The session.
    pub fn session<'a>(&mut self, event: &mut Event<'a>, value: Opt<Cow<'a, str>>, path: &'static str) {
        event.session = self.id(value, path);
    }

    /// The user.
    pub fn user<'a>(&mut self, event: &mut Event<'a>, value: Opt<Cow<'a, str>>, path: &'static str) {
        event.user = self.id(value, path);
    }

    fn id<'a>(&mut self, value: Opt<Cow<'a, str>>, path: &'static str) -> Id<'a> {
        match self.value(value, path) {
            Some(v) if !v.is_empty() => Id::Raw(v),
            _ => Id::Missing,
        }
    }

    /// The prompt's tokens.
    pub fn prompt_tokens(&mut self, event: &mut Event<'_>, value: Opt<TokenIds>, path: &'static str) {
        if let Some(ids) = self.value(value, path) {
            event.prompt = Prompt::Tokens(Cow::Owned(ids.0));
        }
    }

    /// The prompt's text, which counts only where there are no tokens.
    pub fn prompt_text<'a>(&mut self, event: &mut Event<'a>, value: Opt<Cow<'a, str>>, path: &'static str) {
        if let (Some(text), Prompt::Missing) = (self.value(value, path), &event.prompt) {
            event.prompt = Prompt::Text(text);
        }
    }

    /// The LoRAs in use.
    pub fn loras<'a>(&mut self, event: &mut Event<'a>, value: Opt<NameList<'a>>, path: &'static str) {
        event.loras = self.value(value, path).map(|names| names.0);
    }

    /// The seed.
    pub fn seed(&mut self, event: &mut Event<'_>, value: Opt<Seed>, path: &'static str) {
        event.seed = self.value(value, path).map(|seed| seed.0);
    }

    /// Whether the user opted out. A consent that can't be read is taken as withheld.
    pub fn opt_out(&mut self, event: &mut Event<'_>, value: Opt<bool>, path: &'static str) {
        let mistyped = value == Opt::Mistyped;
        event.opt_out = self.value(value, path).unwrap_or(mistyped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Ranges;

    const MINIMAL: &str =
        r#"{"request_id":"r","timestamp":"2026-01-12T06:00:00Z","pipeline_stage":"generate""#;

    fn read(rest: &str) -> (Result<Event<'static>, Reject>, Vec<&'static str>) {
        let message: &'static str = format!("{MINIMAL}{rest}}}").leak();
        let mut mistyped = Vec::new();
        (decode(message.as_bytes(), &mut mistyped), mistyped)
    }

    #[test]
    fn samples_that_are_valid_decode_without_complaint() {
        for line in include_str!("../../../../fixtures/events/valid.jsonl").lines() {
            let mut mistyped = Vec::new();
            assert!(decode(line.as_bytes(), &mut mistyped).is_ok(), "{line}");
            assert_eq!(mistyped, Vec::<&str>::new(), "{line}");
        }
    }

    #[test]
    fn samples_that_are_invalid_are_rejected_for_their_reason() {
        for line in include_str!("../../../../fixtures/events/invalid.jsonl").lines() {
            let sample: serde_json::Value = serde_json::from_str(line).unwrap();
            let got = decode(sample["message"].as_str().unwrap().as_bytes(), &mut Vec::new()).unwrap_err();
            assert_eq!(got.reason.name(), sample["reason"], "{}", sample["why"]);
            assert_eq!(got.field, sample["field"].as_str(), "{}", sample["why"]);
        }
    }

    #[test]
    fn an_optional_field_of_the_wrong_type_costs_that_field_only() {
        for line in include_str!("../../../../fixtures/events/tolerated.jsonl").lines() {
            let sample: serde_json::Value = serde_json::from_str(line).unwrap();
            let mut mistyped = Vec::new();
            let message = sample["message"].as_str().unwrap();
            let mut event = decode(message.as_bytes(), &mut mistyped).unwrap_or_else(|_| panic!("{line}"));
            Ranges::default().check(&mut event, |field| mistyped.push(field.path()));
            // Fields that nobody reads (ids of traces, addresses of images) are not looked at.
            let read = Num::ALL.iter().any(|f| f.path() == sample["field"]) || !mistyped.is_empty();
            if read {
                assert_eq!(mistyped, [sample["field"].as_str().unwrap()], "{line}");
            }
        }
    }

    #[test]
    fn duplicate_keys_are_rejected_and_deep_nesting_is_harmless() {
        assert_eq!(read(r#","tenant":"a","tenant":"b""#).0.unwrap_err().reason, RejectReason::DuplicateField);
        let deep = format!(r#","prompt":{}1{}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(&deep).1, ["prompt"], "skipped without recursion");
        let deep = format!(r#","x":{}1{}"#, "{\"a\":".repeat(100_000), "}".repeat(100_000));
        assert!(read(&deep).0.is_ok());
    }

    #[test]
    fn consent_that_cannot_be_read_is_withheld() {
        assert!(read(r#","consent":{"opt_out":"yes"}"#).0.unwrap().opt_out);
        assert!(!read(r#","consent":{"opt_out":null}"#).0.unwrap().opt_out);
    }

    #[test]
    fn an_error_is_there_or_not() {
        assert!(read(r#","error":{"code":"oom"}"#).0.unwrap().failed);
        assert!(!read(r#","error":null"#).0.unwrap().failed);
    }
}
