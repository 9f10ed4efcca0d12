//! The inputs and outputs of an evaluation: earlier days, its state, its rows.

use super::drifting::{ExclusionReason, HeldSince, Judged};
use super::segment_users::SegmentUsersState;
use super::verdict_counts::VerdictCounts;
use crate::alert::{AlertBook, AlertRow};
use crate::baseline::{Accept, DaySource};
use crate::engine::error::EvaluationError;
use crate::window::Segment;
use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Earlier days, as they were committed.
pub trait History: Send {
    /// The days written after `from` and not after `until` (event times of their writing).
    ///
    /// # Errors
    /// When they can't be read.
    fn days(&mut self, from: i64, until: i64) -> Result<Vec<Arc<dyn DaySource>>, EvaluationError>;

    /// What was accepted as the new normal so far.
    ///
    /// # Errors
    /// When it can't be read.
    fn accepts(&mut self) -> Result<Vec<Accept>, EvaluationError>;

    /// Days that are written but not committed yet.
    ///
    /// # Errors
    /// When they don't have the columns of a table of panes.
    fn pending(&self, days: &[DayBatch]) -> Result<Arc<dyn DaySource>, EvaluationError>;
}

/// One row of `exclusions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    /// Start of the day that later baselines leave out.
    pub day: i64,
    /// The segment by its identity
    /// ([`TableNames::identity`](crate::store::panes::TableNames::identity)).
    pub segment: Segment,
    /// The segment as it is shown.
    pub shown: Arc<str>,
    /// Index of the feature.
    pub feature: usize,
    /// Windows judged that day.
    pub judged: u32,
    /// Windows that drifted.
    pub drifted: u32,
    /// Why.
    pub reason: ExclusionReason,
    /// When it was decided, event time.
    pub decided_at: i64,
}

/// Days that one tick closed, or a part of them, as rows of `_days`.
#[derive(Debug)]
pub struct DayBatch {
    /// The tick.
    pub close_at: i64,
    /// The rows.
    pub rows: RecordBatch,
}

/// The rows of an evaluation, waiting for their commit.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Hours for the public `panes`, by their start.
    pub hours: Vec<(i64, RecordBatch)>,
    /// Days for `_days`.
    pub days: Vec<DayBatch>,
    /// Windows by the tick that wrote them; no batch is empty.
    pub windows: Vec<(i64, RecordBatch)>,
    /// Alerts.
    pub alerts: Vec<AlertRow>,
    /// Exclusions.
    pub exclusions: Vec<Exclusion>,
    /// Windows' rows with and without a verdict.
    pub verdicts: VerdictCounts,
}

/// What a checkpoint keeps; all else is rebuilt from panes and hours.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct EvaluatorState {
    /// The last tick evaluated; `None` before the first.
    pub at: Option<i64>,
    /// Alerts under way.
    pub book: AlertBook,
    /// Segments admitted, per grouping, by its name.
    pub admitted: BTreeMap<String, Vec<String>>,
    /// Windows judged in the current day, per grouping, segment and feature, by their names, and
    /// window length.
    #[serde(default)]
    pub judged_windows: Vec<(String, String, String, i64, Judged)>,
    /// What is held at earlier baselines, per grouping, segment and feature.
    #[serde(default)]
    pub held: Vec<(String, String, String, HeldSince)>,
    /// Windows written.
    pub windows: u64,
    /// The users that were seen in segments with names that clients chose.
    #[serde(default)]
    pub seen: SegmentUsersState,
    /// Earlier days, by their starts, that hours of the current day were added to: a restart reads
    /// these too.
    #[serde(default)]
    pub late_days: Vec<i64>,
}
