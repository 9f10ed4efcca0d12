//! Baselines: what windows are compared with. Pure: days come in as rows, prepared baselines come out.

mod accept;
mod categories;
mod centroid;
mod days;
mod hours;
mod missing;
mod name;
#[cfg(test)]
mod outliers_tests;
mod pin;
mod prepared;
mod season;
mod set;
mod strata;
mod week;

pub use accept::{Accept, Segments, accepted, accepted_at};
pub use categories::{CategoryBins, SharedBins};
pub use days::BaselineDays;
pub use hours::{BLOCK, HoursOfDay};
pub use missing::{PreparedMissing, missing_shares};
pub use name::{BaselineName, BaselineNameError, RESERVED_PREFIXES};
pub use pin::{Pin, PinnedHours};
pub use prepared::{BaselineInfo, Compared, Prepared, Strata, UnseenDays, side};
pub use set::{
    BaselineRecipe, BaselineSet, BaselineSum, DaySource, Excluded, HeldBaselines, SegmentBaselines,
};
pub use strata::{Child, Children, strata};
pub use week::{BlocksOfWeek, WindowBlocks};
