//! Exclusions as rows of their table.

use super::evaluate::types::Exclusion;
use crate::store::exclusions::{ExclusionRow, exclusions_batch};
use crate::store::panes::{PaneFileError, TableNames};
use crate::store::tables::batches_by_date;
use arrow::array::RecordBatch;

/// Rows of `exclusions`, a batch per date.
///
/// # Errors
/// When the columns don't fit the schema, which is a mistake in the code.
pub(super) fn exclusion_batches(
    exclusions: &[Exclusion],
    names: &TableNames,
) -> Result<Vec<(i64, RecordBatch)>, PaneFileError> {
    let rows: Vec<ExclusionRow<'_>> = exclusions
        .iter()
        .map(|e| ExclusionRow {
            day: e.day,
            segment_by: &names.grouping(&e.segment).name,
            segment: &e.shown,
            feature: &names.features[e.feature],
            judged: e.judged,
            drifted: e.drifted,
            reason: e.reason.name(),
            decided_at: e.decided_at,
        })
        .collect();
    batches_by_date(&rows, |r| r.day, exclusions_batch)
}
