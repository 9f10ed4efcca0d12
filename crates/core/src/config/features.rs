//! Features: what is watched, each declared in one place by name, kind, stages and where it comes from.

use super::watched::{MISSING, Watched, watch};
use crate::event::{Bounds, ChosenBy, Flag, Num, Ranges, Stage, Stages, Text};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a feature is, and so which sketch and which statistics it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
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
}

impl Kind {
    /// Its name in the `kind` column; tokens and what is missing are categories there.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens | Self::Categorical | Self::Missing => "categorical",
            Self::Numeric => "numeric",
            Self::Rate => "rate",
            Self::Volume => "volume",
            Self::Embedding => "embedding",
        }
    }
}

/// Where in the event a feature's value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
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
    /// The cluster of the reference that the embedding falls into.
    Content,
    /// The named style that the embedding is nearest to.
    Style,
}

impl From {
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

    /// Who chooses the names that come from it. Clusters and named styles are the operator's.
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
    pub fn fits(self, kind: Kind) -> bool {
        matches!(
            (self, kind),
            (Self::Event, Kind::Volume)
                | (Self::Tokens, Kind::Tokens)
                | (Self::Loras | Self::Text(_) | Self::Content | Self::Style, Kind::Categorical)
                | (Self::Embedding, Kind::Embedding)
                | (Self::Missing, Kind::Missing)
                | (Self::Failed | Self::Flag(_), Kind::Rate)
                | (Self::Num(_), Kind::Numeric)
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

/// The effect that is tolerated: the larger of an absolute one and a share of the baseline's mean, on the test's scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tolerance {
    /// In the unit of the test's scale (latency: of ln(ms + 1000)); for categories and tokens, of
    /// `psi_excess`; for what is missing, the share of events that lack a field.
    pub absolute: f64,
    /// Share of the baseline's value.
    pub relative: f64,
}

/// A feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Its name in tables and rules.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Where it is read from.
    pub from: From,
    /// The stages whose events it is read from, so that a request counts once.
    pub stages: Stages,
    /// `Some(c)`: tested as ln(x + c).
    pub log: Option<f64>,
    /// How a number is judged.
    pub test: Test,
    /// The bounds that its mean takes a number beyond them for, so that a single one can't carry it away.
    pub clip: Option<Bounds>,
    /// The range that the configuration gives to its field; `None`: the schema's.
    pub range: Option<Bounds>,
    /// What is tolerated.
    pub tolerance: Tolerance,
    /// A dimension within whose values the mean is compared, so that a change of mix is no drift of the feature.
    pub stratify: Option<Text>,
    /// The fields that the feature `missing` looks for.
    pub watched: Option<Arc<Watched>>,
    /// The text of the definition: sketches made by unlike definitions don't merge.
    pub definition: String,
}

/// A number on a test's scale: as it is, or with `Some(c)` as ln(x + c).
#[must_use]
pub fn scaled(log: Option<f64>, x: f64) -> f64 {
    match log {
        // libm's logarithm is the same on every machine; the platform's need not be, and a sum must be.
        Some(c) => libm::log(x.max(0.0) + c),
        None => x,
    }
}

/// A number as a mean takes it.
#[must_use]
pub fn clipped(clip: Option<Bounds>, x: f64) -> f64 {
    clip.map_or(x, |bounds| bounds.clip(x))
}

impl Feature {
    /// The same with a range of its field and bounds of clipping that the configuration gives. Only means clip.
    #[must_use]
    pub fn bounded(mut self, range: Option<Bounds>, clip: Option<Bounds>) -> Self {
        self.range = range;
        self.clip = clip.filter(|_| (self.kind, self.test) == (Kind::Numeric, Test::Mean));
        self.definition = self.define();
        self
    }

