//! SQL functions over the column `sketch` of `panes`: merging, comparing, reading, and the tokens
//! behind them.
//!
//! One rule for all: NULL in, NULL out; and NULL where a statistic does not apply to a feature's
//! kind, as in the table `windows`. An error means that the input is wrong: sketches of unlike
//! definitions, bytes that are no sketch, a quantile outside 0 to 1.

mod argument;
mod compare;
mod listing;
mod merge;
mod read;
mod scalar;
mod sketch_bytes;
mod tokens;

use arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionContext;
use listing::{FunctionListing, listing_batch};

/// The names of all functions, as the shell lists them.
pub(super) const NAMES: [&str; 14] = [
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

/// Adds all functions to a session; `top_tokens` lists only tokens that at least `min_users`
/// distinct users used.
pub(super) fn register(ctx: &SessionContext, min_users: u32) {
    ctx.register_udaf(AggregateUDF::from(merge::MergeSketch::new()));
    for f in compare::functions().into_iter().chain(read::functions()).chain(tokens::functions(min_users)) {
        ctx.register_udf(ScalarUDF::from(f));
    }
}

/// Whether a function of this name is driftglass's.
#[must_use]
pub(super) fn is_ours(name: &str) -> bool {
    NAMES.contains(&name) || name == "quantile"
}

/// All functions, in the columns of `SHOW FUNCTIONS`.
///
/// # Errors
/// When the columns don't fit together, which is a mistake in this room.
pub(super) fn listed(min_users: u32) -> Result<RecordBatch, DataFusionError> {
    let scalars =
        compare::functions().into_iter().chain(read::functions()).chain(tokens::functions(min_users));
    let mut all: Vec<FunctionListing> = scalars.flat_map(|f| f.listings()).collect();
    all.push(merge::MergeSketch::new().listing());
    listing_batch(&all)
}
