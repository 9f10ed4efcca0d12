//! Baselines: what windows are compared with. Pure: days come in as rows, prepared baselines come out.

mod accept;
mod categories;
mod centroid;
mod days;
mod missing;
mod name;
#[cfg(test)]
mod outliers_tests;
mod prepared;
mod set;
mod strata;

pub use accept::{Accept, Segments, accepted};
pub use categories::CategoryBins;
pub use days::BaselineDays;
pub use missing::{PreparedMissing, missing_shares};
pub use name::{BaselineName, BaselineNameError, RESERVED_PREFIXES};
pub use prepared::{BaselineInfo, Compared, Prepared, Strata, side};
pub use set::{BaselineRecipe, BaselineSet, BaselineSum, DaySource, Excluded, Pin, SegmentBaselines};
pub use strata::{Child, Children, strata};
