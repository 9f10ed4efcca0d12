//! What a feature can be: its kind, where in the event it is read from, how it is tested.

use crate::event::{Bounds, ChosenBy, Flag, Num, Text};
use serde::{Deserialize, Serialize};

/// What a feature is, and so which sketch and which statistics it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// Prompt tokens: full counts and session-wise presence.
    Tokens,
    /// One or several values of a category.
    Categorical,
    /// A number.
    Numeric,
    /// A share of events.
    Rate,
    /// The number of events.
    Volume,
    /// A vector: centroids and session-wise sums of a projection.
    Embedding,
    /// Which fields an event lacks.
    Missing,
    /// The share of a number's events above a high quantile of the baseline.
    Tail,
}

impl FeatureKind {
    /// Its name in the `kind` column; tokens and missing fields are categories there, and a
    /// tail is a rate.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens | Self::Categorical | Self::Missing => "categorical",
            Self::Numeric => "numeric",
            Self::Rate | Self::Tail => "rate",
            Self::Volume => "volume",
            Self::Embedding => "embedding",
        }
    }
}

/// The field of the event that a feature reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldSource {
    /// The event itself.
    Event,
    /// The prompt's tokens.
    Tokens,
    /// The LoRAs.
    Loras,
    /// Whether the event carries an error.
    Failed,
    /// Which of the fields that other features read the event lacks.
    Missing,
    /// A number.
    Num(Num),
    /// A flag.
    Flag(Flag),
    /// A text.
    Text(Text),
    /// The image's embedding.
    Embedding,
    /// The cluster of the reference that the embedding belongs to.
    Content,
    /// The named style that the embedding is nearest to.
    Style,
}

impl FieldSource {
    /// The source of a dotted path, as a user writes it.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        match path {
            "event" => Some(Self::Event),
            "prompt.text" | "prompt.token_ids" => Some(Self::Tokens),
            "model.loras" => Some(Self::Loras),
            "error" => Some(Self::Failed),
            "embedding" => Some(Self::Embedding),
            "embedding.cluster" => Some(Self::Content),
            "embedding.style" => Some(Self::Style),
            _ => Num::from_path(path)
                .map(Self::Num)
                .or_else(|| Flag::from_path(path).map(Self::Flag))
                .or_else(|| Text::from_path(path).map(Self::Text)),
        }
    }

    /// Every path a feature may name.
    pub fn paths() -> impl Iterator<Item = &'static str> {
        ["event", "prompt.text", "prompt.token_ids", "model.loras", "error"]
            .into_iter()
            .chain(["embedding", "embedding.cluster", "embedding.style"])
            .chain(Num::ALL.iter().map(|f| f.path()))
            .chain(Flag::ALL.iter().map(|f| f.path()))
            .chain(Text::ALL.iter().map(|f| f.path()))
    }

    /// Who chooses the names in this field. Clusters and named styles are the operator's.
    #[must_use]
    pub fn chosen_by(self) -> ChosenBy {
        match self {
            Self::Loras => ChosenBy::Client,
            Self::Text(text) => text.chosen_by(),
            _ => ChosenBy::Operator,
        }
    }

    /// Whether values of this source fit a kind.
    #[must_use]
    pub fn fits(self, kind: FeatureKind) -> bool {
        matches!(
            (self, kind),
            (Self::Event, FeatureKind::Volume)
                | (Self::Tokens, FeatureKind::Tokens)
                | (Self::Loras | Self::Text(_) | Self::Content | Self::Style, FeatureKind::Categorical)
                | (Self::Embedding, FeatureKind::Embedding)
                | (Self::Missing, FeatureKind::Missing)
                | (Self::Failed | Self::Flag(_), FeatureKind::Rate)
                | (Self::Num(_), FeatureKind::Numeric | FeatureKind::Tail)
        )
    }
}

/// How a number is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// By its mean, on the test's scale.
    Mean,
    /// By the shares of the baseline's deciles.
    Shape,
}

/// The tolerated effect, on the test's scale: the larger of an absolute one and a share of the
/// baseline's mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tolerance {
    /// In the unit of the test's scale (latency: of ln(ms + 1000)); for categories and tokens, of
    /// `psi_excess`; for missing fields, the share of events that lack a field.
    pub absolute: f64,
    /// Share of the baseline's value.
    pub relative: f64,
}

/// A number on a test's scale: as it is, or with `Some(c)` as ln(x + c).
#[must_use]
pub fn scaled(log: Option<f64>, x: f64) -> f64 {
    match log {
        // libm's logarithm is the same on every machine; the platform's may differ, and sums must
        // not.
        Some(c) => libm::log(x.max(0.0) + c),
        None => x,
    }
}

/// The number that [`scaled`] makes a number on the test's scale of.
#[must_use]
pub fn unscaled(log: Option<f64>, y: f64) -> f64 {
    match log {
        Some(c) => libm::exp(y) - c,
        None => y,
    }
}

/// A number as the quantiles of a feature count it.
#[must_use]
pub fn counted(kind: FeatureKind, x: f64) -> f64 {
    if kind == FeatureKind::Tail { tail_step(x) } else { x }
}

/// A number as a tail counts it: the lower end of its step, a quarter wide at most.
#[must_use]
pub fn tail_step(x: f64) -> f64 {
    // Sign, exponent and the two highest bits of the mantissa.
    f64::from_bits(x.to_bits() & !((1 << 50) - 1))
}

/// A number as a mean takes it.
#[must_use]
pub fn clipped(clip: Option<Bounds>, x: f64) -> f64 {
    clip.map_or(x, |bounds| bounds.clip(x))
}
