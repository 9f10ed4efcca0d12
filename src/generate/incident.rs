//! Incidents in generated traffic: what changes, for which segment, and when; and their text form.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};

use super::error::IncidentError;
use super::names::{DIMENSIONS, Dimension, KINDS};
use super::schedule::Schedule;
use super::vocabulary::LANGUAGES;
use crate::config::segments::{name_of, parts};

/// A change of the generated traffic.
///
/// Text form: `KIND:SEGMENT:START[..END][:KEY=VALUE,…]`, for example
/// `prompt-shift:tenant=birch:2026-01-12T06:00:00Z..2026-01-14T00:00:00Z:share=0.6`. The segment is
/// `dimension=value` (several joined by commas) or `all`; times are RFC 3339 or a date (midnight
/// UTC); without an end it lasts; missing parameters have the default of their kind. Every kind also
/// takes `hours=20-6`, `days=weekend` or `days=weekdays`, and `ramp=DAYS` ([`Schedule`]).
#[derive(Debug, Clone, PartialEq)]
pub struct InjectedIncident {
    /// What changes, and how much.
    pub kind: IncidentKind,
    /// The segment that it affects.
    pub segment: IncidentSegment,
    /// Its start.
    pub start: DateTime<Utc>,
    /// Its end, exclusive; `None`: it lasts.
    pub end: Option<DateTime<Utc>>,
    /// When it acts within this time.
    pub schedule: Schedule,
}

/// What an incident changes.
#[derive(Debug, Clone, PartialEq)]
pub enum IncidentKind {
    /// This share of the segment's sessions turns to anime prompts and the anime style.
    PromptShift {
        /// Share of sessions, 0 to 1.
        share: f64,
    },
    /// A release: another `checkpoint_hash`, whose images score lower.
    AestheticDrop {
        /// Points by which the aesthetic score falls (its mean is about 5.6); `clip_i` falls by a
        /// twentieth of it.
        delta: f64,
    },
    /// Requests take longer, and more time out.
    LatencyAndErrors {
        /// Latency times this.
        factor: f64,
        /// Share of requests that time out on top of the usual errors, 0 to 1.
        error_rate: f64,
    },
    /// More images are flagged.
    NsfwRise {
        /// Rate of flagged images times this.
        factor: f64,
    },
    /// The same work costs more.
    CostRise {
        /// Cost times this.
        factor: f64,
    },
    /// Users accept fewer images.
    AcceptanceDrop {
        /// Acceptance rate times this.
        factor: f64,
    },
    /// This share of the segment's sessions writes in another language.
    LanguageShift {
        /// Share of sessions, 0 to 1.
        share: f64,
        /// ISO 639-1 code: one of en, de, es, fr, ja.
        to: String,
    },
    /// Some requests take much longer; the others do not change.
    LatencyTail {
        /// Share of requests, 0 to 1.
        share: f64,
        /// Their latency times this.
        factor: f64,
    },
    /// A LoRA that did not exist before.
    NewLora {
        /// Share of sessions that use it, 0 to 1.
        share: f64,
    },
    /// The model uses the anime style for this share of the segment's sessions, regardless of
    /// prompts.
    StyleShift {
        /// Share of sessions, 0 to 1.
        share: f64,
    },
    /// Fewer sessions.
    VolumeDrop {
        /// Traffic times this, 0 to 1.
        factor: f64,
    },
}

/// The segment that an incident affects: events for which all conditions are true; without
/// conditions, all traffic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IncidentSegment(pub Vec<(Dimension, String)>);

