//! A pane: what one segment holds of one short stretch of event time.

use super::sketch_set::SketchSet;
use std::sync::Arc;

/// A segment: its grouping (by index in [`Groupings::all`](crate::config::segments::Groupings::all)) and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Segment {
    /// Index of the grouping.
    pub grouping: u16,
    /// `tenant=birch`; empty for the whole stream.
    pub name: Arc<str>,
}

/// A segment's part of a stretch of time: a pane that closed (or, in a checkpoint, is still open),
/// which is one row of the internal `_panes`; an hour; a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaneRow<C = SketchSet> {
    /// Where it starts, microseconds.
    pub start: i64,
    /// The watermark at which it closes: its end, or for late events the end of the pane in which
    /// the watermark was when they came. It counts in windows evaluated at this time or later.
    pub close_at: i64,
    /// The segment, of a grouping that is sketched directly.
    pub segment: Segment,
    /// Its content.
    pub contents: C,
}
