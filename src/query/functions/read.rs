//! Reads one sketch: events, sessions, mean and quantiles.

use super::argument::ArgumentType;
use super::listing::SECTION;
use super::scalar::{CallRows, EvaluateRows, ScalarFunction};
use super::sketch_bytes::{decode, is_volume};
use crate::baseline::side;
use crate::sketch::{Body, Sketch};
use arrow::array::{ArrayRef, Float64Array, UInt64Array};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::Documentation;
use std::sync::Arc;

pub(super) fn functions() -> Vec<ScalarFunction> {
    vec![
        count("sketch_n", "Events that carried the feature.", |rows, _| counts(rows, Sketch::n)),
        count(
            "sketch_sessions",
            "Distinct sessions among the events, estimated beyond the first few hundred.",
            |rows, _| counts(rows, |s| s.sessions().count()),
        ),
        // Not `mean`: that is DataFusion's other name for avg, and a scalar function of the name
        // would hide it.
        ScalarFunction::new(
            "sketch_mean",
            &[ArgumentType::Sketch],
            DataType::Float64,
            |rows, _| floats(rows, |s, _| Ok(if is_volume(s) { None } else { side(s).value })),
            document("sketch_mean(sketch)", "Mean of a number, share of a rate, fields that an event lacks of `missing`; NULL for tokens, categories and the volume.")
                .build(),
        ),
        ScalarFunction::new(
            "sketch_quantile",
            &[ArgumentType::Sketch, ArgumentType::Number],
            DataType::Float64,
            |rows, _| floats(rows, quantile),
            document(
                "sketch_quantile(sketch, q)",
                "The value at or below which the share q of the values lies, off by at most 1/256 of itself; NULL for all but \
                 numbers.",
            )
            .with_argument("q", "The share, 0 to 1")
            .build(),
        )
        .alias("quantile"),
    ]
}

fn document(usage: &str, says: &str) -> datafusion::logical_expr::DocumentationBuilder {
    Documentation::builder(SECTION, says, usage)
        .with_argument("sketch", "A sketch: the column sketch of panes, or merge_sketch of it")
}

fn count(name: &'static str, says: &str, evaluate: EvaluateRows) -> ScalarFunction {
    let documentation = document(&format!("{name}(sketch)"), says).build();
    ScalarFunction::new(name, &[ArgumentType::Sketch], DataType::UInt64, evaluate, documentation)
}

fn counts(rows: &CallRows, f: impl Fn(&Sketch) -> u64) -> Result<ArrayRef> {
    let of = |i| rows.sketch(0, i).map(|b| Ok(f(&decode(b)?))).transpose();
    Ok(Arc::new((0..rows.len).map(of).collect::<Result<UInt64Array>>()?))
}

fn floats(
    rows: &CallRows,
    f: impl Fn(&Sketch, (&CallRows, usize)) -> Result<Option<f64>>,
) -> Result<ArrayRef> {
    let of = |i| match rows.sketch(0, i) {
        Some(b) => f(&decode(b)?, (rows, i)),
        None => Ok(None),
    };
    Ok(Arc::new((0..rows.len).map(of).collect::<Result<Float64Array>>()?))
}

fn quantile(sketch: &Sketch, (rows, i): (&CallRows, usize)) -> Result<Option<f64>> {
    let Some(q) = rows.number(1, i) else { return Ok(None) };
    if !(0.0..=1.0).contains(&q) {
        return exec_err!("the share of a quantile lies between 0 and 1, not at {q}");
    }
    Ok(match &sketch.body {
        Body::Numeric(s) => s.quantiles().quantile(q),
        _ => None,
    })
}