impl IncidentKind {
    /// The names of all kinds, as the text form writes them.
    pub const NAMES: [&'static str; 11] = KINDS;

    /// The kind of this name with its default parameters.
    pub fn with_defaults(name: &str) -> Option<Self> {
        Some(match name {
            "prompt-shift" => Self::PromptShift { share: 0.6 },
            "aesthetic-drop" => Self::AestheticDrop { delta: 0.6 },
            "latency-and-errors" => Self::LatencyAndErrors { factor: 1.6, error_rate: 0.08 },
            "nsfw-rise" => Self::NsfwRise { factor: 4.0 },
            "cost-rise" => Self::CostRise { factor: 1.5 },
            "acceptance-drop" => Self::AcceptanceDrop { factor: 0.6 },
            "language-shift" => Self::LanguageShift { share: 0.5, to: "ja".to_owned() },
            "volume-drop" => Self::VolumeDrop { factor: 0.3 },
            "style-shift" => Self::StyleShift { share: 0.4 },
            "latency-tail" => Self::LatencyTail { share: 0.06, factor: 5.0 },
            "new-lora" => Self::NewLora { share: 0.5 },
            _ => return None,
        })
    }

    /// Every kind with its parameters and defaults, one per line, for the command's help.
    pub fn help() -> String {
        let kinds = Self::NAMES.iter().filter_map(|name| Self::with_defaults(name));
        kinds.map(|k| format!("  {:<20} {}", k.name(), k.parameters())).collect::<Vec<_>>().join("\n")
    }

    /// The name, as the text form writes it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PromptShift { .. } => KINDS[0],
            Self::AestheticDrop { .. } => KINDS[1],
            Self::LatencyAndErrors { .. } => KINDS[2],
            Self::NsfwRise { .. } => KINDS[3],
            Self::CostRise { .. } => KINDS[4],
            Self::AcceptanceDrop { .. } => KINDS[5],
            Self::LanguageShift { .. } => KINDS[6],
            Self::VolumeDrop { .. } => KINDS[7],
            Self::StyleShift { .. } => KINDS[8],
            Self::LatencyTail { .. } => KINDS[9],
            Self::NewLora { .. } => KINDS[10],
        }
    }

    fn parameters(&self) -> String {
        match self {
            Self::PromptShift { share } | Self::StyleShift { share } | Self::NewLora { share } => {
                format!("share={share}")
            }
            Self::LatencyTail { share, factor } => format!("share={share},factor={factor}"),
            Self::AestheticDrop { delta } => format!("delta={delta}"),
            Self::LatencyAndErrors { factor, error_rate } => {
                format!("factor={factor},error_rate={error_rate}")
            }
            Self::NsfwRise { factor }
            | Self::CostRise { factor }
            | Self::AcceptanceDrop { factor }
            | Self::VolumeDrop { factor } => format!("factor={factor}"),
            Self::LanguageShift { share, to } => format!("share={share},to={to}"),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), IncidentError> {
        let unknown = IncidentError::UnknownParameter {
            kind: self.name(),
            key: key.to_owned(),
            takes: Self::with_defaults(self.name()).map(|kind| kind.parameters()).unwrap_or_default(),
        };
        match (self, key) {
            (
                Self::PromptShift { share }
                | Self::StyleShift { share }
                | Self::NewLora { share }
                | Self::LatencyTail { share, .. }
                | Self::LanguageShift { share, .. },
                "share",
            ) => *share = number("share", value)?,
            (Self::LanguageShift { to, .. }, "to") => *to = value.to_owned(),
            (Self::AestheticDrop { delta }, "delta") => *delta = number("delta", value)?,
            (Self::LatencyAndErrors { error_rate, .. }, "error_rate") => {
                *error_rate = number("error_rate", value)?
            }
            (
                Self::LatencyAndErrors { factor, .. }
                | Self::LatencyTail { factor, .. }
                | Self::NsfwRise { factor }
                | Self::CostRise { factor }
                | Self::AcceptanceDrop { factor }
                | Self::VolumeDrop { factor },
                "factor",
            ) => *factor = number("factor", value)?,
            _ => return Err(unknown),
        }
        Ok(())
    }
}