    /// What its sketches are made by. Bounds stand in it only where there are any, so that the history of a feature
    /// goes on that never had one.
    fn define(&self) -> String {
        let Self { name, kind, from, log, test, .. } = self;
        let stages: Vec<_> =
            Stage::ALL.iter().filter(|s| self.stages.contains(**s)).map(|s| s.name()).collect();
        let mut out = format!("{name}|{kind:?}|{from:?}|{}|{log:?}|{test:?}", stages.join("+"));
        for (what, bounds) in [("clip", self.clip), ("range", self.range)] {
            if let Some(Bounds { low, high }) = bounds {
                out += &format!("|{what} {low:?} {high:?}");
            }
        }
        out
    }
}

/// The ranges of an event's numbers: the schema's, or what features say instead.
#[must_use]
pub fn ranges(features: &[Feature]) -> Ranges {
    let mut out = Ranges::default();
    for f in features {
        if let (From::Num(field), Some(range)) = (f.from, f.range) {
            out.set(field, range);
        }
    }
    out
}

struct Builtin(&'static str, Kind, From, &'static [Stage], Option<f64>, Test, f64, f64);

const GENERATE: &[Stage] = &[Stage::Generate];
const ANY: &[Stage] = &Stage::ALL;

/// The features of the watch list.
#[must_use]
pub fn builtin() -> Vec<Feature> {
    use Kind::{Categorical, Missing, Numeric, Rate, Tokens, Volume};
    use Test::{Mean, Shape};
    // name, kind, source, stages, log offset, test, tolerance (absolute, relative)
    let table = [
        Builtin("volume", Volume, From::Event, GENERATE, None, Mean, 0.0, 0.0),
        Builtin("prompt_tokens", Tokens, From::Tokens, GENERATE, None, Mean, 0.02, 0.0),
        Builtin("prompt_length", Numeric, From::Num(Num::PromptLength), GENERATE, None, Shape, 0.02, 0.0),
        Builtin("language", Categorical, From::Text(Text::Language), GENERATE, None, Mean, 0.02, 0.0),
        Builtin("sampler", Categorical, From::Text(Text::Sampler), GENERATE, None, Mean, 0.02, 0.0),
        Builtin("loras", Categorical, From::Loras, GENERATE, None, Mean, 0.02, 0.0),
        Builtin(
            "style_collection",
            Categorical,
            From::Text(Text::StyleCollection),
            GENERATE,
            None,
            Mean,
            0.02,
            0.0,
        ),
        Builtin("latency_ms", Numeric, From::Num(Num::Latency), GENERATE, Some(1000.0), Mean, 0.14, 0.0),
        Builtin("queue_wait_ms", Numeric, From::Num(Num::QueueWait), ANY, Some(1000.0), Mean, 0.14, 0.0),
        Builtin("cost_usd", Numeric, From::Num(Num::Cost), GENERATE, Some(0.001), Mean, 0.14, 0.0),
        Builtin("steps", Numeric, From::Num(Num::Steps), GENERATE, None, Mean, 0.0, 0.1),
        Builtin("cfg", Numeric, From::Num(Num::Cfg), GENERATE, None, Mean, 0.0, 0.1),
        Builtin("clip_i", Numeric, From::Num(Num::ClipI), ANY, None, Mean, 0.005, 0.02),
        Builtin("aesthetic", Numeric, From::Num(Num::Aesthetic), ANY, None, Mean, 0.1, 0.0),
        Builtin("style_distance", Numeric, From::Num(Num::StyleDistance), ANY, None, Mean, 0.02, 0.0),
        Builtin("error", Rate, From::Failed, GENERATE, None, Mean, 0.005, 0.25),
        Builtin("error_code", Categorical, From::Text(Text::ErrorCode), GENERATE, None, Mean, 0.02, 0.0),
        Builtin("nsfw", Rate, From::Flag(Flag::Nsfw), ANY, None, Mean, 0.005, 0.25),
        Builtin("face_ok", Rate, From::Flag(Flag::FaceOk), ANY, None, Mean, 0.03, 0.0),
        Builtin("accepted", Rate, From::Flag(Flag::Accepted), ANY, None, Mean, 0.03, 0.0),
        Builtin("edited", Rate, From::Flag(Flag::Edited), ANY, None, Mean, 0.03, 0.0),
        Builtin("rerolls", Numeric, From::Num(Num::Rerolls), ANY, None, Mean, 0.1, 0.1),
    ];
    let mut out: Vec<Feature> = table.into_iter().map(|b| from_row(b, None)).collect();
    // Latency and errors of the other stages speak for themselves: mixed, a change of mix would look like drift.
    for stage in Stage::ALL.into_iter().filter(|s| *s != Stage::Generate) {
        let own = stage_of(stage);
        out.push(from_row(
            Builtin("latency_ms", Numeric, From::Num(Num::Latency), own, Some(1000.0), Mean, 0.14, 0.0),
            Some(stage),
        ));
        out.push(from_row(Builtin("error", Rate, From::Failed, own, None, Mean, 0.005, 0.25), Some(stage)));
    }
    for f in &mut out {
        if f.log.is_some() {
            f.stratify = Some(Text::ModelVersion);
        }
    }
    out.push(from_row(Builtin(MISSING, Missing, From::Missing, ANY, None, Mean, 0.05, 0.0), None));
    watch(&mut out);
    out
}

/// The features of images, watched where `[embedding]` is configured.
#[must_use]
pub fn of_embeddings() -> Vec<Feature> {
    let mean = Test::Mean;
    [
        Builtin("embedding", Kind::Embedding, From::Embedding, ANY, None, mean, 1e-4, 0.0),
        Builtin("content_mix", Kind::Categorical, From::Content, ANY, None, mean, 0.02, 0.0),
        Builtin("style_mix", Kind::Categorical, From::Style, ANY, None, mean, 0.02, 0.0),
    ]
    .into_iter()
    .map(|b| from_row(b, None))
    .collect()
}

fn stage_of(stage: Stage) -> &'static [Stage] {
    let i = Stage::ALL.iter().position(|s| *s == stage).unwrap_or(0);
    static STAGES: [Stage; 6] = Stage::ALL;
    &STAGES[i..=i]
}

