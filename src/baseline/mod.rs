//! Baselines: what windows are compared with. Pure: days come in as rows, prepared baselines come out.

mod prepared;
mod set;

pub use prepared::{About, Compared, Prepared, Strata, side};
pub use set::{BaselineSet, Builder, Excluded, Pin, SegmentStrata, strata_of};
