//! The configuration: one TOML file, every key with a default, unknown keys reported with their
//! line and the nearest valid key.

mod check;
mod default;
mod embedding;
mod expand;
mod explain;
mod feature;
pub mod features;
mod kinds;
mod load;
pub mod near;
mod origin;
pub mod segments;
pub mod units;
pub mod watched;
mod weekend;

pub use check::plain_name;
pub use default::DEFAULT_TOML;
pub use embedding::{Embedding, Provider};
pub use load::{ConfigError, load, parse};
pub use origin::Origin;
pub use weekend::{Weekday, Weekend};

use crate::event::Stage;
use features::{FeatureKind, Test};
use segments::Groupings;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use units::{Size, Span};

/// The whole file. `driftglass check --print-default` prints it annotated.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where events come from.
    pub input: Input,
    /// Where tables go.
    pub output: Output,
    /// How ids are hidden.
    pub privacy: Privacy,
    /// Groupings into segments; empty: the defaults of [`segments::DEFAULT`].
    pub segments: Vec<SegmentBy>,
    /// Panes and rolling windows.
    pub windows: Windows,
    /// What windows are compared with.
    pub baselines: Baselines,
    /// Features added, changed or switched off.
    pub features: Vec<FeatureEntry>,
    /// How alerts are decided and where they go.
    pub alerts: Alerts,
    /// Rules; empty: the defaults.
    pub rules: Vec<RuleEntry>,
    /// Kafka client settings.
    pub kafka: Kafka,
    /// Settings of the machinery.
    pub engine: Engine,
    /// Embeddings of images; absent: they are not looked at.
    pub embedding: Option<Embedding>,
    /// Metrics and health over HTTP.
    pub serve: Serve,
    /// The file and its lines, for messages.
    #[serde(skip)]
    pub origin: Origin,
}

/// `[input]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Input {
    /// The topic.
    pub kafka: Option<KafkaInput>,
    /// Longest message that is decoded.
    pub max_message: Size,
    /// Share of bad messages among the last 10,000 above which the job stops.
    pub max_bad_share: f64,
}

impl Default for Input {
    fn default() -> Self {
        Self { kafka: None, max_message: Size(1 << 20), max_bad_share: 0.5 }
    }
}

/// `input.kafka`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaInput {
    /// Bootstrap servers.
    pub brokers: String,
    /// The topic of reference events.
    pub topic: String,
    /// The consumer group.
    #[serde(default = "default_group")]
    pub group: String,
}

fn default_group() -> String {
    "driftglass".into()
}

/// `[output]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Output {
    /// Folder or object-store URL.
    pub dir: String,
    /// How long hourly panes are kept.
    pub keep_panes: Span,
}

impl Default for Output {
    fn default() -> Self {
        Self { dir: "driftglass-out".into(), keep_panes: Span(90 * crate::event::time::DAY) }
    }
}

/// `[privacy]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Privacy {
    /// The hashing key of ids, best as `${DRIFTGLASS_KEY}`.
    pub key: String,
    /// Distinct users below which neither a token nor a name that clients choose is shown as text.
    pub min_users: u32,
    /// Fields whose names are always written as their keyed hash: dotted paths or columns.
    pub hash_fields: Vec<String>,
}

impl Default for Privacy {
    fn default() -> Self {
        Self { key: String::new(), min_users: 5, hash_fields: Vec::new() }
    }
}

/// `[[segments]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentBy {
    /// The dimensions; none is the whole stream.
    pub by: Vec<String>,
}

/// `[windows]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Windows {
    /// Length of a pane.
    pub pane: Span,
    /// Rolling windows.
    pub rolling: Vec<Rolling>,
    /// How far behind the median of recent events the watermark stays.
    pub lateness: Span,
    /// Quiet time after which a fully read partition counts as idle.
    pub idle: Span,
    /// Segments per grouping; later ones are counted as `__other__`.
    pub max_segments: usize,
}

