//! Baselines: what windows are compared with. Pure: days come in as rows, prepared baselines come out.

mod about;
mod accept;
mod categories;
mod centroid;
mod days;
mod effect;
mod hours;
mod missing;
mod name;
#[cfg(test)]
mod outliers_tests;
mod pin;
mod prepared;
mod season;
#[cfg(test)]
mod season_tests;
mod set;
mod strata;
mod sums;
mod tail;
mod week;

pub use about::{BaselineInfo, UnseenDays};
pub use accept::{Accept, Segments, accepted, accepted_at};
pub use categories::{CategoryBins, SharedBins};
pub use days::BaselineDays;
pub use effect::Change;
pub use hours::{BLOCK, HoursOfDay};
pub use missing::{PreparedMissing, missing_shares};
pub use name::{BaselineName, BaselineNameError, RESERVED_PREFIXES};
pub use pin::{Pin, PinnedHours};
pub use prepared::{Compared, Prepared, Strata, side};
pub use set::{BaselineRecipe, BaselineSet, DaySource, Excluded, HeldBaselines, SegmentBaselines};
pub use strata::{Child, Children, strata};
pub use sums::BaselineSum;
pub use tail::PreparedTail;
pub use week::{BlocksOfWeek, WindowBlocks};
