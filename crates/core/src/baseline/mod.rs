//! Baselines: what windows are compared with. Pure: days come in as rows, prepared baselines come out.

mod accept;
mod categories;
mod centroid;
mod missing;
#[cfg(test)]
mod outliers_tests;
mod prepared;
mod set;
mod strata;

pub use accept::{Accept, Segments, accepted};
pub use categories::CategoryBins;
pub use missing::{PreparedMissing, missing_shares};
pub use prepared::{BaselineInfo, Compared, Prepared, Strata, side};
pub use set::{BaselineRecipe, BaselineSet, DaySource, Excluded, Pin, SegmentBaselines, leaves};
pub use strata::{Child, Children, strata};
