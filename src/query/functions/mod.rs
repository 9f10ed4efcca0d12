//! SQL functions over the column `sketch` of `panes`: merging, comparing, reading, and the tokens behind them.
//!
//! One rule for all: NULL in, NULL out; and NULL where a statistic does not apply to a feature's kind, as in the table `windows`.
//! An error is left for what is wrong: sketches of unlike definitions, bytes that are no sketch, a quantile beyond 0 to 1.

mod compare;
mod merge;
mod read;
mod scalar;
mod tokens;

pub use compare::{Aligned, aligned_counts};

use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::exec_datafusion_err;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation, ScalarUDF};
use datafusion::prelude::SessionContext;
use std::sync::Arc;

use crate::sketch::{Body, Sketch};

/// The names of all functions, as the shell lists them.
pub const NAMES: [&str; 14] = [
    "merge_sketch",
    "psi",
    "psi_excess",
    "kl",
    "js",
    "wasserstein",
    "p_value",
    "sketch_n",
    "sketch_sessions",
    "sketch_mean",
    "sketch_quantile",
    "top_tokens",
    "token_text",
    "token_id",
];

const SECTION: DocSection = DocSection {
    include: true,
    label: "Sketch Functions",
    description: Some("Functions over sketches of features"),
};

/// Adds all functions to a session; `top_tokens` lists only tokens that at least `min_users` distinct users used.
pub fn register(ctx: &SessionContext, min_users: u32) {
    ctx.register_udaf(AggregateUDF::from(merge::MergeSketch::new()));
    for f in compare::functions().into_iter().chain(read::functions()).chain(tokens::functions(min_users)) {
        ctx.register_udf(ScalarUDF::from(f));
    }
}

/// Whether a function of this name is driftglass's.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    NAMES.contains(&name) || name == "quantile"
}

/// A function as `SHOW FUNCTIONS` lists it.
struct Listed {
    name: String,
    kind: &'static str,
    returns: DataType,
    arguments: &'static [scalar::Argument],
    documentation: Documentation,
}

/// All functions, in the columns of `SHOW FUNCTIONS`.
///
/// # Errors
/// When the columns don't make a batch.
pub fn listed(min_users: u32) -> Result<RecordBatch, DataFusionError> {
    let scalars =
        compare::functions().into_iter().chain(read::functions()).chain(tokens::functions(min_users));
    let mut all: Vec<Listed> = scalars.flat_map(|f| f.listed()).collect();
    all.push(merge::MergeSketch::new().listed());
    let text = |of: &dyn Fn(&Listed) -> String| -> ArrayRef {
        Arc::new(all.iter().map(|l| Some(of(l))).collect::<StringArray>())
    };
    let lists = |of: &dyn Fn(&Listed) -> Vec<String>| -> ArrayRef {
        let mut out = ListBuilder::new(StringBuilder::new());
        for l in &all {
            out.append_value(of(l).into_iter().map(Some));
        }
        Arc::new(out.finish())
    };
    let named = |l: &Listed| l.documentation.arguments.iter().flatten().map(|a| a.0.clone()).collect();
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("function_name", text(&|l| l.name.clone()), true),
        ("return_type", text(&|l| type_name(&l.returns).to_owned()), true),
        ("parameters", lists(&named), true),
        ("parameter_types", lists(&|l| l.arguments.iter().map(|a| a.type_name().to_owned()).collect()), true),
        ("function_type", text(&|l| l.kind.to_owned()), true),
        ("description", text(&|l| l.documentation.description.clone()), true),
        ("syntax_example", text(&|l| l.documentation.syntax_example.clone()), true),
    ])?)
}

/// A type by the name that DataFusion lists it under.
fn type_name(of: &DataType) -> &'static str {
    match of {
        DataType::Float64 => "Float64",
        DataType::UInt64 => "UInt64",
        DataType::UInt32 => "UInt32",
        DataType::List(_) => "List(Struct)",
        DataType::BinaryView => "Binary",
        _ => "String",
    }
}

/// Whether a sketch is a volume's, which counts events and has no outcome: no mean, and nothing to test.
fn is_volume(sketch: &Sketch) -> bool {
    matches!(&sketch.body, Body::Rate(r) if r.is_volume())
}

fn decode(bytes: &[u8]) -> Result<Sketch, DataFusionError> {
    Sketch::decode(bytes).map_err(|e| exec_datafusion_err!("{e}"))
}