impl Default for Windows {
    fn default() -> Self {
        let rolling = ["30m", "6h", "24h"].map(|w| Rolling::Length(w.parse().unwrap_or(Span::minutes(30))));
        Self {
            pane: Span::minutes(1),
            rolling: rolling.into(),
            lateness: Span::minutes(5),
            idle: Span::minutes(1),
            max_segments: 2000,
        }
    }
}

/// One rolling window: its length, or length and slide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rolling {
    /// `"30m"`: slides by a sixth of its length, an hour at most.
    Length(Span),
    /// `{ length = "24h", slide = "30m" }`
    Full {
        /// Its length.
        length: Span,
        /// How far it moves each time.
        slide: Span,
    },
}

impl<'de> Deserialize<'de> for Rolling {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            length: Span,
            slide: Span,
        }
        struct LengthOrTable;
        impl<'de> Visitor<'de> for LengthOrTable {
            type Value = Rolling;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"24h\" or { length = \"24h\", slide = \"30m\" }")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Rolling, E> {
                text.parse().map(Rolling::Length).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rolling, A::Error> {
                let Full { length, slide } = Full::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Rolling::Full { length, slide })
            }
        }
        d.deserialize_any(LengthOrTable)
    }
}

impl Rolling {
    /// Its length in microseconds.
    #[must_use]
    pub fn length(self) -> i64 {
        match self {
            Self::Length(l) | Self::Full { length: l, .. } => l.0,
        }
    }

    /// Its slide in microseconds.
    #[must_use]
    pub fn slide(self) -> i64 {
        match self {
            Self::Length(l) => (l.0 / 6).min(crate::event::time::HOUR),
            Self::Full { slide, .. } => slide.0,
        }
    }
}

/// `[baselines]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Baselines {
    /// Lengths of the rolling baselines in days.
    pub rolling_days: Vec<u16>,
    /// Share of a rolling baseline's days that must have data; fewer is `insufficient_data`.
    pub min_share: f64,
    /// Whether days that mostly drifted leave later baselines.
    pub exclude_drifted: bool,
    /// The days of the weekend; none where all days are of one kind.
    pub weekend: Weekend,
}

impl Default for Baselines {
    fn default() -> Self {
        Self { rolling_days: vec![7, 28], min_share: 0.5, exclude_drifted: true, weekend: Weekend::default() }
    }
}

impl Baselines {
    /// How many days back the longest baseline reaches.
    #[must_use]
    pub fn longest_days(&self) -> u16 {
        self.rolling_days.iter().copied().max().unwrap_or(0)
    }

    /// Days with data that a baseline of this many days needs.
    #[must_use]
    pub fn min_days(&self, days: u16) -> u16 {
        ((f64::from(days) * self.min_share).ceil() as u16).max(1)
    }
}

/// `[[features]]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureEntry {
    /// The name; that of a built-in feature changes it.
    pub name: String,
    /// False switches it off.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Its kind.
    pub kind: Option<FeatureKind>,
    /// Dotted path of the event's field.
    pub from: Option<String>,
    /// Stages that it is read from.
    pub stages: Option<Vec<StageName>>,
    /// Tested as ln(x + log).
    pub log: Option<f64>,
    /// How a number is judged.
    pub test: Option<Test>,
    /// The range of its field, beyond which a number counts as missing.
    pub range: Option<[f64; 2]>,
    /// The bounds that its mean takes a number beyond them for.
    pub clip: Option<[f64; 2]>,
    /// Tolerated change.
    pub tolerance: Option<f64>,
    /// Tolerated change as a share of the baseline's value.
    pub tolerance_share: Option<f64>,
}

fn yes() -> bool {
    true
}

/// A stage by its name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StageName(pub Stage);

impl<'de> Deserialize<'de> for StageName {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let name = String::deserialize(d)?;
        Stage::from_name(&name).map(Self).ok_or_else(|| {
            let all = Stage::ALL.map(Stage::name).join(", ");
            serde::de::Error::custom(format!("{name:?} is not a pipeline stage; stages are {all}"))
        })
    }
}

