//! Baselines: what windows are compared with.

mod prepared;

pub use prepared::{About, Compared, Prepared, Strata, side};
