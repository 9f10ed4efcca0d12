//! A feature and its definition.

use super::kinds::{FeatureKind, FieldSource, Test, Tolerance};
use super::watched::Watched;
use crate::event::{Bounds, Ranges, Stage, Stages, Text};
use std::sync::Arc;

/// A feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Its name in tables and rules.
    pub name: String,
    /// Its kind.
    pub kind: FeatureKind,
    /// Where it is read from.
    pub from: FieldSource,
    /// The stages whose events it is read from, so that a request counts once.
    pub stages: Stages,
    /// `Some(c)`: tested as ln(x + c).
    pub log: Option<f64>,
    /// How a number is judged.
    pub test: Test,
    /// The bounds to which numbers are clipped for its mean, so that a single one can't dominate
    /// it.
    pub clip: Option<Bounds>,
    /// The range of its field in the configuration; `None`: the schema's.
    pub range: Option<Bounds>,
    /// What is tolerated.
    pub tolerance: Tolerance,
    /// A dimension within whose values the mean is compared, so that a change of mix is not a drift
    /// of the feature.
    pub stratify: Option<Text>,
    /// The fields that the feature `missing` looks for.
    pub watched: Option<Arc<Watched>>,
    /// The text of the definition: sketches of different definitions don't merge.
    pub definition: String,
}

impl Feature {
    /// The same with the field's range and the clipping bounds of the configuration. Only means
    /// clip.
    #[must_use]
    pub fn bounded(mut self, range: Option<Bounds>, clip: Option<Bounds>) -> Self {
        self.range = range;
        self.clip = clip.filter(|_| (self.kind, self.test) == (FeatureKind::Numeric, Test::Mean));
        self.definition = self.define();
        self
    }

    /// Whether its quantiles are counted by session bucket, as a test of their shares needs.
    #[must_use]
    pub fn by_session(&self) -> bool {
        self.kind == FeatureKind::Tail || self.test == Test::Shape
    }

    /// The definition of its sketches. It contains bounds only if there are any, so that the
    /// history of a feature without bounds continues.
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

/// The ranges of an event's numbers: the schema's, or those that features set instead.
#[must_use]
pub fn ranges(features: &[Feature]) -> Ranges {
    let mut out = Ranges::default();
    for f in features {
        if let (FieldSource::Num(field), Some(range)) = (f.from, f.range) {
            out.set(field, range);
        }
    }
    out
}

/// A feature with its definition's text, and the default clipping bounds of its field.
#[must_use]
pub fn feature(
    name: String,
    kind: FeatureKind,
    from: FieldSource,
    stages: &[Stage],
    log: Option<f64>,
    test: Test,
    tolerance: Tolerance,
) -> Feature {
    let clip = if let FieldSource::Num(field) = from { field.clip() } else { None };
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