/// `[alerts]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alerts {
    /// False alarms per quarter that are accepted over all segments, features and windows; decides
    /// `alpha`.
    pub false_alarms_per_quarter: f64,
    /// A file that alerts are appended to as JSON lines; `-` is standard output.
    pub jsonl: Option<String>,
    /// A URL that alerts are posted to as JSON.
    pub webhook: Option<String>,
    /// Silence of a segment after which its alert is stale.
    pub stale_after: Span,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            false_alarms_per_quarter: 1.0,
            jsonl: None,
            webhook: None,
            stale_after: Span(crate::event::time::DAY),
        }
    }
}

/// `[[rules]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleEntry {
    /// The name; part of an alert's id.
    pub name: String,
    /// The feature or features it reads.
    pub feature: OneOrMany,
    /// The windows it reads; all where absent.
    #[serde(default)]
    pub window: OneOrMany,
    /// The groupings it reads, as `segment_by` has them; all where absent.
    #[serde(default)]
    pub segment_by: Option<OneOrMany>,
    /// The baselines it reads; all rolling ones where absent.
    #[serde(default)]
    pub baseline: OneOrMany,
    /// A SQL expression over the window's row.
    pub when: String,
    /// How long the condition must be true before the alert fires.
    #[serde(default, rename = "for")]
    pub hold: Option<Span>,
    /// How long the condition must be false before the alert is resolved.
    #[serde(default)]
    pub keep_firing_for: Option<Span>,
    /// `low`, `medium`, `high` or `critical`.
    #[serde(default = "medium")]
    pub severity: Severity,
    /// A link for the person on call.
    #[serde(default)]
    pub runbook: Option<String>,
}

fn medium() -> Severity {
    Severity::Medium
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth a look today.
    Medium,
    /// Worth a page.
    High,
    /// Important enough to wake somebody.
    Critical,
}

impl Severity {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// A name or a list of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OneOrMany(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct OneOrManyVisitor;
        impl<'de> Visitor<'de> for OneOrManyVisitor {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name in quotes, or a list of names")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![name.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<OneOrMany, A::Error> {
                let mut all = Vec::new();
                while let Some(name) = names.next_element()? {
                    all.push(name);
                }
                if all.is_empty() {
                    return Err(serde::de::Error::custom("is an empty list; name one, or leave the key out"));
                }
                Ok(OneOrMany(all))
            }
        }
        d.deserialize_any(OneOrManyVisitor)
    }
}

/// `[kafka]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// Properties passed to librdkafka as they are (SASL, TLS and the rest).
    pub properties: BTreeMap<String, String>,
}

/// `[serve]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Serve {
    /// Address of `/metrics` and `/health`; absent: nothing is served.
    pub listen: Option<String>,
}

/// `[engine]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// Name of the job; part of the chains' path.
    pub job: Option<String>,
    /// Threads that decode and sketch; 0: one per core.
    pub workers: usize,
    /// Time between commits of a partition.
    pub commit_every: Span,
    /// Bytes of messages that wait between reading and sketching.
    pub queue: Size,
}

impl Default for Engine {
    fn default() -> Self {
        Self { job: None, workers: 0, commit_every: Span::minutes(1), queue: Size(64 << 20) }
    }
}

impl Config {
    /// The groupings, checked.
    ///
    /// # Errors
    /// When a dimension is not a field of the event or is listed twice.
    pub fn groupings(&self) -> Result<Groupings, ConfigError> {
        let by: Vec<Vec<String>> = if self.segments.is_empty() {
            segments::DEFAULT.iter().map(|g| g.iter().map(|s| (*s).to_owned()).collect()).collect()
        } else {
            self.segments.iter().map(|s| s.by.clone()).collect()
        };
        Groupings::new(&by).map_err(|(entry, message)| ConfigError::Value {
            place: self.origin.place(&format!("segments[{entry}].by")),
            key: "segments.by".into(),
            message,
        })
    }
}