impl InjectedIncident {
    /// Checks that shares are within 0 to 1, factors positive and finite, and the end after the
    /// start.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), IncidentError> {
        if let Some(end) = self.end
            && end <= self.start
        {
            return Err(IncidentError::EndsBeforeStart { start: self.start, end });
        }
        let within = |key, value: f64, low: f64, high: f64, expected| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(IncidentError::BadParameter { key, value: value.to_string(), expected })
            }
        };
        let share = |key, value| within(key, value, 0.0, 1.0, "a share from 0 to 1");
        let factor = |value| within("factor", value, 0.01, 100.0, "a factor from 0.01 to 100");
        match &self.kind {
            IncidentKind::PromptShift { share: value }
            | IncidentKind::StyleShift { share: value }
            | IncidentKind::NewLora { share: value } => share("share", *value),
            IncidentKind::LatencyTail { share: value, factor: times } => {
                factor(*times).and(share("share", *value))
            }
            IncidentKind::AestheticDrop { delta } => {
                within("delta", *delta, -5.0, 5.0, "points from -5 to 5")
            }
            IncidentKind::LatencyAndErrors { factor: value, error_rate } => {
                factor(*value).and(share("error_rate", *error_rate))
            }
            IncidentKind::NsfwRise { factor: value }
            | IncidentKind::CostRise { factor: value }
            | IncidentKind::AcceptanceDrop { factor: value } => factor(*value),
            IncidentKind::LanguageShift { share: value, to } => {
                share("share", *value)?;
                if LANGUAGES.contains(&to.as_str()) {
                    Ok(())
                } else {
                    let expected = "one of en, de, es, fr, ja";
                    Err(IncidentError::BadParameter { key: "to", value: to.clone(), expected })
                }
            }
            IncidentKind::VolumeDrop { factor } => {
                within("factor", *factor, 0.0, 1.0, "a factor from 0 to 1")
            }
        }
    }
}

fn number(key: &'static str, value: &str) -> Result<f64, IncidentError> {
    value.parse().map_err(|_| IncidentError::BadParameter {
        key,
        value: value.to_owned(),
        expected: "a number",
    })
}

fn time(text: &str) -> Result<DateTime<Utc>, IncidentError> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    text.parse::<NaiveDate>()
        .ok()
        .and_then(|date| date.and_hms_opt(0, 0, 0))
        .map(|midnight| midnight.and_utc())
        .ok_or_else(|| IncidentError::Time(text.to_owned()))
}

impl FromStr for IncidentSegment {
    type Err = IncidentError;

    fn from_str(text: &str) -> Result<Self, IncidentError> {
        if text == "all" {
            return Ok(Self::default());
        }
        let wrong = || IncidentError::Segment(text.to_owned());
        let mut conditions: Vec<(Dimension, String)> = Vec::new();
        for (name, value) in parts(text) {
            let dimension = DIMENSIONS.into_iter().find(|d| d.name() == name).ok_or_else(wrong)?;
            if value.is_empty() || conditions.iter().any(|(known, _)| *known == dimension) {
                return Err(wrong());
            }
            conditions.push((dimension, value.into_owned()));
        }
        let segment = Self(conditions);
        // Parts without an equals sign are not conditions.
        if segment.0.is_empty() || segment.to_string() != text { Err(wrong()) } else { Ok(segment) }
    }
}

impl fmt::Display for IncidentSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("all");
        }
        f.write_str(&name_of(self.0.iter().map(|(d, v)| (d.name(), v.as_str()))))
    }
}

impl FromStr for InjectedIncident {
    type Err = IncidentError;

    fn from_str(text: &str) -> Result<Self, IncidentError> {
        let incomplete = || IncidentError::Incomplete(text.to_owned());
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut kind =
            IncidentKind::with_defaults(name).ok_or_else(|| IncidentError::UnknownKind(name.to_owned()))?;
        let (segment, rest) = rest.split_once(':').ok_or_else(incomplete)?;
        let segment = segment.parse()?;
        // Times have colons, too; only parameters have an equals sign.
        let (range, parameters) = match rest.rsplit_once(':') {
            Some((range, tail)) if tail.contains('=') => (range, tail),
            _ => (rest, ""),
        };
        if range.is_empty() {
            return Err(incomplete());
        }
        let (start, end) = match range.split_once("..") {
            Some((start, "")) => (time(start)?, None),
            Some((start, end)) => (time(start)?, Some(time(end)?)),
            None => (time(range)?, None),
        };
        let mut schedule = Schedule::default();
        for parameter in parameters.split(',').filter(|p| !p.is_empty()) {
            let (key, value) = parameter.split_once('=').ok_or_else(incomplete)?;
            let (key, value) = (key.trim(), value.trim());
            if !schedule.set(key, value)? {
                kind.set(key, value)?;
            }
        }
        let incident = Self { kind, segment, start, end, schedule };
        incident.check()?;
        Ok(incident)
    }
}

