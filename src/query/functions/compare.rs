//! Two sketches compared: the distances and the test of the engine, of any stretch against any other.

use super::scalar::{Argument, Function, Rows};
use super::{SECTION, decode, is_volume};
use crate::baseline::{About, CategoryBins, Prepared, PreparedMissing};
use crate::config::features::{Feature, From, Kind, Test, Tolerance, feature};
use crate::drift::{
    Distances, Edge, TokenBins, bin_counts, decile_edges, distances, token_bins, wasserstein,
};
use crate::sketch::{Body, Sketch, SketchId, TokenSketch, UnlikeSketches};
use arrow::array::{ArrayRef, Float64Builder};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err};
use datafusion::logical_expr::Documentation;
use std::sync::Arc;

pub(super) fn functions() -> Vec<Function> {
    vec![
        function("psi", "Population stability index over the baseline's bins.", |r, _| {
            distance(r, |d| d.psi)
        }),
        function(
            "psi_excess",
            "The part of psi that the sizes of the two samples do not explain.",
            |r, _| distance(r, |d| d.psi_excess),
        ),
        function("kl", "Kullback-Leibler divergence of the window from the baseline, in nats.", |r, _| {
            distance(r, |d| d.kl)
        }),
        function("js", "Jensen-Shannon divergence, 0 to ln 2.", |r, _| distance(r, |d| d.js)),
        function(
            "wasserstein",
            "First Wasserstein distance in standard deviations of the baseline; numbers only.",
            |r, _| compared(r, |b| Ok(Bins::new(b)), |b, w| b.wasserstein(w)),
        ),
        function(
            "p_value",
            "Probability of so large a difference without drift, when the requests of a session are alike. Within strata, as the \
             table windows has it for latency and cost, it is not: these are compared as they are.",
            |r, _| compared(r, |b| Ok(Tested::new(b)), |t, w| t.p_value(w)),
        ),
    ]
}

fn function(name: &'static str, says: &str, evaluate: super::scalar::Evaluate) -> Function {
    let documentation = Documentation::builder(
        SECTION,
        format!("{says} NULL where it does not apply to the feature."),
        format!("{name}(baseline, window)"),
    )
    .with_argument("baseline", "The sketch compared with; its bins are used")
    .with_argument("window", "The sketch compared, of the same feature")
    .build();
    Function::new(name, &[Argument::Sketch, Argument::Sketch], DataType::Float64, evaluate, documentation)
}

/// Compares row by row; a baseline that stays the same from row to row is prepared once.
fn compared<T>(
    rows: &Rows,
    prepare: impl Fn(&Sketch) -> Result<T>,
    compare: impl Fn(&T, &Sketch) -> Result<Option<f64>, UnlikeSketches>,
) -> Result<ArrayRef> {
    let mut out = Float64Builder::with_capacity(rows.len);
    let mut last: Option<(&[u8], T)> = None;
    for i in 0..rows.len {
        let (Some(b), Some(w)) = (rows.sketch(0, i), rows.sketch(1, i)) else {
            out.append_null();
            continue;
        };
        let prepared = match last.take() {
            Some((bytes, prepared)) if bytes == b => prepared,
            _ => prepare(&decode(b)?)?,
        };
        out.append_option(compare(&prepared, &decode(w)?).map_err(|e| unlike(&e))?);
        last = Some((b, prepared));
    }
    Ok(Arc::new(out.finish()))
}

fn distance(rows: &Rows, pick: fn(&Distances) -> f64) -> Result<ArrayRef> {
    compared(rows, |b| Ok(Bins::new(b)), |b, w| Ok(b.distances(w)?.as_ref().map(pick)))
}

fn unlike(e: &UnlikeSketches) -> DataFusionError {
    match e {
        UnlikeSketches::Definition { left, right } => exec_datafusion_err!(
            "sketch {right} can't be compared with baseline {left}: they were made by different definitions (feature, tokenizer \
             or hashing key); compare rows of equal feature and sketch_id"
        ),
        UnlikeSketches::Kind { left, right } => {
            exec_datafusion_err!("a {right} sketch can't be compared with a {left} baseline")
        }
    }
}

/// A baseline's bins with its counts.
struct Bins {
    id: SketchId,
    by: By,
    counts: Vec<u64>,
}

enum By {
    Token(TokenBins),
    Value(CategoryBins),
    Decile {
        edges: Vec<Edge>,
        values: Vec<(f64, u64)>,
        sd: f64,
    },
    /// Each field has two: the events that lack it and those that have it.
    Missing(PreparedMissing),
    /// Rates and vectors have no bins.
    Nothing,
}

