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

use datafusion::common::exec_datafusion_err;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{AggregateUDF, DocSection, ScalarUDF};
use datafusion::prelude::SessionContext;

use crate::sketch::Sketch;

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

fn decode(bytes: &[u8]) -> Result<Sketch, DataFusionError> {
    Sketch::decode(bytes).map_err(|e| exec_datafusion_err!("{e}"))
}
