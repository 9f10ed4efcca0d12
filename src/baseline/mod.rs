//! Baselines: what windows are compared with. Pure: days come in as rows, prepared baselines come out.

mod accept;
mod categories;
mod centroid;
mod prepared;
mod set;
mod strata;

pub use accept::{Accept, accepted};
pub use categories::CategoryBins;
pub use prepared::{About, Compared, Prepared, Strata, side};
pub use set::{BaselineSet, DaySource, Excluded, OfSegment, Pin, Recipe, leaves};
pub use strata::{Child, Children, strata};