fn from_row(row: Builtin, prefix: Option<Stage>) -> Feature {
    let Builtin(name, kind, from, stages, log, test, absolute, relative) = row;
    let name = prefix.map_or_else(|| name.to_owned(), |s| format!("{}_{name}", s.name()));
    feature(name, kind, from, stages, log, test, Tolerance { absolute, relative })
}

/// A feature with its definition's text, and the bounds of clipping that its field has by itself.
#[must_use]
pub fn feature(
    name: String,
    kind: Kind,
    from: From,
    stages: &[Stage],
    log: Option<f64>,
    test: Test,
    tolerance: Tolerance,
) -> Feature {
    let clip = if let From::Num(field) = from { field.clip() } else { None };
    let made = Feature {
        name,
        kind,
        from,
        stages: stages.iter().copied().collect(),
        log,
        test,
        clip: None,
        range: None,
        tolerance,
        stratify: None,
        watched: None,
        definition: String::new(),
    };
    made.bounded(None, clip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtin_sources_fit_their_kinds_and_names_are_unique() {
        let all = builtin();
        for f in &all {
            assert!(f.from.fits(f.kind), "{}", f.name);
        }
        let mut names: Vec<_> = all.iter().map(|f| &f.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn a_definition_names_bounds_only_where_there_are_any() {
        let all = builtin();
        let of = |name: &str| all.iter().find(|f| f.name == name).unwrap().clone();
        // As before there were any: their history goes on.
        assert_eq!(
            of("aesthetic").definition,
            "aesthetic|Numeric|Num(Aesthetic)|ingest+preprocess+generate+upscale+postprocess+deliver|None|Mean"
        );
        assert_eq!(
            of("prompt_length").definition,
            "prompt_length|Numeric|Num(PromptLength)|generate|None|Shape"
        );
        assert_eq!(of("accepted").clip, None);
        assert_eq!(of("steps").definition, "steps|Numeric|Num(Steps)|generate|None|Mean|clip 0.0 300.0");
        let wide = Some(Bounds { low: 0.0, high: 100.0 });
        assert!(of("aesthetic").bounded(wide, None).definition.ends_with("|Mean|range 0.0 100.0"));
        assert_eq!(of("prompt_length").bounded(None, wide).clip, None, "its shape is judged, not its mean");
    }

    #[test]
    fn every_path_leads_to_a_source() {
        assert!(From::paths().all(|p| From::from_path(p).is_some()));
        assert_eq!(From::from_path("prompt"), None);
    }
}