impl Bins {
    fn new(baseline: &Sketch) -> Self {
        let by = match &baseline.body {
            Body::Tokens(s) => By::Token(token_bins(token_counts(s))),
            Body::Category(s) => {
                let (bins, counts, _) = CategoryBins::of(s);
                return Self { id: baseline.id, by: By::Value(bins), counts };
            }
            Body::Numeric(s) => {
                let values = s.quantiles().values();
                By::Decile { edges: decile_edges(&values), values, sd: s.sd().unwrap_or(0.0) }
            }
            Body::Missing(s) => By::Missing(PreparedMissing::new(s, None)),
            Body::Rate(_) | Body::Vector(_) => By::Nothing,
        };
        let counts = by.count(&baseline.body).unwrap_or_default();
        Self { id: baseline.id, by, counts }
    }

    fn like(&self, window: &Sketch) -> Result<(), UnlikeSketches> {
        if window.id == self.id {
            Ok(())
        } else {
            Err(UnlikeSketches::Definition { left: self.id, right: window.id })
        }
    }

    fn count(&self, window: &Sketch) -> Result<Option<Vec<u64>>, UnlikeSketches> {
        self.like(window).map(|()| self.by.count(&window.body))
    }

    fn distances(&self, window: &Sketch) -> Result<Option<Distances>, UnlikeSketches> {
        if let (By::Missing(baseline), Body::Missing(w)) = (&self.by, &window.body) {
            return self.like(window).map(|()| baseline.distances(w));
        }
        Ok(self.count(window)?.and_then(|now| distances(&self.counts, &now)))
    }

    fn wasserstein(&self, window: &Sketch) -> Result<Option<f64>, UnlikeSketches> {
        self.like(window)?;
        Ok(match (&self.by, &window.body) {
            (By::Decile { values, sd, .. }, Body::Numeric(w)) => {
                wasserstein(values, &w.quantiles().values(), *sd)
            }
            _ => None,
        })
    }
}

impl By {
    /// The counts in each bin; `None` for a sketch of another kind.
    fn count(&self, body: &Body) -> Option<Vec<u64>> {
        match (self, body) {
            (Self::Token(bins), Body::Tokens(s)) => Some(bins.counts(token_counts(s))),
            (Self::Value(bins), Body::Category(s)) => Some(bins.counts(s)),
            (Self::Decile { edges, .. }, Body::Numeric(s)) => {
                Some(bin_counts(edges, &s.quantiles().values()))
            }
            _ => None,
        }
    }
}

fn token_counts(s: &TokenSketch) -> impl Iterator<Item = (u32, u64)> + '_ {
    s.tokens().map(|(t, c)| (t, c.count))
}

/// The counts of two sketches in the baseline's bins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aligned {
    /// The baseline's.
    pub baseline: Vec<u64>,
    /// The window's, bin by bin as the baseline's.
    pub window: Vec<u64>,
}

/// The counts of a baseline and of a window in the baseline's bins; `None` for rates, which have
/// none, and for what is missing, where each field has its own.
///
/// # Errors
/// When the two were made by different definitions.
pub fn aligned_counts(baseline: &Sketch, window: &Sketch) -> Result<Option<Aligned>, UnlikeSketches> {
    let bins = Bins::new(baseline);
    Ok(bins.count(window)?.map(|window| Aligned { baseline: bins.counts, window }))
}

/// A baseline prepared for the test. What the test needs to know of the feature is read off the sketch.
struct Tested {
    /// A volume has no test of its own.
    volume: bool,
    feature: Feature,
    prepared: Prepared,
}

impl Tested {
    fn new(baseline: &Sketch) -> Self {
        let (kind, test) = match &baseline.body {
            Body::Tokens(_) => (Kind::Tokens, Test::Mean),
            Body::Category(_) => (Kind::Categorical, Test::Mean),
            Body::Rate(_) => (Kind::Rate, Test::Mean),
            Body::Vector(_) => (Kind::Embedding, Test::Mean),
            Body::Missing(_) => (Kind::Missing, Test::Mean),
            // Only features that are tested by their shape keep the values of different sessions apart.
            Body::Numeric(s) if s.quantiles().by_session().any(|v| v.1 > 0) => (Kind::Numeric, Test::Shape),
            Body::Numeric(_) => (Kind::Numeric, Test::Mean),
        };
        let none = Tolerance { absolute: 0.0, relative: 0.0 };
        let feature = feature(String::new(), kind, From::Event, &[], None, test, none);
        let about = About { name: Arc::from(""), id: Arc::from(""), days: 0, enough_days: true, hours: 1.0 };
        let prepared = Prepared::new(about, &feature, baseline, None);
        Self { volume: is_volume(baseline), feature, prepared }
    }

    fn p_value(&self, window: &Sketch) -> Result<Option<f64>, UnlikeSketches> {
        let p = self.prepared.compare(&self.feature, window, None)?.scores.p_value;
        Ok(p.filter(|_| !self.volume && !is_volume(window)))
    }
}