impl fmt::Display for InjectedIncident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rfc = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        write!(f, "{}:{}:{}", self.kind.name(), self.segment, rfc(self.start))?;
        if let Some(end) = self.end {
            write!(f, "..{}", rfc(end))?;
        }
        write!(f, ":{}{}", self.kind.parameters(), self.schedule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_comes_back_as_it_went_in() {
        for text in [
            "prompt-shift:tenant=birch:2026-01-12T06:00:00Z..2026-01-14T00:00:00Z:share=0.6",
            "aesthetic-drop:model_version=sdxl-1.1:2026-01-12T06:00:00Z:delta=0.4",
            "latency-and-errors:region=ap-south,gpu_type=a10:2026-01-12T06:00:00.500Z:factor=2,error_rate=0.1",
            "language-shift:traffic_source=api:2026-01-12T06:00:00Z:share=0.25,to=de",
            "volume-drop:all:2026-01-12T06:00:00Z..2026-01-12T07:00:00Z:factor=0",
            "latency-tail:all:2026-01-12T06:00:00Z:share=0.1,factor=4",
            "style-shift:all:2026-01-12T06:00:00Z:share=0.4,hours=20-6,days=weekend,ramp=3.5",
        ] {
            assert_eq!(text.parse::<InjectedIncident>().unwrap().to_string(), text);
        }
        for name in IncidentKind::NAMES {
            let text = format!("{name}:all:2026-01-12");
            let incident: InjectedIncident = text.parse().unwrap();
            assert_eq!(incident.kind.name(), name);
            assert_eq!(incident.to_string().parse::<InjectedIncident>().unwrap(), incident);
        }
    }

    #[test]
    fn what_is_left_out_takes_its_default() {
        let incident: InjectedIncident =
            "latency-and-errors:region=ap-south:2026-01-12..2026-01-13".parse().unwrap();
        assert_eq!(incident.kind, IncidentKind::LatencyAndErrors { factor: 1.6, error_rate: 0.08 });
        assert_eq!(incident.start.to_rfc3339(), "2026-01-12T00:00:00+00:00");
        let open: InjectedIncident = "cost-rise:all:2026-01-12T00:00:00+02:00..".parse().unwrap();
        assert_eq!((open.end, open.start.to_rfc3339().as_str()), (None, "2026-01-11T22:00:00+00:00"));
    }

    #[test]
    fn errors_name_what_is_wrong_and_what_is_valid() {
        for (text, words) in [
            (
                "promt-shift:all:2026-01-12",
                "unknown incident kind `promt-shift`: the kinds are prompt-shift, aesthetic-drop",
            ),
            ("prompt-shift", "incomplete: expected KIND:SEGMENT:START"),
            ("prompt-shift:tenant=birch", "incomplete"),
            ("prompt-shift:tenant=birch:share=0.5", "is invalid: expected RFC 3339"),
            ("prompt-shift:colour=red:2026-01-12", "segment `colour=red` is invalid"),
            ("prompt-shift:all:yesterday", "time `yesterday` is invalid"),
            ("prompt-shift:all:2026-01-12T06:00:00Z:0.6", "time `2026-01-12T06:00:00Z:0.6` is invalid"),
            ("prompt-shift:all:2026-01-12..2026-01-11", "which is not after its start"),
            ("prompt-shift:all:2026-01-12:factor=2", "has no parameter `factor`: it takes share=0.6"),
            ("prompt-shift:all:2026-01-12:share=lots", "parameter share is `lots`: expected a number"),
            ("prompt-shift:all:2026-01-12:share=60", "parameter share is `60`: expected a share from 0 to 1"),
            ("cost-rise:all:2026-01-12:factor=NaN", "expected a factor"),
            ("language-shift:all:2026-01-12:to=xx", "expected one of en, de, es, fr, ja"),
        ] {
            let error = text.parse::<InjectedIncident>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
