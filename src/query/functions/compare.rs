//! Compares two sketches with the engine's own statistics and test, for any two time ranges.

use super::argument::ArgumentType;
use super::listing::SECTION;
use super::scalar::{CallRows, EvaluateRows, ScalarFunction};
use super::sketch_bytes::{decode, is_volume};
use crate::baseline::{BaselineInfo, BlocksOfWeek, Prepared, UnseenDays};
use crate::config::features::{Feature, FeatureKind, FieldSource, Test, Tolerance, feature};
use crate::drift::Scores;
use crate::sketch::{Body, CategorySketch, Sketch, UnlikeSketches};
use arrow::array::{ArrayRef, Float64Builder};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err};
use datafusion::logical_expr::Documentation;
use std::sync::Arc;

pub(super) fn functions() -> Vec<ScalarFunction> {
    vec![
        function("psi", "Population stability index over the baseline's bins.", |rows, _| {
            statistic(rows, |s| s.psi)
        }),
        function(
            "psi_excess",
            "The part of psi that the sizes of the two samples do not explain.",
            |rows, _| statistic(rows, |s| s.psi_excess),
        ),
        function("kl", "Kullback-Leibler divergence of the window from the baseline, in nats.", |rows, _| {
            statistic(rows, |s| s.kl)
        }),
        function("js", "Jensen-Shannon divergence, 0 to ln 2.", |rows, _| statistic(rows, |s| s.js)),
        function(
            "wasserstein",
            "First Wasserstein distance in standard deviations of the baseline; numbers only.",
            |rows, _| statistic(rows, |s| s.wasserstein),
        ),
        function(
            "p_value",
            "Probability of so large a difference without drift, when the requests of a session are \
             alike. The table windows compares latency and cost within strata; this function \
             compares them as they are.",
            |rows, _| statistic(rows, |s| s.p_value),
        ),
    ]
}

fn function(name: &'static str, says: &str, evaluate: EvaluateRows) -> ScalarFunction {
    let documentation = Documentation::builder(
        SECTION,
        format!("{says} NULL where it does not apply to the feature."),
        format!("{name}(baseline, window)"),
    )
    .with_argument("baseline", "The sketch compared with; its bins are used")
    .with_argument("window", "The sketch compared, of the same feature")
    .build();
    let arguments = &[ArgumentType::Sketch, ArgumentType::Sketch];
    ScalarFunction::new(name, arguments, DataType::Float64, evaluate, documentation)
}

/// Compares row by row; a baseline that stays the same from row to row is prepared once.
fn statistic(rows: &CallRows, pick: fn(&Scores) -> Option<f64>) -> Result<ArrayRef> {
    let mut out = Float64Builder::with_capacity(rows.len);
    let mut last: Option<(&[u8], PreparedSketch)> = None;
    for i in 0..rows.len {
        let (Some(baseline), Some(window)) = (rows.sketch(0, i), rows.sketch(1, i)) else {
            out.append_null();
            continue;
        };
        let prepared = match last.take() {
            Some((bytes, prepared)) if bytes == baseline => prepared,
            _ => PreparedSketch::new(&decode(baseline)?),
        };
        let scores = prepared.compare(&decode(window)?).map_err(|e| unlike(&e))?;
        out.append_option(pick(&scores));
        last = Some((baseline, prepared));
    }
    Ok(Arc::new(out.finish()))
}

fn unlike(e: &UnlikeSketches) -> DataFusionError {
    match e {
        UnlikeSketches::Definition { left, right } => exec_datafusion_err!(
            "sketch {right} can't be compared with baseline {left}: they were made by different \
             definitions (feature, tokenizer or hashing key); compare rows of equal feature and \
             sketch_id"
        ),
        UnlikeSketches::Kind { left, right } => {
            exec_datafusion_err!("a {right} sketch can't be compared with a {left} baseline")
        }
    }
}

/// A baseline's sketch, prepared by the engine. The properties of the feature that comparing needs
/// are read from the sketch.
struct PreparedSketch {
    feature: Feature,
    prepared: Prepared,
    is_volume: bool,
}

impl PreparedSketch {
    fn new(baseline: &Sketch) -> Self {
        let (kind, from, test) = match &baseline.body {
            Body::Tokens(_) => (FeatureKind::Tokens, FieldSource::Event, Test::Mean),
            Body::Category(s) if has_several_values(s) => {
                (FeatureKind::Categorical, FieldSource::Loras, Test::Mean)
            }
            Body::Category(_) => (FeatureKind::Categorical, FieldSource::Event, Test::Mean),
            Body::Rate(_) => (FeatureKind::Rate, FieldSource::Event, Test::Mean),
            Body::Vector(_) => (FeatureKind::Embedding, FieldSource::Event, Test::Mean),
            Body::Missing(_) => (FeatureKind::Missing, FieldSource::Event, Test::Mean),
            // Only features that are tested by their shape store values by session.
            Body::Numeric(s) if s.quantiles().by_session().any(|v| v.1 > 0) => {
                (FeatureKind::Numeric, FieldSource::Event, Test::Shape)
            }
            Body::Numeric(_) => (FeatureKind::Numeric, FieldSource::Event, Test::Mean),
        };
        let tolerance = Tolerance { absolute: 0.0, relative: 0.0 };
        let feature = feature(String::new(), kind, from, &[], None, test, tolerance);
        let (name, id) = (Arc::from(""), Arc::from(""));
        let about = BaselineInfo {
            name,
            id,
            days: 0,
            enough_days: true,
            blocks: BlocksOfWeek::ALL,
            unseen: UnseenDays::default(),
            hours: 1.0,
        };
        let prepared = Prepared::new(about, &feature, baseline, None);
        Self { feature, prepared, is_volume: is_volume(baseline) }
    }

    fn compare(&self, window: &Sketch) -> Result<Scores, UnlikeSketches> {
        let mut scores = self.prepared.compare(&self.feature, window, None)?.scores;
        if self.is_volume || is_volume(window) {
            scores.p_value = None;
        }
        Ok(scores)
    }
}

/// Whether events carry any number of the values, as for LoRAs: the engine tests such categories
/// like tokens, since shares don't sum to one.
fn has_several_values(sketch: &CategorySketch) -> bool {
    let of_values = sketch.values().iter().fold(0u64, |sum, v| sum.saturating_add(v.count()));
    of_values != sketch.n()
}
